"""Is vaekit as fast as an earlier checkout of it? Training steps of ``bench/speed.py``, and ``vaekit --help``.

    git worktree add --detach ../earlier COMMIT
    python bench/versions.py ../shared/data/mnist ../earlier --rounds 5

Both versions take turns, each in a fresh process that imports the package from its own checkout. Ratios are medians of
today divided by medians of the earlier commit, so below 1 means faster. ``--only "64 px"`` measures some rows again and
keeps the others.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machine import RESULTS, write_result
from speed import CASES, pictures_for
from turns import take_turns

__all__ = ["compare"]

ROOT = Path(__file__).resolve().parents[1]
HELP = "vaekit --help"
_STEPS = "import json, sys, speed; from pathlib import Path; case = speed.CASES[int(sys.argv[1])]; "
_STEPS += "print(json.dumps(speed.vaekit(case, Path(sys.argv[2]), int(sys.argv[3]))))"


def compare(data: Path, earlier: Path, rounds: int, only: str = "") -> dict[str, Any]:
    """Return the seconds of each row whose name contains ``only`` in both checkouts, and their ratio."""
    trees = {"today": ROOT, "earlier": earlier}
    with tempfile.TemporaryDirectory() as folder:
        rows = {case.name: _step(number, pictures_for(case, data, Path(folder))) for number, case in enumerate(CASES)}
        rows[HELP] = _help
        return {name: _row(name, measure, trees, rounds) for name, measure in rows.items() if only in name}


def _row(name: str, measure: Callable[[Path, int], float], trees: dict[str, Path], rounds: int) -> dict[str, Any]:
    for tree in trees.values() if name == HELP else ():
        measure(tree, 0)  # compiles the modules
    sides = {side: lambda turn, tree=tree: {"seconds": measure(tree, turn)} for side, tree in trees.items()}
    found = take_turns(sides, rounds if name != HELP else 4 * rounds)
    seconds = {side: [row["seconds"] for row in rows] for side, rows in found.items()}
    medians = {side: statistics.median(values) for side, values in seconds.items()}
    row = {"seconds": seconds, "median_seconds": medians, "ratio": medians["today"] / medians["earlier"]}
    print(name, json.dumps(row), flush=True)
    return row


def _step(case: int, data: Path) -> Callable[[Path, int], float]:
    def measure(tree: Path, turn: int) -> float:
        return float(json.loads(_python(tree, "-c", _STEPS, str(case), str(data), str(turn)))["seconds_per_step"])

    return measure


def _help(tree: Path, turn: int) -> float:
    before = time.perf_counter()
    _python(tree, "-m", "vaekit", "--help")
    return time.perf_counter() - before


def _python(tree: Path, *words: str) -> str:
    """Return the output of a process with the package of a checkout and the scripts of this one."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tree.resolve() / "src"), str(ROOT / "bench")])}
    done = subprocess.run([sys.executable, *words], env=environment, check=True, capture_output=True, text=True)
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mnist", type=Path, help="the folder of MNIST's four IDX files")
    parser.add_argument("earlier", type=Path, help="a checkout of an earlier commit")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose name contains it")
    given = parser.parse_args()
    commit = subprocess.run(
        ["git", "-C", str(given.earlier), "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    path = RESULTS / "versions.json"
    stored = json.loads(path.read_text()) if path.exists() else {}
    known = stored["rows"] if stored.get("earlier") == commit else {}
    rows = known | compare(given.mnist.resolve(), given.earlier, given.rounds, given.only)
    print(f"written to {write_result('versions', {'earlier': commit, 'rows': rows}).name}")


if __name__ == "__main__":
    main()
