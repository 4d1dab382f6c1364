"""What do the commands do with a run in which one value is damaged? Every field of every file, in every way.

python bench/run_faults.py [--recipes vae conditional-vae ...] [--most-per-file N] [--commands 4] [--seed 0]

Each fault of tests/support/run_faults.py is put into a copy of a tiny run, and the commands that read the file are run
in this process. Expected is exit code 0 or 2 within seconds, without a traceback. If the first command accepts a fault,
up to --commands of them are run. If it refuses a fault of config.json or the weights, one more is tried, because all
commands open these two in the same way. --most-per-file tries a random sample of the faults of each file. The result
counts exit codes per file, and lists all other outcomes.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from headline import Headline
from machine import write_result

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

import run_faults  # noqa: E402

_OPENED_BY_ALL = ("config.json", "weights.safetensors")
_LIMIT_SECONDS = 20
_FAILURES_LISTED = 50


def sound_run(folder: Path, recipe: str) -> Path:
    """Create a finished run, with directions and a fitted prior if its recipe supports them."""
    run = run_faults.trained(folder / recipe, recipe)
    run_faults.square_picture(run)
    for name in ("edit", "fit-prior"):
        run_faults.run(run_faults.command_of(name, run, folder, run / "image.png"))
    return run


def sweep(run: Path, place: Path, options: argparse.Namespace, totals: dict[str, Counter[str]]) -> list[dict[str, Any]]:
    """Count exit codes into ``totals`` by file; returns the outcomes that are neither 0 nor 2."""
    failures, rng = [], random.Random(options.seed)
    for file, (first, *others) in run_faults.READERS.items():
        faults = list(run_faults.faults(run, [file], options.seed))
        counts = totals.setdefault(file, Counter())
        counts["known"] += len(faults)
        chosen = (
            faults if options.most_per_file is None else rng.sample(faults, min(len(faults), options.most_per_file))
        )
        for fault in chosen:
            counts["faults"] += 1
            found = list(run_faults.attempt(fault, run, place, [first], _LIMIT_SECONDS))
            is_refused = file in _OPENED_BY_ALL and found[0].code == 2
            more = rng.sample(others, min(len(others), 1 if is_refused else options.commands - 1))
            found += run_faults.attempt(fault, run, place, more, _LIMIT_SECONDS)
            for outcome in found:
                key = str(outcome.code) if outcome.code in (0, 2) else "neither"
                counts[key] += 1
                counts["slowest_ms"] = max(counts["slowest_ms"], round(1000 * outcome.seconds))
                if key == "neither":
                    what = {"fault": f"{file} {fault.what}", "command": outcome.command, "said": outcome.said}
                    failures.append(what)
                    print(what, flush=True)
        print(file, dict(counts), flush=True)
    return failures


def headlines(result: dict[str, Any]) -> Iterator[Headline]:
    """Return the commands on damaged runs that neither succeed nor name the fault."""
    faults = sum(counts["faults"] for counts in result["files"].values())
    recipes = ", ".join(f"`{name}`" for name in result["recipes"])
    yield Headline(
        f"Runs in which one value of a file is wrong ({faults:,} faults, {recipes}): commands that neither work nor "
        "name the fault",
        f"{result['neither_0_nor_2']:,} of {result['commands']:,}",
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=["vae"])
    parser.add_argument("--most-per-file", type=int, help="random sample of faults; by default, all")
    parser.add_argument("--commands", type=int, default=4, help="most commands per fault")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    totals: dict[str, Counter[str]] = {}
    failures, start = [], time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        os.environ["VAEKIT_CACHE"] = f"{name}/cache"
        for recipe in options.recipes:
            run = sound_run(Path(name), recipe)
            failures += sweep(run, Path(name) / "place", options, totals)
    result = {
        "recipes": options.recipes,
        "most_per_file": options.most_per_file,
        "files": {file: dict(sorted(counts.items())) for file, counts in totals.items()},
        "commands": sum(counts["0"] + counts["2"] + counts["neither"] for counts in totals.values()),
        "neither_0_nor_2": len(failures),
        "failures": failures[:_FAILURES_LISTED],
        "limit_seconds": _LIMIT_SECONDS,
        "minutes": round((time.monotonic() - start) / 60, 1),
    }
    print(write_result("run_faults", result, headlines))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
