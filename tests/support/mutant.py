"""Possible mistakes in the formulas of a module, which its tests must notice: a flipped sign, a missing constant, a
mean for a sum. Each module of formulas has a table of them in ``mutants_of_<module>.py`` beside its tests;
``scripts/mutants.py`` makes the mistakes and runs the tests.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["Mutant", "Table"]


@dataclass(frozen=True)
class Mutant:
    """One mistake: the text ``new`` instead of ``old``.

    ``old`` must occur exactly once in the module, or in the function or class ``within`` if that is given.
    """

    old: str
    new: str
    breaks: str
    within: Any = None


@dataclass(frozen=True)
class Table:
    """The mistakes of one module, and the test files (below ``tests/``) that are most likely to notice them."""

    module: ModuleType
    tests: list[str]
    mutants: list[Mutant]

    @property
    def name(self) -> str:
        """``model/priors`` for ``vaekit.model.priors``."""
        return self.module.__name__.removeprefix("vaekit.").replace(".", "/")

    @property
    def path(self) -> str:
        """Path of the module from the root of the repository."""
        return f"src/vaekit/{self.name}.py"

    @cached_property
    def source(self) -> str:
        return Path(inspect.getfile(self.module)).read_text(encoding="utf-8")

    def mutated(self, mutant: Mutant) -> str:
        """The source of the module with one mistake in it."""
        at = self._place(mutant)
        return self.source[:at] + mutant.new + self.source[at + len(mutant.old) :]

    def is_a_change(self, mutant: Mutant) -> bool:
        """Whether the code differs, and not only its comments or its layout."""
        at = self._place(mutant)
        end = at + len(mutant.old)
        touched = [(start, stop) for start, stop in self._statements if start < end and at < stop]
        if not touched:
            return False
        start, stop = touched[0][0], touched[-1][1]
        old = self.source[start:stop]
        new = self.source[start:at] + mutant.new + self.source[end:stop]
        return ast.dump(ast.parse(new)) != ast.dump(ast.parse(old))

    def _place(self, mutant: Mutant) -> int:
        """Where the text that the mutant replaces begins."""
        start, stop = self._span(mutant.within)
        count = self.source.count(mutant.old, start, stop)
        if count != 1:
            where = self.name if mutant.within is None else f"{self.name}, {_qualified(mutant.within)}"
            raise ValueError(f"{where}: {count} times, not once: {mutant.old!r}")
        return self.source.index(mutant.old, start, stop)

    def _span(self, within: Any) -> tuple[int, int]:
        return (0, len(self.source)) if within is None else self._definitions[_qualified(within)]

    @cached_property
    def _line_starts(self) -> list[int]:
        """Offset of each line, and of the end."""
        starts = [0]
        for line in self.source.splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
        return starts

    @cached_property
    def _statements(self) -> list[tuple[int, int]]:
        """First and last offset of each statement of the module, in whole lines."""
        return [self._offsets(node) for node in ast.parse(self.source).body]

    @cached_property
    def _definitions(self) -> dict[str, tuple[int, int]]:
        """The same for each function and class, by qualified name."""
        return {name: self._offsets(node) for name, node in _definitions_in(ast.parse(self.source))}

    def _offsets(self, node: Any) -> tuple[int, int]:
        first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
        return self._line_starts[first - 1], self._line_starts[node.end_lineno]


def _definitions_in(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            yield f"{prefix}{child.name}", child
            yield from _definitions_in(child, f"{prefix}{child.name}.")


def _qualified(within: Any) -> str:
    """``Vamp.forward`` for that method, also where it is a property."""
    return (getattr(within, "fget", None) or getattr(within, "func", None) or within).__qualname__
