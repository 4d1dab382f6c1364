"""What is in a set of images, as plain values for ``vaekit data --json``."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from vaekit.data.images import Images
from vaekit.data.splits import PARTS

__all__ = ["summary"]

_MOST_VALUES = 50


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
        "skipped": [{"name": name, "reason": reason} for name, reason in images.skipped],
        "notes": list(images.notes),
        "fingerprint": images.fingerprint,
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
