"""
Both networks are told what is known of the image beside its pixels, a class or the columns of a table, and the bound
is one of log p(x|c). What has been told need not be in the code, so the code is left with what the words do not say,
and an image of a kind is drawn by saying the kind; the prior is told too, for the codes of what is known and of
what is not lie in different places. What is not known is zero, and in training some of what is known
is hidden, so that the model can be asked with all, with some or with nothing. Here `noise` is a pair: the noise of
the codes, and what is told of each image `[B, c]`.
"""

import math

import torch
from torch.nn.functional import linear


def loss(x, noise, ramp, encoder, decoder, w):
    noise, told = noise

    # q(z|x, c) = N(mean, std²), and a code drawn from it (Kingma & Welling 2014, Eq. 9 and Sec. 2.4).
    features = torch.cat([encoder(x), told], 1)
    mean = linear(features, w["posterior.mean.weight"], w["posterior.mean.bias"])
    log_std = 0.125 * linear(features, w["posterior.log_std.weight"], w["posterior.log_std.bias"])
    z = mean + log_std.exp() * noise[0]

    # −log p(x|z, c): one learned scale, no finer than the rounding of bytes (Rybkin et al. 2021, Eq. 4).
    picture = 0.5 + decoder(torch.cat([z, told], 1))
    log_scale = (10 * w["likelihood.free_log_scale"]).clamp(min=-math.log(255 * math.sqrt(12)))
    log_px = -0.5 * ((x - picture) / log_scale.exp()) ** 2 - log_scale - 0.5 * math.log(2 * math.pi)
    distortion = -log_px.sum((1, 2, 3))

    # p(z|c) = N(m, s²), which a small network makes of what is told (Sohn et al. 2015, Eq. 4).
    hidden = linear(told, w["prior.first.weight"], w["prior.first.bias"]).relu()
    m, log_s = linear(hidden, w["prior.last.weight"], w["prior.last.bias"]).chunk(2, 1)

    # KL(q(z|x, c) ‖ p(z|c)) = Σ [log s/std + (std² + (mean − m)²) / 2s² − ½].
    spread = (2 * log_std).exp() + (mean - m) ** 2
    rate = (log_s - log_std + spread / (2 * (2 * log_s).exp()) - 0.5).sum(1)

    return distortion + ramp * rate  # Sohn et al. 2015, Eq. 4: its negative
