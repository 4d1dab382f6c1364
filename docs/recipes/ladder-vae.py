"""
The latent has several levels: first a vector, then grids from coarse to fine, each with one or more groups of latents.
The prior of a group is computed from the groups above it, and the posterior from these and the image (Sønderby et al.
2016, Eq. 2 and 17):

    p(z) = p(z₁) ∏ p(zᵢ | z₍₁..ᵢ₋₁₎)        q(z|x) = q(z₁|x) ∏ q(zᵢ | z₍₁..ᵢ₋₁₎, x)

One pass of the decoder from top to bottom computes both. The posterior is relative to the prior N(μ, σ²): it is
N(μ + Δμ, (σ Δσ)²). If the image says nothing about a group, its posterior equals its prior, and its rate is zero
(Vahdat & Kautz 2020, Eq. 2):

    rate of a latent = ½ (Δμ²/σ² + Δσ² − log Δσ² − 1)
"""

import math

from torch.nn.functional import conv2d, linear, silu


def head(name, h, of_image, w):
    # Two numbers for each latent of a group; the logarithms stay between −5 and 5.
    hidden = silu(conv2d(h, w[f"{name}.conv.weight"], w[f"{name}.conv.bias"], padding=1) + of_image)
    mean, log_std = conv2d(hidden, w[f"{name}.last.weight"], w[f"{name}.last.bias"]).flatten(1).chunk(2, dim=1)
    return mean, 5 * (log_std / 5).tanh()


def loss(x, noise, ramp, encoder, decoder, w):
    # The encoder's map of every grid, finest first, and the noise of the vector at the top and of every group.
    sizes, shapes = decoder.plan.sizes, decoder.plan.map_shapes
    maps = encoder(x).split([math.prod(shape) for shape in shapes], dim=1)
    e, *others = noise[0].split(sizes, dim=1)

    # q(z₁|x) = N(mean, std²) against p(z₁) = N(0, I) (Kingma & Welling 2014, Eq. 10).
    mean = linear(maps[-1], w["posterior.mean.weight"], w["posterior.mean.bias"])
    log_std = 0.125 * linear(maps[-1], w["posterior.log_std.weight"], w["posterior.log_std.bias"])
    rate = 0.5 * (mean**2 + (2 * log_std).exp() - 2 * log_std - 1).sum(1)
    h = decoder.begin(mean + log_std.exp() * e)

    for i, (group, e) in enumerate(zip(decoder.plan.groups, others, strict=True)):
        h = decoder.before(i, h)
        image = maps[group.grid].unflatten(1, shapes[group.grid])
        image = conv2d(image, w[f"posterior.of_image.{i}.weight"], w[f"posterior.of_image.{i}.bias"], padding=1)
        mean, log_std = head(f"prior.heads.{i}", silu(h), 0, w)
        delta, log_ratio = head(f"posterior.heads.{i}", silu(h), image, w)
        rate = rate + 0.5 * ((delta / log_std.exp()) ** 2 + (2 * log_ratio).exp() - 2 * log_ratio - 1).sum(1)
        h = decoder.merge(i, h, mean + delta + (log_std + log_ratio).exp() * e)

    # −log p(x|z): one learned scale, at least the rounding error of bytes (Rybkin et al. 2021, Eq. 4).
    picture = 0.5 + decoder.finish(h)
    log_scale = (10 * w["likelihood.free_log_scale"]).clamp(min=-math.log(255 * math.sqrt(12)))
    log_px = -0.5 * ((x - picture) / log_scale.exp()) ** 2 - log_scale - 0.5 * math.log(2 * math.pi)
    return -log_px.sum((1, 2, 3)) + ramp * rate  # Kingma & Welling 2014, Eq. 7
