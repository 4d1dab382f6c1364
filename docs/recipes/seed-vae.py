"""
Founding system B: squared errors plus KL. As a density of pixels, squared errors are a normal of variance 1/2, a
camera so noisy that fine detail is not worth its rate; that is why it blurs. A batch's loss is the sum of its
images', not the mean.
"""

import math

from torch.nn.functional import linear


def loss(x, noise, ramp, encoder, decoder, w):
    # q(z|x) = N(mean, std²), and a code drawn from it (Kingma & Welling 2014, Eq. 9 and Sec. 2.4).
    features = encoder(x)
    mean = linear(features, w["posterior.mean.weight"], w["posterior.mean.bias"])
    log_std = linear(features, w["posterior.log_std.weight"], w["posterior.log_std.bias"])
    z = mean + log_std.exp() * noise[0]

    # −log p(x|z): a normal of variance 1/2 around the picture has the squared error in its exponent.
    picture = decoder(z).sigmoid()
    distortion = ((x - picture) ** 2 + 0.5 * math.log(math.pi)).sum((1, 2, 3))

    # KL(q(z|x) ‖ N(0, 1)), summed over dimensions (Kingma & Welling 2014, Appendix B).
    rate = 0.5 * (mean**2 + (2 * log_std).exp() - 1 - 2 * log_std).sum(1)

    return distortion + ramp * rate  # Kingma & Welling 2014, Eq. 10
