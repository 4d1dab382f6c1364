"""Schedules: the order of the images, the learning rate and the weight of the rate, as functions of the position.

Nothing here remembers anything: a restart recomputes all of it from (seed, images seen).
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from vaekit.config.table import Recipe
from vaekit.system.rng import ORDER, stream

__all__ = ["epoch_order", "learning_rate", "ramp", "rate_weight"]

_BLOCK = 64  # images that stay together if they are read from disk: one read instead of sixty-four


class _Rate(Protocol):
    """What a learning rate follows from: the values of a training, or a recipe."""

    @property
    def learning_rate(self) -> float: ...

    @property
    def schedule(self) -> str: ...

    @property
    def warmup(self) -> float: ...


def epoch_order(seed: int, epoch: int, count: int, window: int = 0) -> Tensor:
    """The order of ``count`` images in one epoch, int64 ``[count]``.

    With a ``window``, kind to a disk: blocks of 64 neighbours come in a random order, and only images within a window
    of that many are mixed, so that no more than the window has to be at hand.
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
    """The weight of the rate when ``fraction`` of the run is done: it rises from 0 to beta during the warm-up.

    Of the objectives that let something else rise it is constant.
    """
    return row.beta * (ramp(row.kl_warmup, fraction) if row.objective in ("elbo", "mmd") else 1.0)
