"""
The KL term follows a target C, which rises from 0 to 25 nats during training. The weight γ is 100 (Burgess et al.
2018, Eq. 8):

    loss = −E[log p(x|z)] + γ |KL(q(z|x) ‖ p(z)) − C|

A strong KL term switches dimensions off, and a weak one mixes factors within a dimension. With a rising target, the
latent opens up one direction at a time. The most useful direction comes first, and each one has time to become a
dimension of its own.

The standard deviation of a pixel is fixed at 0.1.
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

    capacity = 25.0 * ramp  # nats
    return distortion + 100.0 * (rate - capacity).abs()  # the negative of Burgess et al. 2018, Eq. 8
