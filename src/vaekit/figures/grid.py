"""Sheets: grids of images with white gaps, identical on every machine.

Small images are enlarged by an integer factor without interpolation, so that they are visible and exact.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from vaekit.errors import UserError, counted
from vaekit.system.arguments import checked, field_values, shown
from vaekit.system.files import atomic_write_bytes

__all__ = ["Picture", "Sheet", "check_ending", "check_side", "in_color", "stacked_sheet"]

_FORMATS: dict[str, tuple[str, dict[str, int | bool]]] = {
    ".png": ("PNG", {}),
    ".webp": ("WEBP", {"lossless": True}),
    ".jpg": ("JPEG", {"quality": 92, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 92, "subsampling": 0}),
}
_LARGEST_SIDES = {".webp": 16_383, ".jpg": 65_500, ".jpeg": 65_500, ".gif": 65_535}
_SMALLEST_CELL = 56  # pixels; a face or a digit is hard to recognize below
_LARGEST_DOUBLED = 64  # larger images are not enlarged
_LARGEST_ENLARGED = 1024  # limit of the longer side after enlarging
_SMALLEST_TEXT_CELL = 48
_BLOCK_GAPS = 6  # space between two blocks, in gaps
_INK = 64
_SQUARE, _SQUARE_INK = 8, 40  # checkerboard behind transparent pixels


@checked
class Picture:
    """Base class of pictures that can be saved and shown in a notebook."""

    def image(self) -> Image.Image:
        """Return the picture as a PIL image."""
        raise NotImplementedError

    def save(self, path: str | Path) -> Path:
        """Write a .png, .webp (both lossless) or .jpg file atomically, creating its folder.

        Replaces a file that exists.

        Args:
            path: Path with one of these extensions.

        Returns:
            The path.

        Raises:
            UserError: If the extension is unknown, the picture is too large for the format, or writing fails.
        """
        path = self._check(path)
        data = self._bytes(path.suffix.lower())
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot create the folder {path.parent}: {error.strerror}; choose another path") from error
        atomic_write_bytes(path, data)
        return path

    def _repr_png_(self) -> bytes:
        return self._bytes(".png")

    def _check(self, path: str | Path) -> Path:
        """Return ``path``; raises :class:`UserError` if its extension is not supported."""
        return check_ending(path)

    def _bytes(self, suffix: str) -> bytes:
        return _encoded(self.image(), suffix)


@dataclass(frozen=True, eq=False, repr=False)
class Sheet(Picture):
    """Images in rows of ``columns`` on white, which notebooks display.

    >>> sheet = Sheet(torch.zeros(6, 1, 28, 28, dtype=torch.uint8), columns=3)
    >>> len(sheet), sheet.image().size  # 28 pixels are shown as 56
    (6, (176, 118))
    """

    pixels: Tensor  #: uint8 ``[N, C, H, W]`` with C = 1, 3 or 4; transparent pixels show a checkerboard
    columns: int  #: largest number of images in a row
    gap: int = 2  #: pixels between cells and around the sheet
    captions: tuple[str, ...] = ()  #: a line under each cell; omitted if cells are too small
    row_labels: tuple[str, ...] = ()  #: a line to the left of each row
    rows_per_block: int = 1  #: rows that belong together (2 for pairs); a block fills its rows evenly
    walk: int = 0  #: images from one stop of a walk to the next; 0: each row is a walk

    def __post_init__(self) -> None:
        is_tensor = isinstance(self.pixels, Tensor) and self.pixels.dtype == torch.uint8 and self.pixels.ndim == 4
        if not is_tensor or self.pixels.is_meta or self.pixels.shape[1] not in (1, 3, 4):
            raise UserError(
                "a sheet needs a uint8 tensor of images [N, 1, 3 or 4, H, W], got "
                f"{shown(self.pixels)}; convert it first"
            )
        vars(self).update(field_values(self))
        if not len(self.pixels) or self.columns < 1 or self.gap < 0 or self.rows_per_block < 1:
            raise UserError(
                f"cannot draw a sheet of {counted(len(self.pixels), 'image')} in {counted(self.columns, 'column')}; "
                "expected at least one image and one column, and a gap of at least 0"
            )
        if len(self.captions) not in (0, len(self.pixels)):
            raise UserError(
                f"{counted(len(self.captions), 'caption')} for {counted(len(self.pixels), 'image')}; expected one "
                "caption per image"
            )

    def __len__(self) -> int:
        return len(self.pixels)

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.pixels.shape[1:]))
        return f"Sheet({counted(len(self), 'image')} of {shape} in {counted(min(self.columns, len(self)), 'column')})"

    def image(self) -> Image.Image:
        """Return the sheet as a PIL image, of mode L for gray images and RGB otherwise."""
        return _draw(self)


def check_ending(path: str | Path, *more: str) -> Path:
    """Return ``path``; raises :class:`UserError` if its extension is neither an image format nor in ``more``."""
    path = Path(path)
    if path.suffix.lower() not in (*_FORMATS, *more):
        known = ", ".join((*_FORMATS, *more))
        raise UserError(f"{path} has an unsupported extension; choose from: {known}")
    return path


def stacked_sheet(originals: Tensor, *others: Tensor, columns: int = 10, labels: tuple[str, ...] = ()) -> Sheet:
    """Arrange originals above their variants, in blocks of ``columns``.

    Args:
        originals: uint8 ``[N, C, H, W]``.
        others: Variants of the same shape, one row of each block per tensor.
        columns: Images in a row.
        labels: What each row of a block shows, written to its left.

    Returns:
        A sheet with 1 + len(others) rows per block.

    >>> pixels = torch.zeros(12, 3, 64, 64, dtype=torch.uint8)
    >>> stacked_sheet(pixels, pixels).image().size
    (1302, 532)
    """
    stacked = (originals, *others)
    if len({images.shape for images in stacked}) > 1:
        shapes = " and ".join(str(tuple(images.shape)) for images in stacked)
        raise UserError(f"originals and their variants must have one shape; these have {shapes}")
    blocks = [torch.cat(block) for block in zip(*(row.split(max(1, columns)) for row in stacked), strict=True)]
    return Sheet(torch.cat(blocks), columns, row_labels=labels * len(blocks), rows_per_block=len(stacked))


def in_color(pixels: Tensor) -> Tensor:
    """Convert uint8 ``[N, 1, 3 or 4, H, W]`` to three channels, with white behind transparent pixels."""
    if pixels.shape[1] < 4:
        return pixels.expand(-1, 3, -1, -1)
    alpha = pixels[:, 3:].float() / 255
    return (pixels[:, :3] * alpha + 255 * (1 - alpha)).round().to(torch.uint8)


def _enlargement(height: int, width: int) -> int:
    shorter, longer = min(height, width), max(height, width)
    wanted = max(math.ceil(_SMALLEST_CELL / shorter), 2 if shorter <= _LARGEST_DOUBLED else 1)
    return max(1, min(wanted, _LARGEST_ENLARGED // longer))


def check_side(image: Image.Image, suffix: str) -> None:
    """Raise :class:`UserError` if a picture is larger than its format allows."""
    most = _LARGEST_SIDES.get(suffix)
    if most is not None and max(image.size) > most:
        raise UserError(
            f"the picture is {image.width}x{image.height} pixels, but {suffix} allows at most {most} per side; "
            "show fewer images, or write .png"
        )


def _encoded(image: Image.Image, suffix: str) -> bytes:
    check_side(image, suffix)
    name, options = _FORMATS[suffix]
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def _positions(sheet: Sheet) -> Iterator[tuple[int, int]]:
    """Yield row and column of each image. A block of k images has rows of k / rows_per_block."""
    per_block, n = sheet.columns * sheet.rows_per_block, len(sheet)
    for i in range(n):
        block, within = divmod(i, per_block)
        row, column = divmod(within, math.ceil(min(per_block, n - block * per_block) / sheet.rows_per_block))
        yield block * sheet.rows_per_block + row, column


@dataclass(frozen=True)
class _Geometry:
    """Positions on a sheet, in pixels."""

    cell: tuple[int, int]  # height, width
    left: int  # left edge of the first column
    pitch: int  # distance between rows within a block
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont | None

    def top(self, sheet: Sheet, row: int) -> int:
        """Return the top edge of a row."""
        blocks = row // sheet.rows_per_block if sheet.rows_per_block > 1 else 0
        return sheet.gap + row * self.pitch + blocks * (_BLOCK_GAPS - 1) * sheet.gap

    def corner(self, sheet: Sheet, position: tuple[int, int]) -> tuple[int, int]:
        """Return the (left, top) corner of the cell at (row, column)."""
        return self.left + position[1] * (self.cell[1] + sheet.gap), self.top(sheet, position[0])


def _geometry(sheet: Sheet, factor: int) -> _Geometry:
    height, width = (side * factor for side in sheet.pixels.shape[2:])
    readable = bool(sheet.captions or sheet.row_labels) and min(height, width) >= _SMALLEST_TEXT_CELL
    font = ImageFont.load_default(size=max(11, min(16, width // 7))) if readable else None
    left, pitch = sheet.gap, height + sheet.gap
    if font and sheet.row_labels:
        left += max(math.ceil(font.getlength(text)) for text in sheet.row_labels) + 12
    if font and sheet.captions:
        pitch += _line_height(font)
    return _Geometry((height, width), left, pitch, font)


def _draw(sheet: Sheet) -> Image.Image:
    factor = _enlargement(*sheet.pixels.shape[2:])
    places, where = list(_positions(sheet)), _geometry(sheet, factor)
    rows, columns = max(row for row, _ in places) + 1, max(column for _, column in places) + 1
    size = (where.left + columns * (where.cell[1] + sheet.gap), where.top(sheet, rows - 1) + where.pitch)
    canvas = Image.new("L" if sheet.pixels.shape[1] == 1 else "RGB", size, "white")
    for image, place in zip(sheet.pixels, places, strict=True):
        big = image.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
        canvas.paste(_cell(big), where.corner(sheet, place))
    if where.font:
        _write(canvas, sheet, where, places)
    return canvas


def _cell(pixels: Tensor) -> Image.Image:
    array = pixels[0] if len(pixels) == 1 else pixels.permute(1, 2, 0)
    image = Image.fromarray(array.contiguous().cpu().numpy())
    if image.mode != "RGBA":
        return image
    squares = torch.arange(image.height)[:, None] // _SQUARE + torch.arange(image.width) // _SQUARE
    board = Image.fromarray((255 - squares % 2 * _SQUARE_INK).to(torch.uint8).numpy()).convert("RGBA")
    return Image.alpha_composite(board, image).convert("RGB")


def _write(canvas: Image.Image, sheet: Sheet, where: _Geometry, places: list[tuple[int, int]]) -> None:
    draw, (height, width), font = ImageDraw.Draw(canvas), where.cell, where.font
    assert font is not None
    ink = _INK if canvas.mode == "L" else (_INK,) * 3
    for text, place in zip(sheet.captions, places, strict=False):
        x, y = where.corner(sheet, place)
        middle = (x + width / 2, y + height + _line_height(font) / 2)
        draw.text(middle, _shortened(text, font, width), ink, font, anchor="mm")
    for row, text in enumerate(sheet.row_labels):
        draw.text((where.left - 6, where.top(sheet, row) + height / 2), text, ink, font, anchor="rm")


def _line_height(font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
    return math.ceil(1.6 * font.getbbox("0")[3])


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
