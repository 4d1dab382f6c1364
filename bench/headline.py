"""The rows of the documentation's tables. Each script of this folder turns its numbers into rows, which are stored with
the result; ``scripts/tables.py`` copies them.

    python bench/headline.py            make the rows of all stored results again, and name what is not measured yet
    python bench/headline.py --check    exit 1 if a stored row does not match its script
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["RESULTS", "SCRIPTS", "Headline", "Maker", "stored_headlines", "with_headlines"]

RESULTS = Path(__file__).resolve().parent / "results"

#: Result files in the order of the table, and the scripts that write them.
SCRIPTS: dict[str, tuple[str, ...]] = {
    "seed_ae_speed": ("compare_seed_ae",),
    "speed": ("speed",),
    "large_set": ("large_set",),
    "busy": ("busy",),
    "ingest": ("ingest",),
    "ingest_faults": ("ingest_faults",),
    "vae_vs_seed_vae": ("compare_vaes",),
    "editing_smiles_vae": ("editing",),
    "editing_smiles_seed_vae": ("editing",),
    "directions": ("directions",),
    "level_editing": ("level_editing",),
    "anomalies": ("anomalies",),
    "noise_robustness": ("noise_robustness",),
    "kills": ("kills",),
    "run_faults": ("run_faults",),
    "doctor": ("doctor", "advice"),
    "burda": ("burda",),
    "bits": ("bits",),
    "ladder": ("ladder",),
    "grid_vae": ("grid_vae",),
    "recipes": ("recipes",),
    "code_sampling": ("code_sampling",),
    "explorer": ("explorer",),
    "help_time": ("help_time",),
}

Result = dict[str, Any]


class Headline(NamedTuple):
    """A row: what was measured, the figure, and what it compares with.

    A row without a figure is not measured yet, and appears in no table.
    """

    what: str
    figure: str
    versus: str = ""
    in_readme: bool = False


Maker = Callable[[Result], Iterable[Headline]]


def with_headlines(result: Result, headlines: Maker) -> Result:
    """Return the result with the rows of one script; rows of other scripts are kept."""
    script = f"bench/{Path(headlines.__code__.co_filename).name}"
    rows = [row for row in result.get("headlines", []) if row["script"] != script]
    rows += [{**headline._asdict(), "script": script} for headline in headlines(result)]
    rest = {key: value for key, value in result.items() if key != "headlines"}
    return {"headlines": sorted(rows, key=lambda row: row["script"]), **rest}


def stored_headlines() -> Iterable[tuple[str, dict[str, Any]]]:
    """Yield the name of the result and the row, for each row with a figure."""
    for name in SCRIPTS:
        path = RESULTS / f"{name}.json"
        rows = json.loads(path.read_text(encoding="utf-8")).get("headlines", []) if path.exists() else []
        yield from ((name, row) for row in rows if row["figure"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    is_check = parser.parse_args().check
    stale = [name for name in SCRIPTS if not _remade(name, is_check)]
    if stale and is_check:
        print(f"not what the scripts make of the numbers: {', '.join(stale)}; run: python bench/headline.py")
    return int(bool(stale) and is_check)


def _remade(name: str, is_check: bool) -> bool:
    """Make the rows of one result again; return whether they are unchanged."""
    path = RESULTS / f"{name}.json"
    scripts = ", ".join(f"bench/{script}.py" for script in SCRIPTS[name])
    if not path.exists():
        print(f"{scripts:40} {path.name:30} not measured yet")
        return True
    stored = json.loads(path.read_text(encoding="utf-8"))
    result = stored
    for script in SCRIPTS[name]:
        result = with_headlines(result, importlib.import_module(script).headlines)
    missing = [row["what"] for row in result["headlines"] if not row["figure"]]
    print(f"{scripts:40} {path.name:30} {'; '.join(f'not measured yet: {what}' for what in missing)}".rstrip())
    if not is_check and result != stored:
        path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result == stored


if __name__ == "__main__":
    sys.exit(main())
