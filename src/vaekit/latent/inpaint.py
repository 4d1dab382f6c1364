"""Inpainting: latents under which the visible pixels are probable decode to the hidden ones.

    L(z) = −w Σ_visible log p(x_i|z) − log p(z)        ẑ_k = a minimum of L, by Adam from start k
    x̂    = x where visible,  Σ_k softmax(−L(ẑ_k)/3)_k E[p(x|ẑ_k)] where hidden

With w = 1 and one start, this is the maximum a posteriori latent. Two changes improve the hidden part. First, the
likelihood treats pixels as independent, but errors of a decoder are not, so a sharp likelihood trusts the visible
pixels too much; w widens it to a scale of 0.5. Second, latents of training images, if given, are better starts than
samples of the prior; p(z) is then a normal around the start with the covariance of the latents (a kernel density
estimate). Without them, an autoencoder, which has no p(z), searches around the latent of the filled image.

A hierarchy is searched by the noise of its prior, ε = (z − μ) / σ level by level, where p(z) is a standard normal: the
levels below follow each step of those above. With latents of training images, only the top level is held by them.

Codes are searched as their vectors, which may lie between those of the codebook. Only the covariance of the latents
connects hidden cells with visible ones, because log p(z) of codes has no gradient; so they need latents of training
images.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vaekit.data import check_float, to_uint8
from vaekit.errors import UserError
from vaekit.model.distributions.base import PixelDistribution
from vaekit.model.distributions.latent import DiagonalNormal, FullNormal
from vaekit.model.ladder import Hierarchy, LadderModel
from vaekit.model.latent_model import LatentModel
from vaekit.system.rng import SAMPLES, keys_of, noise_of

__all__ = ["inpaint"]

_FILL_ROUNDS = 8
_LEARNING_RATE = 0.1  # in standard deviations of p(z)
_TRUSTED_SCALE = 0.5  # smallest scale of a visible pixel; chosen on MNIST, insensitive between 0.4 and 0.6
_TEMPERATURE = 3.0  # of the average over starts, because L does not measure the width of a minimum
_MOST_LATENTS = 10_000
_MOST_NUMBERS = 1 << 23  # in all of them
_MOST_CORRELATED = 2048  # dimensions up to which all their covariances are used
_LATENTS_AT_ONCE = 128
_VALUES_AT_ONCE = 2**25  # pixel values compared at a time: 128 MiB of float32


@dataclass(frozen=True)
class _Start:
    """Starting points of a search, and the penalty for leaving them."""

    z: Tensor  #: ``[K, B, L]``: latents, or the noise of a hierarchy
    unit: Tensor  #: scale of a latent, broadcastable to ``z``
    energy: Callable[[Tensor], Tensor]  #: −log p(z) up to a constant, ``[K, B, L]`` → ``[K, B]``
    latents: Callable[[Tensor], Tensor] = lambda z: z  #: what is searched → latents of the same shape


def inpaint(
    model: LatentModel,
    x: Tensor,
    hidden: Tensor,
    steps: int = 100,
    starts: int = 8,
    seed: int = 0,
    latents: Tensor | None = None,
    batch_size: int = 32,
) -> Tensor:
    """Fill the hidden pixels of images.

    Visible pixels are returned unchanged, and hidden ones are never read. Neither the model nor its gradients change.

    Args:
        model: The model in eval mode.
        x: Float images ``[N, C, H, W]`` in [0, 1].
        hidden: bool ``[N, 1, H, W]``, True where hidden.
        steps: Optimization steps.
        starts: Starting points. With ``latents``, those that agree best with the visible pixels. Otherwise the latent
            of the image that the model has filled in, the mean of the prior, and samples of the prior, whose noise
            depends on the seed and the visible pixels; an autoencoder uses only the first.
        seed: Random seed.
        latents: Latents of training images ``[M, L]``, of which at most 10,000, evenly spaced, are considered.
            A model of discrete codes needs them.
        batch_size: Images per batch.

    Returns:
        Float images ``[N, C, H, W]`` on the CPU.

    Raises:
        UserError: If a shape does not fit, a number is out of range, or latents of training images are missing.
    """
    model.check_eval_mode()
    _check(model, x, hidden, steps, starts, latents)
    device = model.device
    batch_size = max(1, model.at_once(batch_size * starts) // starts)
    filled = []
    # the search needs gradients even if the caller has disabled them
    with torch.inference_mode(False), torch.enable_grad():
        known = None if latents is None else _thinned(latents).clone().to(device)
        nearest = None if known is None else _nearest(model, x.clone(), hidden.clone(), known, starts)
        for at in range(0, len(x), batch_size):
            mask = hidden[at : at + batch_size].clone().to(device)
            chunk = x[at : at + batch_size].clone().to(device)
            visible = chunk.masked_fill(mask, 0.0)  # hidden values, which may be NaN, have no influence
            if known is not None and nearest is not None:
                start = _from_stored(model, known, nearest[:, at : at + batch_size])
            else:
                noise = noise_of(keys_of(to_uint8(visible)), seed, SAMPLES, (max(0, starts - 2), model.latent_dim))
                start = _from_model(model, visible, mask, noise.to(device), starts)
            filled.append(torch.where(mask, _search(model, visible, mask, start, steps), chunk).cpu())
    return torch.cat(filled) if filled else x.clone()


def _search(model: LatentModel, x: Tensor, hidden: Tensor, start: _Start, steps: int) -> Tensor:
    """Optimize from each start and return the weighted average of the pictures, ``[B, C, H, W]``."""
    u = (start.z / start.unit).detach().requires_grad_()
    adam = torch.optim.Adam([u], lr=_LEARNING_RATE, betas=(0.9, 0.99))
    for step in range(steps):
        adam.param_groups[0]["lr"] = _LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
        adam.zero_grad()
        z = u * start.unit
        loss = _misfit(model.decode(start.latents(z)), x, hidden) + start.energy(z)
        loss.sum().backward(inputs=[u])  # not the model's parameters
        adam.step()
    with torch.no_grad():
        z = u * start.unit
        px = model.decode(start.latents(z))
        weight = torch.softmax(-(_misfit(px, x, hidden) + start.energy(z)) / _TEMPERATURE, 0)
        return (weight[..., None, None, None] * px.picture).sum(0)


def _misfit(px: PixelDistribution, x: Tensor, hidden: Tensor) -> Tensor:
    """Return −w Σ_visible log p(x_i|z), ``[K, B]``; w widens a likelihood sharper than the trusted scale."""
    log_px = px.log_prob_map(x) * px.widening(_TRUSTED_SCALE).to(x.device)
    return -log_px.masked_fill(hidden, 0.0).sum((-3, -2, -1))


@torch.no_grad()
def _nearest(model: LatentModel, x: Tensor, hidden: Tensor, latents: Tensor, count: int) -> Tensor:
    """Return rows ``[K, N]`` of the latents ``[M, L]`` whose pictures fit the visible pixels of each image best."""
    misfits = []
    for chunk in latents.split(model.at_once(_LATENTS_AT_ONCE)):
        px, columns = model.decode(chunk[:, None]), []
        values = math.prod(x.shape[1:]) * px.values_per_pixel
        images_at_once = max(1, _VALUES_AT_ONCE // (_LATENTS_AT_ONCE * values))
        for batch, mask in zip(x.split(images_at_once), hidden.split(images_at_once), strict=True):
            mask = mask.to(latents.device)
            columns.append(_misfit(px, batch.to(latents.device).masked_fill(mask, 0.0), mask))
        misfits.append(torch.cat(columns, dim=1))
    return torch.cat(misfits).topk(min(count, len(latents)), dim=0, largest=False).indices


def _from_stored(model: LatentModel, latents: Tensor, nearest: Tensor) -> _Start:
    return _from_levels(model, latents, nearest) if isinstance(model, LadderModel) else _from_latents(latents, nearest)


def _from_latents(latents: Tensor, nearest: Tensor) -> _Start:
    """Return starts at the given rows, each with a normal that has the covariance, or the variances, of all latents."""
    z, around = latents[nearest], _spread(latents)
    return _Start(z, around.variance.sqrt(), lambda latent: -around.log_prob(latent - z))


@torch.no_grad()
def _from_levels(model: LadderModel, latents: Tensor, nearest: Tensor) -> _Start:
    """Return starts at the given rows of a hierarchy: the top level as in :func:`_from_latents`, the others by p(z)."""
    prior, size = model.drawn_from(), model.level_sizes[0]
    noise = prior.to_noise(latents[nearest])
    around = _spread(latents[:, :size])  # the prior of the top level is N(0, I)

    def energy(z: Tensor) -> Tensor:
        return 0.5 * z[..., size:].square().sum(-1) - around.log_prob(z[..., :size] - noise[..., :size])

    unit = torch.cat([around.variance.sqrt(), torch.ones_like(latents[0, size:])])
    return _Start(noise, unit, energy, prior.from_noise)


def _spread(latents: Tensor) -> DiagonalNormal | FullNormal:
    """Return a normal around 0 that has the covariance of latents ``[M, L]``, or their variances if L is large."""
    centered = latents - latents.mean(0)
    variance = centered.square().mean().clamp(min=1e-12)
    if latents.shape[1] > _MOST_CORRELATED:
        std = (centered.square().mean(0) + 1e-3 * variance).sqrt()
        return DiagonalNormal(torch.zeros_like(std), std.log())
    covariance = centered.mT @ centered / len(latents) + 1e-3 * variance * torch.eye(latents.shape[1]).to(latents)
    return FullNormal(torch.zeros_like(latents[0]), torch.linalg.cholesky(covariance))


@torch.no_grad()
def _from_model(model: LatentModel, x: Tensor, hidden: Tensor, noise: Tensor, count: int) -> _Start:
    """Return starts: the latent of the filled image, the prior's mean, and samples from ``noise`` ``[B, K - 2, L]``."""
    center = _filled_code(model, x, hidden)
    prior = model.drawn_from()
    if prior is not None and not prior.has_density:
        prior = None if model.prior is None else model.prior(model)
    if prior is None:
        length = center.square().mean(-1, keepdim=True).sqrt().clamp(min=1e-6)
        return _Start(center[None], length, lambda z: 0.5 * ((z - center) / length).square().sum(-1))
    noise = torch.cat([torch.zeros_like(center)[None], noise.transpose(0, 1)])
    if isinstance(prior, Hierarchy):
        starts = torch.cat([prior.to_noise(center)[None], noise])[:count]
        return _Start(starts, torch.ones_like(center[0]), lambda z: 0.5 * z.square().sum(-1), prior.from_noise)
    drawn = prior.from_noise(noise)
    return _Start(torch.cat([center[None], drawn])[:count], torch.ones_like(center[0]), lambda z: -prior.log_prob(z))


def _filled_code(model: LatentModel, x: Tensor, hidden: Tensor) -> Tensor:
    """Return the latent of the image; hidden pixels are first the visible mean, then the model's output."""
    fill = x.sum((-2, -1), keepdim=True) / (~hidden).sum((-2, -1), keepdim=True).clamp(min=1)
    for _ in range(_FILL_ROUNDS):
        latent: Tensor = model.encode(torch.where(hidden, fill, x)).mean
        fill = model.decode(latent).picture
    return latent


def _thinned(latents: Tensor) -> Tensor:
    kept = min(len(latents), _MOST_LATENTS, max(1, _MOST_NUMBERS // latents.shape[1]))
    return latents[torch.arange(kept) * len(latents) // kept]


def _check(model: LatentModel, x: Tensor, hidden: Tensor, steps: int, starts: int, latents: Tensor | None) -> None:
    check_float(x)
    expected = (len(x), 1, *x.shape[2:])
    if hidden.dtype != torch.bool or tuple(hidden.shape) != expected:
        raise UserError(f"hidden is {hidden.dtype} {tuple(hidden.shape)}; expected bool {expected}, True where hidden")
    if steps < 1 or starts < 1:
        raise UserError(f"steps is {steps} and starts is {starts}; expected at least 1 of each")
    if latents is None and model.latent == "codes":
        raise UserError("latents is None; a model of discrete codes needs latents of training images", "latents")
    if latents is not None and (latents.ndim != 2 or not len(latents) or latents.shape[1] != model.latent_dim):
        raise UserError(f"latents is {tuple(latents.shape)}; expected [M, {model.latent_dim}] with at least one row")
