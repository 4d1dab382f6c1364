"""Several processes that train as one: the share of each in a batch, and sums over all of them.

    gradient of a batch = Σ over processes of the gradient of a share

Every process holds the whole model, sees the same sums, and so takes the same step. ``torchrun`` sets the rank and the
number of processes in the environment. A single process sends nothing.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vaekit.errors import UserError, lacks_memory
from vaekit.system.heartbeat import SILENCE_SECONDS, Pulse
from vaekit.system.notes import note

if TYPE_CHECKING:  # not every build of torch has it
    from torch.distributed import Work

__all__ = ["ALONE", "Team", "join", "lost_processes_named"]

_PATIENCE = timedelta(minutes=30)  # for a process that still sends heartbeats; lost ones are noticed earlier
_SECONDS_BEFORE_A_NOTE = 10.0


@dataclass(frozen=True)
class Team:
    """The ``rank`` of this process among ``size`` processes. Only rank 0 writes files and messages."""

    rank: int = 0
    size: int = 1
    pulse: Pulse | None = None

    def __deepcopy__(self, memo: object) -> Team:
        """Return the team itself: copying a model does not copy its team."""
        return self

    @property
    def leads(self) -> bool:
        """Whether this is the main process, which writes files and messages."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """The device that tensors must be on to be sent."""
        is_nccl = self.size > 1 and torch.distributed.get_backend() == "nccl"
        return torch.device("cuda" if is_nccl else "cpu")

    def share(self, batch: Tensor, dim: int = 0) -> Tensor:
        """Return this process's share of a batch; shares are contiguous, in the order of the ranks.

        >>> Team(1, 2).share(torch.arange(5))
        tensor([3, 4])
        """
        return batch.tensor_split(self.size, dim)[self.rank]

    def sum_(self, *tensors: Tensor) -> None:
        """Replace tensors of one dtype by their sums over all processes, in one message."""
        if self.size > 1:
            joined = torch.cat([tensor.reshape(-1) for tensor in tensors]).to(self.device)
            with lost_processes_named():
                self._wait_for(torch.distributed.all_reduce(joined, async_op=True))
            for tensor, total in zip(tensors, joined.split([tensor.numel() for tensor in tensors]), strict=True):
                tensor.copy_(total.view_as(tensor))

    def wait(self) -> None:
        """Wait until every process has called this method."""
        if self.size > 1:
            self.wait_for([torch.distributed.barrier(async_op=True)])

    def wait_for(self, sent: Iterable[Work]) -> None:
        """Wait for messages that were started; raises :class:`UserError` if another process is lost."""
        with lost_processes_named():
            for work in sent:
                self._wait_for(work)

    def _wait_for(self, work: Work) -> None:
        """Wait for one message; raises :class:`UserError` if a process sends no heartbeat for a minute."""
        if self.pulse is None:
            work.wait()
            return
        waits = 0  # counted, not timed: this process may have been stopped itself
        while True:
            try:
                work.wait(timedelta(seconds=1))
                return
            except RuntimeError:
                if work.is_completed():
                    raise
            waits += 1
            silent = self.pulse.silent()
            if waits >= SILENCE_SECONDS and silent is not None:
                _leave_at_once()
                raise UserError(
                    f"process {silent} of this training has been silent for {SILENCE_SECONDS:.0f} s (stopped, or its "
                    "host cannot be reached); the last state is kept: repeat the command with any number of processes"
                )

    def texts(self, text: str) -> list[str]:
        """Return the text of every process, in the order of the ranks."""
        if self.size == 1:
            return [text]
        data = torch.tensor(list(text.encode()), dtype=torch.uint8)
        lengths = torch.zeros(self.size, dtype=torch.int64, device=self.device)
        lengths[self.rank] = len(data)
        self.sum_(lengths)
        rows = torch.zeros(self.size, int(lengths.max()), dtype=torch.uint8, device=self.device)
        rows[self.rank, : len(data)] = data
        self.sum_(rows)
        return [bytes(row[:length].tolist()).decode() for row, length in zip(rows, lengths.tolist(), strict=True)]

    def agree(self, facts: Mapping[str, Any]) -> None:
        """Compare JSON values of all processes; raises :class:`UserError` in each of them if any differs."""
        mine, *others = map(json.loads, self.texts(json.dumps(facts)))
        for rank, theirs in enumerate(others, 1):
            for name in sorted(mine.keys() | theirs.keys()):
                if mine.get(name) != theirs.get(name):
                    raise UserError(
                        f"process {rank} has {name} {theirs.get(name)}, process 0 has {mine.get(name)}; "
                        "start all processes with the same command and the same images"
                    )

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` is true in any process."""
        votes = torch.tensor([float(flag)], device=self.device)
        self.sum_(votes)
        return bool(votes > 0)

    def lead_(self, *tensors: Tensor) -> None:
        """Replace tensors by those of the main process."""
        for tensor in tensors if self.size > 1 else ():
            sent = tensor.detach().to(self.device).contiguous()
            with lost_processes_named():
                self._wait_for(torch.distributed.broadcast(sent, 0, async_op=True))
            tensor.detach().copy_(sent)

    def text_of_leader(self, text: str) -> str:
        """Return the main process's ``text`` in every process."""
        if self.size == 1:
            return text
        data = torch.tensor(list(text.encode()), dtype=torch.uint8)
        length = torch.tensor([len(data)])
        self.lead_(length)
        data = data if self.leads else torch.empty(int(length), dtype=torch.uint8)
        self.lead_(data)
        return bytes(data.tolist()).decode()


ALONE = Team()


def join() -> Team:
    """Return the team that ``torchrun`` started this process in, or :data:`ALONE`.

    Raises:
        UserError: If the other processes cannot be reached.
    """
    size = _number("WORLD_SIZE", 1, "1")
    if size == 1:
        return ALONE
    rank = _number("RANK", 0, "")
    if rank >= size:
        raise UserError(f"RANK is {rank}, and WORLD_SIZE is {size}; expected a rank below it: {_HOW_TO_START}")
    if not torch.distributed.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(_number("LOCAL_RANK", 0, "0"))
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        try:
            _meet(backend, rank, size)
        except (RuntimeError, ValueError) as error:
            raise UserError(f"process {rank} of {size} cannot reach the others ({error}); {_HOW_TO_START}") from error
        if backend == "gloo":  # the other backend may wait forever for a process that died
            atexit.register(torch.distributed.destroy_process_group)
            _PULSES.append(Pulse(rank, size))
    return Team(torch.distributed.get_rank(), size, _PULSES[0] if _PULSES else None)


_HOW_TO_START = (
    "start all of them with torchrun --nproc-per-node K -m vaekit train …, or unset WORLD_SIZE for one alone"
)
_PULSES: list[Pulse] = []  # teams of this process: one after it has joined


def _number(name: str, least: int, default: str) -> int:
    """Return a number from the environment, as torchrun sets it; with an empty ``default`` it must be set."""
    text = os.environ.get(name, default)
    if text.isascii() and text.isdigit() and int(text) >= least:
        return int(text)
    raise UserError(f"{name} is {text!r}; expected a whole number of at least {least}: {_HOW_TO_START}")


def _meet(backend: str, rank: int, size: int) -> None:
    """Join the process group in a thread, so that a signal can end the wait for processes that never start."""
    raised: list[BaseException] = []

    def meet() -> None:
        try:
            torch.distributed.init_process_group(backend, timeout=_PATIENCE)
        except BaseException as error:  # noqa: B902  (raised again where it is waited for)
            raised.append(error)

    thread = threading.Thread(target=meet, name="vaekit-join", daemon=True)
    thread.start()
    thread.join(_SECONDS_BEFORE_A_NOTE)
    if thread.is_alive():
        note(f"vaekit: process {rank} of {size} is waiting for the others, which torchrun starts")
    while thread.is_alive():
        thread.join(1.0)
    if raised:
        raise raised[0]


def _leave_at_once() -> None:
    """End this process at exit without closing the backend, which would wait half an hour for the silent process."""

    def leave() -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(2)

    atexit.register(leave)  # functions registered last run first


@contextmanager
def lost_processes_named() -> Iterator[None]:
    """Turn the errors that backends raise for a lost connection into a :class:`UserError`."""
    try:
        yield
    except RuntimeError as error:
        if lacks_memory(error):
            raise
        reason = str(error).splitlines()[0]
        raise UserError(
            f"another process of this training has ended or cannot be reached ({reason}); the last state is kept: "
            "repeat the command with any number of processes"
        ) from error
