"""The documents say what the code says: their tables are made from their sources, links exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WITH_LINKS = [ROOT / "README.md", ROOT / "docs" / "recipes.md"]


def test_the_tables_are_what_their_sources_give() -> None:
    spec = importlib.util.spec_from_file_location("tables", ROOT / "scripts" / "tables.py")
    assert spec and spec.loader
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    for document in tables.DOCUMENTS:
        text = document.read_text()
        assert tables.updated(text) == text, "run: python scripts/tables.py"


@pytest.mark.parametrize("document", WITH_LINKS, ids=lambda path: path.name)
def test_every_link_and_picture_exists(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", document.read_text())
    assert targets
    assert not [target for target in targets if not (document.parent / target).exists()]
