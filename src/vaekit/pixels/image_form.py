"""The size, channels, fit and background that images are converted to, and the resizing itself."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageColor

from vaekit.errors import UserError, argument, nearest
from vaekit.pixels.choices import FITS, FRAMES
from vaekit.system.arguments import shown

__all__ = ["AS_IT_IS", "FITS", "FRAMES", "Form", "fit", "parse_size"]


@dataclass(frozen=True)
class Form:
    """How every image of a set is converted; :meth:`of` validates what a user asks for.

    >>> Form.of(size="48x64", background="navy")
    Form(size=(48, 64), channels=None, fit='crop', background='#000080', frames='first')
    """

    size: tuple[int, int] | None = None  #: (height, width); None keeps that of the files, which must be the same
    channels: int | None = None  #: 1, 3, 4 (with alpha), or None: 3 if any image has color, else 1
    fit: str = "crop"  #: crop: fill the size and cut off the rest; pad: show all, on the background; stretch
    background: str = "#ffffff"  #: shown behind transparent pixels and around padded images
    frames: str = "first"  #: of an animation or a multi-page file: "first" or "all"

    @classmethod
    def of(
        cls,
        size: Any = None,
        channels: int | None = None,
        fit: str = "crop",
        background: str = "white",
        frames: str = "first",
    ) -> Form:
        """Validate the options of a user.

        Args:
            size: Size as in :func:`parse_size`, or None.
            channels: 1, 3, 4 or None.
            fit: "crop", "pad" or "stretch".
            background: A CSS color name or hexadecimal color.
            frames: "first" or "all".

        Raises:
            UserError: If an option is invalid. The message names it.
        """
        if channels not in (None, 1, 3, 4):
            raise UserError(f"{argument('channels')} {channels!r}: expected 1 (gray), 3 (color) or 4 (with alpha)")
        if fit not in FITS:
            raise UserError(f"{argument('fit')} {fit!r}: {nearest(str(fit), FITS)}")
        if frames not in FRAMES:
            raise UserError(f"{argument('frames')} {frames!r}: {nearest(str(frames), FRAMES)}")
        return cls(None if size is None else parse_size(size), channels, fit, _hex_color(background), frames)

    @property
    def has_gray_background(self) -> bool:
        """Whether a gray image on the background stays gray."""
        return self.background[1:3] == self.background[3:5] == self.background[5:7]


#: Images keep their size, and are gray or color as stored.
AS_IT_IS = Form()


def fit(image: Image.Image, form: Form) -> Image.Image:
    """Resize an L, RGB or RGBA image to ``form.size``, antialiased; padding is opaque background.

    >>> fit(Image.new("L", (30, 10), 7), Form((5, 5))).size
    (5, 5)
    >>> [fit(Image.new("L", (30, 10), 7), Form((6, 6), fit="pad")).getpixel((0, y)) for y in range(6)]
    [255, 255, 7, 7, 255, 255]
    """
    if form.size is None or image.size == form.size[::-1]:
        return image
    height, width = form.size
    if form.fit == "stretch":
        return image.resize((width, height), Image.Resampling.BICUBIC)
    if form.fit == "pad":
        return _padded(image, form)
    scale = max(height / image.height, width / image.width)
    crop_width, crop_height = min(width / scale, image.width), min(height / scale, image.height)
    left, top = (image.width - crop_width) / 2, (image.height - crop_height) / 2
    box = (left, top, left + crop_width, top + crop_height)
    return image.resize((width, height), Image.Resampling.BICUBIC, box=box)


def parse_size(value: Any) -> tuple[int, int]:
    """Parse a size as (height, width) in pixels, from 64, '64', '48x64' or (48, 64).

    Raises:
        UserError: If it is not one or two positive whole numbers.

    >>> parse_size(64), parse_size("48x64"), parse_size((48, 64))
    ((64, 64), (48, 64), (48, 64))
    """
    sides = _sides(value)
    if sides is None or min(sides) < 1:
        raise UserError(
            f"{argument('size')} {shown(value)}: expected a positive number of pixels, or HEIGHTxWIDTH such as 48x64"
        )
    return sides


def _padded(image: Image.Image, form: Form) -> Image.Image:
    assert form.size is not None
    height, width = form.size
    scale = min(height / image.height, width / image.width)
    inner = max(1, min(width, round(image.width * scale))), max(1, min(height, round(image.height * scale)))
    canvas = Image.new(image.mode, (width, height), form.background)
    resized = image if image.size == inner else image.resize(inner, Image.Resampling.BICUBIC)
    canvas.paste(resized, ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return canvas


def _hex_color(text: str) -> str:
    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except (ValueError, AttributeError) as error:
        raise UserError(
            f"{argument('background')} {text!r}: expected a color such as white, black or #8090a0"
        ) from error
    return f"#{red:02x}{green:02x}{blue:02x}"


def _sides(value: Any) -> tuple[int, int] | None:
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d{1,9})(?:\s*[xX×]\s*(\d{1,9}))?\s*", value, re.ASCII)
        return (int(match[1]), int(match[2] or match[1])) if match else None
    sides = tuple(value) if isinstance(value, tuple | list) and len(value) == 2 else (value, value)
    try:
        height, width = (-1 if isinstance(side, bool) else operator.index(side) for side in sides)
    except (TypeError, RuntimeError):  # not a whole number, or a tensor on the meta device
        return None
    return height, width
