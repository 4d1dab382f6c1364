"""
The KL term has a weight of only 0.1. The loss adds the maximum mean discrepancy (MMD) between latents and the prior,
with a weight of 1000 (Zhao et al. 2019, Eq. 6):

    loss = −E[log p(x|z)] + 0.1 KL(q(z|x) ‖ p(z)) + 1000 MMD²(q(z), p(z))

A KL term with full weight can make latents forget their images. The MMD constrains only the latents of the whole
batch: together, they must look like samples of the prior. The latent of a single image stays informative.
"""

import math

import torch
from torch.nn.functional import linear


def kernel(a, b):
    # Σₛ C/(C + ‖a − b‖²), C = 2 L s, of several scales s (Tolstikhin et al. 2018, Sec. 4): [B, B].
    squares = ((a[:, None] - b) ** 2).sum(2)
    sizes = [2 * a.shape[1] * s for s in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)]
    return sum(size / (size + squares) for size in sizes)


def loss(x, noise, ramp, encoder, decoder, w):
    # q(z|x) = N(mean, std²), and a sample z from it (Kingma & Welling 2014, Eq. 9 and Sec. 2.4).
    features = encoder(x)
    mean = linear(features, w["posterior.mean.weight"], w["posterior.mean.bias"])
    log_std = 0.125 * linear(features, w["posterior.log_std.weight"], w["posterior.log_std.bias"])
    z = mean + log_std.exp() * noise[0]

    # −log p(x|z): one learned scale, at least the rounding error of bytes (Rybkin et al. 2021, Eq. 4).
    picture = 0.5 + decoder(z)
    log_scale = (10 * w["likelihood.free_log_scale"]).clamp(min=-math.log(255 * math.sqrt(12)))
    log_px = -0.5 * ((x - picture) / log_scale.exp()) ** 2 - log_scale - 0.5 * math.log(2 * math.pi)
    distortion = -log_px.sum((1, 2, 3))

    # KL(q(z|x) ‖ N(0, 1)), summed over dimensions (Kingma & Welling 2014, Appendix B).
    rate = 0.5 * (mean**2 + (2 * log_std).exp() - 1 - 2 * log_std).sum(1)

    # MMD² between the latents and samples of N(0, 1), over pairs of different rows (Gretton et al. 2012, Eq. 4): one
    # number for the batch. The noise of latent i serves as sample i, because the two are never in the same pair.
    draws = noise[0]
    pairs = kernel(z, z) + kernel(draws, draws) - kernel(z, draws) - kernel(draws, z)
    mmd = pairs[~torch.eye(len(x), dtype=torch.bool)].mean()

    return distortion + 0.1 * ramp * rate + 1000.0 * ramp * mmd  # the negative of Zhao et al. 2019, Eq. 6
