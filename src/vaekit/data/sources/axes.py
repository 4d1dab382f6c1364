"""Determine the axes of an array: [N,H,W], [N,H,W,C] and [N,C,H,W] are distinguished by C, which is 1, 3 or 4.

A shape with two possible readings is refused, because a wrong guess gives wrong images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vaekit.errors import UserError
from vaekit.pixels.image_form import AS_IT_IS, Form

__all__ = ["channels_first", "is_plainly_a_stack", "may_be_images"]

_CHANNELS = (1, 3, 4)
_SHAPES = "expected [N,H,W], [N,H,W,C] or [N,C,H,W] with C 1, 3 or 4"
_KINDS = {1: "gray", 3: "RGB", 4: "RGBA"}


def channels_first(
    array: np.ndarray, where: str, is_tensor: bool = False, is_stack: bool = False, form: Form = AS_IT_IS
) -> np.ndarray:
    """Return a view ``[N, C, H, W]`` of an array of images.

    Args:
        array: ``[N, H, W]``, ``[N, H, W, C]`` or ``[N, C, H, W]``.
        where: Name of the array, for messages.
        is_tensor: Whether it comes from PyTorch, where channels precede height and width.
        is_stack: Whether the first of three axes is known to be the number of images.
        form: Requested form. If only one of two readings has its size, that one is used.

    Raises:
        UserError: If the shape is not supported, or has two readings.

    >>> channels_first(np.zeros((9, 8, 8, 3)), "x").shape, channels_first(np.zeros((9, 3, 8, 8)), "x").shape
    ((9, 3, 8, 8), (9, 3, 8, 8))
    """
    shape = array.shape
    if array.ndim == 3:
        single = None if is_stack else _as_one(shape)
        if single is None or _is_surely_a_stack(shape, single, is_tensor, form):
            return array[:, None]
        if form.size == single.size != shape[1:]:
            return np.moveaxis(array, single.axis, 0)[None]
        raise UserError(_ambiguous(shape, single, where))
    if array.ndim != 4 or not {shape[1], shape[3]} & set(_CHANNELS):
        raise UserError(f"{where} has the shape {list(shape)}; {_SHAPES}{_flat_hint(shape)}")
    if shape[1] in _CHANNELS and shape[3] in _CHANNELS:  # sides of at most 4 pixels: follow the library's convention
        return array if is_tensor else np.moveaxis(array, 3, 1)
    return array if shape[1] in _CHANNELS else np.moveaxis(array, 3, 1)


def may_be_images(shape: Sequence[int], kind: str) -> bool:
    """Whether an array of this shape, and numpy type kind, can be a set of images.

    >>> may_be_images((100, 64, 64), "u"), may_be_images((100, 6), "i"), may_be_images((9, 3, 5, 5), "O")
    (True, False, False)
    """
    is_shape = len(shape) == 3 or (len(shape) == 4 and bool({shape[1], shape[3]} & set(_CHANNELS)))
    return is_shape and kind in "uifb" and min(shape) > 0


def is_plainly_a_stack(shape: Sequence[int]) -> bool:
    """Whether a shape has three axes and can only be a stack of gray images.

    >>> is_plainly_a_stack((12, 8, 8)), is_plainly_a_stack((3, 8, 8)), is_plainly_a_stack((12, 8, 3))
    (True, False, False)
    """
    return len(shape) == 3 and _as_one(shape) is None


class _Single(NamedTuple):
    """A shape of three axes, read as one image."""

    axis: int  #: axis of the channels
    channels: int
    size: tuple[int, ...]  #: height and width


def _as_one(shape: Sequence[int]) -> _Single | None:
    """Read three axes as one image, if possible."""
    first, middle, last = shape
    if last in _CHANNELS and middle != last:
        return _Single(2, last, (first, middle))
    if first in (3, 4) and middle != first:
        return _Single(0, first, (middle, last))
    return None


def _is_surely_a_stack(shape: Sequence[int], single: _Single, is_tensor: bool, form: Form) -> bool:
    """Whether a shape that may be one image is a stack of gray ones, judged by the requested form."""
    if single.axis == 0:  # numpy arrays have channels last, so if gray is requested this is a stack
        return form.channels == 1 and not is_tensor
    return form.size == tuple(shape[1:]) != single.size


def _ambiguous(shape: Sequence[int], single: _Single, where: str) -> str:
    one = f"one {_KINDS[single.channels]} image of {single.size[0]}x{single.size[1]}"
    remedy = "x[..., None]" if single.axis == 2 else "x[:, None]"
    return (
        f"{where} has the shape {list(shape)}, which is {one} or {shape[0]} gray images of {shape[1]}x{shape[2]}; "
        f"for the first pass x[None], for the second {remedy}"
    )


def _flat_hint(shape: Sequence[int]) -> str:
    if len(shape) != 2:
        return ""
    return (
        f"; for one gray image of {shape[0]}x{shape[1]} pass x[None], for {shape[0]} flattened ones x.reshape(N, H, W)"
    )
