"""
A normal posterior with a diagonal covariance cannot express that dimensions depend on each other. Here, two inverse
autoregressive steps transform it (Kingma et al. 2016, Eq. 10):

    z ← shift + scale · z

The shift and the scale of dimension i depend on the image and on the dimensions before i. One dense network with
masked weights computes all of them (Germain et al. 2015). The Jacobian is triangular, so its determinant is the
product of the scales. The second step goes through the dimensions in reverse order.
"""

import math

import torch
from torch.nn.functional import linear


def step(z, context, w, name):
    # z ← shift + scale · z (Kingma et al. 2016, Eq. 10), and the log determinant. With the masks of the three layers,
    # each dimension depends only on those before it (Germain et al. 2015).
    h = torch.cat([z, context], 1)
    h = linear(h, w[f"{name}.hyper.0.mask"] * w[f"{name}.hyper.0.weight"], w[f"{name}.hyper.0.bias"]).relu()
    h = linear(h, w[f"{name}.hyper.2.mask"] * w[f"{name}.hyper.2.weight"], w[f"{name}.hyper.2.bias"]).relu()
    h = linear(h, w[f"{name}.hyper.4.mask"] * w[f"{name}.hyper.4.weight"], w[f"{name}.hyper.4.bias"])
    shift, log_scale = h.unflatten(1, (-1, 2)).unbind(2)
    log_scale = log_scale / (1 + log_scale.abs() / math.log(1000))  # a scale lies between 1/1000 and 1000
    return shift + log_scale.exp() * z, log_scale.sum(1)


def loss(x, noise, ramp, encoder, decoder, w):
    # z₀ ~ N(mean, std²), then two steps that depend on the image (Kingma et al. 2016, Algorithm 1).
    features = encoder(x)
    mean = linear(features, w["posterior.base.mean.weight"], w["posterior.base.mean.bias"])
    log_std = 0.125 * linear(features, w["posterior.base.log_std.weight"], w["posterior.base.log_std.bias"])
    context = linear(features, w["posterior.context.weight"], w["posterior.context.bias"]).relu()
    z = mean + log_std.exp() * noise[0]
    z, first_volume = step(z, context, w, "posterior.flow.transforms.0")
    z, second_volume = step(z, context, w, "posterior.flow.transforms.1")

    # −log p(x|z): one learned scale, at least the rounding error of bytes (Rybkin et al. 2021, Eq. 4).
    picture = 0.5 + decoder(z)
    log_scale = (10 * w["likelihood.free_log_scale"]).clamp(min=-math.log(255 * math.sqrt(12)))
    log_px = -0.5 * ((x - picture) / log_scale.exp()) ** 2 - log_scale - 0.5 * math.log(2 * math.pi)
    distortion = -log_px.sum((1, 2, 3))

    # log q(z|x) = log N(z₀; mean, std²) − Σ log scale (Kingma et al. 2016, Eq. 11); log p(z) under N(0, 1).
    log_qz = (-0.5 * noise[0] ** 2 - log_std - 0.5 * math.log(2 * math.pi)).sum(1) - first_volume - second_volume
    log_pz = (-0.5 * z**2 - 0.5 * math.log(2 * math.pi)).sum(1)
    return distortion + ramp * (log_qz - log_pz)
