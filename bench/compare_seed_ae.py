"""How long does ``vaekit train mnist --recipe seed-ae`` take, relative to a plain loop with the same model?

The two take turns, each in a fresh process with the same number of threads:

    literal   the epochs of bench/literal_loop.py only, without reading the data
    vaekit    all of ``vk.train``: reading the data, epochs, pictures, validation, checkpoints and the report

Importing the libraries is timed separately, and a second ratio includes it.

    python bench/compare_seed_ae.py ../shared/data/mnist --epochs 10 --rounds 3
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from headline import Headline
from machine import write_result
from turns import take_turns

__all__ = ["compare", "headlines"]

Timing = dict[str, float]


def literal(data: Path, epochs: int, seed: int, threads: int | None) -> Timing:
    """Measure in a separate process, because the imports are timed."""
    start = time.perf_counter()
    import torch
    from literal_loop import run_seed_ae

    imported = time.perf_counter()
    if threads:
        torch.set_num_threads(threads)
    result = run_seed_ae(data, epochs, seed=seed)
    return {
        "import_seconds": imported - start,
        "seconds": sum(result["seconds_per_epoch"]),
        "test_sse_per_image": result["test_sse_per_image"],
    }


def ours(data: Path, epochs: int, seed: int, threads: int | None) -> Timing:
    """Measure in a separate process, because the imports are timed."""
    start = time.perf_counter()
    import torch

    import vaekit as vk

    train = vk.train
    imported = time.perf_counter()
    if threads:
        torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        run = train(str(data), recipe="seed-ae", out=f"{folder}/run", epochs=epochs, seed=seed, quiet=True)
        trained = time.perf_counter()
        numbers = run.evaluate(split="test")
    return {
        "import_seconds": imported - start,
        "seconds": trained - imported,
        "test_sse_per_image": float(numbers["sse_per_image"] or "nan"),
    }


def alone(function: Callable[..., Timing], *arguments: object) -> Timing:
    """Call ``function`` in a fresh interpreter, so that neither side inherits threads or memory."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def compare(data: Path, epochs: int, rounds: int, threads: int | None = None) -> dict[str, Any]:
    """Alternate the two ``rounds`` times, and also which one goes first."""

    def side(function: Callable[..., Timing]) -> Callable[[int], Timing]:
        def measured(turn: int) -> Timing:
            timing = alone(function, data, epochs, turn, threads)
            print(f"round {turn + 1}: {function.__name__} {timing['seconds']:.1f} s", flush=True)
            return timing

        return measured

    timings = take_turns({"literal": side(literal), "vaekit": side(ours)}, rounds)
    return {
        "what": "seed-ae on MNIST, wall time; vaekit with data reading, pictures, validation and checkpoints",
        "epochs": epochs,
        "rounds": rounds,
        "threads_per_side": threads or "default",
        **{name: summary(rows, epochs) for name, rows in timings.items()},
        **ratios(timings["vaekit"], timings["literal"]),
    }


def summary(rows: list[Timing], epochs: int) -> dict[str, Any]:
    """Return median and spread over the rounds, and every measurement."""
    seconds = [row["seconds"] for row in rows]
    return {
        "median_seconds": statistics.median(seconds),
        "median_seconds_per_epoch": statistics.median(seconds) / epochs,
        "spread_seconds": max(seconds) - min(seconds),
        "seconds": seconds,
        "import_seconds": [row["import_seconds"] for row in rows],
        "test_sse_per_image": [row["test_sse_per_image"] for row in rows],
    }


def ratios(top: list[Timing], bottom: list[Timing]) -> dict[str, Any]:
    """Return vaekit's time relative to the plain loop."""
    with_imports = [[row["seconds"] + row["import_seconds"] for row in rows] for rows in (top, bottom)]
    rounds = [a["seconds"] / b["seconds"] for a, b in zip(top, bottom, strict=True)]
    medians = [statistics.median(row["seconds"] for row in rows) for rows in (top, bottom)]
    return {
        "ratio": medians[0] / medians[1],
        "ratio_of_each_round": rounds,
        "ratio_with_imports": statistics.median(with_imports[0]) / statistics.median(with_imports[1]),
    }


def headlines(result: dict[str, Any]) -> Iterator[Headline]:
    """Return the quality, and the time relative to the plain loop."""
    errors, ratios = result["vaekit"]["test_sse_per_image"], result["ratio_of_each_round"]
    yield Headline(
        f"`seed-ae` on MNIST, {result['epochs']} epochs: squared error per test image, median (range over seeds)",
        f"{statistics.median(errors):.2f} ({min(errors):.2f} to {max(errors):.2f})",
    )
    yield Headline(
        f"`seed-ae` on MNIST, {result['epochs']} epochs: time of the complete run with reading the data, pictures, "
        "checkpoints, and report, relative to the epochs alone of a plain PyTorch loop (range over rounds)",
        f"{result['ratio']:.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        "plain loop: 1",
    )


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("data", type=Path, help="the folder of MNIST's four IDX files")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="for both sides (by default, each chooses)")
    given = parser.parse_args()
    result = compare(given.data, given.epochs, given.rounds, given.threads)
    print(json.dumps(result, indent=2))
    print(f"written to {write_result('seed_ae_speed', result, headlines).name}")


if __name__ == "__main__":
    main()
