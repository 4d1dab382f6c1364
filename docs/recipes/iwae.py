"""
The encoder draws K = 5 latents per image, and the loss is a tighter bound on −log p(x) (Burda et al. 2016, Eq. 8):

    loss = −log 1/K Σₖ wₖ,   wₖ = p(x, zₖ) / q(zₖ|x)

With one sample, the bound penalizes every poor sample. With five, each sample is weighted by how well it explains the
image. This leaves the posterior more freedom.

The plain gradient of the encoder becomes noisier as K grows. The doubly reparameterized gradient avoids this (Tucker
et al. 2018). It flows through the samples only, with the parameters of q held constant, and weights sample k by the
square of its normalized weight. On average, both gradients are equal.
"""

import math

from torch.nn.functional import linear


def loss(x, noise, ramp, encoder, decoder, w):
    # q(z|x) = N(mean, std²), and five samples z from it: noise and z are [5, B, L].
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

    # −log 1/K Σₖ wₖ (Burda et al. 2016, Eq. 8). The gradient arrives at zₖ with the factor wₖ / Σⱼ wⱼ; the hook
    # multiplies it by this factor once more.
    log_w = log_px + log_pz - log_qz
    share = log_w.detach().softmax(0)
    if z.requires_grad:
        z.register_hook(lambda gradient: gradient * share.unsqueeze(2))
    return math.log(len(log_w)) - log_w.logsumexp(0)
