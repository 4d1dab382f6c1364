"""A batch of images to paint on, with antialiased edges at every size.

A shape is a function whose zero level set is its outline (positive inside). Dividing it by the length of its gradient
per pixel gives the signed distance ``d`` to the outline in pixels, and the shape covers the share ``clip(1/2 + d, 0,
1)`` of a pixel. Pixels are computed with ``+ - * /`` and square roots only, so that the bytes do not depend on the
platform, the chunk size or the number of threads.

The unit of length is the shorter side. ``x`` is 0 in the middle. ``y`` is 0 at the top of the centered square and 1 at
its bottom; a longer side extends beyond. Arrays are ``[batch, rows, columns]``, values per image ``[batch, 1, 1]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Canvas", "Patch", "cover", "edge", "glow", "rounded", "smooth"]

Array = NDArray[Any]  # float32 throughout

_TINY = 1e-6


@dataclass(frozen=True, eq=False)
class Patch:
    """A rectangle of the canvas: its colors (a view) and the head coordinates of its pixels."""

    rgb: Array  # [batch, 3, rows, columns]
    u: Array  # [batch, rows, columns], to the right of the middle of the face
    v: Array  # [batch, rows, columns], below the middle of the face
    x: Array  # [1, 1, columns]
    y: Array  # [1, rows, 1]
    pixel: Array  # [batch, 1, 1], size of a pixel in head coordinates

    def paint(self, share: Array, color: Array) -> None:
        """Blend a color, ``[batch, 3, 1, 1]`` or per pixel, over a share ``[batch, rows, columns]`` of each pixel."""
        for channel in range(3):
            layer = self.rgb[:, channel]
            change = color[:, channel] - layer
            change *= share
            layer += change


class Canvas:
    """Images of ``height`` x ``width`` pixels in [0, 1], with a head placed in each.

    Args:
        height: Height in pixels.
        width: Width in pixels.
        place: "x", "y", "scale" and "tilt", each ``[batch, 1, 1]``: center of the face in canvas units, its size, and
            its rotation in the image plane (small angles in radians).
    """

    def __init__(self, height: int, width: int, place: dict[str, Array]) -> None:
        self.step = 1.0 / min(height, width)
        self.x = ((np.arange(width) + 0.5 - width / 2) * self.step).astype(np.float32)[None, None, :]
        self.y = ((np.arange(height) + 0.5 - height / 2) * self.step + 0.5).astype(np.float32)[None, :, None]
        batch = len(place["x"])
        self.rgb: Array = np.zeros((batch, 3, height, width), np.float32)
        tilt, scale = place["tilt"], place["scale"]
        # the series is exact to 1e-5 for a few degrees, and the same on every platform
        cosine, sine = (1 - tilt * tilt / 2) / scale, (tilt - tilt * tilt * tilt / 6) / scale
        across, down = self.x - place["x"], self.y - place["y"]
        self.u: Array = cosine * across + sine * down
        self.v: Array = cosine * down - sine * across
        self.pixel: Array = (self.step / scale).astype(np.float32)

    def patch(self, left: float, right: float, top: float, bottom: float) -> Patch:
        """Return the pixels that touch a rectangle, given in canvas units."""
        rows, columns = self._slice(self.y.ravel(), top, bottom), self._slice(self.x.ravel(), left, right)
        return Patch(
            self.rgb[:, :, rows, columns],
            self.u[:, rows, columns],
            self.v[:, rows, columns],
            self.x[:, :, columns],
            self.y[:, rows],
            self.pixel,
        )

    def bytes(self, finer: int = 1) -> NDArray[np.uint8]:
        """Return uint8 ``[batch, height / finer, width / finer, 3]``; blocks of finer² pixels are averaged."""
        levels = np.clip(self.rgb, 0, 1) * 255
        batch, _, height, width = levels.shape
        if finer > 1:
            blocks = levels.reshape(batch, 3, height // finer, finer, width // finer, finer)
            places = [(i, j) for i in range(finer) for j in range(finer)]
            levels = np.add.reduce([blocks[:, :, :, i, :, j] for i, j in places]) / finer**2
        levels += 0.5
        return np.ascontiguousarray(levels.astype(np.uint8).transpose(0, 2, 3, 1))

    def _slice(self, centers: Array, low: float, high: float) -> slice:
        start = int(np.searchsorted(centers, low - self.step))
        return slice(start, max(start + 1, int(np.searchsorted(centers, high + self.step))))


def cover(distance: Array, pixel: Array) -> Array:
    """Return the share of each pixel inside a shape, from the signed distance to its outline (positive inside)."""
    share: Array = distance / pixel
    share += 0.5
    np.maximum(share, 0, out=share)
    np.minimum(share, 1, out=share)
    return share


def edge(inside: Array) -> Array:
    """Return the share of each pixel where a function is positive, whatever its scale."""
    across, down = _slope(inside, 2), _slope(inside, 1)
    across *= across
    down *= down
    across += down
    across += _TINY * _TINY
    share: Array = inside / np.sqrt(across, out=across)
    share += 0.5
    np.maximum(share, 0, out=share)
    np.minimum(share, 1, out=share)
    return share


def glow(u: Array, v: Array, width: Array | float, height: Array | float) -> Array:
    """Return a soft spot: 1 in the center, smoothly 0 on and beyond the ellipse with the given half axes."""
    across, down = u / width, v / height
    spot: Array = across * across + down * down
    np.subtract(1, spot, out=spot)
    np.maximum(spot, 0, out=spot)
    spot *= spot
    return spot


def rounded(u: Array, v: Array, wide: Array, tall: Array | float, corner: Array | float) -> Array:
    """Return the signed distance (positive inside) to a rounded rectangle with the given half sides."""
    a, b = np.abs(u) - wide + corner, np.abs(v) - tall + corner
    outside = np.sqrt(np.maximum(a, 0) ** 2 + np.maximum(b, 0) ** 2)
    distance: Array = corner - outside - np.minimum(np.maximum(a, b), 0)
    return distance


def smooth(value: Array) -> Array:
    """Return the smooth step: 0 below 0, 1 above 1, ``3t² - 2t³`` in between."""
    t = np.minimum(np.maximum(value, 0), 1)
    bend = 3 - 2 * t
    t *= t
    t *= bend
    return t


def _slope(field: Array, axis: int) -> Array:
    """Return the difference per pixel along an axis: central inside, one-sided at the border."""
    if field.shape[axis] < 2:
        return np.zeros_like(field)
    slope = np.empty_like(field)
    src, out = np.moveaxis(field, axis, 0), np.moveaxis(slope, axis, 0)
    np.subtract(src[2:], src[:-2], out=out[1:-1])
    out[1:-1] *= 0.5
    out[0] = src[1] - src[0]
    out[-1] = src[-1] - src[-2]
    return slope
