"""
The prior is a standard normal that is transformed by six invertible steps. Each step shifts and scales one half of
the dimensions, by amounts that a small network computes from the other half (Dinh et al. 2017, Eq. 7):

    z ← shift + scale · z

To evaluate the density of a latent, the steps are inverted, which gives u. The change of volume is the product of the
scales (Dinh et al. 2017, Eq. 3 and 8):

    log p(z) = log N(u; 0, 1) − Σ log scale

So the density is exact, and the prior can take the shape of the latents (Chen et al. 2017, Sec. 3.2).
"""

import math

from torch.nn.functional import linear


def log_prior(z, w):
    # log p(z) = log N(u; 0, 1) − Σ log scale, where u is z with all steps inverted (Dinh et al. 2017, Eq. 3 and 8).
    log_volume = 0
    for step in reversed(range(6)):
        name = f"prior.flow.transforms.{step}"
        stays = w[f"{name}.mask"]  # every other dimension, in turns
        h = z[:, stays]
        h = linear(h, w[f"{name}.hyper.0.weight"], w[f"{name}.hyper.0.bias"]).relu()
        h = linear(h, w[f"{name}.hyper.2.weight"], w[f"{name}.hyper.2.bias"]).relu()
        h = linear(h, w[f"{name}.hyper.4.weight"], w[f"{name}.hyper.4.bias"])
        shift, log_scale = h.unflatten(1, (-1, 2)).unbind(2)
        log_scale = log_scale / (1 + log_scale.abs() / math.log(1000))  # a scale lies between 1/1000 and 1000
        undone = z.clone()
        undone[:, ~stays] = (z[:, ~stays] - shift) / log_scale.exp()
        z, log_volume = undone, log_volume + log_scale.sum(1)
    return (-0.5 * z**2 - 0.5 * math.log(2 * math.pi)).sum(1) - log_volume


def loss(x, noise, ramp, encoder, decoder, w):
    # q(z|x) = N(mean, std²), and a sample z from it (Kingma & Welling 2014, Eq. 9 and Sec. 2.4).
    features = encoder(x)
    mean = linear(features, w["posterior.mean.weight"], w["posterior.mean.bias"])
    log_std = 0.125 * linear(features, w["posterior.log_std.weight"], w["posterior.log_std.bias"])
    z = mean + log_std.exp() * noise[0]

    # −log p(x|z): one learned scale, at least the rounding error of bytes (Rybkin et al. 2021, Eq. 4).
    picture = 0.5 + decoder(z)
    log_scale = (10 * w["likelihood.free_log_scale"]).clamp(min=-math.log(255 * math.sqrt(12)))
    log_px = -0.5 * ((x - picture) / log_scale.exp()) ** 2 - log_scale - 0.5 * math.log(2 * math.pi)
    distortion = -log_px.sum((1, 2, 3))

    # log q(z|x) − log p(z) at one sample per image; the noise of the sample gives log q.
    log_qz = (-0.5 * noise[0] ** 2 - log_std - 0.5 * math.log(2 * math.pi)).sum(1)
    rate = log_qz - log_prior(z, w)
    return distortion + ramp * rate  # Kingma & Welling 2014, Eq. 6
