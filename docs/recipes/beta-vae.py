"""
The KL term has the weight β = 4 (Higgins et al. 2017, Eq. 4):

    loss = −E[log p(x|z)] + β KL(q(z|x) ‖ p(z))

A larger β makes information in the latent more expensive. The model gives up details of little value, so images
become blurrier. What it keeps tends to align with single dimensions, where the KL term is smallest.

The standard deviation of a pixel is fixed at 0.1. A learned one would grow until it canceled β.
"""

import math

from torch.nn.functional import linear


def loss(x, noise, ramp, encoder, decoder, w):
    # q(z|x) = N(mean, std²), and a sample z from it (Kingma & Welling 2014, Eq. 9 and Sec. 2.4).
    features = encoder(x)
    mean = linear(features, w["posterior.mean.weight"], w["posterior.mean.bias"])
    log_std = 0.125 * linear(features, w["posterior.log_std.weight"], w["posterior.log_std.bias"])
    z = mean + log_std.exp() * noise[0]

    # −log p(x|z): a normal around the picture with a standard deviation of 0.1.
    picture = 0.5 + decoder(z)
    log_px = -0.5 * ((x - picture) / 0.1) ** 2 - math.log(0.1) - 0.5 * math.log(2 * math.pi)
    distortion = -log_px.sum((1, 2, 3))

    # KL(q(z|x) ‖ N(0, 1)), summed over dimensions (Kingma & Welling 2014, Appendix B).
    rate = 0.5 * (mean**2 + (2 * log_std).exp() - 1 - 2 * log_std).sum(1)

    return distortion + 4.0 * ramp * rate  # the negative of Higgins et al. 2017, Eq. 4
