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
from vaekit.latent.levels import progression
from vaekit.latent.tiles import decode_tiled, encode_tiled, reconstruct_tiled
from vaekit.model.ladder import LadderModel
from vaekit.runs.context import RunContext, sheet_of
from vaekit.runs.result import Result

__all__ = ["compare", "decode_in_tiles", "encode_in_tiles", "reconstruct"]


def reconstruct(run: RunContext, data: Any, tiled: bool, levels: int | bool) -> Result:
    """Return the reconstructions only; with ``levels``, a row for each count of them."""
    if levels is not False:
        _, rows, labels, numbers = _by_level(run, data, tiled, levels)
        return Result(stacked_sheet(*rows, labels=labels), numbers)
    return Result(sheet_of(_reconstructed(run, data, tiled)[1]))


def compare(run: RunContext, data: Any, tiled: bool, levels: int | bool) -> Result:
    """Draw originals above their reconstructions; with ``levels``, above a row for each count of them."""
    if levels is not False:
        pixels, rows, labels, numbers = _by_level(run, data, tiled, levels)
        return Result(stacked_sheet(pixels, *rows, labels=("original", *labels)), numbers)
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
) -> tuple[Tensor, list[Tensor], tuple[str, ...], dict[str, Any]]:
    """Reconstruct images from their first levels and the mean of the prior given these.

    Returns:
        The images; for each count of levels up to ``levels`` the reconstructions, and last those from all levels; the
        labels of these rows; and the PSNR of each row and the rate of each level.
    """
    run.needs("levels")
    model = run.model
    assert isinstance(model, LadderModel)
    if tiled:
        raise UserError("tiled: a hierarchy is not reconstructed in tiles; leave it out", "tiled")
    count = len(model.latent_shapes)
    if levels is not True and not 1 <= levels <= count:
        raise UserError(f"levels {levels}: expected 1 to {count}, or all", "levels")
    shown = dict.fromkeys([*range(1, 1 + (count if levels is True else levels)), count])
    pixels = run.pixels(data)
    rows = [ops.decode(model, z) for z in progression(model, run.encode(pixels), [*shown])]
    measured = measure(model, pixels).numbers()
    numbers: dict[str, Any] = {}
    for number, row in zip(shown, rows, strict=True):
        numbers[f"psnr_db_levels_{number}"] = psnr_db(to_float(row), to_float(pixels))
    rates = (name for name in measured if name.startswith(LEVEL_RATE) and not name.endswith("_error"))
    numbers |= {name: measured[name] for name in (*rates, "rate_nats")}
    labels = ("level 1" if number == 1 else f"levels 1 to {number}" for number in shown if number < count)
    return pixels, rows, (*labels, f"all {count} levels"), numbers


def _reconstructed(run: RunContext, data: Any, tiled: bool) -> tuple[Tensor, Tensor]:
    """Return images, in the run's size or in their own, and their reconstructions."""
    if not tiled:
        pixels = run.pixels(data)
        return pixels, ops.reconstruct(run.model, pixels)
    run.needs("tiles")
    pixels = run.given(data, own_size=True).pixels
    return pixels, reconstruct_tiled(run.model, run.recipe, pixels)
