"""How fast does the default ``vae`` train at 64 px beside busy processes: with 1 thread, all threads, automatically?

    python bench/busy.py --rounds 2 --seconds 8

Each measurement is a training in a fresh process, ended by SIGTERM. Its speed is the median over the lines that
``metrics.jsonl`` gets within ``--seconds`` of the first one. The measurements take turns. The busy processes are Python
loops at normal priority. This takes about four minutes on two idle cores.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headline import Headline
from machine import write_result
from turns import take_turns

__all__ = ["headlines", "measure"]

_OTHERS = {"quiet": 0, "beside one": 1, "beside four": 4}
_LOADS = {
    "quiet": "no other process",
    "beside one": "one other busy process",
    "beside four": "four other busy processes",
}
_START_SECONDS = 120.0  # for the first line of metrics


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Run ``count`` busy processes during the body."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def speeds_in(out: Path) -> list[float]:
    """Return the images per second in all lines of a run's metrics so far."""
    path = out / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    values = [json.loads(line).get("images_per_second") for line in lines if line.endswith("}")]
    return [value for value in values if value]


def train(threads: int | None, seconds: float, out: Path) -> tuple[float, int]:
    """Return the images per second of a training that is ended after ``seconds``, and its number of threads."""
    words = ["train", "portraits:300", "--size", "64", "--images", "1000000", "--device", "cpu", "--out", str(out)]
    words += [] if threads is None else ["--threads", str(threads)]
    unset = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    command = [sys.executable, "-m", "vaekit", *words]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not speeds_in(out):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"the training did not start: {' '.join(command)}")
                time.sleep(0.1)
            begun = len(speeds_in(out))
            time.sleep(seconds)
            speeds = speeds_in(out)[begun:] or speeds_in(out)
        finally:
            process.terminate()
    used = json.loads((out / "config.json").read_text())["engine"]["threads"]
    return statistics.median(speeds), used


def measure(rounds: int, seconds: float) -> dict[str, Any]:
    """Measure all combinations in turns."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    sides = {"1 thread": 1, f"{cores} threads": cores, "automatic": None}

    def cell(load: str, side: str) -> Callable[[int], tuple[float, int]]:
        def measured(turn: int) -> tuple[float, int]:
            with tempfile.TemporaryDirectory() as folder, busy_processes(_OTHERS[load]):
                speed, used = train(sides[side], seconds, Path(folder) / "run")
            print(f"round {turn + 1}, {load}, {side}: {speed:.0f} images/s with {used}", flush=True)
            return speed, used

        return measured

    turns = take_turns({f"{load}/{side}": cell(load, side) for load in _OTHERS for side in sides}, rounds)
    result: dict[str, Any] = {}
    for load in _OTHERS:
        found = {side: turns[f"{load}/{side}"] for side in sides}
        medians = {side: statistics.median(speed for speed, _ in each) for side, each in found.items()}
        result[load] = {
            "images_per_second": {side: [speed for speed, _ in each] for side, each in found.items()},
            "median_images_per_second": medians,
            "threads_of_automatic": [used for _, used in found["automatic"]],
            "automatic_over_best": medians["automatic"] / max(medians[side] for side in sides if side != "automatic"),
        }
    return result


def headlines(result: dict[str, Any]) -> Iterator[Headline]:
    """Compare the speed with the automatic number of threads to fixed numbers."""
    for load, found in result["loads"].items():
        medians = dict(found["median_images_per_second"])
        automatic = medians.pop("automatic")
        yield Headline(
            f"`{result['recipe']}` at {result['size']} px, {_LOADS[load]}: training images per second with the default "
            "number of threads",
            f"{automatic:.0f}",
            ", ".join(f"{side}: {speed:.0f}" for side, speed in medians.items()),
        )


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=8.0)
    given = parser.parse_args()
    loads = measure(given.rounds, given.seconds)
    result = {"recipe": "vae", "size": 64, "seconds": given.seconds, "loads": loads}
    print(json.dumps(loads, indent=2))
    print(f"written to {write_result('busy', result, headlines).name}")


if __name__ == "__main__":
    main()
