"""How long does a process of ``vaekit --help`` take? The median of ten.

python bench/help_time.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from headline import Headline
from machine import write_result

LIMIT_SECONDS = 0.4


def measure() -> float:
    """Return the seconds of one ``vaekit --help``."""
    before = time.perf_counter()
    subprocess.run([sys.executable, "-m", "vaekit", "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - before


def headlines(result: dict[str, Any]) -> Iterator[Headline]:
    """Return the median."""
    what = f"`vaekit --help`, median of {len(result['seconds'])}"
    yield Headline(what, f"{result['median_seconds']:.2f} s", f"limit: {result['limit_seconds']} s")


def main() -> int:
    measure()  # compiles the modules
    seconds = [round(measure(), 3) for _ in range(10)]
    median = statistics.median(seconds)
    print(f"median {median:.3f} s of {seconds}")
    result = {"median_seconds": median, "seconds": seconds, "limit_seconds": LIMIT_SECONDS}
    print(write_result("help_time", result, headlines))
    return 0 if median < LIMIT_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
