"""Several processes that train as one: whose share of a batch is whose, and sums over all of them.

    gradient of a batch = Σ over processes of the gradient of a share

Every process holds the whole model, sees the same sums and so takes the same step. Under ``torchrun`` the environment
says who is who; alone, every sum is what it was and nothing is sent.
"""

from __future__ import annotations

import atexit
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor

from vaekit.errors import UserError
from vaekit.shards import Shards, opened_together

__all__ = ["ALONE", "Team", "join"]

_PATIENCE = timedelta(minutes=30)  # for a process that validates; one that died is noticed at once, by its connections


@dataclass(frozen=True)
class Team:
    """Who this process is (``rank``, 0 leads and alone writes) among how many (``size``)."""

    rank: int = 0
    size: int = 1
    is_one_host: bool = False

    @property
    def leads(self) -> bool:
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
            with _others_named():
                joined = torch.cat([tensor.reshape(-1) for tensor in tensors]).to(self.device)
                torch.distributed.all_reduce(joined)
            for tensor, total in zip(tensors, joined.split([tensor.numel() for tensor in tensors]), strict=True):
                tensor.copy_(total.view_as(tensor))

    def shards(self, groups: Sequence[Sequence[Tensor]]) -> Shards | None:
        """``groups`` of tensors moved to memory that all processes share; None where they cannot, and do not compute
        on one host's cores."""
        first = groups[0][0]
        if self.size == 1 or not self.is_one_host or first.device.type != "cpu":
            return None
        name = self.text_of_leader(f"vaekit-{secrets.token_hex(16)}")
        memory = opened_together(Shards.bytes_needed(groups, self.size), self.leads, self._all, name)
        return None if memory is None else Shards(groups, memory, self.rank, self.size, self.wait)

    def wait(self) -> None:
        """Until every process is here."""
        with _others_named():
            torch.distributed.barrier()

    def _all(self, flag: bool) -> bool:
        return not self.any(not flag)

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` is true in any process."""
        votes = torch.tensor([float(flag)], device=self.device)
        self.sum_(votes)
        return bool(votes > 0)

    def lead_(self, *tensors: Tensor) -> None:
        """Replaces tensors by those of the leader."""
        for tensor in tensors if self.size > 1 else ():
            sent = tensor.detach().to(self.device).contiguous()
            with _others_named():
                torch.distributed.broadcast(sent, 0)
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
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return ALONE
    if not torch.distributed.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        try:
            torch.distributed.init_process_group(backend, timeout=_PATIENCE)
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"process {os.environ.get('RANK')} of {size} cannot reach the others ({error}); start all of them with "
                "torchrun --nproc-per-node K -m vaekit train …"
            ) from error
        if backend == "gloo":  # the other one may wait for ever for a process that died
            atexit.register(torch.distributed.destroy_process_group)
    return Team(torch.distributed.get_rank(), size, os.environ.get("LOCAL_WORLD_SIZE") == str(size))


@contextmanager
def _others_named() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # what the backends raise when a connection ends
        reason = str(error).splitlines()[0]
        raise UserError(
            f"another process of this training has ended or cannot be reached ({reason}); the last state is kept, "
            "repeat the command with any number of processes"
        ) from error
