"""The documents say what the code says: their tables are made from their sources, links exist."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
WITH_LINKS = [ROOT / "README.md", ROOT / "docs" / "recipes.md"]


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """``scripts/tables.py`` and what it imports."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("tables")


def test_every_figure_has_a_result_and_the_script_that_writes_it(tables: ModuleType) -> None:
    for figure in tables.FIGURES:
        assert (ROOT / figure.result).exists(), figure.result
        source = (ROOT / figure.script).read_text()
        assert figure.name in source or figure.name.startswith(figure.script_name), figure.script


def test_no_result_names_a_place_of_one_machine() -> None:
    absolute = re.compile(r"[\s\"'=](/|[A-Z]:\\)(home|root|tmp|work|mnt|Users|var|opt)[/\\]")
    for result in (ROOT / "bench" / "results").glob("*.json"):
        assert not absolute.search(result.read_text()), result.name


def test_the_tables_are_what_their_sources_give(tables: ModuleType) -> None:
    for document in tables.DOCUMENTS:
        text = document.read_text()
        assert tables.updated(text) == text, "run: python scripts/tables.py"


@pytest.mark.parametrize("document", WITH_LINKS, ids=lambda path: path.name)
def test_every_link_and_picture_exists(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", document.read_text())
    assert targets
    assert not [target for target in targets if not (document.parent / target).exists()]
