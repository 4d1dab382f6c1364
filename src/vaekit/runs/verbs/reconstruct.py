"""Reconstruct images from their posterior means."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vaekit.data.number_inputs import as_numbers
from vaekit.errors import UserError
from vaekit.figures.grid import stacked_sheet
from vaekit.latent import ops
from vaekit.latent.tiles import decode_tiled, encode_tiled, reconstruct_tiled
from vaekit.runs.context import RunContext, sheet_of
from vaekit.runs.result import Result

__all__ = ["compare", "decode_in_tiles", "encode_in_tiles", "reconstruct"]


def reconstruct(run: RunContext, data: Any, tiled: bool) -> Result:
    """Return the reconstructions only."""
    return Result(sheet_of(_reconstructed(run, data, tiled)[1]))


def compare(run: RunContext, data: Any, tiled: bool) -> Result:
    """Draw originals above their reconstructions."""
    return Result(stacked_sheet(*_reconstructed(run, data, tiled)))


def encode_in_tiles(run: RunContext, data: Any) -> Tensor:
    """Return the grids ``[N, D, rows, columns]`` of images in their own size."""
    run.needs("tiles")
    return encode_tiled(run.model, run.recipe, run.given(data, own_size=True).pixels)


def decode_in_tiles(run: RunContext, grids: Any, size: tuple[int, int]) -> Result:
    """Decode grids to images of a given size."""
    run.needs("tiles")
    if min(size) < 1:
        raise UserError(f"size {size}: expected the height and width of the images", "size")
    return Result(sheet_of(decode_tiled(run.model, run.recipe, as_numbers(grids, "latents").float(), size)))


def _reconstructed(run: RunContext, data: Any, tiled: bool) -> tuple[Tensor, Tensor]:
    """Return images, in the run's size or in their own, and their reconstructions."""
    if not tiled:
        pixels = run.pixels(data)
        return pixels, ops.reconstruct(run.model, pixels)
    run.needs("tiles")
    pixels = run.given(data, own_size=True).pixels
    return pixels, reconstruct_tiled(run.model, run.recipe, pixels)
