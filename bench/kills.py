"""Does a run that is killed (SIGKILL) at random moments and resumed end with the same bytes as an uninterrupted one?

python bench/kills.py --kills 50

Each recipe is trained once without interruption. Then the same command is started and killed after a random time, again
and again, until it finishes. This is repeated in new folders until there are enough kills.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from headline import Headline
from machine import write_result

#: States are saved much more often than usual, so that some kills interrupt writing.
_PROGRAM = """
import sys, vaekit.cli, vaekit.training.steps
vaekit.training.steps.SAVE_EVERY_SECONDS = 0.1
sys.exit(vaekit.cli.main(sys.argv[1:]))
"""
TRAININGS = {
    "vae": "digits --recipe vae --set width=16 --epochs 8 --micro-batch 20",
    "beta-vae": "digits --recipe beta-vae --set width=16 --epochs 8 --precision bf16 --patience 20",
    "denoising-ae": "portraits:200 --size 16 --recipe denoising-ae --set width=16 --epochs 30",
    "fast-ae": "digits --recipe fast-ae --epochs 60",
    "seed-vae": "portraits:100 --size 32 --recipe seed-vae --epochs 8",
}


def start(recipe: str, out: Path) -> subprocess.Popen[bytes]:
    words = ["train", *TRAININGS[recipe].split(), "--threads", "1", "--device", "cpu", "--out", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", _PROGRAM, *words], stderr=subprocess.PIPE, env=environment)


def finish(process: subprocess.Popen[bytes], recipe: str, timeout: float | None = None) -> bool:
    """Return whether the process finished within ``timeout`` seconds; if it fails, so does the benchmark."""
    try:
        _, said = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        return False
    if process.returncode:
        raise SystemExit(f"{recipe}: exit code {process.returncode}\n{said.decode()}")
    return True


def digests(run: Path) -> dict[str, str]:
    """Return hashes of the files that must not differ, and of unexpected files."""
    names = {p.name for p in run.iterdir()} - {"state-previous.safetensors"}
    exact = ("weights.safetensors", "state.safetensors", "latents.safetensors", "config.json")
    return {name: hashlib.sha256((run / name).read_bytes()).hexdigest() if name in exact else "" for name in names}


def measure(recipe: str, kills: int, folder: Path, chance: random.Random) -> dict[str, Any]:
    """Kill runs of ``recipe`` ``kills`` times in total."""
    before = time.monotonic()
    finish(start(recipe, folder / "whole"), recipe)
    seconds, expected = time.monotonic() - before, digests(folder / "whole")
    done, runs, different = 0, 0, 0
    while done < kills:
        out, before = folder / f"killed-{runs}", time.monotonic()
        killed = _kill_until_finished(recipe, out, kills - done, seconds, chance)
        if not killed:  # the machine is faster now
            seconds = min(seconds, time.monotonic() - before)
        done, runs, different = done + killed, runs + 1, different + (digests(out) != expected)
        print(f"{recipe}: {done} kills, {runs} runs, {different} different", flush=True)
    return {"kills": done, "runs": runs, "runs_that_differ": different, "seconds_uninterrupted": round(seconds, 1)}


def _kill_until_finished(recipe: str, out: Path, most: int, seconds: float, chance: random.Random) -> int:
    """Kill ``recipe`` in ``out`` up to a number of times; return how often."""
    for kills in range(most):
        process = start(recipe, out)
        # a shorter time would kill imports only
        if finish(process, recipe, timeout=chance.uniform(0.3, 1.0) * seconds):
            return kills
        process.kill()
        process.communicate()
    finish(start(recipe, out), recipe)
    return most


def headlines(result: dict[str, Any]) -> Iterator[Headline]:
    """Return the number of kills, and of runs whose bytes differ."""
    runs = sum(each["runs"] for each in result["recipes"].values())
    differ = result["runs_that_differ"]
    same = (
        f"{differ} differ" if differ else "weights, state, latents, and settings byte-identical to an uninterrupted run"
    )
    what = "Training runs killed at random moments and resumed"
    yield Headline(what, f"{result['kills']} kills in {runs} runs; {same}")
    yield Headline(what, f"{result['kills']} kills in {runs} runs; {same}", in_readme=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="kills in total, shared equally by the recipes")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--jobs", type=int, default=2, help="recipes at once, each with one thread")
    options = parser.parse_args()
    each = -(-options.kills // len(TRAININGS))

    def measured(recipe: str) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            return measure(recipe, each, Path(folder), random.Random(f"{options.seed} {recipe}"))

    with ThreadPoolExecutor(options.jobs) as pool:
        results = dict(zip(TRAININGS, pool.map(measured, TRAININGS), strict=True))
    different = sum(result["runs_that_differ"] for result in results.values())
    kills = sum(result["kills"] for result in results.values())
    summary = {"kills": kills, "runs_that_differ": different, "seed": options.seed, "recipes": results}
    print(write_result("kills", summary, headlines))
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
