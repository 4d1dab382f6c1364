"""Sums between processes of one host, through memory that all of them see.

    process r writes its numbers to row r · all wait · process r sums slice r of all rows · all wait

Each number is moved once and added once, where messages through the network stack move it several times.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["Exchange"]

_FOLDER = Path("/dev/shm")


class Exchange:
    """Rows of memory, one per process and one for the sum, for ``count`` numbers of one type."""

    def __init__(self, memory: mmap.mmap, count: int, dtype: torch.dtype, rank: int, size: int) -> None:
        rows = torch.frombuffer(memory, dtype=dtype).view(size + 1, count)
        self._rows, self._sum = rows[:-1], rows[-1]
        self._mine = rows[rank]
        self._parts, self._part_of_sum = self._rows.tensor_split(size, 1)[rank], self._sum.tensor_split(size)[rank]

    @classmethod
    def between(
        cls, count: int, dtype: torch.dtype, rank: int, size: int, all_can: Callable[[bool], bool], name: str
    ) -> Exchange | None:
        """Memory shared under ``name`` by all processes of a team, None if one of them cannot have it.

        ``name`` must be one that nobody else knows, and ``all_can`` says whether every process answers yes. The name is
        gone when this returns: nothing is left behind by a process that is killed.
        """
        path, length = _FOLDER / name, (size + 1) * count * dtype.itemsize
        memory = None
        try:
            if rank == 0:
                memory = _opened(path, length, os.O_CREAT | os.O_EXCL)
            if all_can(rank > 0 or memory is not None) and rank > 0:  # a process of another host finds no such file
                memory = _opened(path, length)
            agreed = all_can(memory is not None)
        finally:
            if rank == 0:
                path.unlink(missing_ok=True)
        return cls(memory, count, dtype, rank, size) if agreed and memory is not None else None

    def sums(self, flats: list[Tensor], wait: Callable[[], None]) -> list[Tensor]:
        """The sums over all processes of flat tensors, in shared memory: to be read only, and before the next call."""
        lengths = [len(flat) for flat in flats]
        for place, flat in zip(self._mine[: sum(lengths)].split(lengths), flats, strict=True):
            place.copy_(flat)
        wait()  # the last sum may be overwritten from here on: whoever is here has used it
        torch.sum(self._parts, 0, out=self._part_of_sum)
        wait()
        return list(self._sum[: sum(lengths)].split(lengths))


def _opened(path: Path, length: int, how: int = 0) -> mmap.mmap | None:
    """A file of memory, made or joined; None where the system has none, or too little."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | how, 0o600)
        try:
            if how:
                os.posix_fallocate(descriptor, 0, length)
            return mmap.mmap(descriptor, length)
        finally:
            os.close(descriptor)
    except (OSError, ValueError, AttributeError):  # Windows has no such calls
        return None
