"""
The first of the two systems that vaekit began with: a dense autoencoder for handwritten digits, trained on the
squared error.

    loss = ‖x − x̂‖² + D/2 log π

This is −log p(x|z) for a normal with variance 1/2, where D is the number of pixels. The loss of a batch is the sum
over its images, not the mean.
"""

import math

from torch.nn.functional import linear


def loss(x, noise, ramp, encoder, decoder, w):
    z = linear(encoder(x), w["posterior.mean.weight"], w["posterior.mean.bias"])
    picture = decoder(z).sigmoid()
    return ((x - picture) ** 2 + 0.5 * math.log(math.pi)).sum((1, 2, 3))
