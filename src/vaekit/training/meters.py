"""Meters of the training loop: means of the terms, and images per second."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from vaekit.model.contracts import Terms
from vaekit.system.distributed import ALONE, Team

__all__ = ["Clock", "Means"]


class Means:
    """Per-example terms that stay on the device until their means are read.

    They are copied into one buffer, because separate tensors would fragment the memory that a step frees.
    """

    def __init__(self) -> None:
        self._kept = torch.empty(2, 0)  # distortion and rate
        self._count = 0
        self._has_rate = False

    def add(self, terms: Terms) -> None:
        end = self._count + len(terms.distortion)
        if end > self._kept.shape[1]:
            longer = terms.distortion.new_empty(2, 2 * end)
            longer[:, : self._count] = self._kept[:, : self._count]
            self._kept = longer
        self._kept[0, self._count : end] = terms.distortion
        self._has_rate = terms.rate is not None
        if terms.rate is not None:
            self._kept[1, self._count : end] = terms.rate
        self._count = end

    def means(self, team: Team = ALONE) -> dict[str, float | None]:
        """Return the means over all processes since the last call, nats per image; None for terms without a value."""
        distortion = _mean(self._kept[0, : self._count], team)
        rate = _mean(self._kept[1, : self._count], team) if self._has_rate else None
        self._count = 0
        elbo = None if distortion is None or rate is None else -distortion - rate
        return {"distortion_nats": distortion, "rate_nats": rate, "elbo_nats": elbo}


def _mean(values: torch.Tensor, team: Team) -> float | None:
    """Return the mean of the finite values, or None if there are none. Steps with other values were skipped."""
    finite = values[values.isfinite()]
    # float64 sums on the CPU, because not every device has float64; then to the team's device
    total = torch.tensor([float(finite.cpu().double().sum()), len(finite)], dtype=torch.float64, device=team.device)
    team.sum_(total)
    return float(total[0] / total[1]) if total[1] else None


class Clock:
    """Images per second, without the pauses for pictures and saving."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._images: int | None = None
        self._rate = 0.0

    def rate(self, images: int) -> float:
        now = time.monotonic()
        if self._images is not None and now > self._start and images > self._images:
            latest = (images - self._images) / (now - self._start)
            self._rate = latest if not self._rate else 0.8 * self._rate + 0.2 * latest
        self._start, self._images = now, images
        return self._rate

    @contextmanager
    def paused(self) -> Iterator[None]:
        before = time.monotonic()
        yield
        self._start += time.monotonic() - before
