"""What the cores of this machine can do, and where the threads of a computation run: each on a core of its own.

A small network has a parallel loop every few microseconds. Left to itself the system may wake both threads of such a
loop on one core, where each waits for the other and a step takes twice as long, for seconds at a time.
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
    """Whether this processor multiplies bfloat16 numbers faster than float32 ones."""
    can = _capabilities()
    return bool(can.get("avx512_bf16") or can.get("amx_bf16"))


def has_avx512_that_mkl_leaves() -> bool:
    """Whether this processor has AVX-512 and MKL, which looks for Intel's name, does not take it."""
    can = _capabilities()
    return bool(can.get("avx512_f")) and "AMD" in str(can.get("cpu_name"))


@cache
def _capabilities() -> Mapping[str, Any]:
    """What PyTorch knows of the processor; an older one does not say."""
    ask: Callable[[], Mapping[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)
    return ask()


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Lets torch compute with ``count`` threads while the body runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def one_thread_per_core() -> Iterator[None]:
    """Keeps every thread of torch on its own core while the body runs, if there are as many threads as cores.

    With fewer threads, or on a system that cannot be asked, nothing is changed: another process may want those cores.
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
        for thread in _threads():  # those too that were born meanwhile, on the core of their parent
            with suppress(OSError):  # one that has ended
                os.sched_setaffinity(thread, before.get(thread, cores))


def _threads() -> list[int]:
    return [int(thread) for thread in os.listdir("/proc/self/task")]


def _pool(library: ctypes.CDLL, count: int) -> list[int]:
    """The threads of torch's pool, as the system numbers them: each says so from within a parallel region."""
    threads: list[int] = []
    note = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: threads.append(threading.get_native_id()))
    library.GOMP_parallel(note, None, count, 0)
    return threads


def _openmp() -> ctypes.CDLL | None:
    """The library that runs torch's loops; others in the process may have brought their own."""
    if not _MAPS.exists():
        return None
    paths = {line.split(maxsplit=5)[-1] for line in _MAPS.read_text().splitlines() if "/" in line}
    ours = [path for path in paths if "omp" in Path(path).name and "torch" in path]
    if len(ours) != 1:
        return None
    library = ctypes.CDLL(ours[0])
    return library if hasattr(library, "GOMP_parallel") else None
