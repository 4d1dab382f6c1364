"""Writes the tables of README.md from their sources: the verbs from the command line, the recipes from the recipe
table, the figures from ``bench/results``. A test checks that README.md is what this writes.

    python scripts/tables.py            rewrite README.md
    python scripts/tables.py --check    exit 1 if it would change
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from vaekit.cli import app
from vaekit.recipes import RECIPES

__all__ = ["updated"]

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
VERBS = [
    "train",
    "data",
    "recipes",
    "reconstruct",
    "generate",
    "interpolate",
    "arithmetic",
    "denoise",
    "inpaint",
    "evaluate",
]


def updated(text: str) -> str:
    """The README text with its tables made anew."""
    for name, lines in (("verbs", verbs()), ("recipes", recipes()), ("measured", measured())):
        block = f"<!-- {name} -->\n" + "\n".join(lines) + f"\n<!-- /{name} -->"
        text = re.sub(f"<!-- {name} -->.*?<!-- /{name} -->", lambda _, block=block: block, text, flags=re.S)
    return text


def verbs() -> list[str]:
    """One row per verb, its first help sentence."""
    commands = {name: app[name] for name in app if not name.startswith("-")}
    missing = set(commands) ^ set(VERBS)
    assert not missing, f"README's order of verbs and the command line differ in {missing}"
    rows = [f"| `vaekit {name}` | {commands[name].help.strip().splitlines()[0]} |" for name in VERBS]
    return ["| verb | what it does |", "|---|---|", *rows]


def recipes() -> list[str]:
    """One row per recipe."""
    rows = [f"| `{row.name}` | {row.summary} | {row.paper} |" for row in RECIPES.values()]
    return ["| recipe | good for | paper |", "|---|---|---|", *rows]


def measured() -> list[str]:
    """One row per figure, read from the result files."""
    rows = [row for name, make in FIGURES.items() if (row := _row(name, make))]
    return ["| what | figure | file |", "|---|---|---|", *rows]


def _row(name: str, make: Any) -> str | None:
    path = ROOT / "bench" / "results" / f"{name}.json"
    if not path.exists():
        return None
    what, figure = make(json.loads(path.read_text()))
    return f"| {what} | {figure} | [{name}.json](bench/results/{name}.json) |"


FIGURES: dict[str, Any] = {}


def main() -> int:
    old = README.read_text()
    new = updated(old)
    if "--check" in sys.argv:
        return int(old != new)
    README.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
