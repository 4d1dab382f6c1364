"""Recipes that differ in some of their values."""

from __future__ import annotations

from vaekit.config.table import RECIPES

__all__ = ["one_of_each"]


def one_of_each(*values: str) -> list[str]:
    """Return the first recipe of each combination of these values, in the order of the table.

    >>> one_of_each("net")
    ['vae', 'ladder-vae', 'grid-vae', 'seed-ae', 'seed-vae']
    """
    first: dict[tuple[object, ...], str] = {}
    for name, row in RECIPES.items():
        first.setdefault(tuple(getattr(row, value) for value in values), name)
    return list(first.values())
