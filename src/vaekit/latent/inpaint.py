"""Filling in hidden pixels: codes under which the visible pixels are probable decode to the rest.

    L(z) = −w Σ_visible log p(x_i|z) − log p(z)        ẑ_k = a minimum of L, by Adam from start k
    x̂    = x where visible,  Σ_k softmax(−L(ẑ_k)/3)_k E[p(x|ẑ_k)] where hidden

With w = 1 and one start this is the maximum a posteriori code. Two things make the hidden part better. The likelihood
takes pixels for independent, which the errors of a decoder are not, so a sharp one trusts the visible pixels too much:
w widens it to a scale of 0.5. And codes of training images, where they are given, are better starts than
draws from the prior; p(z) is then a normal around the start, as wide as the codes spread (a kernel estimate of their
density). Without codes an autoencoder, which has no p(z), searches around the code it gives to the filled-in image.
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
from vaekit.model.distributions.latent import FullNormal
from vaekit.model.latent_model import LatentModel
from vaekit.system.rng import SAMPLES, keys_of, noise_of

__all__ = ["inpaint"]

_FILL_ROUNDS = 8
_LEARNING_RATE = 0.1  # in standard deviations of p(z)
_TRUSTED_SCALE = 0.5  # of a visible pixel, at least; chosen on MNIST, flat between 0.4 and 0.6
_TEMPERATURE = 3.0  # of the average over starts: L says nothing of how wide a minimum is
_MOST_CODES = 10_000
_CODES_AT_ONCE = 128
_VALUES_AT_ONCE = 2**25  # of pictures of codes against images: 128 MiB of float32


@dataclass(frozen=True)
class _Start:
    """Where a search starts and what holds it back."""

    z: Tensor  #: ``[K, B, L]``
    unit: Tensor  #: the scale of a code, of a shape that multiplies ``z``
    energy: Callable[[Tensor], Tensor]  #: −log p(z) up to a constant, ``[K, B, L]`` → ``[K, B]``


def inpaint(
    model: LatentModel,
    x: Tensor,
    hidden: Tensor,
    steps: int = 100,
    starts: int = 8,
    seed: int = 0,
    codes: Tensor | None = None,
    batch_size: int = 32,
) -> Tensor:
    """Fills the hidden pixels of float images ``x`` ``[N, C, H, W]`` in [0, 1]; the same shape, on the CPU.

    ``hidden`` is bool ``[N, 1, H, W]``. Visible pixels come back unchanged, bit for bit; hidden ones are never
    read. ``codes`` ``[M, L]`` are encodings of training images, of which at most 10,000, evenly spaced, are looked
    at: the ``starts`` that agree best with what can be seen are taken. Without them the starts are the code of the
    image that the model has filled in, the prior's mean, and prior samples, whose noise follows from the seed and what
    can be seen; an autoencoder has the first alone. Neither the model nor its gradients are touched. Raises
    :class:`UserError` if the shapes do not fit or a number is out of range.
    """
    assert not model.training, "call model.eval() first: public inference never runs in training mode"
    _check(model, x, hidden, steps, starts, codes)
    device = next(model.parameters()).device
    batch_size = max(1, model.at_once(batch_size * starts) // starts)
    filled = []
    # The search needs gradients even where the caller has switched them off.
    with torch.inference_mode(False), torch.enable_grad():
        known = None if codes is None else _thinned(codes).clone().to(device)
        nearest = None if known is None else _nearest(model, x.clone(), hidden.clone(), known, starts)
        for at in range(0, len(x), batch_size):
            mask = hidden[at : at + batch_size].clone().to(device)
            chunk = x[at : at + batch_size].clone().to(device)
            visible = chunk.masked_fill(mask, 0.0)  # whatever is hidden, NaN too, has no say
            if known is not None and nearest is not None:
                start = _from_codes(known, nearest[:, at : at + batch_size])
            else:
                noise = noise_of(keys_of(to_uint8(visible)), seed, SAMPLES, (max(0, starts - 2), model.latent_dim))
                start = _from_model(model, visible, mask, noise.to(device), starts)
            filled.append(torch.where(mask, _search(model, visible, mask, start, steps), chunk).cpu())
    return torch.cat(filled) if filled else x.clone()


def _search(model: LatentModel, x: Tensor, hidden: Tensor, start: _Start, steps: int) -> Tensor:
    """Pictures ``[B, C, H, W]``: the descent from each start, then their weighted average."""
    u = (start.z / start.unit).detach().requires_grad_()
    adam = torch.optim.Adam([u], lr=_LEARNING_RATE, betas=(0.9, 0.99))
    for step in range(steps):
        adam.param_groups[0]["lr"] = _LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
        adam.zero_grad()
        z = u * start.unit
        loss = _misfit(model.decode(z), x, hidden) + start.energy(z)
        loss.sum().backward(inputs=[u])  # not the model's parameters
        adam.step()
    with torch.no_grad():
        z = u * start.unit
        px = model.decode(z)
        weight = torch.softmax(-(_misfit(px, x, hidden) + start.energy(z)) / _TEMPERATURE, 0)
        return (weight[..., None, None, None] * px.picture).sum(0)


def _misfit(px: PixelDistribution, x: Tensor, hidden: Tensor) -> Tensor:
    """−w Σ_visible log p(x_i|z), ``[K, B]``; w widens a likelihood that has a scale to the least that is trusted."""
    log_px = px.log_prob_map(x) * px.widening(_TRUSTED_SCALE).to(x.device)
    return -log_px.masked_fill(hidden, 0.0).sum((-3, -2, -1))


@torch.no_grad()
def _nearest(model: LatentModel, x: Tensor, hidden: Tensor, codes: Tensor, count: int) -> Tensor:
    """Rows ``[K, N]`` of the codes ``[M, L]`` whose pictures fit the visible pixels of each image best."""
    misfits = []
    for chunk in codes.split(model.at_once(_CODES_AT_ONCE)):
        px, columns = model.decode(chunk[:, None]), []
        values = math.prod(x.shape[1:]) * px.values_per_pixel
        images_at_once = max(1, _VALUES_AT_ONCE // (_CODES_AT_ONCE * values))
        for some, mask in zip(x.split(images_at_once), hidden.split(images_at_once), strict=True):
            mask = mask.to(codes.device)
            columns.append(_misfit(px, some.to(codes.device).masked_fill(mask, 0.0), mask))
        misfits.append(torch.cat(columns, dim=1))
    return torch.cat(misfits).topk(min(count, len(codes)), dim=0, largest=False).indices


def _from_codes(codes: Tensor, nearest: Tensor) -> _Start:
    """These rows of the codes, each with a normal around it that is as wide as all codes together."""
    z = codes[nearest]
    centred = codes - codes.mean(0)
    variance = centred.square().mean().clamp(min=1e-12)
    covariance = centred.mT @ centred / len(codes) + 1e-3 * variance * torch.eye(codes.shape[1]).to(codes)
    around = FullNormal(torch.zeros_like(codes[0]), torch.linalg.cholesky(covariance))
    return _Start(z, covariance.diagonal().sqrt(), lambda code: -around.log_prob(code - z))


@torch.no_grad()
def _from_model(model: LatentModel, x: Tensor, hidden: Tensor, noise: Tensor, count: int) -> _Start:
    """The code of the filled image, the prior's mean and prior samples, ``noise`` being ``[B, count - 2, L]``."""
    centre = _filled_code(model, x, hidden)
    prior = model.drawn_from()
    if prior is None:
        length = centre.square().mean(-1, keepdim=True).sqrt().clamp(min=1e-6)
        return _Start(centre[None], length, lambda z: 0.5 * ((z - centre) / length).square().sum(-1))
    drawn = prior.from_noise(torch.cat([torch.zeros_like(centre)[None], noise.transpose(0, 1)]))
    return _Start(torch.cat([centre[None], drawn])[:count], torch.ones_like(centre[0]), lambda z: -prior.log_prob(z))


def _filled_code(model: LatentModel, x: Tensor, hidden: Tensor) -> Tensor:
    """The code of the image whose hidden part is first its visible mean, then what the model makes of it."""
    fill = x.sum((-2, -1), keepdim=True) / (~hidden).sum((-2, -1), keepdim=True).clamp(min=1)
    for _ in range(_FILL_ROUNDS):
        code: Tensor = model.encode(torch.where(hidden, fill, x)).mean
        fill = model.decode(code).picture
    return code


def _thinned(codes: Tensor) -> Tensor:
    kept = min(len(codes), _MOST_CODES)
    return codes[torch.arange(kept) * len(codes) // kept]


def _check(model: LatentModel, x: Tensor, hidden: Tensor, steps: int, starts: int, codes: Tensor | None) -> None:
    check_float(x)
    expected = (len(x), 1, *x.shape[2:])
    if hidden.dtype != torch.bool or tuple(hidden.shape) != expected:
        raise UserError(f"hidden is {hidden.dtype} {tuple(hidden.shape)}; expected bool {expected}, True where hidden")
    if steps < 1 or starts < 1:
        raise UserError(f"steps is {steps} and starts is {starts}; expected at least 1 of each")
    if codes is not None and (codes.ndim != 2 or not len(codes) or codes.shape[1] != model.latent_dim):
        raise UserError(f"codes is {tuple(codes.shape)}; expected [M, {model.latent_dim}] with at least one row")
