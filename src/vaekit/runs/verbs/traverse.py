"""Traversals: how single dimensions and principal components of the latents change a picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vaekit.data.number_inputs import as_latents, as_numbers
from vaekit.errors import UserError
from vaekit.figures.grid import Sheet
from vaekit.latent import ops
from vaekit.latent.levels import Moved, follow, from_prior_noise, to_prior_noise, top_size
from vaekit.latent.traversal import Axis, active_axes, principal_axes, walk
from vaekit.model.ladder import LadderModel
from vaekit.runs.context import RunContext
from vaekit.runs.result import Result
from vaekit.runs.verbs.walk import latent

__all__ = ["axes", "axes_by_level", "traverse"]

Decoder = Callable[[Tensor], Tensor]  #: of moved latents, uint8 images

_DIMENSIONS_AT_ONCE = 16
_MOST_TRIED = 256  # dimensions; all of a latent vector in practice
_MOST_REACH = 1000  # standard deviations; far beyond any sensible picture


def traverse(
    run: RunContext, image: Any, count: int, steps: int, reach: float, levels: int, keep_detail: bool
) -> Result:
    """Draw a row for each of the most active dimensions and first principal components, and return their sizes."""
    run.needs("traverse")
    what = run.moved(levels, keep_detail)
    run.caution("traverse", what)
    ops.check_steps(steps)
    _check_dimensions(count)
    if not 0 < reach <= _MOST_REACH:
        raise UserError(
            f"reach {reach:g}: expected a number of standard deviations above 0 and at most {_MOST_REACH:,}, such as 2",
            "reach",
        )
    latents = _latents_that_vary(run)
    start = latents.mean(0) if image is None else latent(run, image)
    active, principal = axes(run, count, start, what), _principal(run, latents, count, what)
    rows = follow(run.model, start, walk(start, active + principal, steps, reach).flatten(0, 1), what)
    labels = [f"{axis.name}  {axis.size:.1f}" for axis in active]
    labels += [f"{axis.name}  {axis.size:.0%}" for axis in principal]
    numbers = {
        "change_in_gray_levels": {axis.name: axis.size for axis in active},
        "variance_shares": {axis.name: axis.size for axis in principal},
        "reach_in_standard_deviations": reach,
    }
    return Result(Sheet(ops.decode(run.model, rows), steps, row_labels=tuple(labels)), numbers)


def axes(run: RunContext, count: int, start: Any = None, what: Moved | None = None) -> list[Axis]:
    """Return the ``count`` dimensions that change the picture of ``start`` most; by default of the mean latent.

    In a hierarchy, they are those of the first levels, by default of the top one.
    """
    run.needs("traverse")
    _check_dimensions(count)
    if start is not None:
        start = as_latents(as_numbers(start, "start")[None], run.model.latent_dim, "start")[0]
    latents = _latents_that_vary(run)
    begin, moved = latents.mean(0) if start is None else start, what or Moved()

    def decode(z: Tensor) -> Tensor:
        return ops.decode(run.model, follow(run.model, begin, z, moved))

    return _active(latents, begin, count, decode, range(top_size(run.model, moved.levels)))


def axes_by_level(run: RunContext, count: int) -> list[list[Axis]]:
    """Return the dimensions of each level that change the picture of the mean most.

    The axes of a hierarchy are those of the noise of its prior, so finer levels keep their detail. A model without
    levels has one list, that of :func:`axes`.
    """
    run.needs("traverse")
    model, latents = run.model, _latents_that_vary(run)
    if not isinstance(model, LadderModel):
        return [axes(run, count)]
    noise = to_prior_noise(model, latents)
    ends = [top_size(model, level) for level in range(len(model.latent_shapes) + 1)]

    def decode(moved: Tensor) -> Tensor:
        return ops.decode(model, from_prior_noise(model, moved))

    return [_active(noise, noise.mean(0), count, decode, range(first, end)) for first, end in pairwise(ends)]


def _active(latents: Tensor, start: Tensor, count: int, decode: Decoder, among: range) -> list[Axis]:
    """Return the most active of some consecutive dimensions."""
    effects, columns = _effects(latents, start, count, decode, among), latents[:, among.start : among.stop]
    found = active_axes(columns, effects[among.start : among.stop], count)
    named = (replace(axis, name=f"z{among.start + int(axis.name[1:])}") for axis in found)
    return _over_all([*named], latents.shape[1], among.start)


def _principal(run: RunContext, latents: Tensor, count: int, what: Moved) -> list[Axis]:
    """Return the principal components of the first levels, 0 on the others."""
    return _over_all(principal_axes(latents[:, : top_size(run.model, what.levels)], count), latents.shape[1])


def _over_all(axes: list[Axis], size: int, first: int = 0) -> list[Axis]:
    """Return axes of some of ``size`` numbers, from ``first``, as axes of all, 0 on the others."""
    return [replace(axis, step=F.pad(axis.step, (first, size - first - len(axis.step)))) for axis in axes]


def _check_dimensions(count: int) -> None:
    if count < 1:
        raise UserError(f"count {count}: expected at least 1 dimension", "count")


def _latents_that_vary(run: RunContext) -> Tensor:
    latents = run.stored()[0]["latents"]
    if len(latents) < 2:
        raise UserError(f"{run.path} has only one stored latent, which does not vary; train on more images")
    return latents


def _effects(latents: Tensor, start: Tensor, count: int, decode: Decoder, among: range) -> Tensor:
    """Return the change of the picture over two standard deviations of each dimension: RMS in levels, ``[L]``.

    Only the dimensions ``among`` that vary most are tried, because a grid may have thousands. The others have effect 0.
    """
    spread = latents.std(0, unbiased=False)
    effects = torch.zeros(len(spread))
    order = among.start + spread[among.start : among.stop].argsort(descending=True, stable=True)
    for tried in order[: max(_MOST_TRIED, count)].split(_DIMENSIONS_AT_ONCE):
        deviations = torch.zeros(len(tried), latents.shape[1])
        deviations[torch.arange(len(tried)), tried] = spread[tried]
        low, high = (decode(start + sign * deviations).float() for sign in (-1, 1))
        effects[tried] = (high - low).square().mean((1, 2, 3)).sqrt()
    return effects
