"""
In a VAE, noise in the latent mainly makes the decoder smooth. This recipe uses no noise. Instead, it penalizes the
length of the latent vector and the size of the decoder's weights θ (Ghosh et al. 2020, Eq. 4 to 6):

    loss = −log p(x|z) + ½ ‖z‖² + 0.001 ‖θ‖²

There is no prior and no bound. To sample, first fit a density to the latents with `vaekit fit-prior`. On MNIST, this
does not beat a plain `ae` with the same fitted density: see the Fréchet distances in [Benchmarks](benchmarks.md).
"""

import math

from torch.nn.functional import linear


def loss(x, noise, ramp, encoder, decoder, w):
    z = linear(encoder(x), w["posterior.mean.weight"], w["posterior.mean.bias"])

    # −log p(x|z): one learned scale, at least the rounding error of bytes (Rybkin et al. 2021, Eq. 4).
    picture = 0.5 + decoder(z)
    log_scale = (10 * w["likelihood.free_log_scale"]).clamp(min=-math.log(255 * math.sqrt(12)))
    log_px = -0.5 * ((x - picture) / log_scale.exp()) ** 2 - log_scale - 0.5 * math.log(2 * math.pi)
    distortion = -log_px.sum((1, 2, 3))

    # Ghosh et al. 2020, Eq. 4, with half the squared length of the latent (Eq. 5) and the squared length of the
    # decoder's weights (Eq. 6).
    weights = sum((value**2).sum() for name, value in w.items() if name.startswith("decoder."))
    return distortion + 0.5 * (z**2).sum(1) + 1e-3 * weights
