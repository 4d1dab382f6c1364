"""
What a VAE gains by its noise is mostly a smooth decoder. Here no noise is drawn: codes are kept short, the decoder's
weights small, and that makes it smooth too. There is no prior and no bound. `vaekit fit-prior` fits a density to the
codes after training, and then it can be sampled. On MNIST it does not beat a plain `ae` with the same mixture: see the
Fréchet distances in the README.
"""

import math

from torch.nn.functional import linear


def loss(x, noise, ramp, encoder, decoder, w):
    z = linear(encoder(x), w["posterior.mean.weight"], w["posterior.mean.bias"])

    # −log p(x|z): one learned scale, no finer than the rounding of bytes (Rybkin et al. 2021, Eq. 4).
    picture = 0.5 + decoder(z)
    log_scale = (10 * w["likelihood.free_log_scale"]).clamp(min=-math.log(255 * math.sqrt(12)))
    log_px = -0.5 * ((x - picture) / log_scale.exp()) ** 2 - log_scale - 0.5 * math.log(2 * math.pi)
    distortion = -log_px.sum((1, 2, 3))

    # Ghosh et al. 2020, Eq. 4, with half the squared length of the code (Eq. 5) and that of the decoder's weights
    # (Eq. 6).
    weights = sum((value**2).sum() for name, value in w.items() if name.startswith("decoder."))
    return distortion + 0.5 * (z**2).sum(1) + 1e-3 * weights
