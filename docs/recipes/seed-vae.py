"""
vaekit began with two models, and this is the second: a convolutional VAE for faces, trained on the squared error plus
the KL term (Kingma & Welling 2014, Eq. 10):

    loss = ‖x − x̂‖² + D/2 log π + KL(q(z|x) ‖ p(z))

Here, D is the number of pixel values. Seen as a likelihood, the squared error is that of a normal with variance 1/2.
This assumes so much pixel noise that fine detail is not worth its rate. That is why images blur. The loss of a batch is
the sum over its images, not the mean.
"""

import math

from torch.nn.functional import linear


def loss(x, noise, ramp, encoder, decoder, w):
    # q(z|x) = N(mean, std²), and a sample z from it (Kingma & Welling 2014, Eq. 9 and Sec. 2.4).
    features = encoder(x)
    mean = linear(features, w["posterior.mean.weight"], w["posterior.mean.bias"])
    log_std = linear(features, w["posterior.log_std.weight"], w["posterior.log_std.bias"])
    z = mean + log_std.exp() * noise[0]

    # −log p(x|z): the exponent of a normal with variance 1/2 is the squared error.
    picture = decoder(z).sigmoid()
    distortion = ((x - picture) ** 2 + 0.5 * math.log(math.pi)).sum((1, 2, 3))

    # KL(q(z|x) ‖ N(0, 1)), summed over dimensions (Kingma & Welling 2014, Appendix B).
    rate = 0.5 * (mean**2 + (2 * log_std).exp() - 1 - 2 * log_std).sum(1)

    return distortion + ramp * rate  # Kingma & Welling 2014, Eq. 10
