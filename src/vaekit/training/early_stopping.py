"""Early stopping: end training after some epochs without improvement on held-out images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Patience"]


@dataclass
class Patience:
    """Counts epochs without improvement; with no ``limit`` it never ends a training.

    >>> patience = Patience(limit=2)
    >>> [patience.improves(loss) for loss in (3.0, 2.0, 2.5, float("nan"))], patience.is_exhausted
    ([True, True, False, False], True)
    """

    limit: int | None
    best: float = math.inf  #: the lowest loss so far
    epochs_since_best: int = 0

    def improves(self, loss: float) -> bool:
        """Record the loss of an epoch; return whether it is the best so far."""
        better = loss < self.best
        self.epochs_since_best = 0 if better else self.epochs_since_best + 1
        if better:
            self.best = loss
        return better

    @property
    def is_exhausted(self) -> bool:
        return self.limit is not None and self.epochs_since_best >= self.limit

    @property
    def has_best(self) -> bool:
        """Whether the weights of a best epoch are the ones to keep."""
        return self.limit is not None and self.best < math.inf

    def facts(self) -> dict[str, float | None]:
        """Return the values needed to resume, for JSON."""
        if self.limit is None:
            return {}
        return {"best_loss": self.best if self.has_best else None, "epochs_since_best": self.epochs_since_best}

    def take(self, facts: Mapping[str, float | None]) -> None:
        """Restore the values of :meth:`facts`."""
        best = facts.get("best_loss")
        self.best = math.inf if best is None else best
        self.epochs_since_best = int(facts.get("epochs_since_best") or 0)
