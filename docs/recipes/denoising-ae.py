"""
The encoder sees a noisy image, and the picture is compared with the clean one: what is learnt is what images are
like, since that is all that tells noise from image. The strength of the noise is drawn for each image, from none to a
standard deviation of 0.5, and half of the noisy images are clipped, as a file would clip them. Here `noise` is three
draws: a strength in [0, 1] per image, normal noise per pixel value, and a coin in [0, 1] per image.
"""

import math

import torch
from torch.nn.functional import linear


def loss(x, noise, ramp, encoder, decoder, w):
    # The noisy image, its noise of a strength of its own.
    strength, grain, coin = noise
    noisy = x + 0.5 * strength * grain
    noisy = torch.where(coin < 0.5, noisy.clamp(0, 1), noisy)

    z = linear(encoder(noisy), w["posterior.mean.weight"], w["posterior.mean.bias"])

    # −log p(x|z) of the clean image (Vincent et al. 2010, Eq. 10): one learned scale, no finer than the rounding of
    # bytes (Rybkin et al. 2021, Eq. 4).
    picture = 0.5 + decoder(z)
    log_scale = (10 * w["likelihood.free_log_scale"]).clamp(min=-math.log(255 * math.sqrt(12)))
    log_px = -0.5 * ((x - picture) / log_scale.exp()) ** 2 - log_scale - 0.5 * math.log(2 * math.pi)
    return -log_px.sum((1, 2, 3))
