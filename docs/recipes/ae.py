"""
The code is a point (Hinton & Salakhutdinov 2006): the encoder says it, the decoder draws it, and the loss is what the
picture misses of the image. Nothing asks where codes lie, so there is no density and nothing to draw new images from.
The loss is written as −log p(x|z) with a learned scale. With one scale for all pixels the best pictures are those of
the smallest squared error.
"""

import math

from torch.nn.functional import linear


def loss(x, noise, ramp, encoder, decoder, w):
    z = linear(encoder(x), w["posterior.mean.weight"], w["posterior.mean.bias"])

    # −log p(x|z): one learned scale, no finer than the rounding of bytes (Rybkin et al. 2021, Eq. 4).
    picture = 0.5 + decoder(z)
    log_scale = (10 * w["likelihood.free_log_scale"]).clamp(min=-math.log(255 * math.sqrt(12)))
    log_px = -0.5 * ((x - picture) / log_scale.exp()) ** 2 - log_scale - 0.5 * math.log(2 * math.pi)
    return -log_px.sum((1, 2, 3))
