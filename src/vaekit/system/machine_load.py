"""How busy the machine is, and how many threads a training should use.

Others' share is what the cores of this process did in a while (``/proc/stat``), less what this process did itself:

    taken = sum over cores of busy seconds / elapsed seconds - own CPU seconds / elapsed seconds

Threads of a small network meet every few microseconds. If another process holds one core, all threads wait for the one
that shares it, so that two threads are slower than one. This module needs no torch: how long idle threads spin is read
when torch loads its OpenMP library, and must be decided before.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path

from vaekit.errors import counted

__all__ = ["Choice", "Load", "Others", "choose", "is_set_by_user", "recent_load", "spin_less", "usable_cores"]

_STAT = Path("/proc/stat")
_MEASURED_SECONDS = 0.25
_FRESH_SECONDS = 20.0  # as long as a measurement is used again
_USER, _NICE, _SYSTEM, _IRQ, _SOFTIRQ, _STEAL = 0, 1, 2, 5, 6, 7  # columns of a line of /proc/stat (man 5 proc)


def usable_cores() -> set[int]:
    """The numbers of the cores that this process may use."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


@dataclass(frozen=True)
class Load:
    """How many cores this process may use, and how many of them other processes use.

    >>> Load(8, 2.7).taken_cores, Load(8, 2.7).free_cores, Load(2, 0.3).is_busy
    (3, 5, False)
    """

    cores: int
    taken: float  #: cores, on average

    @property
    def taken_cores(self) -> int:
        """``taken``, rounded."""
        return min(self.cores, int(self.taken + 0.5))

    @property
    def free_cores(self) -> int:
        """What others leave, at least one."""
        return max(1, self.cores - self.taken_cores)

    @property
    def is_busy(self) -> bool:
        """Whether others use half a core or more."""
        return self.taken_cores > 0


class Others:
    """Measures what other processes compute, from one call to the next."""

    def __init__(self) -> None:
        self._last = _snapshot()

    def load(self) -> Load | None:
        """The load since the last call, or since this object was made; None where the system does not say."""
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
        if os.nice(0) > 0:  # else niced processes make room for this one
            columns.append(_NICE)
        busy = _busy_seconds(text, columns, os.sysconf("SC_CLK_TCK"))
        return _Snapshot(time.monotonic(), time.process_time(), {core: busy[core] for core in usable_cores()})
    except (OSError, ValueError, IndexError, KeyError):  # no such file, or one of another form
        return None


def _busy_seconds(text: str, columns: list[int], ticks_per_second: int) -> dict[int, float]:
    """CPU seconds of each core since the machine started: the sum of some ``columns`` of ``/proc/stat``."""
    busy = {}
    for line in text.splitlines():
        name, *ticks = line.split() or [""]
        if name.startswith("cpu") and name != "cpu":
            busy[int(name[3:])] = sum(int(ticks[column]) for column in columns) / ticks_per_second
    return busy


_recent: tuple[float, Load | None] | None = None


def recent_load() -> Load | None:
    """The load over a quarter of a second; one that was measured within the last 20 seconds is used again."""
    global _recent
    if _recent is None or time.monotonic() - _recent[0] > _FRESH_SECONDS:
        others = Others()
        time.sleep(_MEASURED_SECONDS)
        _recent = time.monotonic(), others.load()
    return _recent[1]


def is_set_by_user(environment: MutableMapping[str, str] = os.environ) -> bool:
    """Whether the environment says how many threads torch uses."""
    return bool(environment.get("OMP_NUM_THREADS") or environment.get("MKL_NUM_THREADS"))


def spin_less(threads: int | None, environment: MutableMapping[str, str] = os.environ) -> None:
    """On a busy machine, makes waiting threads sleep instead of spin; it is too late once torch is imported.

    ``threads`` is the number that the user asked for, if any. What the user's environment says stays.
    """
    if "torch" in sys.modules:
        return
    is_told = "OMP_WAIT_POLICY" in environment or "GOMP_SPINCOUNT" in environment
    is_alone = threads == 1 or (threads is None and is_set_by_user(environment)) or "WORLD_SIZE" in environment
    if is_told or is_alone:
        return
    load = recent_load()
    if load is not None and load.is_busy:
        environment["OMP_WAIT_POLICY"] = "passive"


@dataclass(frozen=True)
class Choice:
    """How many threads compute a training, and whether each is kept on a core of its own."""

    threads: int
    is_pinned: bool = True
    words: str = ""  #: what the user should know of it


def choose(named: int | None, stored: int | None, limit: int, load: Load | None, is_limit_set: bool = False) -> Choice:
    """The number that the user ``named``, else the one ``stored`` with the run, else as many as others leave free.

    Args:
        limit: the most to take by itself, which is what torch would use.
        load: None: unknown, and nothing is held back.
        is_limit_set: whether the user set ``limit``, so that it is taken as it is.

    >>> choose(None, None, 2, Load(2, 0.0))
    Choice(threads=2, is_pinned=True, words='')
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
    words = []
    if is_busy and load is not None and max(threads, limit) > 1:
        words.append(_busy_words(load, threads, limit, is_open=named is None and stored is None))
    if stored is not None and threads != stored:
        words.append(
            f"The run was trained with {counted(stored, 'thread')} before and goes on with {threads}: sums are rounded "
            "differently, so it will not end with exactly the same weights."
        )
    elif stored is not None and named is None and threads != free:
        words.append(
            f"The run goes on with {counted(threads, 'thread')} as before, so that it ends with the same weights. "
            f"`--threads {free}` may be faster, and rounds differently."
        )
    return Choice(threads, is_pinned, " ".join(words))


def _busy_words(load: Load, threads: int, limit: int, is_open: bool) -> str:
    way = f"training with {counted(threads, 'thread')} and without pinning."
    hint = f" `--threads {limit}` overrides." if is_open and threads < limit else ""
    return f"The machine is busy ({load.taken_cores} of {load.cores} cores taken by other processes): {way}{hint}"
