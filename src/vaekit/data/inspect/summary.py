"""What is in a set of images, as plain values for ``vaekit data --json``."""

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
_MOST_ALIKE = 5  # names of one picture
_PIECE = 256  # images looked at together


def summary(images: Images) -> dict[str, Any]:
    """Counts, shape, labels, attributes, what was skipped and why; all of it fit for JSON.

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
    """Mean and standard deviation per channel over all pixels, and the extremes; on the [0, 1] scale."""
    if not len(images):
        return {"mean": [], "std": [], "min": None, "max": None}
    counts = np.zeros((images.shape[0], 256), np.int64)  # of each value in each channel: sums of these are exact
    for image in images.pixels.numpy():
        counts += [np.bincount(channel.ravel(), minlength=256) for channel in image]
    values, weights = np.arange(256) / 255, counts / counts.sum(1, keepdims=True)
    mean = weights @ values
    std = np.sqrt((weights * (values - mean[:, None]) ** 2).sum(1))
    seen = values[counts.any(0)]
    return {"mean": mean.tolist(), "std": std.tolist(), "min": float(seen[0]), "max": float(seen[-1])}


def _equal(images: Images) -> list[list[int]]:
    """Groups of images that are equal, pixel by pixel at this size."""
    places: dict[bytes, list[int]] = {}
    for start in range(0, len(images), _PIECE):
        for place, content in enumerate(hash_rows(images.pixels[start : start + _PIECE].numpy()), start):
            places.setdefault(content, []).append(place)
    return [group for group in places.values() if len(group) > 1]


def _near(images: Images, equal: list[list[int]]) -> dict[str, Any]:
    """The same of images that are nearly equal; of equal ones the first stands for all."""
    is_first = np.ones(len(images), bool)
    is_first[[place for group in equal for place in group[1:]]] = False
    found = near_duplicates(images.pixels, np.flatnonzero(is_first))
    return {**_alike(images, found.groups), "complete": found.is_complete}


def _alike(images: Images, groups: list[list[int]]) -> dict[str, Any]:
    """How many images could go if one of each group stayed, and some names of those that are alike."""
    return {
        "images": sum(len(group) - 1 for group in groups),
        "alike": [[images.names[place] for place in group[:_MOST_ALIKE]] for group in groups[:_MOST_VALUES]],
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
