"""Schemas of the files of a run: the metadata of tensors, the lines of metrics, the stored latents.

Each file has one schema and is checked when it is opened (:mod:`vaekit.runs.folder`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from torch import Tensor

from vaekit.latent.ops import ATTRIBUTE
from vaekit.system.schema import COUNT
from vaekit.system.tensor_layouts import Layout, fault

__all__ = ["LatentFacts", "StateFacts", "WeightFacts", "is_metrics_line", "latents_fault"]


_MOST = 1e100  # larger numbers in metrics.jsonl cannot be drawn
_KINDS = ("start", "train", "validation", "final")
_NAMES = ("kind", "part")


@dataclass(frozen=True)
class StateFacts:
    """Metadata of ``state.safetensors``: the progress of the training."""

    images: Annotated[int, COUNT]
    steps: Annotated[int, COUNT]
    skipped: Annotated[int, COUNT] = 0
    best_loss: float | None = None
    epochs_since_best: Annotated[int, COUNT] = 0
    trained: dict[str, Any] | None = None  #: see :meth:`~vaekit.config.run_config.RunConfig.trained_values`
    total_images: Annotated[int | None, COUNT] = None  #: of the whole training; None in older runs
    extended_from: Annotated[int | None, COUNT] = None  #: the former total, until the first save of an extension


@dataclass(frozen=True)
class WeightFacts:
    """Metadata of ``weights.safetensors``: how many images they were trained on, and with which values."""

    images: Annotated[int | None, COUNT] = None
    trained: dict[str, Any] | None = None  #: None in older runs


@dataclass(frozen=True)
class LatentFacts:
    """Metadata of ``latents.safetensors``: the names that labels and text attributes are indices into."""

    classes: tuple[str, ...] = ()
    strings: dict[str, tuple[str, ...]] = field(default_factory=dict)


def is_metrics_line(line: Any) -> bool:
    """Whether a value is a valid line of ``metrics.jsonl``: the images seen, the kind of the line, and numbers.

    >>> is_metrics_line({"images": 0, "kind": "start"}), is_metrics_line({"images": 0, "kind": "train", "psnr_db": "x"})
    (True, False)
    """
    if not isinstance(line, dict) or line.get("kind") not in _KINDS or not _is_count(line.get("images")):
        return False
    if not isinstance(line.get("part"), str | None):
        return False
    return all(name in _NAMES or value is None or _is_number(value) for name, value in line.items())


def latents_fault(tensors: Mapping[str, Tensor], facts: LatentFacts, latent_dim: int) -> str | None:
    """Describe the first fault in ``latents.safetensors``; None if it is valid."""
    columns = {name: t for name, t in tensors.items() if name.startswith(ATTRIBUTE)}
    rows = len(tensors["latents"]) if "latents" in tensors and tensors["latents"].ndim else 0
    expected = {"latents": Layout((-1, latent_dim))}
    if "labels" in tensors:
        expected["labels"] = Layout((rows,), torch.int64)
    found = fault({name: t for name, t in tensors.items() if name not in columns}, expected)
    if found is not None:
        return found
    if not rows:
        return "it has no latents"
    ends = {"labels": len(facts.classes)} if "labels" in tensors else {}
    for name, column in columns.items():
        words = facts.strings.get(name.removeprefix(ATTRIBUTE))
        layout = Layout((rows,), torch.float64 if words is None else torch.int64)
        if not layout.fits(column):  # NaN marks unknown attributes
            return fault({name: column}, {name: layout})
        if words is not None:
            ends[name] = len(words)
    for name, end in ends.items():
        if not bool(((tensors[name] >= 0) & (tensors[name] < end)).all()):
            return f"{name} has an index without a name"
    return None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and COUNT.fault(value) is None


def _is_number(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return isinstance(value, float) and not math.isfinite(value) or abs(value) <= _MOST
