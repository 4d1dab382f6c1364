"""Portraits: colour faces drawn by our own code, with attributes that are known exactly.

Idea: row `i` of a seed owns a fixed list of uniforms; they become attributes, lengths and colours, and a few
dozen anti-aliased soft shapes are laid over each other. The same row is the same picture at every size, and
an override changes what it names and nothing else, so that an edit in latent space can be measured against
the truth.
`glasses` has a uniform of its own and depends on nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaekit.data.portraits import face, head
from vaekit.data.portraits.canvas import Canvas
from vaekit.data.portraits.look import Look, look
from vaekit.data.portraits.traits import ATTRIBUTES, Columns, attributes, uniforms
from vaekit.errors import UserError

__all__ = ["ATTRIBUTES", "draw", "table"]

_CHUNK_PIXELS = 65536  # temporary arrays of this many floats stay in the cache
_FINE = 48  # below this many pixels, shapes thinner than a pixel: draw finer, then average


def table(count: int, seed: int = 0, start: int = 0, overrides: Mapping[str, Any] | None = None) -> Columns:
    """The attributes of portraits start .. start + count - 1, as columns of `count` values.

    `glasses`, `male`, `smiling` and `beard` are 0 or 1 (int64; a beard only on men); `hair_length` runs from
    0 (cropped) to 1 (long); `hair_colour` and `background` are words; `skin_tone` runs from 0 (very light) to
    1 (very dark), `pose` from -1 (turned to the left of the picture) to 1, `lighting` from -1 (light from the
    left) to 1. Row i depends on (seed, i) and its overrides alone.

    >>> sorted(table(3)) == sorted(ATTRIBUTES)
    True
    >>> table(4, overrides={"male": 0})["beard"]
    array([0, 0, 0, 0])
    """
    _check(count, start)
    return attributes(uniforms(count, seed, start), overrides)


def draw(
    count: int,
    size: int | tuple[int, int],
    seed: int = 0,
    start: int = 0,
    overrides: Mapping[str, Any] | None = None,
) -> NDArray[np.uint8]:
    """Draws portraits start .. start + count - 1 as uint8 [count, height, width, 3] (sRGB).

    Arguments: size is one number or (height, width), in pixels: the portrait fills the centred square, the
    background and the shoulders continue beyond it. overrides maps attribute names to one or `count`
    values. Raises UserError for impossible counts, sizes and overrides.

    >>> pair = [draw(1, 32, seed=7, overrides={"glasses": g}) for g in (0, 1)]
    >>> pair[0].shape, bool((pair[0] == pair[1])[:, 26:].all())
    ((1, 32, 32, 3), True)
    """
    _check(count, start)
    height, width = _size(size)
    traits = uniforms(count, seed, start)
    numbers = look(traits, attributes(traits, overrides))
    finer = math.ceil(_FINE / min(height, width)) if min(height, width) < _FINE else 1
    step = max(1, _CHUNK_PIXELS // (height * width * finer * finer))
    out = np.empty((count, height, width, 3), np.uint8)
    for first in range(0, count, step):
        rows = slice(first, first + step)
        out[rows] = _paint({name: value[rows] for name, value in numbers.items()}, height, width, finer)
    return out


def _paint(numbers: Look, height: int, width: int, finer: int) -> NDArray[np.uint8]:
    """One chunk of portraits, layer by layer from the back."""
    canvas = Canvas(height * finer, width * finer, numbers)
    head.background(canvas, numbers)
    head.body(canvas, numbers)
    head.back_hair(canvas, numbers)
    head.neck(canvas, numbers)
    head.skin(canvas, numbers)
    face.cheeks(canvas, numbers)
    face.beard(canvas, numbers)
    face.nose(canvas, numbers)
    face.eyes(canvas, numbers)
    face.mouth(canvas, numbers)
    head.front_hair(canvas, numbers)
    head.ears(canvas, numbers)
    face.brows(canvas, numbers)
    face.glasses(canvas, numbers)
    return canvas.bytes(finer)


def _check(count: int, start: int) -> None:
    if count < 0 or start < 0:
        raise UserError(f"portraits: count {count} and start {start} must not be negative")


def _size(size: int | tuple[int, int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int | np.integer) else size
    if height < 1 or width < 1:
        raise UserError(f"portraits: size {height}x{width} is too small; give at least 1 pixel each way")
    return int(height), int(width)
