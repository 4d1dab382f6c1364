"""Errors and notes: argument names in Python, flags on the command line."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from vaekit.errors import UserError, argument, worded
from vaekit.system.notes import naming, note, spoken


def _flag(name: str, value: str | None) -> str:
    return f"--{name}" if value is None else f"--{name} {value}"


def test_a_text_names_several_arguments() -> None:
    error = UserError(f"{argument('epochs')} and {argument('budget')}: give {argument('images', 100)}")
    assert str(error) == error.args[0] == "epochs and budget: give images=100"
    assert worded(error.text, _flag) == "--epochs and --budget: give --images 100"


def test_the_first_word_may_be_the_argument() -> None:
    error = UserError("count 0: expected at least 1 image", "count")
    assert str(error) == "count 0: expected at least 1 image"
    assert worded(error.text, _flag) == "--count 0: expected at least 1 image"


@given(text=st.text(), value=st.text(st.characters(blacklist_characters="\ue000\ue001"), min_size=1))
def test_any_text_and_any_value_stay_what_they_are(text: str, value: str) -> None:
    assert str(UserError(f"{argument('name', value)}{text}")).startswith(f"name={value}")
    assert "\ue000" in text or str(UserError(text)) == text


def test_notes_name_arguments_as_the_user_knows_them(capsys) -> None:
    text = f"give a larger {argument('patience')}"
    note(text)
    with naming(_flag):
        note(text)
    assert capsys.readouterr().err == "give a larger patience\ngive a larger --patience\n"
    assert spoken(text) == "give a larger patience"


SOURCE = Path(__file__).resolve().parents[1] / "src" / "vaekit"
#: Modules outside of ``cli/`` that print whole shell commands; texts about other programs, and examples of texts.
SHELL_COMMANDS = {
    "config/capabilities.py",
    "evaluation/doctor/next_command.py",
    "runs/report/card.py",
    "system/distributed.py",
}
OTHER_PROGRAMS = {"sha256sum --check", "vaekit --help"}
EXAMPLES = {'``"see --json"``', "``--batch-size``", "'give a smaller --batch-size'"}


def flags_in(path: Path) -> Iterator[str]:
    """Return the lines of string literals, including docstrings, that contain a flag."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for line in node.value.splitlines():
                if re.search(r"(?<![\w-])--[a-z][a-z-]+", line) and "var(--" not in line:
                    yield line.strip()


def test_the_library_names_no_flags() -> None:
    paths = [path for path in SOURCE.rglob("*.py") if path.relative_to(SOURCE).parts[0] != "cli"]
    allowed = {SOURCE / name for name in SHELL_COMMANDS}
    assert all(any(flags_in(path)) for path in allowed), "shrink the list"
    found = {f"{path.relative_to(SOURCE)}: {line}" for path in paths if path not in allowed for line in flags_in(path)}
    assert {line for line in found if not any(known in line for known in OTHER_PROGRAMS | EXAMPLES)} == set()
