"""What the loop reads while it runs: means of the terms, and images per second."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from vaekit.objectives import Terms
from vaekit.team import ALONE, Team

__all__ = ["Clock", "Means"]


class Means:
    """Per-example terms that stay on the device until their means are read."""

    def __init__(self) -> None:
        self._terms: list[Terms] = []

    def add(self, terms: Terms) -> None:
        self._terms.append(terms)

    def means(self, team: Team = ALONE) -> dict[str, float | None]:
        """Means of all processes since the last call, nats per image; None for what the objective does not have."""
        terms, self._terms = self._terms, []
        distortion = _mean([term.distortion for term in terms], team)
        rate = _mean([term.rate for term in terms if term.rate is not None], team)
        elbo = None if distortion is None or rate is None else -distortion - rate
        return {"distortion_nats": distortion, "rate_nats": rate, "elbo_nats": elbo}


def _mean(terms: list[torch.Tensor], team: Team) -> float | None:
    """The mean of the finite values (a step with others is skipped), None if there are none."""
    if not terms:
        return None
    values = torch.cat(terms)
    finite = values[values.isfinite()]
    # summed in double precision on the CPU, for not every device has it; sent from where the team sends
    total = torch.tensor([float(finite.cpu().double().sum()), len(finite)], dtype=torch.float64, device=team.device)
    team.sum_(total)
    return float(total[0] / total[1]) if total[1] else None


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
