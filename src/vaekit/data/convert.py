"""Convert between bytes and floats.

A byte v has the intensity v / 255 in [0, 1]. The inverse rounds to the nearest byte, so all 256 values survive.
"""

from __future__ import annotations

import numpy as np
import torch

from vaekit.data.ingest.mapped import empty
from vaekit.errors import UserError
from vaekit.pixels.bit_depth import floats_in_range, from_floats

__all__ = ["bytes_from_unit", "check_float", "to_float", "to_uint8"]

_EXPECTED = "expected uint8 in 0..255, bool, or floats in [0, 1]"
_PIECE = 1 << 22  # float values converted at a time


def to_float(pixels: torch.Tensor) -> torch.Tensor:
    """Convert uint8 pixels of any shape to float32 intensities in [0, 1].

    >>> to_float(torch.tensor([0, 51, 255], dtype=torch.uint8))
    tensor([0.0000, 0.2000, 1.0000])
    """
    if pixels.dtype != torch.uint8:
        raise TypeError(f"to_float expects uint8 pixels, got {pixels.dtype}")
    return pixels.to(torch.float32).div_(255)


def check_float(intensities: torch.Tensor) -> None:
    """Raise :class:`UserError` if images are not floats."""
    if not intensities.is_floating_point():
        raise UserError(f"images are {intensities.dtype}; expected floats in [0, 1], as from vaekit.data.to_float")


def to_uint8(intensities: torch.Tensor) -> torch.Tensor:
    """Convert float intensities of any shape to uint8: clamped to [0, 1], scaled by 255, rounded to the nearest.

    >>> to_uint8(torch.tensor([-0.5, 0.2, 1.5]))
    tensor([  0,  51, 255], dtype=torch.uint8)
    """
    return (intensities.clamp(0, 1) * 255).round().to(torch.uint8)


def bytes_from_unit(array: np.ndarray, where: str) -> np.ndarray:
    """Convert an array of uint8, bool, or floats in [0, 1] to uint8; uint8 is returned unchanged.

    Args:
        array: The values.
        where: Name of the array, for messages.

    Raises:
        UserError: If the type or range is another.

    >>> bytes_from_unit(np.array([0.0, 1.0]), "x")
    array([  0, 255], dtype=uint8)
    """
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        out = empty(array.shape)
        np.multiply(array, 255, out=out, casting="unsafe")
        return out
    if array.dtype.kind not in "iuf":
        raise UserError(f"{where} contains {array.dtype} values; {_EXPECTED}")
    low, high = (array.min().item(), array.max().item()) if array.size else (0, 0)
    if array.dtype.kind != "f":
        raise UserError(
            f"{where} contains {array.dtype} values from {low} to {high}; {_EXPECTED}; {_advice(low, high)}"
        )
    if not floats_in_range(low, high):
        raise UserError(f"{where} contains floats from {low:.7g} to {high:.7g}; {_EXPECTED}; {_advice(low, high)}")
    out = empty(array.shape)
    step = max(1, _PIECE * len(array) // max(1, array.size))
    for start in range(0, len(array), step):  # in pieces, because float copies need more memory than the result
        out[start : start + step] = from_floats(array[start : start + step])
    return out


def _advice(low: float, high: float) -> str:
    """Describe how to scale values into the range."""
    if not (np.isfinite(low) and np.isfinite(high)):
        return "replace the values that are NaN or infinite"
    if low < 0:
        return (
            f"scale all images in the same way: ((x - ({low:.7g})) * (255 / {high - low:.7g})).round(), "
            "then convert to uint8"
        )
    if isinstance(low, int) and 1 < high <= 255:
        return "convert it to uint8"
    return (
        f"scale all images in the same way, by the largest value of the set: (x * (255 / {max(high, 1):.7g})).round(), "
        "then convert to uint8"
    )
