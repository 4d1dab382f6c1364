"""Which axis of an array is what: [N,H,W], [N,H,W,C] and [N,C,H,W] are told apart by C, which is 1, 3 or 4.

A shape that can be read in two ways is refused with both readings, since a wrong guess gives wrong pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vaekit.errors import UserError
from vaekit.pixels.form import AS_IT_IS, Form

__all__ = ["channels_first", "is_plainly_a_stack", "may_be_images"]

_CHANNELS = (1, 3, 4)
_SHAPES = "expected [N,H,W], [N,H,W,C] or [N,C,H,W] with C 1, 3 or 4"
_KINDS = {1: "gray", 3: "RGB", 4: "RGBA"}


def channels_first(
    array: np.ndarray, where: str, is_tensor: bool = False, is_stack: bool = False, form: Form = AS_IT_IS
) -> np.ndarray:
    """A view [N, C, H, W] of an array of images.

    Args:
        array: [N, H, W], [N, H, W, C] or [N, C, H, W].
        where: What messages call it.
        is_tensor: Whether it comes from PyTorch, where channels come before height and width.
        is_stack: Whether the first of three axes is known to count images.
        form: What the images are brought to. Its size decides where only one of two readings has it.

    Raises:
        UserError: It has another shape, or one that can be read in two ways.

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
        raise UserError(_two_readings(shape, single, where))
    if array.ndim != 4 or not {shape[1], shape[3]} & set(_CHANNELS):
        raise UserError(f"{where} has the shape {list(shape)}; {_SHAPES}{_flat_hint(shape)}")
    if shape[1] in _CHANNELS and shape[3] in _CHANNELS:  # a side of at most 4 pixels: what the library does is meant
        return array if is_tensor else np.moveaxis(array, 3, 1)
    return array if shape[1] in _CHANNELS else np.moveaxis(array, 3, 1)


def may_be_images(shape: Sequence[int], kind: str) -> bool:
    """Whether an array of a shape, and of a kind of numpy's types, can be a set of images.

    >>> may_be_images((100, 64, 64), "u"), may_be_images((100, 6), "i"), may_be_images((9, 3, 5, 5), "O")
    (True, False, False)
    """
    is_shape = len(shape) == 3 or (len(shape) == 4 and bool({shape[1], shape[3]} & set(_CHANNELS)))
    return is_shape and kind in "uifb" and min(shape) > 0


def is_plainly_a_stack(shape: Sequence[int]) -> bool:
    """Whether a shape is three axes that can only be read as a stack of gray images.

    >>> is_plainly_a_stack((12, 8, 8)), is_plainly_a_stack((3, 8, 8)), is_plainly_a_stack((12, 8, 3))
    (True, False, False)
    """
    return len(shape) == 3 and _as_one(shape) is None


class _Single(NamedTuple):
    """A shape of three axes, read as one image."""

    axis: int  #: of the channels
    channels: int
    size: tuple[int, ...]  #: height and width


def _as_one(shape: Sequence[int]) -> _Single | None:
    """Three axes as one image, where they can be one."""
    first, middle, last = shape
    if last in _CHANNELS and middle != last:
        return _Single(2, last, (first, middle))
    if first in (3, 4) and middle != first:
        return _Single(0, first, (middle, last))
    return None


def _is_surely_a_stack(shape: Sequence[int], single: _Single, is_tensor: bool, form: Form) -> bool:
    """Whether a shape that may be one image is a stack of gray ones, by the form asked for."""
    if single.axis == 0:  # numpy's own order has channels last, so where gray is wanted these are images
        return form.channels == 1 and not is_tensor
    return form.size == tuple(shape[1:]) != single.size


def _two_readings(shape: Sequence[int], single: _Single, where: str) -> str:
    one = f"one {_KINDS[single.channels]} image of {single.size[0]}x{single.size[1]}"
    remedy = "x[..., None]" if single.axis == 2 else "x[:, None]"
    return (
        f"{where} has the shape {list(shape)}, which is {one} or {shape[0]} gray images of {shape[1]}x{shape[2]}; "
        f"for the first give x[None], for the second {remedy}"
    )


def _flat_hint(shape: Sequence[int]) -> str:
    if len(shape) != 2:
        return ""
    return (
        f"; for one gray image of {shape[0]}x{shape[1]} give x[None], for {shape[0]} flattened ones x.reshape(N, H, W)"
    )
