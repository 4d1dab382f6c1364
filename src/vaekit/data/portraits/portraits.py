"""Color portraits of faces, drawn procedurally, with attributes that are known exactly.

Row ``i`` of a seed owns a fixed list of uniform random numbers. They determine attributes, lengths and colors, and a
few dozen antialiased soft shapes are painted over each other. A row shows the same person at every size. An override
changes only what it names, so edits in latent space can be compared with the truth. ``glasses`` has its own random
number and is independent of everything else.
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

_CHUNK_PIXELS = 65536  # temporary float arrays of this size fit into the CPU cache
_FINE = 48  # smaller images are drawn at a higher resolution and averaged, because shapes are thinner than a pixel


def table(count: int, seed: int = 0, start: int = 0, overrides: Mapping[str, Any] | None = None) -> Columns:
    """Return the attributes of portraits ``start`` to ``start + count - 1`` as columns.

    Row i depends only on (seed, i) and its overrides.

    Args:
        count: Number of portraits.
        seed: Random seed.
        start: Index of the first portrait.
        overrides: Attribute values that replace the random ones, one value or ``count`` values each.

    Returns:
        ``glasses``, ``male``, ``smiling`` and ``beard`` are 0 or 1 (int64; only men have a beard). ``hair_length``
        ranges from 0 (cropped) to 1 (long), ``skin_tone`` from 0 (very light) to 1 (very dark), ``pose`` from -1
        (facing the left of the image) to 1, and ``lighting`` from -1 (light from the left) to 1. ``hair_colour`` and
        ``background`` are strings.

    Raises:
        UserError: If the count, the start or an override is invalid.
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
    """Draw portraits ``start`` to ``start + count - 1``.

    Args:
        count: Number of portraits.
        size: Side or (height, width) in pixels. The portrait fills the centered square; background and shoulders extend
            beyond it.
        seed: Random seed.
        start: Index of the first portrait.
        overrides: As for :func:`table`.

    Returns:
        uint8 ``[count, height, width, 3]`` (sRGB).

    Raises:
        UserError: If the count, the size or an override is invalid.
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
    """Paint one chunk of portraits, layer by layer from back to front."""
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
        raise UserError(f"portraits: size {height}x{width} is too small; expected at least 1 pixel per side")
    return int(height), int(width)
