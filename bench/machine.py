"""Describe the machine of a measurement, and write results: no host names, paths or dates."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

from headline import RESULTS, Maker, with_headlines

__all__ = ["RESULTS", "describe", "write_json", "write_result"]


def describe() -> dict[str, Any]:
    """Return processor, cores, threads and the versions that affect the speed."""
    import torch

    machine: dict[str, Any] = {
        "processor": _processor(),
        "cores": _cores(),
        "threads": torch.get_num_threads(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
    if torch.cuda.is_available():
        machine["accelerator"] = torch.cuda.get_device_name(0)
    for name in ("torch", "numpy", "pillow"):
        machine[name] = importlib.metadata.version(name)
    return machine


def write_result(name: str, result: dict[str, Any], headlines: Maker | None = None) -> Path:
    """Write ``bench/results/NAME.json`` and return its path."""
    return write_json(RESULTS / f"{name}.json", result, headlines)


def write_json(path: Path, result: dict[str, Any], headlines: Maker | None = None) -> Path:
    """Write ``path`` and return it: headlines first, then numbers, then the machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = with_headlines(result, headlines) if headlines else result
    path.write_text(json.dumps({**whole, "machine": describe()}, indent=2) + "\n", encoding="utf-8")
    return path


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _cores() -> int:
    """Return the number of cores this process may use, which may be fewer in a container."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory_gib() -> float | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)


if __name__ == "__main__":
    print(json.dumps(describe(), indent=2))
