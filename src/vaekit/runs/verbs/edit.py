"""Add attributes to images or remove them, by moving their latents along directions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vaekit.data.number_inputs import as_latents, as_numbers
from vaekit.errors import UserError
from vaekit.figures.grid import stacked_sheet
from vaekit.latent import ops
from vaekit.latent.directions import Direction, named
from vaekit.latent.levels import follow
from vaekit.runs.context import RunContext, files_of, sheet_of
from vaekit.runs.result import Result
from vaekit.runs.verbs.directions import directions, names_without_direction

__all__ = ["edit", "edit_sheet"]

_MOST_EDITED = 100
_ROWS = ("original", "reconstructed", "edited")


def edit(
    run: RunContext, data: Any, moves: Mapping[str, float], known: Mapping[str, Direction] | None, keep_detail: bool
) -> Result:
    """Return the edited images only."""
    known = _checked(run, known, keep_detail)
    _, latents = _moved(run, run.pixels(files_of(data)), moves, known, keep_detail)
    return Result(sheet_of(ops.decode(run.model, latents)), _numbers(moves, known))


def edit_sheet(
    run: RunContext, data: Any, moves: Mapping[str, float], known: Mapping[str, Direction] | None, keep_detail: bool
) -> Result:
    """Draw rows of originals, reconstructions and edited images."""
    known = _checked(run, known, keep_detail)
    pixels = run.pixels(files_of(data))
    if len(pixels) > _MOST_EDITED:
        raise UserError(f"there are {len(pixels):,} images to edit; give at most {_MOST_EDITED}")
    made = (ops.decode(run.model, each) for each in _moved(run, pixels, moves, known, keep_detail))
    return Result(stacked_sheet(pixels, *made, labels=_ROWS), _numbers(moves, known))


def _checked(run: RunContext, known: Mapping[str, Direction] | None, keep_detail: bool) -> Mapping[str, Direction]:
    """Check that the model can be edited; return the directions, by default those of the run."""
    run.needs("edit")
    run.moved(1, keep_detail)
    return directions(run) if known is None else known


def _moved(
    run: RunContext, pixels: Tensor, moves: Mapping[str, float], known: Mapping[str, Direction], keep_detail: bool
) -> tuple[Tensor, Tensor]:
    """Return the latents of images, and the same moved. The finer levels of a hierarchy follow."""
    latents, step = run.encode(pixels), _step(run, moves, known)
    what = run.moved(max((known[name].levels for name in moves), default=1), keep_detail)
    run.caution("edit", what)
    return latents, follow(run.model, latents, latents + step, what)


def _step(run: RunContext, moves: Mapping[str, float], known: Mapping[str, Direction]) -> Tensor:
    """Return Σ strength · direction, ``[L]``."""
    left_out = names_without_direction(run, known) if set(moves) - set(known) else ()
    step = torch.zeros(run.model.latent_dim)
    for name, strength in moves.items():
        vector = as_numbers(named(known, name, left_out).vector, "directions")
        step = step + strength * as_latents(vector[None], run.model.latent_dim, "directions")[0]
    return step


def _numbers(moves: Mapping[str, float], known: Mapping[str, Direction]) -> dict[str, Any]:
    """Return strength, accuracy and method of each direction, and a warning if one is no better than chance."""
    facts = {
        name: {"strength": strength, "accuracy": known[name].accuracy, "method": known[name].method}
        for name, strength in moves.items()
    }
    warning = "; ".join(filter(None, (known[name].doubt(name) for name in moves)))
    return {"directions": facts, **({"warning": warning} if warning else {})}
