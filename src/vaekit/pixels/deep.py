"""More than 8 bits per channel to uint8, by a rule that no file chooses for itself.

    16-bit values v    round(v / 257)
    12-bit TIFF        round(v * 255 / 4095)
    floats             round(255 v), in [0, 1] only

The range belongs to the format, never to the content: two files with equal values have equal pixels, whatever else is
in them or in the set. Values outside of the range are refused.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["EIGHT_BITS", "PEAK", "RANGE", "eight_bits", "floats_in_range", "from_floats", "is_deep_gray_alpha"]

PEAK = 65535  #: the scale that the largest value of a file is told on
EIGHT_BITS = -1  #: stands for the peak of a file that has no more than 8 bits
RANGE = "values from "  #: how the message about values outside of the range begins

_GRAY_ALPHA = ("LA", "LA;16B")  # PIL opens the second as RGBA
_PHOTOMETRIC = 262
_HALF_LEVEL = 0.5 / 255

Reopen = Callable[[], Image.Image | None]


def is_deep_gray_alpha(raw_mode: str) -> bool:
    """Whether a file stores gray with alpha."""
    return raw_mode in _GRAY_ALPHA


def eight_bits(image: Image.Image, raw_mode: str, reopen: Reopen) -> tuple[Image.Image, int]:
    """A loaded image with 8 bits per channel, and its largest value on the scale 0..PEAK, or EIGHT_BITS.

    Args:
        image: As PIL loaded it.
        raw_mode: How its file stores the pixels.
        reopen: Opens the file again, not loaded; None where there is no file.

    Raises:
        ValueError: The message begins with RANGE where values lie outside of the range.
    """
    if image.mode.startswith("I;16") or image.mode == "I":
        top = 4095 if raw_mode == "I;12" else PEAK
        values = _upward(_in_range(np.asarray(image), top), image, top)
        return Image.fromarray(_from_integers(values, top)), round(int(values.max()) * (PEAK / top))
    if image.mode == "F":
        values = _upward(np.asarray(image), image, 1)
        return Image.fromarray(from_floats(values)), max(0, round(float(values.max()) * PEAK))
    low = reopen() if image.mode in ("RGB", "RGBA") and ";16" in raw_mode else None
    if low is None:
        return image, EIGHT_BITS
    with low:
        values = _gray_alpha(low) if is_deep_gray_alpha(raw_mode) else _color(image, low)
    eight = Image.fromarray(_from_integers(values, PEAK))
    eight.info = dict(image.info)
    colors = values.shape[2] - (values.shape[2] in (2, 4))  # without alpha
    return eight, int(values[..., :colors].max())


def from_floats(values: np.ndarray) -> np.ndarray:
    """Floats in [0, 1] as bytes; ValueError for others.

    >>> from_floats(np.array([0.0, 0.2, 1.0]))
    array([  0,  51, 255], dtype=uint8)
    """
    if not np.isfinite(values).all():
        raise ValueError("values that are not finite")
    if not floats_in_range(low := float(values.min()), high := float(values.max())):
        raise ValueError(_said(low, high, 1))
    return np.rint(np.clip(values, 0, 1) * values.dtype.type(255)).astype(np.uint8)


def floats_in_range(low: float, high: float) -> bool:
    """Whether rounding takes all values between ``low`` and ``high`` to bytes: an error of arithmetic is no harm."""
    return low >= -_HALF_LEVEL and high <= 1 + _HALF_LEVEL


def _from_integers(values: np.ndarray, top: int) -> np.ndarray:
    return ((values.astype(np.uint32) * 255 + top // 2) // top).astype(np.uint8)  # rounded to the nearest


def _in_range(values: np.ndarray, top: int) -> np.ndarray:
    if values.min() < 0 or values.max() > top:
        raise ValueError(_said(values.min(), values.max(), top))
    return values


def _said(low: float, high: float, top: int) -> str:
    return f"{RANGE}{low:.7g} to {high:.7g}, expected 0 to {top}"


def _upward(values: np.ndarray, image: Image.Image, top: int) -> np.ndarray:
    """Values of which 0 is black: PIL turns a TIFF in which 0 is white only if it has 8 bits."""
    tags = getattr(image, "tag_v2", None)
    return top - values if tags is not None and tags.get(_PHOTOMETRIC) == 0 else values


def _color(high: Image.Image, low: Any) -> np.ndarray:
    """RGB(A) of 16 bits per channel: PIL keeps the high byte; the low one is read as if bytes were swapped."""
    other = "16B" if sys.byteorder == "little" else "16L"
    swap = {"16B": "16L", "16L": "16B", "16N": other}
    for index, tile in enumerate(low.tile):
        args = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        raw = str(args[0])
        raw = raw[:-3] + swap[raw[-3:]]
        low.tile[index] = tile._replace(args=(raw, *args[1:]) if isinstance(tile[3], tuple) else raw)
    low.load()
    return np.asarray(high).astype(np.uint32) * 256 + np.asarray(low)


def _gray_alpha(low: Any) -> np.ndarray:
    """Gray and alpha of 16 bits: four bytes per pixel, read as if they were four channels."""
    low.tile = [tile._replace(args="RGBA") for tile in low.tile]
    low.load()
    values = np.asarray(low).astype(np.uint32)
    return values[..., ::2] * 256 + values[..., 1::2]
