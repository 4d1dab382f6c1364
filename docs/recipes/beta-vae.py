"""
The rate costs β = 4 times what it costs in the bound. Codes become short of words: what tells little about the image
is given up, so pictures blur, and what is kept tends to lie along separate dimensions, where the standard normal
prior charges it least. The scale of the pixels is fixed at 0.1, because a learned one would grow until β is undone.
"""

import math

from torch.nn.functional import linear


def loss(x, noise, ramp, encoder, decoder, w):
    # q(z|x) = N(mean, std²), and a code drawn from it (Kingma & Welling 2014, Eq. 9 and Sec. 2.4).
    features = encoder(x)
    mean = linear(features, w["posterior.mean.weight"], w["posterior.mean.bias"])
    log_std = 0.125 * linear(features, w["posterior.log_std.weight"], w["posterior.log_std.bias"])
    z = mean + log_std.exp() * noise[0]

    # −log p(x|z): a normal of standard deviation 0.1 around the picture.
    picture = 0.5 + decoder(z)
    log_px = -0.5 * ((x - picture) / 0.1) ** 2 - math.log(0.1) - 0.5 * math.log(2 * math.pi)
    distortion = -log_px.sum((1, 2, 3))

    # KL(q(z|x) ‖ N(0, 1)), summed over dimensions (Kingma & Welling 2014, Appendix B).
    rate = 0.5 * (mean**2 + (2 * log_std).exp() - 1 - 2 * log_std).sum(1)

    return distortion + 4.0 * ramp * rate  # Higgins et al. 2017, Eq. 4: its negative
