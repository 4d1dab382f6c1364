"""What happens if opening a folder is killed, done twice at once, or meets damaged files?

python bench/ingest_faults.py [--kills 20] [--mutations 10000]

kills      a first opening is killed (SIGKILL) at random moments and repeated until it succeeds: are the files of the
           cache byte-identical to those of an uninterrupted opening?
together   the same for two openings at once
mutations  files of every kind in tests/support/torture.py with bytes changed, removed, doubled and cut off, opened by
           worker processes: each must be decoded or reported; also the peak memory and the longest wait
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from headline import Headline
from ingest import write_small
from large_set import memory_of
from machine import write_result

from vaekit.data.sources.layout import is_image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

_OPEN = """
import json, sys
from vaekit.data import building, open_images
if len(sys.argv) > 3:
    building._FLUSH_SECONDS = float(sys.argv[3])
images = open_images(sys.argv[1], size=(24, int(sys.argv[2])), channels=3)
print(json.dumps([len(images), images.fingerprint, [why for _, why in images.skipped]]))
"""


def start(folder: Path, cache: Path, *words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _OPEN, str(folder), *map(str, words)]
    return subprocess.Popen(command, env=os.environ | {"VAEKIT_CACHE": str(cache)}, stdout=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    said = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"opening ended with exit code {process.returncode}")
    return said


def files_of(cache: Path) -> dict[str, bytes]:
    return {str(path.relative_to(cache)): path.read_bytes() for path in sorted(cache.rglob("*")) if path.is_file()}


def kills(place: Path, folder: Path, count: int, seed: int) -> dict[str, Any]:
    """Kill each trial one or more times, within the time that an opening takes."""
    started = time.monotonic()
    finish(start(folder, place / "clean", 32, 0.1))
    seconds, wanted = time.monotonic() - started, files_of(place / "clean")
    draw, differ, done, resumed = random.Random(seed), 0, 0, 0
    while done < count:
        cache = place / "killed"
        shutil.rmtree(cache, ignore_errors=True)
        for _ in range(draw.choice((1, 1, 2, 3))):
            process = start(folder, cache, 32, 0.1)
            time.sleep(draw.uniform(0.2, 1.0) * seconds)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            done += process.returncode == -signal.SIGKILL
        resumed += any(cache.rglob("journal"))
        finish(start(folder, cache, 32, 0.1))
        differ += files_of(cache) != wanted
        print(f"{done} kills, {differ} caches differ", file=sys.stderr)
    return {"kills": done, "found_half_done": resumed, "caches_that_differ": differ}


def together(place: Path, folder: Path) -> dict[str, Any]:
    wanted, differ, rounds = files_of(place / "clean"), 0, 3
    for _ in range(rounds):
        cache = place / "together"
        shutil.rmtree(cache, ignore_errors=True)
        both = [start(folder, cache, 32, 0.1) for _ in range(2)]
        said = {finish(process) for process in both}
        differ += files_of(cache) != wanted or len(said) != 1
    return {"rounds": rounds, "caches_that_differ": differ}


def mutations(place: Path, count: int, seed: int) -> dict[str, Any]:
    import torture
    from test_torture import mutated

    draw = random.Random(seed)
    kinds = [(name, data) for name, (data, shown) in torture.bytes_of_kinds().items() if isinstance(shown, np.ndarray)]
    folder = place / "mutations"
    folder.mkdir()
    for index in range(count):
        name, data = draw.choice(kinds)
        ending = Path(name).suffix if is_image(name) else ".png"
        (folder / f"{index:06d}{ending}").write_bytes(mutated(data, draw))
    good = torture.PLAIN
    for index in range(count):
        (folder / f"good-{index:06d}.png").write_bytes(good)  # more than half must be readable
    process, peaks, started = start(folder, place / "cache", 32), [0], time.monotonic()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            peaks.append(memory_of(process.pid)[0])

    watching = threading.Thread(target=watch)
    watching.start()
    images, _, reasons = json.loads(finish(process))
    ended.set()
    watching.join()
    return {
        "files": count,
        "read": images - count,
        "named_with_a_reason": len(reasons),
        "lost": 2 * count - images - len(reasons),
        "decoders_that_crashed": sum("crashed" in why for why in reasons),
        "seconds": round(time.monotonic() - started, 1),
        "peak_rss_anon_bytes": max(peaks),
        "most_common_reasons": dict(Counter(reasons).most_common(8)),
    }


def headlines(result: dict[str, Any]) -> Iterator[Headline]:
    """Return the results of kills and damaged files."""
    kills, mutations = result["kills"], result["mutations"]
    yield Headline(
        "Openings of a dataset killed at random moments and repeated",
        f"{kills['kills']} kills; {kills['caches_that_differ']} of the caches differ afterwards",
    )
    yield Headline(
        f"{mutations['files']:,} damaged image files",
        f"{mutations['files'] - mutations['lost']:,} were decoded or reported",
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--mutations", type=int, default=10_000)
    parser.add_argument("--images", type=int, default=20_000, help="images in the folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "bench")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        place = Path(name)
        write_small(place / "images", options.images, 32)
        time.sleep(2.1)  # files changed within the last two seconds are not cached
        result = {
            "kills": kills(place, place / "images", options.kills, options.seed),
            "together": together(place, place / "images"),
            "mutations": mutations(place, options.mutations, options.seed),
        }
    print(json.dumps(result, indent=2))
    print(write_result("ingest_faults", result, headlines))
    bad = result["kills"]["caches_that_differ"] + result["together"]["caches_that_differ"] + result["mutations"]["lost"]
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
