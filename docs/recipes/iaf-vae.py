"""
A normal posterior cannot bend, the true one does. Two steps bend it: each number is stretched and moved by what a
network says of the numbers before it and of the image. The network is a dense one with some weights masked out, so
that number i never depends on itself or on those after it; the change of volume is then the product of the stretches.
In the second step the numbers are taken from the last to the first.
"""

import math

import torch
from torch.nn.functional import linear


def step(z, context, w, name):
    # z ← shift + scale · z (Kingma et al. 2016, Eq. 10), and the logarithm of the change of volume. The masks of the
    # three layers let numbers depend on those before them alone (Germain et al. 2015).
    h = torch.cat([z, context], 1)
    h = linear(h, w[f"{name}.hyper.0.mask"] * w[f"{name}.hyper.0.weight"], w[f"{name}.hyper.0.bias"]).relu()
    h = linear(h, w[f"{name}.hyper.2.mask"] * w[f"{name}.hyper.2.weight"], w[f"{name}.hyper.2.bias"]).relu()
    h = linear(h, w[f"{name}.hyper.4.mask"] * w[f"{name}.hyper.4.weight"], w[f"{name}.hyper.4.bias"])
    shift, log_scale = h.unflatten(1, (-1, 2)).unbind(2)
    log_scale = log_scale / (1 + log_scale.abs() / math.log(1000))  # a stretch lies between 1/1000 and 1000
    return shift + log_scale.exp() * z, log_scale.sum(1)


def loss(x, noise, ramp, encoder, decoder, w):
    # z₀ ~ N(mean, std²), and two steps that know the image (Kingma et al. 2016, Algorithm 1).
    features = encoder(x)
    mean = linear(features, w["posterior.base.mean.weight"], w["posterior.base.mean.bias"])
    log_std = 0.125 * linear(features, w["posterior.base.log_std.weight"], w["posterior.base.log_std.bias"])
    context = linear(features, w["posterior.context.weight"], w["posterior.context.bias"]).relu()
    z = mean + log_std.exp() * noise[0]
    z, first_volume = step(z, context, w, "posterior.flow.transforms.0")
    z, second_volume = step(z, context, w, "posterior.flow.transforms.1")

    # −log p(x|z): one learned scale, no finer than the rounding of bytes (Rybkin et al. 2021, Eq. 4).
    picture = 0.5 + decoder(z)
    log_scale = (10 * w["likelihood.free_log_scale"]).clamp(min=-math.log(255 * math.sqrt(12)))
    log_px = -0.5 * ((x - picture) / log_scale.exp()) ** 2 - log_scale - 0.5 * math.log(2 * math.pi)
    distortion = -log_px.sum((1, 2, 3))

    # log q(z|x) = log N(z₀; mean, std²) − Σ log scale (Kingma et al. 2016, Eq. 11); log p(z) under N(0, 1).
    log_qz = (-0.5 * noise[0] ** 2 - log_std - 0.5 * math.log(2 * math.pi)).sum(1) - first_volume - second_volume
    log_pz = (-0.5 * z**2 - 0.5 * math.log(2 * math.pi)).sum(1)
    return distortion + ramp * (log_qz - log_pz)
