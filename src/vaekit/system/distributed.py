"""Several processes that train as one: whose share of a batch is whose, and sums over all of them.

    gradient of a batch = Σ over processes of the gradient of a share

Every process holds the whole model, sees the same sums and so takes the same step. Under ``torchrun`` the environment
says who is who; alone, every sum is what it was and nothing is sent.
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

_PATIENCE = timedelta(minutes=30)  # for a process that is at work; others are noticed by their pulse or connections
_SECONDS_BEFORE_A_NOTE = 10.0


@dataclass(frozen=True)
class Team:
    """Who this process is (``rank``, 0 leads and alone writes) among how many (``size``)."""

    rank: int = 0
    size: int = 1
    pulse: Pulse | None = None

    def __deepcopy__(self, memo: object) -> Team:
        """Itself: a model whose prior sums over the team is copied, its team is not."""
        return self

    @property
    def leads(self) -> bool:
        """Whether this is the main process, which writes files and messages."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """Where tensors must lie to be sent."""
        is_nccl = self.size > 1 and torch.distributed.get_backend() == "nccl"
        return torch.device("cuda" if is_nccl else "cpu")

    def share(self, batch: Tensor, dim: int = 0) -> Tensor:
        """This process's part of what belongs to a whole batch: contiguous, in the order of the ranks.

        >>> Team(1, 2).share(torch.arange(5))
        tensor([3, 4])
        """
        return batch.tensor_split(self.size, dim)[self.rank]

    def sum_(self, *tensors: Tensor) -> None:
        """Replaces tensors of one dtype by their sums over all processes, in one message."""
        if self.size > 1:
            joined = torch.cat([tensor.reshape(-1) for tensor in tensors]).to(self.device)
            with lost_processes_named():
                self._wait_for(torch.distributed.all_reduce(joined, async_op=True))
            for tensor, total in zip(tensors, joined.split([tensor.numel() for tensor in tensors]), strict=True):
                tensor.copy_(total.view_as(tensor))

    def wait(self) -> None:
        """Until every process is here."""
        if self.size > 1:
            self.wait_for([torch.distributed.barrier(async_op=True)])

    def wait_for(self, sent: Iterable[Work]) -> None:
        """Waits until messages that were started have been passed; :class:`UserError` if another process is lost."""
        with lost_processes_named():
            for work in sent:
                self._wait_for(work)

    def _wait_for(self, work: Work) -> None:
        """Waits for one message; :class:`UserError` if a process is silent all the while."""
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
                    "host cannot be reached); the last state is kept, repeat the command with any number of processes"
                )

    def texts(self, text: str) -> list[str]:
        """The text of every process, in the order of the ranks."""
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
        """Compares JSON values of all processes; raises :class:`UserError` in each of them if any differs."""
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
        """Replaces tensors by those of the leader."""
        for tensor in tensors if self.size > 1 else ():
            sent = tensor.detach().to(self.device).contiguous()
            with lost_processes_named():
                self._wait_for(torch.distributed.broadcast(sent, 0, async_op=True))
            tensor.detach().copy_(sent)

    def text_of_leader(self, text: str) -> str:
        """The leader's ``text``, in every process."""
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
    """The team that ``torchrun`` started this process in, or :data:`ALONE`.

    Raises :class:`UserError` if the others cannot be reached.
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
        if backend == "gloo":  # the other one may wait for ever for a process that died
            atexit.register(torch.distributed.destroy_process_group)
            _PULSES.append(Pulse(rank, size))
    return Team(torch.distributed.get_rank(), size, _PULSES[0] if _PULSES else None)


_HOW_TO_START = (
    "start all of them with torchrun --nproc-per-node K -m vaekit train …, or unset WORLD_SIZE for one alone"
)
_PULSES: list[Pulse] = []  # of this process: one, once it has joined


def _number(name: str, least: int, default: str) -> int:
    """A number in the environment, as torchrun sets it; an empty ``default`` refuses a missing one."""
    text = os.environ.get(name, default)
    if text.isascii() and text.isdigit() and int(text) >= least:
        return int(text)
    raise UserError(f"{name} is {text!r}; expected a whole number of at least {least}: {_HOW_TO_START}")


def _meet(backend: str, rank: int, size: int) -> None:
    """Joins the process group in a thread, so that a signal ends the wait for processes that never come."""
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
    """Ends this process without a farewell: the backend would wait half an hour for the one that is silent."""

    def leave() -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(2)

    atexit.register(leave)  # the last to be registered is the first to run


@contextmanager
def lost_processes_named() -> Iterator[None]:
    """Turns what the backends raise when a connection ends into a :class:`UserError`."""
    try:
        yield
    except RuntimeError as error:
        if lacks_memory(error):
            raise
        reason = str(error).splitlines()[0]
        raise UserError(
            f"another process of this training has ended or cannot be reached ({reason}); the last state is kept, "
            "repeat the command with any number of processes"
        ) from error
