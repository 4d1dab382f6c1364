"""
The prior is a mixture of the posteriors of K = 100 learned images (Tomczak & Welling 2018, Eq. 9):

    p(z) = 1/K Σₖ q(z|uₖ)

The best prior for the bound is the aggregate posterior q(z) = E[q(z|x)], and the mixture approximates it. The images uₖ
are parameters, and their gradient passes through the encoder. So the prior follows the latents: it is a mixture of
normals, with a component for each kind of image.
"""

import math

from torch.nn.functional import linear


def posterior(x, encoder, w):
    # Mean and log standard deviation [N, L] of q(z|x).
    features = encoder(x)
    mean = linear(features, w["posterior.mean.weight"], w["posterior.mean.bias"])
    log_std = 0.125 * linear(features, w["posterior.log_std.weight"], w["posterior.log_std.bias"])
    return mean, log_std


def log_normal(z, mean, log_std):
    # log N(z; mean, std²), summed over the last dimension.
    return (-0.5 * ((z - mean) / log_std.exp()) ** 2 - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)


def loss(x, noise, ramp, encoder, decoder, w):
    # q(z|x) = N(mean, std²), and a sample z from it (Kingma & Welling 2014, Eq. 9 and Sec. 2.4).
    mean, log_std = posterior(x, encoder, w)
    z = mean + log_std.exp() * noise[0]

    # −log p(x|z): one learned scale, at least the rounding error of bytes (Rybkin et al. 2021, Eq. 4).
    picture = 0.5 + decoder(z)
    log_scale = (10 * w["likelihood.free_log_scale"]).clamp(min=-math.log(255 * math.sqrt(12)))
    log_px = -0.5 * ((x - picture) / log_scale.exp()) ** 2 - log_scale - 0.5 * math.log(2 * math.pi)
    distortion = -log_px.sum((1, 2, 3))

    # p(z) = 1/K Σₖ q(z|uₖ) for learned images uₖ (Tomczak & Welling 2018, Eq. 9).
    learned = w["prior.images"].clamp(0, 1)
    each = log_normal(z[:, None], *posterior(learned, encoder, w))  # [B, K]
    log_pz = each.logsumexp(1) - math.log(len(learned))

    # The KL to a mixture has no closed form, so one sample per image estimates it (Kingma & Welling 2014, Eq. 6).
    rate = log_normal(z, mean, log_std) - log_pz
    return distortion + ramp * rate
