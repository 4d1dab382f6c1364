"""Between bytes and floats.

A byte v is the intensity v / 255 in [0, 1]; the way back rounds to the nearest byte. All 256 values survive.
"""

from __future__ import annotations

import numpy as np
import torch

from vaekit.data.scratch import empty
from vaekit.errors import UserError

__all__ = ["bytes_from_unit", "check_float", "to_float", "to_uint8"]

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
    """An array of uint8, or of floats in [0, 1], as uint8; the first is returned as it is.

    Raises :class:`UserError` for any other type or range; ``where`` names the array in the message.

    >>> bytes_from_unit(np.array([0.0, 1.0]), "x")
    array([  0, 255], dtype=uint8)
    """
    if array.dtype == np.uint8:
        return array
    expected = "expected uint8 in 0..255 or floats in [0, 1]"
    if array.dtype.kind != "f":
        raise UserError(f"{where} holds {array.dtype} values; {expected}; convert it with .astype('uint8')")
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    if not (low >= 0 and high <= 1):
        raise UserError(f"{where} holds floats from {low:g} to {high:g}; {expected}; rescale it first")
    out = empty(array.shape)
    step = max(1, _PIECE * len(array) // max(1, array.size))
    for start in range(0, len(array), step):  # in pieces: the float copies must not outgrow the result
        out[start : start + step] = np.rint(array[start : start + step] * array.dtype.type(255))
    return out
