"""Writes the generated tables of README and ``docs/``. A test checks that they are up to date.

The recipes come from the recipe table and ``docs/recipes/``, the figures from the headlines in ``bench/results``.

    python scripts/tables.py            rewrite the tables
    python scripts/tables.py --check    exit 1 if a table is out of date
"""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path
from typing import Any

from vaekit.config import capabilities
from vaekit.config.recipe import LATENTS
from vaekit.config.table import RECIPES, Recipe, own_values

__all__ = ["updated"]

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "bench"))

from headline import stored_headlines  # noqa: E402

DOCUMENTS = (
    ROOT / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("recipes", "latent-space", "benchmarks", "scaling")),
)
PAGES = ROOT / "docs" / "recipes"
IN_README = ("vae", "grid-vae", "ladder-vae", "conditional-vae", "vq-vae", "ae")


def updated(text: str) -> str:
    """Return the text of a document with its tables generated again."""
    for name, make in TABLES.items():
        if f"<!-- {name} -->" not in text:
            continue
        lines = make()
        block = f"<!-- {name} -->\n" + "\n".join(lines) + f"\n<!-- /{name} -->"
        text = re.sub(f"<!-- {name} -->.*?<!-- /{name} -->", lambda _, block=block: block, text, flags=re.S)
    return text


def headlines() -> list[str]:
    """Return the rows of README's results."""
    rows = [
        f"| {row['what']} | {row['figure']} | [{name}.json](bench/results/{name}.json) |"
        for name, row in stored_headlines()
        if row["in_readme"]
    ]
    return ["| measured | result | file |", "|---|---|---|", *rows]


def recipes() -> list[str]:
    """Return one row per recipe."""
    rows = [f"| [`{row.name}`](#{row.name}) | {row.summary} | {row.paper} |" for row in RECIPES.values()]
    return ["| recipe | what it is | source |", "|---|---|---|", *rows]


def some_recipes() -> list[str]:
    """Return one row for each recipe of README."""
    rows = [f"| [`{name}`](docs/recipes.md#{name}) | {RECIPES[name].summary} |" for name in IN_README]
    return ["| recipe | what it is |", "|---|---|", *rows]


def recipe_pages() -> list[str]:
    """Return a section for each recipe."""
    missing = set(RECIPES) ^ {path.stem for path in PAGES.glob("*.py")}
    assert not missing, f"the recipe table and the pages of docs/recipes differ in {sorted(missing)}"
    return [line for row in RECIPES.values() for line in _page(row)]


def _page(row: Recipe) -> list[str]:
    """Return the explanation of a recipe, its loss in PyTorch, and its values."""
    source = (PAGES / f"{row.name}.py").read_text(encoding="utf-8")
    first = ast.parse(source).body[0]
    assert isinstance(first, ast.Expr) and first.end_lineno, f"docs/recipes/{row.name}.py has no docstring"
    prose, code = ast.literal_eval(first.value), source.splitlines()[first.end_lineno :]
    cost = "" if row.cost == "1" else f" A step takes {row.cost} times as long as one of `vae`."
    summary = f"*{row.summary[:1].upper()}{row.summary[1:]}.*"
    head = ["", f"## {row.name}", "", summary, "", f"Source: {row.paper}.{cost}", "", prose.strip(), ""]
    return [*head, "```python", *"\n".join(code).strip().splitlines(), "```", "", *_values(row)]


def _values(row: Recipe) -> list[str]:
    """Return a table of the values of a recipe that are not defaults."""
    rows = [f"| `{name}` | {mine} | {default} |" for name, (mine, default) in own_values(row).items()]
    return ["| value | here | default |", "|---|---|---|", *rows]


def verbs() -> list[str]:
    """One row per verb, and a column for each kind of latent."""
    rows = [f"| `{verb}` | {' | '.join(cells)} |" for verb, *cells in capabilities.table()]
    return [f"| command | {' | '.join(LATENTS)} |", "|---|" + "---|" * len(LATENTS), *rows]


def measured() -> list[str]:
    """Return one row per headline, with the script that made it."""
    rows = [
        f"| {row['what']} | {row['figure']} | {row['versus']} | [{Path(row['script']).name}](../{row['script']}), "
        f"[{name}.json](../bench/results/{name}.json) |"
        for name, row in stored_headlines()
        if not row["in_readme"]
    ]
    return ["| measured | result | compare with | made by |", "|---|---|---|---|", *rows]


def scaling() -> list[str]:
    """Return one row per batch size: images per second of one process with all threads, and of one process per core."""
    result = json.loads((ROOT / "bench" / "results" / "scaling.json").read_text())
    rows = []
    for batch, found in result["batch_sizes"].items():
        one, several = found["median_images_per_second"].values()
        rows.append(f"| {batch} | {one:.0f} | {several:.0f} | {found['ratio']:.2f} |")
    count = result["processes"]
    head = f"| total batch | images/s, one process, {count} threads | images/s, {count} processes | ratio |"
    source = [
        "Default `vae` at 64 px, medians of the rounds, taken in turns "
        "([scaling.json](../bench/results/scaling.json), made by `bench/scaling.py`)."
    ]
    return [head, "|---|---|---|---|", *rows, "", *source]


TABLES: dict[str, Any] = {
    "headlines": headlines,
    "some-recipes": some_recipes,
    "recipes": recipes,
    "recipe-pages": recipe_pages,
    "measured": measured,
    "scaling": scaling,
    "verbs": verbs,
}


def main() -> int:
    changed = False
    for document in DOCUMENTS:
        old = document.read_text()
        new = updated(old)
        changed |= old != new
        if "--check" not in sys.argv:
            document.write_text(new)
    return int(changed and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
