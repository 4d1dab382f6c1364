"""Encode and decode images of any size with a latent grid, in overlapping tiles and bounded memory.

    tile    window of at most 512 × 512 pixels, in whole cells
    kept    the cells of a window that are farther from its inner edges than the network's reach

A latent cell depends only on the pixels within the encoder's reach, and a pixel only on the latent cells within the
decoder's (:class:`~vaekit.model.contracts.Reach`). The kept cells therefore equal those of a single pass over the whole
image, up to rounding, and there are no seams to blend. At the borders of the image, a window ends where the image does,
and all cells up to the border are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from vaekit.config.recipe import Recipe
from vaekit.data import to_float, to_uint8
from vaekit.errors import UserError
from vaekit.latent.ops import finite
from vaekit.model.contracts import Reach
from vaekit.model.factory import resized
from vaekit.model.latent_model import LatentModel
from vaekit.model.registry import network

__all__ = ["Window", "decode_tiled", "encode_tiled", "reconstruct_tiled", "windows"]

_SIDE = 512  # pixels of a tile
_AT_ONCE = 4  # tiles


@dataclass(frozen=True)
class Window:
    """A range of cells that is computed, ``start`` to ``start + size``, and the part of it that is kept."""

    start: int
    size: int
    first: int  #: first cell that is kept
    last: int  #: first cell after those kept


def windows(cells: int, size: int, reach: int) -> list[Window]:
    """Cover ``cells`` with windows of ``size``, or one of all cells; what is kept has ``reach`` cells on each side.

    At the two ends there is nothing beyond, so that all cells up to them are kept.

    >>> [(w.start, w.first, w.last) for w in windows(20, 10, 2)]
    [(0, 0, 8), (6, 8, 14), (10, 14, 20)]
    """
    if cells <= size:
        return [Window(0, cells, 0, cells)]
    if size <= 2 * reach:
        raise UserError(
            f"every cell of a tile of {size} is within {reach} cells of its edges; train with a smaller depth"
        )
    found = [Window(0, size, 0, size - reach)]
    while found[-1].last < cells:
        first = found[-1].last
        start = min(first - reach, cells - size)
        end = start + size
        found.append(Window(start, size, first, cells if end == cells else end - reach))
    return found


@torch.inference_mode()
def encode_tiled(model: LatentModel, recipe: Recipe, pixels: Tensor, side: int = _SIDE) -> Tensor:
    """Encode images of any size to grids of posterior means.

    Args:
        model: The model in eval mode.
        recipe: Its resolved recipe.
        pixels: uint8 ``[N, C, H, W]``.
        side: Largest side of a tile, in pixels.

    Returns:
        float32 ``[N, D, ⌈H / f⌉, ⌈W / f⌉]`` on the CPU: D numbers in a cell of f × f pixels.

    Raises:
        UserError: If the model has no latent grid, or the images are smaller than a cell.
    """
    height, width = pixels.shape[2:]
    plan = _Plan.of(model, recipe, (height, width), side)
    grids = torch.zeros(len(pixels), *plan.latent_shape)
    for image, grid in zip(pixels, grids, strict=True):
        for some in _in_groups(plan.windows(plan.reach.encoder)):
            tiles = torch.stack([_cut(image, rows, columns, plan.reach.downsampling) for rows, columns in some])
            means = plan.tile.encode(to_float(tiles.to(plan.device))).mean
            means = finite(means, "latents").unflatten(1, plan.tile.latent_shapes[0]).cpu()
            for mean, (rows, columns) in zip(means, some, strict=True):
                grid[:, rows.first : rows.last, columns.first : columns.last] = _kept(mean, rows, columns)
    return grids


@torch.inference_mode()
def decode_tiled(model: LatentModel, recipe: Recipe, grids: Tensor, size: tuple[int, int], side: int = _SIDE) -> Tensor:
    """Decode grids to the mean of the likelihood.

    Args:
        model: The model in eval mode.
        recipe: Its resolved recipe.
        grids: ``[N, D, rows, columns]``, as :func:`encode_tiled` returns them.
        size: Height and width of the images.
        side: Largest side of a tile, in pixels.

    Returns:
        uint8 ``[N, C, *size]`` on the CPU.

    Raises:
        UserError: If the grids are not those of such images.
    """
    plan = _Plan.of(model, recipe, size, side)
    if tuple(grids.shape[1:]) != plan.latent_shape:
        raise UserError(f"grids have shape {list(grids.shape)}; expected [N, {', '.join(map(str, plan.latent_shape))}]")
    assert model.image_shape is not None
    f = plan.reach.downsampling
    pixels = torch.zeros(len(grids), model.image_shape[0], *size, dtype=torch.uint8)
    for grid, picture in zip(grids, pixels, strict=True):
        for some in _in_groups(plan.windows(plan.reach.decoder)):
            tiles = torch.stack([_cut(grid, rows, columns, 1) for rows, columns in some]).flatten(1)
            means = to_uint8(finite(plan.tile.decode(tiles.to(plan.device)).mean, "pictures")).cpu()
            for mean, (rows, columns) in zip(means, some, strict=True):
                place = picture[:, f * rows.first : f * rows.last, f * columns.first : f * columns.last]
                place[:] = _kept(mean, rows, columns, f)[:, : place.shape[1], : place.shape[2]]
    return pixels


def reconstruct_tiled(model: LatentModel, recipe: Recipe, pixels: Tensor, side: int = _SIDE) -> Tensor:
    """Encode and decode uint8 images ``[N, C, H, W]`` of any size; the result has the same shape."""
    height, width = pixels.shape[2:]
    return decode_tiled(model, recipe, encode_tiled(model, recipe, pixels, side), (height, width), side)


@dataclass(frozen=True, eq=False)
class _Plan:
    """What is computed for images of one size."""

    tile: LatentModel  #: the model of a tile
    reach: Reach
    latent_shape: tuple[int, ...]  #: ``(D, rows, columns)`` of a whole image
    device: torch.device

    @classmethod
    def of(cls, model: LatentModel, recipe: Recipe, size: tuple[int, int], side: int) -> _Plan:
        model.check_eval_mode()
        net = network(recipe.net)(recipe)
        reach = net.reach()
        assert reach is not None and model.image_shape is not None, "the caller has refused other kinds of latent"
        channels, f = model.image_shape[0], reach.downsampling
        (shape,) = net.latent_shapes((channels, *size))
        tile = [f * min(cells, side // f) for cells in shape[1:]]
        return cls(resized(model, recipe, (channels, tile[0], tile[1])), reach, shape, model.device)

    def windows(self, reach: int) -> Iterator[tuple[Window, Window]]:
        """Yield pairs of a window of rows and one of columns, together of the size of a tile."""
        assert self.tile.image_shape is not None
        sizes = [side // self.reach.downsampling for side in self.tile.image_shape[1:]]
        pairs = zip(self.latent_shape[1:], sizes, strict=True)
        rows, columns = (windows(cells, size, reach) for cells, size in pairs)
        return product(rows, columns)


def _in_groups(pairs: Iterable[tuple[Window, Window]]) -> Iterator[list[tuple[Window, Window]]]:
    left = list(pairs)
    for start in range(0, len(left), _AT_ONCE):
        yield left[start : start + _AT_ONCE]


def _cut(values: Tensor, rows: Window, columns: Window, f: int) -> Tensor:
    """Return a window of ``[C, H, W]``, f values to a cell; beyond the end, the last row or column is repeated."""
    for dim, window in ((1, rows), (2, columns)):
        places = torch.arange(f * window.start, f * (window.start + window.size)).clamp(max=values.shape[dim] - 1)
        values = values.index_select(dim, places)
    return values


def _kept(values: Tensor, rows: Window, columns: Window, f: int = 1) -> Tensor:
    """Return the part of a window ``[C, H, W]`` that is kept."""
    return values[
        :,
        f * (rows.first - rows.start) : f * (rows.last - rows.start),
        f * (columns.first - columns.start) : f * (columns.last - columns.start),
    ]
