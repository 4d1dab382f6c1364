"""
The encoder maps an image x to a normal distribution q(z|x) over latents. The decoder maps a latent z to a normal
distribution p(x|z) over images. The loss is the negative evidence lower bound (ELBO; Kingma & Welling 2014, Eq. 10):

    loss = −E[log p(x|z)] + KL(q(z|x) ‖ p(z))

The first term is the distortion, and the second one is the rate. This recipe differs from the textbook in two ways:

- The standard deviation of a pixel is one learned number (Rybkin et al. 2021, Eq. 4). It balances distortion and
  rate, so no weight has to be set by hand.
- The prior has the mean and the covariance of the latents of the training images. Both are running averages, and the
  optimizer does not change them.
"""

import math

import torch
from torch.nn.functional import linear


def loss(x, noise, ramp, encoder, decoder, w):
    # q(z|x) = N(mean, std²), and a sample z from it (Kingma & Welling 2014, Eq. 9 and Sec. 2.4).
    features = encoder(x)
    mean = linear(features, w["posterior.mean.weight"], w["posterior.mean.bias"])
    log_std = 0.125 * linear(features, w["posterior.log_std.weight"], w["posterior.log_std.bias"])
    z = mean + log_std.exp() * noise[0]

    # −log p(x|z): a normal around the picture, with one learned scale (Rybkin et al. 2021, Eq. 4). The rounding error
    # of bytes has a standard deviation of 1/(255 √12). A smaller scale would only describe the rounding.
    picture = 0.5 + decoder(z)
    log_scale = (10 * w["likelihood.free_log_scale"]).clamp(min=-math.log(255 * math.sqrt(12)))
    log_px = -0.5 * ((x - picture) / log_scale.exp()) ** 2 - log_scale - 0.5 * math.log(2 * math.pi)
    distortion = -log_px.sum((1, 2, 3))

    # KL(q(z|x) ‖ N(m, C)) = ½ [tr C⁻¹ std² + (mean − m)ᵀ C⁻¹ (mean − m) − L + log |C| − log |std²|] (Kingma & Welling
    # 2014, Appendix B, for a full covariance). A millionth of the summed variances keeps C invertible.
    m, covariance = w["prior.mean"], w["prior.covariance"]
    covariance = covariance + 1e-6 * covariance.trace() * torch.eye(len(m)).to(m)
    inverse = covariance.inverse()
    traces = ((2 * log_std).exp() * inverse.diagonal()).sum(1)
    squares = ((mean - m) @ inverse * (mean - m)).sum(1)
    rate = 0.5 * (traces + squares - len(m) + covariance.logdet() - 2 * log_std.sum(1))

    return distortion + ramp * rate  # Kingma & Welling 2014, Eq. 10
