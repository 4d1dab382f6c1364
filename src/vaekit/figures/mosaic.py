"""A set of images laid out where their codes lie: a mosaic, in which images that are alike are neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from vaekit.figures.grid import Picture, Sheet

__all__ = ["COLOURS", "Atlas", "chosen_cells"]

#: of classes: seven of Okabe & Ito 2008, which most eyes tell apart, a brown where black would be lost, two greys
COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#8c564b", "#999999", "#bbbbdd")
CELLS = 24  #: along the longer side

_CELL, _FRAME, _MARGIN, _LINE = 48, 3, 16, 30  # pixels
_INK = "#404040"


@dataclass(frozen=True, eq=False, repr=False)
class Atlas(Picture):
    """Each cell of a grid over the plane shows the image whose point is nearest to its middle.

    Frames have the colour of the class where there are no more than ten.
    """

    pixels: Tensor  #: uint8 ``[N, C, H, W]``: of the cells that are shown
    places: Tensor  #: int64 ``[N, 2]``: column and row of each
    labels: Tensor | None = None  #: int64 ``[N]``
    classes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        columns, rows = (int(side) + 1 for side in self.places.amax(0))
        return f"Atlas({len(self.pixels)} images on a grid of {rows} rows and {columns} columns)"

    def image(self) -> Image.Image:
        """The mosaic, RGB; below it the colours and names of the classes."""
        is_coloured = self.labels is not None and len(self.classes) <= len(COLOURS)
        columns, rows = (int(side) + 1 for side in self.places.amax(0))
        font = ImageFont.load_default(size=16)
        legend = _legend(self.classes, font, columns * _CELL) if is_coloured else []
        width, height = (2 * _MARGIN + side * _CELL for side in (columns, rows))
        canvas = Image.new("RGB", (width, height + _LINE * len(legend)), "white")
        draw = ImageDraw.Draw(canvas)
        inner = _CELL - 2 * _FRAME if is_coloured else _CELL - 2
        for i, (pixels, place) in enumerate(zip(self.pixels, self.places.tolist(), strict=True)):
            left, top = (_MARGIN + _CELL * at for at in place)
            if is_coloured and self.labels is not None:
                box = (left, top, left + _CELL - 1, top + _CELL - 1)
                draw.rectangle(box, fill=COLOURS[int(self.labels[i])])
            offset = (_CELL - inner) // 2
            canvas.paste(_thumbnail(pixels, inner), (left + offset, top + offset))
        for line, names in enumerate(legend):
            x, y = _MARGIN, height + _LINE * line
            for name in names:
                colour = COLOURS[self.classes.index(name)]
                draw.rectangle((x, y + 2, x + 14, y + 16), fill=colour)
                draw.text((x + 22, y + 9), name, _INK, font, anchor="lm")
                x += _legend_width(name, font)
        return canvas


def chosen_cells(coordinates: Tensor) -> tuple[Tensor, Tensor]:
    """Which of N points ``[N, 2]`` are shown: rows ``[M]``, and the column and row of the cell of each ``[M, 2]``.

    Cells are square and as large on both axes; y points upward. Of the points of a cell the one nearest to its middle
    is taken, of equals the first.

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
    """An image fitted into a square, on white, as sheets show it."""
    image = Sheet(pixels[None], 1, gap=0).image().convert("RGB")
    return ImageOps.pad(image, (side, side), Image.Resampling.LANCZOS, color="white")


def _legend_width(name: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
    return 22 + int(font.getlength(name)) + 24


def _legend(
    classes: tuple[str, ...], font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int
) -> list[list[str]]:
    """The names of the classes, in lines that fit."""
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
