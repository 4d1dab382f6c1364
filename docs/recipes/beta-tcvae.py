"""
Averaged over images, the KL term is a sum of three parts (Chen et al. 2018, Eq. 2): the information that a latent has
about its image, the dependence between dimensions (total correlation, TC), and the distance of each dimension from
the prior. A β-VAE gives all three parts a larger weight, and the weight of the first part blurs images. Here, only the
total correlation gets the weight β = 150 (Chen et al. 2018, Eq. 4):

    loss = −E[log p(x|z)] + KL(q(z|x) ‖ p(z)) + (β − 1) TC(z)

The paper uses β = 6 for pixels with a standard deviation of up to 0.5. Here, the standard deviation is 0.1, which makes
the distortion 25 times as large.

The total correlation is that of the aggregate posterior q(z) = E[q(z|x)]. The mean of the posteriors of a batch
approximates it.
"""

import math

from torch.nn.functional import linear


def loss(x, noise, ramp, encoder, decoder, w):
    # q(z|x) = N(mean, std²), and a sample z from it (Kingma & Welling 2014, Eq. 9 and Sec. 2.4).
    features = encoder(x)
    mean = linear(features, w["posterior.mean.weight"], w["posterior.mean.bias"])
    log_std = 0.125 * linear(features, w["posterior.log_std.weight"], w["posterior.log_std.bias"])
    z = mean + log_std.exp() * noise[0]

    # −log p(x|z): a normal around the picture with a standard deviation of 0.1.
    picture = 0.5 + decoder(z)
    log_px = -0.5 * ((x - picture) / 0.1) ** 2 - math.log(0.1) - 0.5 * math.log(2 * math.pi)
    distortion = -log_px.sum((1, 2, 3))

    # KL(q(z|x) ‖ N(0, 1)), summed over dimensions (Kingma & Welling 2014, Appendix B).
    rate = 0.5 * (mean**2 + (2 * log_std).exp() - 1 - 2 * log_std).sum(1)

    # TC = log q(z) − Σₗ log q(zₗ), at the samples of the batch (Chen et al. 2018, Eq. 2). each[i, j, l] is the log
    # density of dimension l of sample i under the posterior of image j. The mean over j estimates q (their Eq. 5, up
    # to a constant).
    standard = (z[:, None] - mean) / log_std.exp()
    each = -0.5 * standard**2 - log_std - 0.5 * math.log(2 * math.pi)
    log_qz = each.sum(2).logsumexp(1) - math.log(len(x))
    log_product = (each.logsumexp(1) - math.log(len(x))).sum(1)

    # The negative of Chen et al. 2018, Eq. 4, with α = γ = 1 and β = 150; the rate already contains 1 of β.
    return distortion + rate + 149.0 * ramp * (log_qz - log_product)
