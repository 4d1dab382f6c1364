"""Reports of a run: ``report.html``, a self-contained page, and ``README.md``, a model card."""

from __future__ import annotations

from pathlib import Path

from vaekit.runs.report.card import model_card
from vaekit.runs.report.facts import Facts
from vaekit.runs.report.page import page
from vaekit.system.files import atomic_write_text

__all__ = ["write"]


def write(run_folder: Path) -> None:
    """Write ``README.md`` and ``report.html`` from the other files of a run; deterministic.

    Raises:
        UserError: If ``run_folder`` is not a run.
    """
    facts = Facts.of(Path(run_folder))
    atomic_write_text(Path(run_folder) / "README.md", model_card(facts))
    atomic_write_text(Path(run_folder) / "report.html", page(facts))
