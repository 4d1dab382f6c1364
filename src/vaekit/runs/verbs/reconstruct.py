"""Reconstruct images from their posterior means."""

from __future__ import annotations

from typing import Any

from vaekit.figures.grid import stacked_sheet
from vaekit.latent import ops
from vaekit.runs.context import RunContext, sheet_of
from vaekit.runs.result import Result

__all__ = ["compare", "reconstruct"]


def reconstruct(run: RunContext, data: Any) -> Result:
    """Return the reconstructions only."""
    return Result(sheet_of(ops.reconstruct(run.model, run.pixels(data))))


def compare(run: RunContext, data: Any) -> Result:
    """Draw originals above their reconstructions."""
    pixels = run.pixels(data)
    return Result(stacked_sheet(pixels, ops.reconstruct(run.model, pixels)))
