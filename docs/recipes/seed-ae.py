"""
vaekit began with two models, and this is the first: a dense autoencoder for handwritten digits, trained on the squared
error.

    loss = ‖x − x̂‖² + D/2 log π

Here, D is the number of pixels. This loss is −log p(x|z) for a normal with variance 1/2. The loss of a batch is the sum
over its images, not the mean.
"""

import math

from torch.nn.functional import linear


def loss(x, noise, ramp, encoder, decoder, w):
    z = linear(encoder(x), w["posterior.mean.weight"], w["posterior.mean.bias"])
    picture = decoder(z).sigmoid()
    return ((x - picture) ** 2 + 0.5 * math.log(math.pi)).sum((1, 2, 3))
