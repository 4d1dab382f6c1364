"""Processor features, and pinning of compute threads to cores.

A small network enters a parallel loop every few microseconds. The scheduler sometimes places two threads of such a loop
on one core. Each then waits for the other, and for seconds at a time a step takes twice as long.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch

from vaekit.system.machine_load import usable_cores

__all__ = ["has_avx512_that_mkl_leaves", "has_bf16_products", "one_thread_per_core", "torch_threads"]

_MAPS = Path("/proc/self/maps")


def has_bf16_products() -> bool:
    """Whether this processor multiplies bfloat16 faster than float32."""
    can = _capabilities()
    return bool(can.get("avx512_bf16") or can.get("amx_bf16"))


def has_avx512_that_mkl_leaves() -> bool:
    """Whether this processor has AVX-512 that MKL does not use, because it checks for Intel's vendor name."""
    can = _capabilities()
    return bool(can.get("avx512_f")) and "AMD" in str(can.get("cpu_name"))


@cache
def _capabilities() -> Mapping[str, Any]:
    """Return PyTorch's CPU capabilities; empty in versions of PyTorch that do not report them."""
    ask: Callable[[], Mapping[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)
    return ask()


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Run the body with ``count`` torch threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def one_thread_per_core() -> Iterator[None]:
    """Pin every torch thread to its own core during the body, if there are as many threads as cores.

    Nothing changes with fewer threads, because other processes may need those cores, or where affinity is unavailable.
    """
    cores = sorted(usable_cores()) if hasattr(os, "sched_setaffinity") else []
    library = _openmp() if len(cores) > 1 and torch.get_num_threads() == len(cores) else None
    if library is None:
        yield
        return
    before = {thread: os.sched_getaffinity(thread) for thread in _threads()}
    for thread, core in zip(_pool(library, len(cores)), cores, strict=False):
        os.sched_setaffinity(thread, {core})
    try:
        yield
    finally:
        for thread in _threads():  # new threads inherited the core of their parent
            with suppress(OSError):  # the thread has ended
                os.sched_setaffinity(thread, before.get(thread, cores))


def _threads() -> list[int]:
    return [int(thread) for thread in os.listdir("/proc/self/task")]


def _pool(library: ctypes.CDLL, count: int) -> list[int]:
    """Return the native ids of torch's pool, which each thread reports from within a parallel region."""
    threads: list[int] = []
    note = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: threads.append(threading.get_native_id()))
    library.GOMP_parallel(note, None, count, 0)
    return threads


def _openmp() -> ctypes.CDLL | None:
    """Load the OpenMP library that torch uses; other packages may have loaded their own."""
    if not _MAPS.exists():
        return None
    paths = {line.split(maxsplit=5)[-1] for line in _MAPS.read_text().splitlines() if "/" in line}
    ours = [path for path in paths if "omp" in Path(path).name and "torch" in path]
    if len(ours) != 1:
        return None
    library = ctypes.CDLL(ours[0])
    return library if hasattr(library, "GOMP_parallel") else None
