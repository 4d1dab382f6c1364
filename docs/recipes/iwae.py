"""
One code per image gives a bound of log p(x) that punishes every bad draw. With five, each is weighed by how well it
explains the image, wₖ = p(x, zₖ)/q(zₖ|x), and the logarithm is taken of the mean weight: a tighter bound, which
leaves the posterior more freedom.

The more codes, the more the encoder's gradient drowns in noise. It is therefore taken through the codes alone, the
density q held constant, and code k counts by the square of its share of the weights: on average the same gradient.
"""

import math

from torch.nn.functional import linear


def loss(x, noise, ramp, encoder, decoder, w):
    # q(z|x) = N(mean, std²), and five codes drawn from it: noise and z are [5, B, L].
    features = encoder(x)
    mean = linear(features, w["posterior.mean.weight"], w["posterior.mean.bias"])
    log_std = 0.125 * linear(features, w["posterior.log_std.weight"], w["posterior.log_std.bias"])
    z = mean + log_std.exp() * noise

    # log p(x|z) [5, B]: one learned scale, no finer than the rounding of bytes (Rybkin et al. 2021, Eq. 4).
    picture = 0.5 + decoder(z.flatten(0, 1)).unflatten(0, z.shape[:2])
    log_scale = (10 * w["likelihood.free_log_scale"]).clamp(min=-math.log(255 * math.sqrt(12)))
    log_px = -0.5 * ((x - picture) / log_scale.exp()) ** 2 - log_scale - 0.5 * math.log(2 * math.pi)
    log_px = log_px.sum((2, 3, 4))

    # log p(z) under N(0, 1), and log q(z|x) with its parameters held constant (Tucker et al. 2018).
    log_pz = (-0.5 * z**2 - 0.5 * math.log(2 * math.pi)).sum(2)
    constant_mean, constant_log_std = mean.detach(), log_std.detach()
    standard = (z - constant_mean) / constant_log_std.exp()
    log_qz = (-0.5 * standard**2 - constant_log_std - 0.5 * math.log(2 * math.pi)).sum(2)

    # −log 1/K Σₖ wₖ (Burda et al. 2016, Eq. 8). Its gradient reaches zₖ with the factor wₖ / Σⱼ wⱼ, and gets it once
    # more.
    log_w = log_px + log_pz - log_qz
    share = log_w.detach().softmax(0)
    if z.requires_grad:
        z.register_hook(lambda gradient: gradient * share.unsqueeze(2))
    return math.log(len(log_w)) - log_w.logsumexp(0)
