"""Numbers about a model on images, each with a unit.

sse_per_image    Σ over pixel values of (x − x̂)², x̂ decoded from the posterior mean, [0, 1] scale; mean over images
psnr_db          −10 log10 of the mean of (x − x̂)² over all pixel values of all images
distortion_nats  −E_q[log p(x|z)], one posterior sample per image; for an autoencoder at its one code
rate_nats        KL(q(z|x)‖p(z)); null for an autoencoder
elbo_nats        −distortion − rate (Kingma & Welling 2014, Eq. 3); null for an autoencoder
bits_per_dim     −elbo_nats / (C · H · W · ln 2), of likelihoods that are probabilities; null for densities
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vaekit.data import Selection, to_float
from vaekit.models import Batch, LatentModel
from vaekit.team import ALONE, Team

__all__ = ["Numbers", "evaluate", "psnr_db"]

Numbers = dict[str, float | int | None]


@torch.inference_mode()
def evaluate(
    model: LatentModel, pixels: Tensor | Selection, seed: int = 0, batch_size: int = 128, team: Team = ALONE
) -> Numbers:
    """Evaluates on uint8 images ``[N, C, H, W]``, N ≥ 1; the model must be in eval mode. Deterministic in ``seed``.

    A ``team`` shares the work: each process takes some of the chunks, and the leader gets the numbers of all.
    """
    assert not model.training
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    # the last two count images with a bound, and with one on a probability: a share may be empty
    sums = torch.zeros(5, dtype=torch.float64)
    for number, chunk in enumerate(pixels.split(batch_size)):
        noise = torch.randn(1, len(chunk), model.latent_dim, generator=generator)
        if number % team.size != team.rank:
            continue
        size = model.at_once(batch_size)
        for some, e in zip(chunk.split(size), noise.split(size, 1), strict=True):
            sums += _sums(model, to_float(some.to(device)), e.to(device))
    sums = sums.to(team.device)
    team.sum_(sums)
    sse_sum, distortion, rate_mean, dense_share, bits_share = (sums / len(pixels)).tolist()
    has_density, has_bits = dense_share > 0, bits_share > 0
    values = math.prod(pixels.shape[1:])
    return {
        "images": len(pixels),
        "sse_per_image": sse_sum,
        "psnr_db": _decibel(sse_sum / values),
        "distortion_nats": distortion,
        "rate_nats": rate_mean if has_density else None,
        "elbo_nats": -distortion - rate_mean if has_density else None,
        "bits_per_dim": (distortion + rate_mean) / (values * math.log(2)) if has_bits else None,
    }


def _sums(model: LatentModel, x: Tensor, noise: Tensor) -> Tensor:
    """Of some images: errors, distortions, rates, and how many have a bound, and one on a probability; float64 [5]."""
    inference = model.infer(Batch(x), noise)
    has_density = inference.has_density
    qz = inference.levels[0].qz
    error = (model.decode(qz.mean).picture - x).square().flatten(1).sum(1)
    rate = torch.cat(inference.kl, dim=-1).sum(-1) if has_density else torch.zeros(len(x))
    dense = torch.full_like(error, float(has_density))
    bits = dense * float(inference.px.is_discrete)
    # in double precision, which not every device has
    return torch.stack([terms.cpu().double().sum() for terms in (error, -inference.log_px, rate, dense, bits)])


def psnr_db(images: Tensor, truth: Tensor, where: Tensor | None = None) -> float:
    """Peak signal-to-noise ratio of float images on the [0, 1] scale, from the mean squared error over all values.

    ``where`` (bool, broadcastable) restricts it to some pixels.

    >>> round(psnr_db(torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.1)), 3)
    20.0
    """
    squares = (images.double() - truth.double()).square()
    return _decibel(float(squares.mean() if where is None else squares[where.expand_as(squares)].mean()))


def _decibel(mean_squared_error: float) -> float:
    if math.isnan(mean_squared_error):
        return math.nan
    return -10 * math.log10(mean_squared_error) if mean_squared_error > 0 else math.inf
