"""Reconstruct images from their posterior means."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vaekit.data import to_float
from vaekit.data.number_inputs import as_numbers
from vaekit.errors import UserError
from vaekit.evaluation.metrics import LEVEL_RATE, measure, psnr_db
from vaekit.figures.grid import stacked_sheet
from vaekit.latent import ops
from vaekit.latent.tiles import decode_tiled, encode_tiled, reconstruct_tiled
from vaekit.model.ladder import LadderModel
from vaekit.runs.context import RunContext, sheet_of
from vaekit.runs.result import Result

__all__ = ["compare", "decode_in_tiles", "encode_in_tiles", "reconstruct"]


def reconstruct(run: RunContext, data: Any, tiled: bool, levels: int | bool) -> Result:
    """Return the reconstructions only; with ``levels``, a row for each count of them."""
    if levels is not False:
        _, rows, numbers = _by_level(run, data, tiled, levels)
        return Result(stacked_sheet(*rows.values(), labels=tuple(rows)), numbers)
    return Result(sheet_of(_reconstructed(run, data, tiled)[1]))


def compare(run: RunContext, data: Any, tiled: bool, levels: int | bool) -> Result:
    """Draw originals above their reconstructions; with ``levels``, above a row for each count of them."""
    if levels is not False:
        pixels, rows, numbers = _by_level(run, data, tiled, levels)
        return Result(stacked_sheet(pixels, *rows.values(), labels=("original", *rows)), numbers)
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


def _by_level(
    run: RunContext, data: Any, tiled: bool, levels: int | bool
) -> tuple[Tensor, dict[str, Tensor], dict[str, Any]]:
    """Return images, their reconstructions by the levels that are kept, their PSNR, and the rates of the levels."""
    run.needs("levels")
    model = run.model
    assert isinstance(model, LadderModel)
    if tiled:
        raise UserError("tiled: a hierarchy is not reconstructed in tiles; leave it out", "tiled")
    count = len(model.latent_shapes)
    if levels is not True and not 1 <= levels <= count:
        raise UserError(f"levels {levels}: expected 1 to {count}, or all", "levels")
    pixels = run.pixels(data)
    rows = ops.reconstruct_by_level(model, pixels, None if levels is True else levels)
    kept = [*range(1, len(rows)), count]
    truth, measured = to_float(pixels), measure(model, pixels).numbers()
    psnr = (psnr_db(to_float(row), truth) for row in rows.values())
    by_level = {f"psnr_db_levels_{number}": value for number, value in zip(kept, psnr, strict=True)}
    rates = (f"{LEVEL_RATE}{number}" for number in range(1, 1 + count))
    of_rates = {name: measured[name] for name in (*rates, "rate_nats")}
    return pixels, rows, {"images": len(pixels), **by_level, **of_rates}


def _reconstructed(run: RunContext, data: Any, tiled: bool) -> tuple[Tensor, Tensor]:
    """Return images, in the run's size or in their own, and their reconstructions."""
    if not tiled:
        pixels = run.pixels(data)
        return pixels, ops.reconstruct(run.model, pixels)
    run.needs("tiles")
    pixels = run.given(data, own_size=True).pixels
    return pixels, reconstruct_tiled(run.model, run.recipe, pixels)
