"""Statistics of a set of images as plain values, for ``vaekit data``."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from vaekit.data.fingerprint import hash_rows
from vaekit.data.images import Images
from vaekit.data.inspect.near_duplicates import near_duplicates
from vaekit.data.splits import PARTS

__all__ = ["summary"]

_MOST_VALUES = 50
_MOST_ALIKE = 5  # names listed per group
_PIECE = 256  # images hashed at a time


def summary(images: Images) -> dict[str, Any]:
    """Summarize counts, shape, labels, attributes, pixel statistics, duplicates and skipped files, ready for JSON.

    >>> import torch
    >>> summary(Images(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), ("a", "b")))["parts"]
    {'train': 2, 'val': 0, 'test': 0}
    """
    channels, height, width = images.shape
    parts = np.bincount(images.parts, minlength=3).tolist()
    equal = _equal(images)
    return {
        "source": images.source,
        "images": len(images),
        "shape": [channels, height, width],
        "channels": channels,
        "parts": dict(zip(PARTS, parts, strict=True)),
        "own_splits": images.has_splits,
        "labels": _labels(images),
        "attributes": {name: _attribute(column) for name, column in images.attributes.items()},
        "pixels": _pixels(images),
        "duplicates": _alike(images, equal),
        "near_duplicates": _near(images, equal),
        "skipped": [{"name": name, "reason": reason} for name, reason in images.skipped],
        "notes": list(images.notes),
        "fingerprint": images.fingerprint,
    }


def _pixels(images: Images) -> dict[str, Any]:
    """Return mean and standard deviation of each channel, minimum and maximum, on the [0, 1] scale."""
    if not len(images):
        return {"mean": [], "std": [], "min": None, "max": None}
    counts = np.zeros((images.shape[0], 256), np.int64)  # histogram of each channel, so that sums are exact
    for image in images.pixels.numpy():
        counts += [np.bincount(channel.ravel(), minlength=256) for channel in image]
    values, weights = np.arange(256) / 255, counts / counts.sum(1, keepdims=True)
    mean = weights @ values
    std = np.sqrt((weights * (values - mean[:, None]) ** 2).sum(1))
    present = values[counts.any(0)]
    return {"mean": mean.tolist(), "std": std.tolist(), "min": float(present[0]), "max": float(present[-1])}


def _equal(images: Images) -> list[list[int]]:
    """Group images whose pixels are equal at this size."""
    positions: dict[bytes, list[int]] = {}
    for start in range(0, len(images), _PIECE):
        for position, content in enumerate(hash_rows(images.pixels[start : start + _PIECE].numpy()), start):
            positions.setdefault(content, []).append(position)
    return [group for group in positions.values() if len(group) > 1]


def _near(images: Images, equal: list[list[int]]) -> dict[str, Any]:
    """Summarize near duplicates; of equal images only the first is considered."""
    is_first = np.ones(len(images), bool)
    is_first[[position for group in equal for position in group[1:]]] = False
    search = near_duplicates(images.pixels, np.flatnonzero(is_first))
    return {**_alike(images, search.groups), "complete": search.is_complete}


def _alike(images: Images, groups: list[list[int]]) -> dict[str, Any]:
    """Return how many images are redundant, and names of some groups."""
    return {
        "images": sum(len(group) - 1 for group in groups),
        "alike": [[images.names[position] for position in group[:_MOST_ALIKE]] for group in groups[:_MOST_VALUES]],
    }


def _labels(images: Images) -> dict[str, int]:
    if images.labels is None:
        return {}
    counts = np.bincount(images.labels.numpy(), minlength=len(images.classes)).tolist()
    return dict(zip(images.classes, counts, strict=True))


def _attribute(column: np.ndarray) -> dict[str, Any]:
    if column.dtype.kind == "U":
        values = column.tolist()
        counts = Counter(value for value in values if value)
        common = dict(counts.most_common(_MOST_VALUES))
        return {"type": "text", "missing": values.count(""), "different": len(counts), "values": common}
    known = column[np.isfinite(column)]
    missing = len(column) - len(known)
    if len(known) and np.isin(known, (0, 1)).all():
        ones = int(known.sum())
        return {"type": "boolean", "missing": missing, "balance": ones / len(known), "ones": ones}
    spread: dict[str, float | None] = {"mean": None, "min": None, "max": None}
    if len(known):
        spread = {
            "mean": float(known.mean()),
            "min": float(known.min()),
            "max": float(known.max()),
        }
    return {"type": "number", "missing": missing, **spread}
