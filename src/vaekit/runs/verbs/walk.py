"""Latents by name, sums of latents, and paths between them."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vaekit.data.number_inputs import as_numbers
from vaekit.errors import UserError
from vaekit.latent import ops
from vaekit.latent.arithmetic import evaluate_expression, parse
from vaekit.latent.levels import Moved, follow
from vaekit.runs.context import RunContext, files_of, sheet_of
from vaekit.runs.result import Result

__all__ = ["arithmetic", "interpolate", "latent"]

_MOST_IN_A_ROW = 12  # pictures per row, if there are only two stops


def latent(run: RunContext, name: Any) -> Tensor:
    """Return the latent ``[latent_dim]`` of an image, or the mean latent of several images or of a group."""
    if not isinstance(name, str | os.PathLike):
        return run.encode(name).mean(0)
    name = os.fspath(name)
    if name.startswith(("label:", "attr:")):
        return ops.group_latents(*run.stored(), name).mean(0)
    if not os.path.exists(name):
        known = ", ".join(run.config.data.classes + run.config.data.attributes) or "none"
        raise UserError(
            f"{name!r} is neither a file or folder nor a group such as label:NAME or attr:NAME=VALUE "
            f"(labels and attributes of this run: {known})"
        )
    return run.encode(files_of(name)).mean(0)


def arithmetic(run: RunContext, expression: str, levels: int, keep_detail: bool) -> Result:
    """Decode a sum of latents. The finer levels of a hierarchy follow, with the detail of the first term or none."""
    run.needs("arithmetic")
    what = run.moved(levels, keep_detail)
    run.caution("arithmetic", what)
    return Result(sheet_of(ops.decode(run.model, _sum(run, expression, what)[None])))


def interpolate(
    run: RunContext, stops: tuple[Any, ...], steps: int, path: str, levels: int, keep_detail: bool
) -> Result:
    """Draw ``steps`` pictures from each stop to the next, including both; a row for each, and a single row wraps."""
    run.needs("interpolate")
    what = run.moved(levels, keep_detail)
    run.caution("interpolate", what)
    if len(stops) < 2:
        raise UserError(f"there are {len(stops)} endpoints; expected at least 2")
    ends = [_sum(run, e, what) if isinstance(e, str | os.PathLike) else as_numbers(e, "stops") for e in stops]
    if any(tuple(e.shape) != (run.model.latent_dim,) for e in ends):
        shapes = " and ".join(str(tuple(e.shape)) for e in ends)
        raise UserError(f"stops: the ends have shapes {shapes}; expected latents [{run.model.latent_dim}]")
    stretches = ops.interpolate(run.model, torch.stack(ends[:-1]), torch.stack(ends[1:]), steps, path, what)
    in_a_row = steps if len(stops) > 2 else min(steps, _MOST_IN_A_ROW)
    return Result(replace(sheet_of(stretches.transpose(0, 1).flatten(0, 1), in_a_row), walk=steps))


def _sum(run: RunContext, expression: str | os.PathLike[str], what: Moved) -> Tensor:
    """Return the latent of an expression. If the whole expression is a path, it needs no quotes."""
    expression = os.fspath(expression)
    if os.path.exists(expression):
        return latent(run, expression)
    terms = parse(expression)
    latents = {name: latent(run, name) for name in dict.fromkeys(name for _, name in terms)}
    total = evaluate_expression(terms, latents.__getitem__)
    return follow(run.model, latents[terms[0][1]], total[None], what)[0]
