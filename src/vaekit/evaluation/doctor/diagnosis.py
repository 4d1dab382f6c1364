"""Diagnose a training from its numbers: a verdict, the reason and what to do.

Evidence  →  the first of RULES whose predicate holds  →  Diagnosis

The rules are in :mod:`vaekit.evaluation.doctor.rules`, the remedies in :mod:`vaekit.evaluation.doctor.remedies`.
"""

from __future__ import annotations

from dataclasses import dataclass

from vaekit.evaluation.doctor.evidence import Evidence
from vaekit.evaluation.doctor.evidence_table import Row, rows_of
from vaekit.evaluation.doctor.remedies import Changes
from vaekit.evaluation.doctor.rules import RULES, VERDICTS

__all__ = ["RULES", "VERDICTS", "Diagnosis", "diagnose"]


@dataclass(frozen=True)
class Diagnosis:
    """A verdict, its reason, the evidence, and what to do next."""

    verdict: str  #: one of VERDICTS
    reason: str  #: one sentence
    advice: str  #: one sentence
    #: kind of the next command: use or reconstruct (the run), data (inspect it), fit-prior, resume or train
    remedy: str
    changes: Changes  #: values of the recipe, ``images`` or ``patience`` for the next training
    rows: tuple[Row, ...]

    @property
    def summary(self) -> str:
        """The verdict and its reason in one line."""
        return f"{self.verdict}: {self.reason}"

    def table(self) -> list[str]:
        """Return the evidence as lines of text, with marks on values out of range."""
        cells = [(_MARKS[row.is_ok], row.name, row.text, row.expected) for row in self.rows]
        widths = [max(len(cell[i]) for cell in cells) for i in range(3)]
        return [f"{m:<{widths[0]}}  {n:<{widths[1]}}  {v:>{widths[2]}}  {e}".rstrip() for m, n, v, e in cells]


_MARKS = {True: "ok", False: "!", None: ""}


def diagnose(evidence: Evidence) -> Diagnosis:
    """Apply the first of :data:`RULES` that holds; the last one, healthy, always does."""
    rule = next(rule for rule in RULES if rule.holds(evidence))
    remedy, changes = rule.remedy(evidence)
    advice = rule.advice if isinstance(rule.advice, str) else rule.advice(evidence)
    return Diagnosis(rule.verdict, rule.reason(evidence), advice, remedy, changes, tuple(rows_of(evidence)))
