"""One copy of the weights and of all that updates them, in memory that the processes of a host share.

    process r writes its gradients to row r · all wait · it sums slice r of all rows · all wait ·
    it updates slice r of the weights, the moments and the average · all wait

So each number is moved once, added once and updated once, where messages through the network stack move it several
times and every process updates all (Rajbhandari et al. 2020, "ZeRO", stage 2, with memory in place of messages).
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["Shards", "opened_together"]

_FOLDER = Path("/dev/shm")
_ALIGNED = 64  #: bytes: every tensor begins at such a place, as kernels like it
_CELLS = 8  #: numbers of each process beside its gradients; the last is for :meth:`Shards.norm`


class Shards:
    """Moves ``groups`` of tensors, all like ``groups[0]``, to shared memory; ``own`` is this process's slice of each.

    Every process of a team makes one of the same tensors with the same values, and calls its methods in step.
    """

    def __init__(
        self, groups: Sequence[Sequence[Tensor]], memory: mmap.mmap, rank: int, size: int, wait: Callable[[], None]
    ) -> None:
        self._memory, self._rank, self._wait = memory, rank, wait
        like = groups[0]
        dtype, length = like[0].dtype, sum(map(_room, like))
        cells = torch.frombuffer(memory, dtype=dtype, count=size * _CELLS)
        self._cells = cells.view(size, _CELLS)
        start = _aligned(cells.nbytes)
        for number, group in enumerate(groups):
            for tensor, place in zip(group, self._places(like, start + number * length), strict=True):
                place.copy_(tensor.detach())
                tensor.data = place
        edges = [length * r // size // _ALIGNED * _ALIGNED for r in range(size)] + [length]
        begin, end = list(pairwise(edges))[rank]

        def slice_at(row: int) -> Tensor:
            count = (end - begin) // dtype.itemsize
            return torch.frombuffer(memory, dtype=dtype, count=count, offset=start + row * length + begin)

        self.own = [slice_at(number) for number in range(len(groups))]
        self._rows = self._places(like, start + (len(groups) + rank) * length)
        self._slices = [slice_at(len(groups) + r) for r in range(size)]
        self._gradient = torch.empty_like(self.own[0])
        wait()

    @staticmethod
    def bytes_needed(groups: Sequence[Sequence[Tensor]], size: int) -> int:
        """How much memory a team of ``size`` shares for them: the tensors, and gradients of each process."""
        return _aligned(size * _CELLS * groups[0][0].itemsize) + (len(groups) + size) * sum(map(_room, groups[0]))

    def sums(self, gradients: Sequence[Tensor], numbers: Tensor) -> tuple[Tensor, Tensor]:
        """The sums over all processes of this one's slice of ``gradients``, and of a few ``numbers``."""
        for place, gradient in zip(self._rows, gradients, strict=True):
            place.copy_(gradient)
        self._cells[self._rank, : len(numbers)] = numbers
        self._wait()
        torch.add(self._slices[0], self._slices[1], out=self._gradient)
        for row in self._slices[2:]:
            self._gradient.add_(row)
        return self._gradient, self._cells[:, : len(numbers)].sum(0)

    def norm(self, gradient: Tensor) -> Tensor:
        """The norm over all processes of what each holds a slice of; the same number in all of them."""
        self._cells[self._rank, -1] = gradient.square().sum()
        self._wait()
        return self._cells[:, -1].sum().sqrt()

    def updated(self) -> None:
        """Waits until every process has updated its slice."""
        self._wait()

    def _places(self, like: Sequence[Tensor], start: int) -> list[Tensor]:
        """Tensors with the shapes and strides of ``like``, one behind the other."""
        places = []
        for tensor in like:
            flat = torch.frombuffer(self._memory, dtype=tensor.dtype, count=tensor.numel(), offset=start)
            places.append(flat.as_strided(tensor.shape, tensor.stride()))
            start += _room(tensor)
        return places


def opened_together(length: int, leads: bool, all_can: Callable[[bool], bool], name: str) -> mmap.mmap | None:
    """Memory shared under ``name`` by all processes of a team, zeros at first; None if one of them cannot have it.

    ``name`` must be one that nobody else knows, and ``all_can`` says whether every process answers yes. The name is
    gone when this returns: nothing is left behind by a process that is killed.
    """
    path = _FOLDER / name
    memory = None
    try:
        if leads:
            memory = _opened(path, length, os.O_CREAT | os.O_EXCL)
        if all_can(not leads or memory is not None) and not leads:  # a process of another host finds no such file
            memory = _opened(path, length)
        agreed = all_can(memory is not None)
    finally:
        if leads:
            path.unlink(missing_ok=True)
    return memory if agreed else None


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


def _room(tensor: Tensor) -> int:
    return _aligned(tensor.numel() * tensor.itemsize)


def _aligned(length: int) -> int:
    return -(-length // _ALIGNED) * _ALIGNED
