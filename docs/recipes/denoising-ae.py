"""
The encoder receives a noisy image, and the reconstruction is compared with the clean image x (Vincent et al. 2010,
Eq. 10):

    loss = −log p(x|z),   z = encoder(x + noise)

To separate noise from image, the model has to learn what images look like. The standard deviation of the noise is
drawn for each image, uniformly between 0 and 0.5. Half of the noisy images are clipped to [0, 1], as image files are.

In the code, `noise` has three parts: a strength in [0, 1] per image, standard normal noise per pixel, and a number in
[0, 1] per image that decides whether to clip the image.
"""

import math

import torch
from torch.nn.functional import linear


def loss(x, noise, ramp, encoder, decoder, w):
    # The noisy image; each image has its own noise strength.
    strength, grain, coin = noise
    noisy = x + 0.5 * strength * grain
    noisy = torch.where(coin < 0.5, noisy.clamp(0, 1), noisy)

    z = linear(encoder(noisy), w["posterior.mean.weight"], w["posterior.mean.bias"])

    # −log p(x|z) of the clean image (Vincent et al. 2010, Eq. 10): one learned scale, at least the rounding error of
    # bytes (Rybkin et al. 2021, Eq. 4).
    picture = 0.5 + decoder(z)
    log_scale = (10 * w["likelihood.free_log_scale"]).clamp(min=-math.log(255 * math.sqrt(12)))
    log_px = -0.5 * ((x - picture) / log_scale.exp()) ** 2 - log_scale - 0.5 * math.log(2 * math.pi)
    return -log_px.sum((1, 2, 3))
