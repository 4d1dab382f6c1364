"""What is wrong with a training, if anything: numbers → a verdict, in words and with what to do about it.

Evidence  →  the first of RULES whose predicate holds  →  Diagnosis

The rules are in :mod:`vaekit.evaluation.doctor.rules`, what to do in :mod:`vaekit.evaluation.doctor.remedies`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vaekit.evaluation.doctor.evidence import Evidence
from vaekit.evaluation.doctor.evidence_table import Row, rows_of
from vaekit.evaluation.doctor.rules import RULES, VERDICTS

__all__ = ["RULES", "VERDICTS", "Diagnosis", "diagnose"]


@dataclass(frozen=True)
class Diagnosis:
    """A verdict, why, what it rests on, and what to do next."""

    verdict: str  #: one of VERDICTS
    reason: str  #: one sentence
    advice: str  #: one sentence
    #: what the next command does: use or reconstruct (with the run), data (look at it), fit-prior, resume or train
    remedy: str
    changes: Mapping[str, Any]  #: values of the recipe, or ``images`` or ``patience``, to train with
    rows: tuple[Row, ...]

    @property
    def words(self) -> str:
        """The verdict and its reason in one line."""
        return f"{self.verdict}: {self.reason}"

    def table(self) -> list[str]:
        """The rows of evidence as lines of text; those that are not as expected are marked."""
        cells = [(_MARKS[row.is_ok], row.name, row.text, row.expected) for row in self.rows]
        wide = [max(len(cell[i]) for cell in cells) for i in range(3)]
        return [f"{m:<{wide[0]}}  {n:<{wide[1]}}  {v:>{wide[2]}}  {e}".rstrip() for m, n, v, e in cells]


_MARKS = {True: "ok", False: "!", None: ""}


def diagnose(evidence: Evidence) -> Diagnosis:
    """The first of :data:`RULES` that holds; healthy if none does."""
    rule = next(rule for rule in RULES if rule.holds(evidence))
    remedy, changes = rule.remedy(evidence)
    advice = rule.advice if isinstance(rule.advice, str) else rule.advice(evidence)
    return Diagnosis(rule.verdict, rule.reason(evidence), advice, remedy, changes, tuple(rows_of(evidence)))
