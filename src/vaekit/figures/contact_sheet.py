"""An overview of a set of images: a row per class, or images evenly spaced over the set."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from vaekit.data import Images
from vaekit.errors import UserError
from vaekit.figures.grid import Sheet

__all__ = ["overview"]

_COLUMNS, _ROWS, _CLASSES = 10, 6, 12
_LARGEST_SIDE = 256  # pixels of an image on the sheet
_LONGEST_NAME = 20


def overview(images: Images) -> Sheet:
    """Draw a row for each of up to 12 classes, with its name and count, or up to 60 images without labels.

    Raises:
        UserError: If there are no images.
    >>> from vaekit.data import open_images
    >>> overview(open_images("digits")).row_labels[:2]
    ('0: 178', '1: 182')
    """
    if not len(images):
        raise UserError(f"{images.source} has no images to draw; use another source")
    if images.labels is None:
        rows = _spread(torch.arange(len(images)), _COLUMNS * _ROWS)
        # prefer rows of equal length
        columns = math.ceil(len(rows) / math.ceil(len(rows) / _COLUMNS))
        return Sheet(_at_most(images.pixels[rows]), columns)
    members = [torch.nonzero(images.labels == label)[:, 0] for label in range(len(images.classes))]
    shown = [(name, rows) for name, rows in zip(images.classes, members, strict=True) if len(rows)][:_CLASSES]
    columns = min(_COLUMNS, max(len(rows) for _, rows in shown))
    pixels = [_filled(images.pixels[_spread(rows, columns)], columns) for _, rows in shown]
    names = tuple(f"{_short(name)}: {len(rows):,}" for name, rows in shown)
    return Sheet(_at_most(torch.cat(pixels)), columns, row_labels=names)


def _spread(rows: Tensor, most: int) -> Tensor:
    """Return at most ``most`` of the rows, evenly spaced, including the first and the last."""
    places = torch.linspace(0, len(rows) - 1, min(most, len(rows)), dtype=torch.float64)
    return rows[places.round().long()]


def _filled(pixels: Tensor, columns: int) -> Tensor:
    """Pad a row with white images."""
    return torch.cat([pixels, pixels.new_full((columns - len(pixels), *pixels.shape[1:]), 255)])


def _at_most(pixels: Tensor) -> Tensor:
    """Shrink large images."""
    height, width = pixels.shape[2:]
    scale = _LARGEST_SIDE / max(height, width)
    if scale >= 1:
        return pixels
    sides = (max(1, round(height * scale)), max(1, round(width * scale)))
    return interpolate(pixels.float(), sides, mode="area").round().to(torch.uint8)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
