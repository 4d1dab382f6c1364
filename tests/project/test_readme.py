"""README and ``docs/``: generated tables are up to date, links and anchors resolve, and README is short."""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path
from types import ModuleType

import forked
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*ROOT.glob("*.md"), ROOT / "bench" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MADE = ("docs/commands.md", "docs/python.md")  #: pages that exist on the site only

_CODE = re.compile(r"^```.*?^```[^\n]*$|`[^`\n]+`", re.M | re.S)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """``scripts/tables.py`` and what it imports."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("tables")


def test_every_headline_is_what_its_script_makes_of_the_numbers() -> None:
    script = ROOT / "bench" / "headline.py"
    program = "import runpy, sys; sys.argv = sys.argv[1:]; sys.path.insert(0, sys.argv.pop()); "
    program += "runpy.run_path(sys.argv[0], run_name='__main__')"
    code, said, trouble = forked.run(program, script, "--check", script.parent, env=dict(os.environ))
    assert code == 0, said + trouble


def test_the_tables_have_the_stored_headlines_and_cope_without_them(tables: ModuleType, tmp_path: Path) -> None:
    rows = tables.measured()
    assert len(rows) > 30 and len(tables.headlines()) == 2 + 5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headline.RESULTS", tmp_path)
        (tmp_path / "kills.json").write_text('{"kills": 3}')
        assert tables.measured() == rows[:2]
        (tmp_path / "kills.json").write_bytes((ROOT / "bench" / "results" / "kills.json").read_bytes())
        assert tables.measured() == [*rows[:2], *(row for row in rows if "kills.json" in row)] != rows[:2]


def test_no_result_names_a_place_of_one_machine() -> None:
    absolute = re.compile(r"[\s\"'=](/|[A-Z]:\\)(home|root|tmp|work|mnt|Users|var|opt)[/\\]")
    for result in (ROOT / "bench" / "results").glob("*.json"):
        assert not absolute.search(result.read_text()), result.name


def test_the_tables_are_what_their_sources_give(tables: ModuleType) -> None:
    for document in tables.DOCUMENTS:
        text = document.read_text()
        assert tables.updated(text) == text, "run: python scripts/tables.py"


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 115


def test_python_and_the_command_line_write_pictures_of_different_names_in_readme() -> None:
    """In Python, ``save`` replaces a file; a reader who tries both must not lose the picture of the command."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    by_command, by_python = (set(re.findall(pattern, text)) for pattern in (r"--out (\S+\.\w+)", r'save\("(\S+)"\)'))
    assert by_command and by_python and not by_command & by_python


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_resolves(page: Path) -> None:
    for target in _LINK.findall(_CODE.sub("", page.read_text(encoding="utf-8"))):
        name, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        other = (page.parent / name).resolve() if name else page
        if other.is_relative_to(ROOT) and other.relative_to(ROOT).as_posix() in MADE:
            continue
        assert other.exists(), target
        assert not anchor or anchor in anchors(other), target


def test_every_page_that_the_program_names_exists() -> None:
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "src").rglob("*.py"))
    pages = set(re.findall(r"docs/[\w/-]+\.md", sources))
    assert pages and all((ROOT / page).exists() for page in pages), pages


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as in MkDocs and GitHub."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}
