"""Images arranged by their position in latent space: a mosaic in which similar images are neighbors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from vaekit.errors import counted
from vaekit.figures.grid import Picture, Sheet

__all__ = ["COLORS", "Atlas", "chosen_cells"]

#: Class colors: seven of Okabe & Ito 2008, which are distinguishable for most people, brown instead of black, two
#: grays.
COLORS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#8c564b", "#999999", "#bbbbdd")
CELLS = 24  #: cells along the longer side

_CELL, _FRAME, _MARGIN, _LINE = 48, 3, 16, 30  # pixels
_INK = "#404040"


@dataclass(frozen=True, eq=False, repr=False)
class Atlas(Picture):
    """A grid over the plane. Each cell shows the image whose point is nearest to the center of the cell.

    Frames have the color of the class if there are at most ten classes.
    """

    pixels: Tensor  #: uint8 ``[N, C, H, W]``, one image per occupied cell
    places: Tensor  #: int64 ``[N, 2]``: column and row of each image
    labels: Tensor | None = None  #: int64 ``[N]``
    classes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        columns, rows = (int(side) + 1 for side in self.places.amax(0))
        return (
            f"Atlas({counted(len(self.pixels), 'image')} on a grid of {counted(rows, 'row')} and "
            f"{counted(columns, 'column')})"
        )

    def image(self) -> Image.Image:
        """Return the mosaic as an RGB image, with the colors and names of the classes below."""
        has_colors = self.labels is not None and len(self.classes) <= len(COLORS)
        columns, rows = (int(side) + 1 for side in self.places.amax(0))
        font = ImageFont.load_default(size=16)
        legend = _legend(self.classes, font, columns * _CELL) if has_colors else []
        width, height = (2 * _MARGIN + side * _CELL for side in (columns, rows))
        canvas = Image.new("RGB", (width, height + _LINE * len(legend)), "white")
        draw = ImageDraw.Draw(canvas)
        inner = _CELL - 2 * _FRAME if has_colors else _CELL - 2
        for i, (pixels, place) in enumerate(zip(self.pixels, self.places.tolist(), strict=True)):
            left, top = (_MARGIN + _CELL * cell for cell in place)
            if has_colors and self.labels is not None:
                box = (left, top, left + _CELL - 1, top + _CELL - 1)
                draw.rectangle(box, fill=COLORS[int(self.labels[i])])
            offset = (_CELL - inner) // 2
            canvas.paste(_thumbnail(pixels, inner), (left + offset, top + offset))
        for line, names in enumerate(legend):
            x, y = _MARGIN, height + _LINE * line
            for name in names:
                color = COLORS[self.classes.index(name)]
                draw.rectangle((x, y + 2, x + 14, y + 16), fill=color)
                draw.text((x + 22, y + 9), name, _INK, font, anchor="lm")
                x += _legend_width(name, font)
        return canvas


def chosen_cells(coordinates: Tensor) -> tuple[Tensor, Tensor]:
    """Choose which of N points ``[N, 2]`` are shown.

    Cells are square, and y points upward. Each cell shows the point nearest to its center; of equally near points, the
    first.

    Args:
        coordinates: Points ``[N, 2]``.

    Returns:
        Rows of the chosen points ``[M]``, and column and row of the cell of each ``[M, 2]``.

    >>> chosen_cells(torch.tensor([[0.0, 0.0], [24.0, 0.0], [23.6, 0.0]]))
    (tensor([0, 2]), tensor([[ 0,  0],
            [23,  0]]))
    """
    low = coordinates.amin(0)
    spans = coordinates.amax(0) - low
    size = float(spans.max()) / CELLS or 1.0
    inside = (coordinates - low) / size
    shape = (spans / size).ceil().clamp(min=1).long()
    cells = torch.minimum(inside.floor().long(), shape - 1)
    off = (inside - cells - 0.5).square().sum(1)
    number = cells[:, 1] * CELLS + cells[:, 0]
    order = off.argsort(stable=True)
    order = order[number[order].argsort(stable=True)]
    is_first = torch.ones(len(order), dtype=torch.bool)
    is_first[1:] = number[order][1:] != number[order][:-1]
    rows = order[is_first].sort().values
    places = cells[rows]
    return rows, torch.stack([places[:, 0], shape[1] - 1 - places[:, 1]], 1)


def _thumbnail(pixels: Tensor, side: int) -> Image.Image:
    """Fit an image into a white square."""
    image = Sheet(pixels[None], 1, gap=0).image().convert("RGB")
    return ImageOps.pad(image, (side, side), Image.Resampling.LANCZOS, color="white")


def _legend_width(name: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
    return 22 + int(font.getlength(name)) + 24


def _legend(
    classes: tuple[str, ...], font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int
) -> list[list[str]]:
    """Break the class names into lines that fit."""
    lines: list[list[str]] = []
    room = 0
    for name in classes:
        wide = _legend_width(name, font)
        if wide > room or not lines:
            lines.append([])
            room = width
        lines[-1].append(name)
        room -= wide
    return lines
