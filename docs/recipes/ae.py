"""
The encoder maps each image to one latent, and the decoder reconstructs the image (Hinton & Salakhutdinov 2006):

    loss = −log p(x|z)

The distribution of the latents is not constrained, so there is no density and no prior to sample from.

The likelihood is a normal with one learned standard deviation for all pixels. Its optimum is the smallest squared
error.
"""

import math

from torch.nn.functional import linear


def loss(x, noise, ramp, encoder, decoder, w):
    z = linear(encoder(x), w["posterior.mean.weight"], w["posterior.mean.bias"])

    # −log p(x|z): one learned scale, at least the rounding error of bytes (Rybkin et al. 2021, Eq. 4).
    picture = 0.5 + decoder(z)
    log_scale = (10 * w["likelihood.free_log_scale"]).clamp(min=-math.log(255 * math.sqrt(12)))
    log_px = -0.5 * ((x - picture) / log_scale.exp()) ** 2 - log_scale - 0.5 * math.log(2 * math.pi)
    return -log_px.sum((1, 2, 3))
