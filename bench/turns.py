"""Measurements that take turns, so that a temporary disturbance affects all sides alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

__all__ = ["take_turns"]

T = TypeVar("T")


def take_turns(sides: Mapping[str, Callable[[int], T]], rounds: int) -> dict[str, list[T]]:
    """Call each side with the number of the round; returns their results. Which one goes first alternates."""
    results: dict[str, list[T]] = {name: [] for name in sides}
    for turn in range(rounds):
        for name in sorted(sides, reverse=turn % 2 == 1):
            results[name].append(sides[name](turn))
    return results
