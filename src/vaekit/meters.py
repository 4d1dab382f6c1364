"""What the loop reads while it runs: means of the terms, and images per second."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

__all__ = ["Clock", "Sums"]


class Sums:
    """Sums of per-example terms that stay on the device until they are read."""

    def __init__(self) -> None:
        self._total: Tensor | None = None
        self._count = 0

    def add(self, terms: Any) -> None:
        rate = terms.distortion.new_zeros(()) if terms.rate is None else terms.rate.sum()
        step = torch.stack([terms.distortion.sum(), rate])
        self._total = step if self._total is None else self._total + step
        self._count += len(terms.loss)
        self._has_rate = terms.rate is not None

    def means(self) -> dict[str, float | None]:
        """Means since the last call, nats per image."""
        assert self._total is not None
        distortion, rate = (self._total.double() / self._count).tolist()
        self._total, self._count = None, 0
        if not self._has_rate:
            return {"distortion_nats": distortion, "rate_nats": None, "elbo_nats": None}
        return {"distortion_nats": distortion, "rate_nats": rate, "elbo_nats": -distortion - rate}


class Clock:
    """Images per second, pauses for pictures and saving left out."""

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
