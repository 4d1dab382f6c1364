"""
An autoencoder maps each image to one latent, but the distribution of the latents is not controlled. So there is no way
to sample new images. Here, the loss compares the latents of each batch with samples of a standard normal, by the
maximum mean discrepancy (MMD) with the weight λ = 1000 (Tolstikhin et al. 2018, Eq. 4):

    loss = −log p(x|z) + λ MMD²(q(z), p(z))

Together, the latents follow a normal distribution, while each image keeps a latent of its own.
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
    z = linear(encoder(x), w["posterior.mean.weight"], w["posterior.mean.bias"])

    # −log p(x|z): one learned scale, at least the rounding error of bytes (Rybkin et al. 2021, Eq. 4).
    picture = 0.5 + decoder(z)
    log_scale = (10 * w["likelihood.free_log_scale"]).clamp(min=-math.log(255 * math.sqrt(12)))
    log_px = -0.5 * ((x - picture) / log_scale.exp()) ** 2 - log_scale - 0.5 * math.log(2 * math.pi)
    distortion = -log_px.sum((1, 2, 3))

    # MMD² between the latents and samples of N(0, 1), over pairs of different rows (Tolstikhin et al. 2018,
    # Algorithm 2): one number for the batch.
    draws = noise[0]
    pairs = kernel(z, z) + kernel(draws, draws) - kernel(z, draws) - kernel(draws, z)
    mmd = pairs[~torch.eye(len(x), dtype=torch.bool)].mean()

    return distortion + 1000.0 * ramp * mmd  # Tolstikhin et al. 2018, Eq. 4
