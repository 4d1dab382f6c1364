"""Between bytes and floats.

A byte v is the intensity v / 255 in [0, 1]; the way back rounds to the nearest byte. All 256 values survive.
"""

from __future__ import annotations

import numpy as np
import torch

from vaekit.data.ingest.mapped import empty
from vaekit.errors import UserError
from vaekit.pixels.deep import floats_in_range, from_floats

__all__ = ["bytes_from_unit", "check_float", "to_float", "to_uint8"]

_EXPECTED = "expected uint8 in 0..255, bool, or floats in [0, 1]"
_PIECE = 1 << 22  # values turned from floats into bytes at once


def to_float(pixels: torch.Tensor) -> torch.Tensor:
    """Bytes (uint8, any shape) as float32 intensities in [0, 1].

    >>> to_float(torch.tensor([0, 51, 255], dtype=torch.uint8))
    tensor([0.0000, 0.2000, 1.0000])
    """
    if pixels.dtype != torch.uint8:
        raise TypeError(f"to_float takes uint8 pixels, this tensor is {pixels.dtype}")
    return pixels.to(torch.float32).div_(255)


def check_float(intensities: torch.Tensor) -> None:
    """Raises :class:`UserError` for images that are not floats."""
    if not intensities.is_floating_point():
        raise UserError(f"images are {intensities.dtype}; expected floats in [0, 1], as vaekit.data.to_float gives")


def to_uint8(intensities: torch.Tensor) -> torch.Tensor:
    """Intensities (float, any shape) as bytes: clamped to [0, 1], scaled by 255, rounded to the nearest.

    >>> to_uint8(torch.tensor([-0.5, 0.2, 1.5]))
    tensor([  0,  51, 255], dtype=torch.uint8)
    """
    return (intensities.clamp(0, 1) * 255).round().to(torch.uint8)


def bytes_from_unit(array: np.ndarray, where: str) -> np.ndarray:
    """An array of uint8, of bool, or of floats in [0, 1], as uint8; the first is returned as it is.

    Raises :class:`UserError` for any other type or range; ``where`` names the array in the message.

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
        raise UserError(f"{where} holds {array.dtype} values; {_EXPECTED}")
    low, high = (array.min().item(), array.max().item()) if array.size else (0, 0)
    if array.dtype.kind != "f":
        raise UserError(f"{where} holds {array.dtype} values from {low} to {high}; {_EXPECTED}; {_advice(low, high)}")
    if not floats_in_range(low, high):
        raise UserError(f"{where} holds floats from {low:.7g} to {high:.7g}; {_EXPECTED}; {_advice(low, high)}")
    out = empty(array.shape)
    step = max(1, _PIECE * len(array) // max(1, array.size))
    for start in range(0, len(array), step):  # in pieces: the float copies must not outgrow the result
        out[start : start + step] = from_floats(array[start : start + step])
    return out


def _advice(low: float, high: float) -> str:
    """How to bring values into the range without wrapping around."""
    if not (np.isfinite(low) and np.isfinite(high)):
        return "replace the values that are not finite"
    if low < 0:
        return f"scale all images alike: ((x - ({low:.7g})) * (255 / {high - low:.7g})).round(), then convert to uint8"
    if isinstance(low, int) and 1 < high <= 255:
        return "convert it to uint8"
    return (
        f"scale all images alike, by the largest value of the set: (x * (255 / {max(high, 1):.7g})).round(), "
        "then convert to uint8"
    )
