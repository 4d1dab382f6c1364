"""Schedules: the order of the images, the learning rate and the weight of the rate, as functions of the position.

They have no state: a resumed run computes them again from (seed, images seen).
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from vaekit.config.table import Recipe
from vaekit.system.rng import ORDER, stream

__all__ = ["epoch_order", "learning_rate", "ramp", "rate_weight"]

_BLOCK = 64  # neighbors that stay together if images are on disk: one read instead of sixty-four


class _Rate(Protocol):
    """The values that determine the learning rate: training values or a recipe."""

    @property
    def learning_rate(self) -> float: ...

    @property
    def schedule(self) -> str: ...

    @property
    def warmup(self) -> float: ...


def epoch_order(seed: int, epoch: int, count: int, window: int = 0) -> Tensor:
    """Return the order of ``count`` images in one epoch, int64 ``[count]``.

    With a ``window``, the order suits a disk: blocks of 64 neighbors are in random order, and images are shuffled only
    within windows of that size.
    """
    generator = stream(seed, ORDER, epoch)
    if not window or window >= count:
        return torch.randperm(count, generator=generator)
    blocks = torch.arange(count).split(_BLOCK)
    joined = torch.cat([blocks[i] for i in torch.randperm(len(blocks), generator=generator).tolist()])
    return torch.cat([part[torch.randperm(len(part), generator=generator)] for part in joined.split(window)])


def learning_rate(values: _Rate, fraction: float) -> float:
    """Return the learning rate at ``fraction`` of the run, 0 to 1."""
    if values.schedule == "constant":
        return float(values.learning_rate)
    if fraction < values.warmup:
        return float(values.learning_rate * (0.01 + 0.99 * fraction / values.warmup))
    progress = (fraction - values.warmup) / max(1e-9, 1 - values.warmup)
    return float(values.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))))


def ramp(warmup: float, fraction: float) -> float:
    """Return the ramp at ``fraction`` of the run: it rises from 0 to 1 over the fraction ``warmup``."""
    return min(1.0, fraction / warmup) if warmup else 1.0


def rate_weight(row: Recipe, fraction: float) -> float:
    """Return the weight of the rate at ``fraction`` of the run: it rises from 0 to beta during the warm-up.

    It is constant for objectives whose ramp weights another term.
    """
    return row.beta * (ramp(row.kl_warmup, fraction) if row.objective in ("elbo", "mmd") else 1.0)
