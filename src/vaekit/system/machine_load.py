"""Measure how busy the machine is, and choose the number of threads for training.

The load of other processes is what all cores of this process did (``/proc/stat``) minus what this process did:

    taken = sum over cores of busy seconds / elapsed seconds - own CPU seconds / elapsed seconds

The threads of a small network synchronize every few microseconds. If another process occupies one core, all threads
wait for the one that shares that core, and two threads become slower than one. This module does not import torch,
because torch reads how long idle threads spin when it loads its OpenMP library.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path

from vaekit.errors import argument, counted

__all__ = ["Choice", "Load", "Others", "choose", "is_set_by_user", "recent_load", "spin_less", "usable_cores"]

_STAT = Path("/proc/stat")
_MEASURED_SECONDS = 0.25
_FRESH_SECONDS = 20.0  # a measurement is reused for this long
_USER, _NICE, _SYSTEM, _IRQ, _SOFTIRQ, _STEAL = 0, 1, 2, 5, 6, 7  # columns of a line in /proc/stat (man 5 proc)


def usable_cores() -> set[int]:
    """Return the numbers of the cores that this process may use."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


@dataclass(frozen=True)
class Load:
    """The number of cores this process may use, and how many of them other processes occupy.

    >>> Load(8, 2.7).taken_cores, Load(8, 2.7).free_cores, Load(2, 0.3).is_busy
    (3, 5, False)
    """

    cores: int
    taken: float  #: average number of cores occupied by other processes

    @property
    def taken_cores(self) -> int:
        """``taken``, rounded to an integer."""
        return min(self.cores, int(self.taken + 0.5))

    @property
    def free_cores(self) -> int:
        """Number of cores that other processes leave free, at least 1."""
        return max(1, self.cores - self.taken_cores)

    @property
    def is_busy(self) -> bool:
        """Whether other processes occupy half a core or more."""
        return self.taken_cores > 0


class Others:
    """Measures the load of other processes between calls."""

    def __init__(self) -> None:
        self._last = _snapshot()

    def load(self) -> Load | None:
        """Return the load since the last call or since construction, or None where it is not reported."""
        before, self._last = self._last, _snapshot()
        if before is None or self._last is None or before.busy.keys() != self._last.busy.keys():
            return None
        elapsed = self._last.time - before.time
        if elapsed <= 0:
            return None
        shares = [min(1.0, (self._last.busy[core] - before.busy[core]) / elapsed) for core in before.busy]
        own = (self._last.own - before.own) / elapsed
        return Load(len(shares), max(0.0, sum(shares) - own))


@dataclass(frozen=True)
class _Snapshot:
    time: float  # seconds
    own: float  # CPU seconds of this process
    busy: dict[int, float]  # CPU seconds of each usable core


def _snapshot() -> _Snapshot | None:
    try:
        text = _STAT.read_text(encoding="ascii")
        columns = [_USER, _SYSTEM, _IRQ, _SOFTIRQ, _STEAL]
        if os.nice(0) > 0:  # otherwise niced processes yield to this one
            columns.append(_NICE)
        busy = _busy_seconds(text, columns, os.sysconf("SC_CLK_TCK"))
        return _Snapshot(time.monotonic(), time.process_time(), {core: busy[core] for core in usable_cores()})
    except (OSError, ValueError, IndexError, KeyError):  # the file is missing or has another format
        return None


def _busy_seconds(text: str, columns: list[int], ticks_per_second: int) -> dict[int, float]:
    """Return the CPU seconds of each core since boot: the sum of the given ``columns`` of ``/proc/stat``."""
    busy = {}
    for line in text.splitlines():
        name, *ticks = line.split() or [""]
        if name.startswith("cpu") and name != "cpu":
            busy[int(name[3:])] = sum(int(ticks[column]) for column in columns) / ticks_per_second
    return busy


_recent: tuple[float, Load | None] | None = None


def recent_load() -> Load | None:
    """Measure the load for a quarter of a second, or return a measurement of the last 20 seconds."""
    global _recent
    if _recent is None or time.monotonic() - _recent[0] > _FRESH_SECONDS:
        others = Others()
        time.sleep(_MEASURED_SECONDS)
        _recent = time.monotonic(), others.load()
    return _recent[1]


def is_set_by_user(environment: MutableMapping[str, str] = os.environ) -> bool:
    """Whether the environment sets the number of torch's threads."""
    return bool(environment.get("OMP_NUM_THREADS") or environment.get("MKL_NUM_THREADS"))


def spin_less(threads: int | None, environment: MutableMapping[str, str] = os.environ) -> None:
    """Make waiting threads sleep instead of spin if the machine is busy.

    This has an effect only before torch is imported. Settings in the user's environment are kept.

    Args:
        threads: The number of threads that the user asked for, if any.
        environment: Environment to change.
    """
    if "torch" in sys.modules:
        return
    is_policy_set = "OMP_WAIT_POLICY" in environment or "GOMP_SPINCOUNT" in environment
    is_single = threads == 1 or (threads is None and is_set_by_user(environment)) or "WORLD_SIZE" in environment
    if is_policy_set or is_single:
        return
    load = recent_load()
    if load is not None and load.is_busy:
        environment["OMP_WAIT_POLICY"] = "passive"


@dataclass(frozen=True)
class Choice:
    """The number of threads for training, and whether each is pinned to a core."""

    threads: int
    is_pinned: bool = True
    note: str = ""  #: for the user


def choose(named: int | None, stored: int | None, limit: int, load: Load | None, is_limit_set: bool = False) -> Choice:
    """Choose the number of threads: what the user asked for, else what the run used before, else the free cores.

    Args:
        named: Number that the user asked for, if any.
        stored: Number that the run has used so far, if any.
        limit: Most threads to use by default, which is torch's own choice.
        load: Load of the machine, or None if unknown.
        is_limit_set: Whether the user set ``limit``, so that it is used even on a busy machine.

    >>> choose(None, None, 2, Load(2, 0.0))
    Choice(threads=2, is_pinned=True, note='')
    >>> choose(None, None, 2, Load(2, 1.0)).threads
    1
    """
    free = limit if load is None or is_limit_set else min(limit, load.free_cores)
    if named is not None:
        threads = named
    elif stored is not None:
        threads = min(stored, len(usable_cores()) if load is None else load.cores)
    else:
        threads = free
    is_busy = load is not None and load.is_busy
    is_pinned = not is_busy
    notes = []
    if is_busy and load is not None and max(threads, limit) > 1:
        notes.append(_busy_note(load, threads, limit, is_open=named is None and stored is None))
    if stored is not None and threads != stored:
        notes.append(
            f"The run was trained with {counted(stored, 'thread')} so far and resumes with {threads}. Sums are rounded "
            "differently, so the final weights will not be exactly the same."
        )
    elif stored is not None and named is None and threads != free:
        notes.append(
            f"The run resumes with {counted(threads, 'thread')} as before, so that it ends with the same weights. "
            f"{argument('threads', free)} may be faster, but rounds differently."
        )
    return Choice(threads, is_pinned, " ".join(notes))


def _busy_note(load: Load, threads: int, limit: int, is_open: bool) -> str:
    choice = f"training with {counted(threads, 'thread')}, without pinning."
    hint = f" Override with {argument('threads', limit)}." if is_open and threads < limit else ""
    return (
        f"The machine is busy ({load.taken_cores} of {counted(load.cores, 'core')} used by other processes): "
        f"{choice}{hint}"
    )
