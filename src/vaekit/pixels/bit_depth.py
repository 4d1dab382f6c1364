"""Convert images with more than 8 bits per channel to uint8, with fixed rules.

    16-bit integers v  round(v / 257)
    12-bit TIFF        round(v * 255 / 4095)
    floats             round(255 v), for v in [0, 1]

The range depends on the file format only, never on the content, so equal values give equal pixels in every file and
dataset. Values out of range are refused.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["EIGHT_BITS", "PEAK", "RANGE", "eight_bits", "floats_in_range", "from_floats", "is_deep_gray_alpha"]

PEAK = 65535  #: the scale on which the largest value of a file is reported
EIGHT_BITS = -1  #: reported as the peak of a file with at most 8 bits
RANGE = "values from "  #: beginning of the message about values out of range

_GRAY_ALPHA = ("LA", "LA;16B")  # PIL opens the latter as RGBA
_PHOTOMETRIC = 262
_HALF_LEVEL = 0.5 / 255

Reopen = Callable[[], Image.Image | None]


def is_deep_gray_alpha(raw_mode: str) -> bool:
    """Whether a file stores gray with alpha."""
    return raw_mode in _GRAY_ALPHA


def eight_bits(image: Image.Image, raw_mode: str, reopen: Reopen) -> tuple[Image.Image, int]:
    """Convert a loaded image to 8 bits per channel.

    Args:
        image: The image as PIL loaded it.
        raw_mode: How its file stores the pixels.
        reopen: Opens the file again without loading it; returns None if there is no file.

    Returns:
        The image, and its largest value on the scale 0 to PEAK, or EIGHT_BITS if it had at most 8 bits.

    Raises:
        ValueError: If values are out of range (the message begins with RANGE) or not finite.
    """
    if image.mode.startswith("I;16") or image.mode == "I":
        top = 4095 if raw_mode == "I;12" else PEAK
        values = _zero_is_black(_in_range(np.asarray(image), top), image, top)
        return Image.fromarray(_from_integers(values, top)), round(int(values.max()) * (PEAK / top))
    if image.mode == "F":
        values = _zero_is_black(np.asarray(image), image, 1)
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
    """Convert floats in [0, 1] to uint8; raises ValueError for values out of range or not finite.

    >>> from_floats(np.array([0.0, 0.2, 1.0]))
    array([  0,  51, 255], dtype=uint8)
    """
    if not np.isfinite(values).all():
        raise ValueError("values that are not finite")
    if not floats_in_range(low := float(values.min()), high := float(values.max())):
        raise ValueError(_range_text(low, high, 1))
    result: np.ndarray = np.rint(np.clip(values, 0, 1) * values.dtype.type(255)).astype(np.uint8)
    return result


def floats_in_range(low: float, high: float) -> bool:
    """Whether all values round to a byte. The tolerance of half a level admits rounding errors."""
    return low >= -_HALF_LEVEL and high <= 1 + _HALF_LEVEL


def _from_integers(values: np.ndarray, top: int) -> np.ndarray:
    return ((values.astype(np.uint32) * 255 + top // 2) // top).astype(np.uint8)  # rounded to the nearest


def _in_range(values: np.ndarray, top: int) -> np.ndarray:
    if values.min() < 0 or values.max() > top:
        raise ValueError(_range_text(values.min(), values.max(), top))
    return values


def _range_text(low: float, high: float, top: int) -> str:
    return f"{RANGE}{low:.7g} to {high:.7g}, expected 0 to {top}"


def _zero_is_black(values: np.ndarray, image: Image.Image, top: int) -> np.ndarray:
    """Invert a TIFF in which 0 is white; PIL does so only for 8 bits."""
    tags = getattr(image, "tag_v2", None)
    return top - values if tags is not None and tags.get(_PHOTOMETRIC) == 0 else values


def _color(high: Image.Image, low: Any) -> np.ndarray:
    """Return RGB(A) with 16 bits per channel. PIL keeps the high byte; swapping the byte order reads the low one."""
    other = "16B" if sys.byteorder == "little" else "16L"
    swap = {"16B": "16L", "16L": "16B", "16N": other}
    for index, tile in enumerate(low.tile):
        args = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        raw = str(args[0])
        raw = raw[:-3] + swap[raw[-3:]]
        low.tile[index] = tile._replace(args=(raw, *args[1:]) if isinstance(tile[3], tuple) else raw)
    low.load()
    result: np.ndarray = np.asarray(high).astype(np.uint32) * 256 + np.asarray(low)
    return result


def _gray_alpha(low: Any) -> np.ndarray:
    """Return gray and alpha with 16 bits each, by reading the four bytes of a pixel as four channels."""
    low.tile = [tile._replace(args="RGBA") for tile in low.tile]
    low.load()
    values = np.asarray(low).astype(np.uint32)
    return values[..., ::2] * 256 + values[..., 1::2]
