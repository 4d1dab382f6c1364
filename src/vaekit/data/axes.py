"""Which axis of an array is what: [N,H,W], [N,H,W,C] and [N,C,H,W] are told apart by C, which is 1, 3 or 4.

A shape that can be read in two ways is refused with both readings, since a wrong guess gives wrong pictures.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vaekit.errors import UserError

__all__ = ["channels_first", "may_be_images"]

_CHANNELS = (1, 3, 4)
_SHAPES = "expected [N,H,W], [N,H,W,C] or [N,C,H,W] with C 1, 3 or 4"
_KINDS = {1: "gray", 3: "RGB", 4: "RGBA"}


def channels_first(array: np.ndarray, where: str, is_tensor: bool = False, is_stack: bool = False) -> np.ndarray:
    """A view [N, C, H, W] of an array of images.

    Args:
        array: [N, H, W], [N, H, W, C] or [N, C, H, W].
        where: What messages call it.
        is_tensor: Whether it comes from PyTorch, where channels come before height and width.
        is_stack: Whether the first of three axes is known to count images.

    Raises:
        UserError: It has another shape, or one that can be read in two ways.

    >>> channels_first(np.zeros((9, 8, 8, 3)), "x").shape, channels_first(np.zeros((9, 3, 8, 8)), "x").shape
    ((9, 3, 8, 8), (9, 3, 8, 8))
    """
    shape = array.shape
    if array.ndim == 3:
        if not is_stack:
            _refuse_single(shape, where)
        return array[:, None]
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


def _refuse_single(shape: Sequence[int], where: str) -> None:
    """Of [a, b, c], where it may be one image as well as a stack of gray ones."""
    first, middle, last = shape
    if last in _CHANNELS and middle != last:
        one, remedy = f"one {_KINDS[last]} image of {first}x{middle}", "x[..., None]"
    elif first in (3, 4) and middle != first:
        one, remedy = f"one {_KINDS[first]} image of {middle}x{last}", "x[:, None]"
    else:
        return
    raise UserError(
        f"{where} has the shape {list(shape)}, which is {one} or {first} gray images of {middle}x{last}; "
        f"for the first give x[None], for the second {remedy}"
    )


def _flat_hint(shape: Sequence[int]) -> str:
    if len(shape) != 2:
        return ""
    return (
        f"; for one gray image of {shape[0]}x{shape[1]} give x[None], for {shape[0]} flattened ones x.reshape(N, H, W)"
    )
