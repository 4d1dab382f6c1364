"""What is in a set of images, as plain values for ``vaekit data --json``."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import torch

from vaekit.data.identity import hash_rows
from vaekit.data.images import Images
from vaekit.data.splits import PARTS

__all__ = ["summary"]

_MOST_VALUES = 50
_PIECE = 256  # images looked at together


def summary(images: Images) -> dict[str, Any]:
    """Counts, shape, labels, attributes, what was skipped and why; all of it fit for JSON.

    >>> import torch
    >>> summary(Images(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), ("a", "b")))["parts"]
    {'train': 2, 'val': 0, 'test': 0}
    """
    channels, height, width = images.shape
    parts = np.bincount(images.parts, minlength=3).tolist()
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
        "duplicates": _duplicates(images),
        "skipped": [{"name": name, "reason": reason} for name, reason in images.skipped],
        "notes": list(images.notes),
        "fingerprint": images.fingerprint,
    }


def _pixels(images: Images) -> dict[str, Any]:
    """Mean and standard deviation per channel over all pixels, and the extremes; on the [0, 1] scale."""
    channels, height, width = images.shape
    if not len(images):
        return {"mean": [], "std": [], "min": None, "max": None}
    total, square = torch.zeros(channels, dtype=torch.float64), torch.zeros(channels, dtype=torch.float64)
    low, high = 255, 0
    for some in images.pixels.split(_PIECE):
        values = some.to(torch.float32)
        # within an image single precision is enough, over many it would not be
        total += values.sum((2, 3)).double().sum(0)
        square += values.square().sum((2, 3)).double().sum(0)
        low, high = min(low, int(some.min())), max(high, int(some.max()))
    count = len(images) * height * width
    mean = total / count
    std = (square / count - mean**2).clamp(min=0).sqrt()
    return {"mean": (mean / 255).tolist(), "std": (std / 255).tolist(), "min": low / 255, "max": high / 255}


def _duplicates(images: Images) -> dict[str, Any]:
    """How many images equal an earlier one, pixel by pixel at this size, and the names of those that are alike."""
    alike: dict[bytes, list[str]] = {}
    for start in range(0, len(images), _PIECE):
        for name, content in zip(
            images.names[start : start + _PIECE],
            hash_rows(images.pixels[start : start + _PIECE].numpy()),
            strict=True,
        ):
            alike.setdefault(content, []).append(name)
    groups = [names for names in alike.values() if len(names) > 1]
    return {"images": sum(len(names) - 1 for names in groups), "alike": groups[:_MOST_VALUES]}


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
