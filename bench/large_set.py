"""Does training on 200,000 images of 64 px need less than 1.5 GB of private memory? Their pixels have 2.5 GB.

python bench/large_set.py

The memory of `vaekit train` and its child processes is sampled five times a second. Private memory is what the system
cannot reclaim: RssAnon, and RssShmem because a mapped file on a tmpfs occupies memory. Pages of the mapped pixels
(RssFile) are reported separately.

    opening    from the start of the process to the first step: portraits are drawn, hashed and split
    training   the steps
    finishing  validation, pictures, latents of training images, the error on all test images, the report
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headline import Headline
from machine import write_result

from vaekit.runs.folder import read_metrics

ROOT = Path(__file__).resolve().parent.parent
LIMIT_BYTES = 1_500_000_000
SIZE = 64
_PROC = Path("/proc")
_EVERY_SECONDS = 0.2


@dataclass
class Phase:
    """A phase of the training, with its duration and peak memory."""

    seconds: float = 0.0
    peak_rss_anon_bytes: int = 0
    peak_rss_file_bytes: int = 0

    def add(self, seconds: float, anon: int, file: int) -> None:
        self.seconds = round(self.seconds + seconds, 2)
        self.peak_rss_anon_bytes = max(self.peak_rss_anon_bytes, anon)
        self.peak_rss_file_bytes = max(self.peak_rss_file_bytes, file)


def memory_of(root: int) -> tuple[int, int]:
    """Return (private bytes, bytes of files) of a process and its descendants."""
    found = _statuses()
    tree = {root}
    while below := {pid for pid, status in found.items() if status.get("PPid") in tree} - tree:
        tree |= below
    held = [found[pid] for pid in tree if pid in found]
    own, file = (
        sum(s.get(kind, 0) for s in held for kind in kinds) for kinds in (("RssAnon", "RssShmem"), ("RssFile",))
    )
    return own * 1024, file * 1024


def watch(process: subprocess.Popen[bytes], out: Path, total: int) -> dict[str, Phase]:
    """Sample the memory until the process ends; returns phases by name."""
    phases = {name: Phase() for name in ("opening", "training", "finishing")}
    before = time.monotonic()
    while process.poll() is None:
        time.sleep(_EVERY_SECONDS)
        memory, now = memory_of(process.pid), time.monotonic()
        phases[_phase(out, total)].add(now - before, *memory)
        before = now
    return phases


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train in ``folder``, which also holds the mapped pixels."""
    out = folder / "run"
    words = ["train", f"portraits:{options.images_in_set}", "--size", str(SIZE), "--recipe", options.recipe]
    words += ["--images", str(options.train_images), "--out", str(out)]
    mapped_above = {"VAEKIT_MAPPED_ABOVE_BYTES": str(options.mapped_above_bytes), "VAEKIT_CACHE": str(folder / "cache")}
    process = subprocess.Popen([sys.executable, "-m", "vaekit", *words], env=os.environ | mapped_above)
    phases = watch(process, out, options.train_images)
    if process.returncode:
        raise SystemExit(f"the training ended with exit code {process.returncode}")
    if not json.loads((out / "config.json").read_text(encoding="utf-8"))["window_images"]:
        raise SystemExit("the pixels were not mapped; give a smaller --mapped-above-bytes")
    return _result(options, phases)


def _result(options: argparse.Namespace, phases: dict[str, Phase]) -> dict[str, Any]:
    peak_bytes = max(phase.peak_rss_anon_bytes for phase in phases.values())
    return {
        "recipe": options.recipe,
        "images": options.images_in_set,
        "size": SIZE,
        "pixel_bytes": options.images_in_set * 3 * SIZE * SIZE,
        "mapped": True,
        "mapped_above_bytes": options.mapped_above_bytes,
        "peak_rss_anon_bytes": peak_bytes,
        "peak_rss_file_bytes": max(phase.peak_rss_file_bytes for phase in phases.values()),
        "limit_rss_anon_bytes": LIMIT_BYTES,
        "holds": peak_bytes < LIMIT_BYTES,
        "seconds_opening": phases["opening"].seconds,
        "images_trained": options.train_images,
        "images_per_second": round(options.train_images / phases["training"].seconds, 1),
        "phases": {name: vars(phase) for name, phase in phases.items()},
    }


def _phase(out: Path, total: int) -> str:
    lines = read_metrics(out)
    if not lines:
        return "opening"
    return "finishing" if lines[-1]["images"] >= total else "training"


def _statuses() -> dict[int, dict[str, int]]:
    """Return the numbers in /proc/PID/status of all processes, by PID."""
    found = {}
    for pid in (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()):
        with suppress(OSError):  # it may have ended since
            fields = (line.split() for line in (_PROC / str(pid) / "status").read_text().splitlines())
            found[pid] = {field[0].rstrip(":"): int(field[1]) for field in fields if field[1:] and field[1].isdigit()}
    return found


def headlines(result: dict[str, Any]) -> Iterator[Headline]:
    """Compare memory with the size of the pixels."""
    own, pixels = f"{result['peak_rss_anon_bytes'] / 1e9:.2f} GB", f"{result['pixel_bytes'] / 1e9:.1f} GB"
    images = f"{result['images']:,} images of {result['size']} px"
    yield Headline(f"Training `vae` on {images}: peak private memory", own, f"pixels: {pixels}")
    yield Headline(f"Peak memory to train `vae` on {images}", f"{own} for {pixels} of pixels", in_readme=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images-in-set", type=int, default=200_000)
    parser.add_argument("--train-images", type=int, default=20_000, help="training images in total, counting repeats")
    parser.add_argument("--recipe", default="vae")
    parser.add_argument("--mapped-above-bytes", type=int, default=1_000_000_000, help="the same on every machine")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "build" / "bench", help="on a disk with space for the pixels"
    )
    parser.add_argument("--name", default="large_set", help="of the result")
    options = parser.parse_args()
    if not _PROC.is_dir():
        raise SystemExit("this measurement reads /proc, which only Linux has")
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        result = measure(options, Path(folder))
    print(json.dumps(result, indent=2))
    print(write_result(options.name, result, headlines))
    return 0 if result["holds"] else 1


if __name__ == "__main__":
    sys.exit(main())
