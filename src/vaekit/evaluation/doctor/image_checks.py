"""Properties of the images themselves, for :mod:`vaekit.evaluation.doctor.examine`.

Statistics use up to 500 evenly spaced images per part. Copies are searched in up to 64 MB per part.
"""

from __future__ import annotations

import math
from typing import TypedDict

import numpy as np
from torch import Tensor

from vaekit.data import PARTS, Images, Selection, to_float

__all__ = ["check_images", "evenly", "mean_shift"]

_MOST_IMAGES = 500  # measured per part
_FEWEST_IMAGES = 100  # measured per part, however large they are
_MOST_VALUES = 1 << 24  # pixel values measured per part: seconds for the largest network
_MOST_COMPARED_BYTES = 1 << 26  # per part, when searching copies


class ImageEvidence(TypedDict):
    """The fields of :class:`~vaekit.evaluation.doctor.evidence.Evidence` that describe the images."""

    data_mean: float
    data_std: float
    std_about_mean_image: float
    neighbour_correlation: float
    values: int
    peak: float
    distinct: float
    leaked: float | None
    part_shift: float | None
    part_count: int


def check_images(images: Images, trained: np.ndarray, pixels: Tensor) -> ImageEvidence:
    """Return the evidence about images; ``trained`` are the rows trained on, ``pixels`` a sample of them as floats."""
    mean, variance = pixels.mean(0), float(pixels.var(0, correction=0).mean())
    centered = pixels - mean
    distinct, leaked = _copies(images, trained)
    shift, count = _part_shift(images, trained, mean, variance)
    return {
        "data_mean": float(pixels.mean()),
        "data_std": float(pixels.std(correction=0)),
        "std_about_mean_image": math.sqrt(variance),
        "neighbour_correlation": _neighbor_correlation(centered),
        "values": math.prod(images.shape),
        "peak": float(centered.abs().flatten(1).amax(1).mean()),
        "distinct": distinct,
        "leaked": leaked,
        "part_shift": shift,
        "part_count": count,
    }


def evenly(images: Images, rows: np.ndarray) -> np.ndarray:
    """Return 500 evenly spaced rows, or fewer for large images."""
    most = max(_FEWEST_IMAGES, min(_MOST_IMAGES, _MOST_VALUES // math.prod(images.shape)))
    return _spread(rows, most)


def mean_shift(mean: Tensor, variance: float, other: Tensor) -> float:
    """Return ‖mean − other‖² / variance, both per pixel value; 0 if the means are equal."""
    square = float((mean - other).double().square().mean())
    return square / max(variance, 1e-12) if square else 0.0


def _spread(rows: np.ndarray, most: int) -> np.ndarray:
    return rows if len(rows) <= most else rows[np.arange(most) * len(rows) // most]


def _others(images: Images, trained: np.ndarray) -> list[np.ndarray]:
    """Return the rows of each part that was not trained on."""
    parts = (np.setdiff1d(np.flatnonzero(images.parts == part), trained) for part in range(len(PARTS)))
    return [rows for rows in parts if len(rows)]


def _part_shift(images: Images, trained: np.ndarray, mean: Tensor, variance: float) -> tuple[float | None, int]:
    """Return the largest shift of the mean image from the training images to another part, and that part's images."""
    largest: tuple[float | None, int] = None, 0
    for rows in _others(images, trained):
        sample = images.selection(evenly(images, rows))
        shift = mean_shift(mean, variance, to_float(sample[:]).mean(0))
        if largest[0] is None or shift > largest[0]:
            largest = shift, len(sample)
    return largest


def _copies(images: Images, trained: np.ndarray) -> tuple[float, float | None]:
    """Return the share of distinct training images, and of images in another part that equal a training image.

    If the training images exceed 64 MB, a sample of them is compared, and the share of leaked images is scaled up.
    """
    compared = _comparable(images, trained)
    contents_trained = _contents(images.selection(compared))
    known = set(contents_trained)
    leaked: float | None = None
    for rows in _others(images, trained):
        contents = _contents(images.selection(_comparable(images, rows)))
        share = sum(content in known for content in contents) / len(contents) * len(trained) / len(compared)
        leaked = max(leaked or 0.0, min(1.0, share))
    return len(known) / len(contents_trained), leaked


def _comparable(images: Images, rows: np.ndarray) -> np.ndarray:
    return _spread(rows, max(_MOST_IMAGES, _MOST_COMPARED_BYTES // math.prod(images.shape)))


def _contents(images: Selection) -> list[bytes]:
    return [row.numpy().tobytes() for piece in images.split(_MOST_IMAGES) for row in piece]


def _neighbor_correlation(centered: Tensor) -> float:
    """Return the correlation of adjacent pixels in deviations from the mean image ``[N, C, H, W]``; 0 if constant."""
    product = square = 0.0
    for a, b in ((centered[..., 1:], centered[..., :-1]), (centered[..., 1:, :], centered[..., :-1, :])):
        product += float((a * b).double().sum())
        square += float((a.double().square().sum() * b.double().square().sum()).sqrt())
    return product / square if square else 0.0
