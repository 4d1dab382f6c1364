"""What images are like before anything is learned of them: for :mod:`vaekit.evaluation.doctor.examine`.

Numbers are of up to 500 images of a part, evenly spaced; copies are looked for in up to 64 MB of a part.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import Tensor

from vaekit.data import PARTS, Images, Selection, to_float

__all__ = ["check_images", "evenly", "mean_shift"]

_MOST_IMAGES = 500  # of each part, measured
_FEWEST_IMAGES = 100  # … however large they are
_MOST_VALUES = 1 << 24  # pixel values of a part that is measured: seconds, for the largest net
_MOST_COMPARED_BYTES = 1 << 26  # of images of a part that are compared with others


def check_images(images: Images, trained: np.ndarray, pixels: Tensor) -> dict[str, Any]:
    """The evidence on images: ``trained`` are the rows that were trained on, ``pixels`` some of these as floats."""
    mean, variance = pixels.mean(0), float(pixels.var(0, correction=0).mean())
    centered = pixels - mean
    return {
        "data_mean": float(pixels.mean()),
        "data_std": float(pixels.std(correction=0)),
        "std_about_mean_image": math.sqrt(variance),
        "neighbour_correlation": _neighbour_correlation(centered),
        "values": math.prod(images.shape),
        "peak": float(centered.abs().flatten(1).amax(1).mean()),
        **_copies(images, trained),
        **_parts(images, trained, mean, variance),
    }


def evenly(images: Images, rows: np.ndarray) -> np.ndarray:
    """Five hundred of the rows, evenly spaced; fewer of large images."""
    most = max(_FEWEST_IMAGES, min(_MOST_IMAGES, _MOST_VALUES // math.prod(images.shape)))
    return _spread(rows, most)


def mean_shift(mean: Tensor, variance: float, other: Tensor) -> float:
    """‖mean − other‖² per pixel value over the variance per pixel value; 0 where nothing varies and nothing differs."""
    square = float((mean - other).double().square().mean())
    return square / max(variance, 1e-12) if square else 0.0


def _spread(rows: np.ndarray, most: int) -> np.ndarray:
    return rows if len(rows) <= most else rows[np.arange(most) * len(rows) // most]


def _others(images: Images, trained: np.ndarray) -> list[np.ndarray]:
    """The rows of each part that was not trained on."""
    parts = (np.setdiff1d(np.flatnonzero(images.parts == part), trained) for part in range(len(PARTS)))
    return [rows for rows in parts if len(rows)]


def _parts(images: Images, trained: np.ndarray, mean: Tensor, variance: float) -> dict[str, Any]:
    """The part that was not trained on whose mean image is furthest from that of the training images."""
    found: dict[str, Any] = {"part_shift": None, "part_count": 0}
    for rows in _others(images, trained):
        some = images.selection(evenly(images, rows))
        shift = mean_shift(mean, variance, to_float(some[:]).mean(0))
        if found["part_shift"] is None or shift > found["part_shift"]:
            found = {"part_shift": shift, "part_count": len(some)}
    return found


def _copies(images: Images, trained: np.ndarray) -> dict[str, Any]:
    """Share of different images among those trained on, and of images of another part that are among those.

    Of training images beyond 64 MB some are looked at, and what of another part is found among these is as much less.
    """
    looked_at = _comparable(images, trained)
    seen = _contents(images.selection(looked_at))
    known = set(seen)
    found: dict[str, Any] = {"distinct": len(known) / len(seen), "leaked": None}
    for rows in _others(images, trained):
        contents = _contents(images.selection(_comparable(images, rows)))
        share = sum(content in known for content in contents) / len(contents) * len(trained) / len(looked_at)
        found["leaked"] = max(found["leaked"] or 0.0, min(1.0, share))
    return found


def _comparable(images: Images, rows: np.ndarray) -> np.ndarray:
    return _spread(rows, max(_MOST_IMAGES, _MOST_COMPARED_BYTES // math.prod(images.shape)))


def _contents(some: Selection) -> list[bytes]:
    return [row.numpy().tobytes() for piece in some.split(_MOST_IMAGES) for row in piece]


def _neighbour_correlation(centered: Tensor) -> float:
    """Of deviations from the mean image ``[N, C, H, W]``, between pixels side by side; 0 where nothing varies."""
    product = square = 0.0
    for a, b in ((centered[..., 1:], centered[..., :-1]), (centered[..., 1:, :], centered[..., :-1, :])):
        product += float((a * b).double().sum())
        square += float((a.double().square().sum() * b.double().square().sum()).sqrt())
    return product / square if square else 0.0
