"""Messages of the library name parameters as Python does; the command line alone shows flags."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "vaekit"

#: Where it holds.
LIBRARY = ("latent", "evaluation", "export", "explorer.py")
#: Prints commands on purpose.
SHELL = ("evaluation/doctor/next_command.py",)
FLAG = re.compile(r"(?<![\w-])--[a-z]")
COMMAND = re.compile(r"\bvaekit [a-z]")


def files() -> list[Path]:
    found = [path for name in LIBRARY for path in ([SOURCE / name] if "." in name else (SOURCE / name).rglob("*.py"))]
    return [path for path in sorted(found) if str(path.relative_to(SOURCE)) not in SHELL]


def messages(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of what is raised as a UserError, values left out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "UserError" and node.args:
            text = (n.value for n in ast.walk(node.args[0]) if isinstance(n, ast.Constant) and isinstance(n.value, str))
            yield node.lineno, "".join(text)


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_an_error_of_the_library_shows_no_flag(path: Path) -> None:
    """But in a whole command."""
    found = [
        f"{line}: {text}"
        for line, text in messages(ast.parse(path.read_text(encoding="utf-8")))
        if FLAG.search(text) and not COMMAND.search(text)
    ]
    assert not found, "\n".join(found)
