"""
The rate is a sum of three: what the code tells of its image, what its dimensions tell of one another (the total
correlation), and how far each dimension by itself is from the prior. β-VAE makes all three dearer, and pictures blur
for the first. Here the second alone is dear, 150 times: as the 6 of the paper is where pixels have a standard
deviation of 0.5 and not of 0.1.

The total correlation is that of all codes together, q(z) = E[q(z|x)], and a batch stands for all images: the mean of
its posteriors is taken for q(z).
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

    # TC = log q(z) − Σₗ log q(zₗ) at the codes of the batch (Chen et al. 2018, Eq. 2). each[i, j, l] is the density
    # of number l of code i under the posterior of image j; the mean over j estimates q (their Eq. 5, but for a
    # constant).
    standard = (z[:, None] - mean) / log_std.exp()
    each = -0.5 * standard**2 - log_std - 0.5 * math.log(2 * math.pi)
    log_qz = each.sum(2).logsumexp(1) - math.log(len(x))
    log_product = (each.logsumexp(1) - math.log(len(x))).sum(1)

    # Chen et al. 2018, Eq. 4: its negative, α = γ = 1, β = 150, of which 1 is in the rate.
    return distortion + rate + 149.0 * ramp * (log_qz - log_product)
