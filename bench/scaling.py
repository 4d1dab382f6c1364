"""How fast does the default ``vae`` train at 64 px, with one process on all cores and with one process per core?

    python bench/scaling.py --processes 2 --rounds 3

Both take turns: a training with or without ``torchrun``, on the same images with the same total batch. The speed is the
median over the lines of ``metrics.jsonl`` after the first quarter, so that the start is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machine import write_result
from turns import take_turns

__all__ = ["measure"]


def train(processes: int, threads: int, images: int, batch: int, out: Path) -> float:
    """Return the images per second of one training."""
    words = ["train", "portraits:1000", "--size", "64", "--images", str(images), "--batch-size", str(batch)]
    words += ["--device", "cpu", "--threads", str(threads), "--out", str(out)]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    launch = torchrun if processes > 1 else []
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    subprocess.run([sys.executable, *launch, "-m", "vaekit", *words], check=True, env=environment, capture_output=True)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    speeds = [line["images_per_second"] for line in lines if line.get("images_per_second")]
    return statistics.median(speeds[len(speeds) // 4 :])


def measure(processes: int, rounds: int, images: int, batch: int) -> dict[str, Any]:
    """Measure both at one batch size, in turns."""

    def side(count: int, threads: int) -> Callable[[int], float]:
        def measured(turn: int) -> float:
            with tempfile.TemporaryDirectory() as folder:
                speed = train(count, threads, images, batch, Path(folder) / "run")
            print(f"batch {batch}, round {turn + 1}: {count} of {threads} threads {speed:.0f} images/s", flush=True)
            return speed

        return measured

    speeds = take_turns({"one_process": side(1, processes), "one_process_per_core": side(processes, 1)}, rounds)
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    return {
        "images_per_second": speeds,
        "median_images_per_second": medians,
        "ratio": medians["one_process_per_core"] / medians["one_process"],
    }


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[16, 64], help="totals over all processes")
    given = parser.parse_args()
    batches = {str(b): measure(given.processes, given.rounds, given.images, b) for b in given.batch_sizes}
    result = {"processes": given.processes, "recipe": "vae", "size": 64, "gradients": "DistributedDataParallel"}
    result["batch_sizes"] = batches
    print(json.dumps(batches, indent=2))
    print(f"written to {write_result('scaling', result).name}")


if __name__ == "__main__":
    main()
