"""What the loop reads while it runs: means of the terms, and images per second."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from vaekit.objectives import Terms

__all__ = ["Clock", "Means"]


class Means:
    """Per-example terms that stay on the device until their means are read."""

    def __init__(self) -> None:
        self._terms: list[Terms] = []

    def add(self, terms: Terms) -> None:
        self._terms.append(terms)

    def means(self) -> dict[str, float | None]:
        """Means since the last call, nats per image."""
        terms, self._terms = self._terms, []
        distortion = float(torch.cat([term.distortion for term in terms]).cpu().double().mean())
        rates = [term.rate for term in terms if term.rate is not None]
        if not rates:
            return {"distortion_nats": distortion, "rate_nats": None, "elbo_nats": None}
        rate = float(torch.cat(rates).cpu().double().mean())
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
