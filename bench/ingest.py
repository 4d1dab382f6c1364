"""How fast are image files opened, and how much memory does it need?

    python bench/ingest.py [--only CASE ...]

    photos   JPEG files of 1024 px, resized to 128 px: a first opening with an empty cache, compared with a DataLoader
             over PIL images with a worker per core; the two alternate
    small    the same for JPEG files of 32 px at their size
    reopen   100,000 cached files of 32 px: seconds of a second opening, in a separate process
    epochs   the same dataset read image by image in shuffled order, compared with the same pixels in memory
    memory   peak memory of all processes for a first and a second opening of 200,000 files of 64 px

Imports are not counted. The files of `photos` are drawn faces, enlarged and with added grain, so that they compress
like photographs. All files are in the page cache.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from headline import Headline
from large_set import memory_of
from machine import RESULTS, write_result
from PIL import Image
from turns import take_turns

ROOT = Path(__file__).resolve().parent.parent
LIMIT_BYTES = 600_000_000
BATCH = 64
_OPEN = """
import sys, time, vaekit
from vaekit.data import open_images, Images  # what opening imports is not counted
import vaekit.data.sources.open
started = time.monotonic()
images = open_images(sys.argv[1], size=int(sys.argv[2]))
print(len(images), time.monotonic() - started)
"""


class Plain(torch.utils.data.Dataset):
    """A usual dataset: PIL opens a file, scales its shorter side, and crops the middle."""

    def __init__(self, folder: Path, size: int) -> None:
        self.paths, self.size = sorted(folder.rglob("*.jpg")), size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        image = Image.open(self.paths[index]).convert("RGB")
        scale = self.size / min(image.size)
        if scale != 1:
            image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
        left, top = (image.width - self.size) // 2, (image.height - self.size) // 2
        image = image.crop((left, top, left + self.size, top + self.size))
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def loader_seconds(folder: Path, size: int) -> float:
    """Time one pass of a DataLoader with a worker per core."""
    started = time.monotonic()
    data = Plain(folder, size)
    count = sum(len(batch) for batch in torch.utils.data.DataLoader(data, BATCH, num_workers=os.cpu_count() or 1))
    assert count == len(data)
    return time.monotonic() - started


def opening(folder: Path, size: int, cache: Path) -> tuple[int, float]:
    """Return images and seconds of one opening in a separate process."""
    environment = os.environ | {"VAEKIT_CACHE": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", _OPEN, str(folder), str(size)],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    count, seconds = done.stdout.split()
    return int(count), float(seconds)


def first_opening_seconds(folder: Path, size: int, place: Path) -> float:
    """Time an opening with an empty cache."""
    cache = place / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    return opening(folder, size, cache)[1]


def race(name: str, folder: Path, size: int, place: Path, rounds: int) -> dict[str, Any]:
    """Return images per second of both, and their ratio in each round."""
    count = len(list(folder.rglob("*.jpg")))
    loader_seconds(folder, size)  # fills the page cache
    seconds = take_turns(
        {
            "vaekit": lambda _: first_opening_seconds(folder, size, place),
            "loader": lambda _: loader_seconds(folder, size),
        },
        rounds,
    )
    ratios = [loader / ours for loader, ours in zip(seconds["loader"], seconds["vaekit"], strict=True)]
    print(f"{name}: {statistics.median(ratios):.2f} times the DataLoader, rounds {[round(r, 2) for r in ratios]}")
    return {
        "images": count,
        "size": size,
        "rounds": rounds,
        **{f"{who}_images_per_second": [round(count / s, 1) for s in each] for who, each in seconds.items()},
        "times_as_fast": round(statistics.median(ratios), 3),
        "times_as_fast_of_rounds": [round(ratio, 3) for ratio in ratios],
    }


def write_photos(folder: Path, count: int) -> None:
    from vaekit.data.portraits import portraits

    folder.mkdir(parents=True)
    grain = np.random.default_rng(0)
    for index in range(count):
        face = Image.fromarray(portraits.draw(1, (256, 256), seed=0, start=index)[0])
        large = np.asarray(face.resize((1365, 1024), Image.Resampling.BICUBIC), np.float32)
        noisy = large + grain.normal(0, 6, large.shape).astype(np.float32)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{index:05d}.jpg", quality=90)


def _write_some(folder: Path, start: int, count: int, size: int) -> None:
    pixels = np.random.default_rng(start).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    for index, values in enumerate(pixels, start):
        place = folder / f"{index // 1000:03d}"
        place.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(values).resize((size, size), Image.Resampling.BICUBIC)
        image.save(place / f"{index:06d}.jpg", quality=85)


def write_small(folder: Path, count: int, size: int) -> None:
    """Write files in a subfolder per thousand, with old time stamps."""
    with ProcessPoolExecutor() as pool:
        for done in [pool.submit(_write_some, folder, at, 1000, size) for at in range(0, count, 1000)]:
            done.result()


def photos(place: Path, options: argparse.Namespace) -> dict[str, Any]:
    write_photos(place / "photos", options.photos)
    return race("photos", place / "photos", 128, place, options.rounds)


def small(place: Path, options: argparse.Namespace) -> dict[str, Any]:
    write_small(place / "small", options.small, 32)
    return race("small", place / "small", 32, place, options.rounds)


def reopen(place: Path, options: argparse.Namespace) -> dict[str, Any]:
    folder = _many(place, options)
    first, *again = [opening(folder, 32, place / "cache-of-many")[1] for _ in range(1 + options.rounds)]
    print(f"reopen: {statistics.median(again):.2f} s for {options.many:,} images, the first time {first:.1f} s")
    return {
        "images": options.many,
        "first_seconds": round(first, 2),
        "seconds_of_rounds": [round(seconds, 3) for seconds in again],
        "seconds": round(statistics.median(again), 3),
    }


def epochs(place: Path, options: argparse.Namespace) -> dict[str, Any]:
    folder, cache = _many(place, options), place / "cache-of-many"
    opening(folder, 32, cache)
    os.environ["VAEKIT_CACHE"] = str(cache)
    from vaekit.data import open_images

    images = open_images(folder, size=32)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0)).split(BATCH)
    in_memory = images.pixels.clone()

    def one_pass(pixels: torch.Tensor) -> float:
        started = time.monotonic()
        for index in order:
            torch.index_select(pixels, 0, index)
        return time.monotonic() - started

    one_pass(images.pixels)  # the first epoch
    seconds = take_turns({"cache": lambda _: one_pass(images.pixels), "memory": lambda _: one_pass(in_memory)}, 5)
    middle = {name: statistics.median(each) for name, each in seconds.items()}
    print(f"epochs: {middle['cache'] / middle['memory']:.2f} of the time of memory")
    return {
        "images": len(images),
        "times_memory": round(middle["cache"] / middle["memory"], 3),
        **{f"{name}_seconds": [round(s, 4) for s in each] for name, each in seconds.items()},
    }


def memory(place: Path, options: argparse.Namespace) -> dict[str, Any]:
    folder = place / "most"
    write_small(folder, options.most, 64)
    result: dict[str, Any] = {"images": options.most, "limit_rss_anon_bytes": LIMIT_BYTES}
    for turn in ("first", "again"):
        environment = os.environ | {"VAEKIT_CACHE": str(place / "cache-of-most")}
        process = subprocess.Popen(
            [sys.executable, "-c", _OPEN, str(folder), "64"], env=environment, stdout=subprocess.DEVNULL
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, memory_of(process.pid)[0])
            time.sleep(0.1)
        if process.returncode:
            raise SystemExit(f"opening ended with exit code {process.returncode}")
        result[f"{turn}_peak_rss_anon_bytes"] = peak
        print(f"memory: {turn} opening of {options.most:,} images: {peak / 1e6:.0f} MB of its own at most")
    return result | {"holds": max(v for k, v in result.items() if "peak" in k) < LIMIT_BYTES}


def _many(place: Path, options: argparse.Namespace) -> Path:
    folder = place / "many"
    if not folder.exists():
        write_small(folder, options.many, 32)
        time.sleep(2.1)  # files changed within the last two seconds are not cached
    return folder


CASES: dict[str, Callable[[Path, argparse.Namespace], dict[str, Any]]] = {
    "photos": photos,
    "small": small,
    "reopen": reopen,
    "epochs": epochs,
    "memory": memory,
}


def headlines(result: dict[str, Any]) -> Iterator[Headline]:
    """Compare the first opening with a DataLoader, and time the second opening."""
    for name, what in (("photos", "JPEG files of 1024 px, resized to"), ("small", "images of")):
        found = result[name]
        yield Headline(
            f"First opening of {what} {found['size']} px: images per second relative to a plain DataLoader",
            f"{found['times_as_fast']:.1f}",
            "DataLoader with as many workers: 1",
        )
    reopen, memory = result["reopen"], result["memory"]
    yield Headline(f"Second opening of {reopen['images']:,} images, from the cache: time", f"{reopen['seconds']:.1f} s")
    peak = max(value for name, value in memory.items() if name.endswith("peak_rss_anon_bytes"))
    yield Headline(f"Opening {memory['images']:,} images: peak private memory", f"{peak / 1e9:.2f} GB")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--photos", type=int, default=600)
    parser.add_argument("--small", type=int, default=30_000)
    parser.add_argument("--many", type=int, default=100_000)
    parser.add_argument("--most", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "build" / "bench", help="on a disk with a few GB of free space"
    )
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    stored = RESULTS / "ingest.json"
    result = json.loads(stored.read_text(encoding="utf-8")) if stored.exists() else {}
    result.pop("machine", None)
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        for name in options.only:
            result[name] = CASES[name](Path(place), options)
    print(write_result("ingest", result, headlines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
