"""
Both networks and the prior receive a condition c: the label and the attributes of the image. The loss bounds −log
p(x|c) (Sohn et al. 2015, Eq. 4):

    loss = −E[log p(x|z, c)] + KL(q(z|x, c) ‖ p(z|c))

The latent need not contain what the condition already says. To generate images with given labels or attributes, fix c
and sample z from p(z|c).

Unknown parts of the condition are zero. During training, known parts are hidden at random (Ho & Salimans 2021, Sec.
3.2), so the model works with a complete, a partial, or no condition. In the code, `noise` is a pair: the noise of the
latents, and the condition of each image `[B, c]`.
"""

import math

import torch
from torch.nn.functional import linear


def loss(x, noise, ramp, encoder, decoder, w):
    noise, told = noise

    # q(z|x, c) = N(mean, std²), and a sample z from it (Kingma & Welling 2014, Eq. 9 and Sec. 2.4).
    features = torch.cat([encoder(x), told], 1)
    mean = linear(features, w["posterior.mean.weight"], w["posterior.mean.bias"])
    log_std = 0.125 * linear(features, w["posterior.log_std.weight"], w["posterior.log_std.bias"])
    z = mean + log_std.exp() * noise[0]

    # −log p(x|z, c): one learned scale, at least the rounding error of bytes (Rybkin et al. 2021, Eq. 4).
    picture = 0.5 + decoder(torch.cat([z, told], 1))
    log_scale = (10 * w["likelihood.free_log_scale"]).clamp(min=-math.log(255 * math.sqrt(12)))
    log_px = -0.5 * ((x - picture) / log_scale.exp()) ** 2 - log_scale - 0.5 * math.log(2 * math.pi)
    distortion = -log_px.sum((1, 2, 3))

    # p(z|c) = N(m, s²), computed from the condition by a small network (Sohn et al. 2015, Eq. 4).
    hidden = linear(told, w["prior.first.weight"], w["prior.first.bias"]).relu()
    m, log_s = linear(hidden, w["prior.last.weight"], w["prior.last.bias"]).chunk(2, 1)

    # KL(q(z|x, c) ‖ p(z|c)) = Σ [log s/std + (std² + (mean − m)²) / 2s² − ½].
    spread = (2 * log_std).exp() + (mean - m) ** 2
    rate = (log_s - log_std + spread / (2 * (2 * log_s).exp()) - 0.5).sum(1)

    return distortion + ramp * rate  # the negative of Sohn et al. 2015, Eq. 4
