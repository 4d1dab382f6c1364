"""Sum gradients over processes during the backward pass.

    gradient of a batch = Σ over processes of the gradient of a share

:class:`torch.nn.parallel.DistributedDataParallel` packs gradients into buckets and sends each one as soon as the
backward pass has filled it (Li et al. 2020, "PyTorch Distributed", Section 3.2). By default it averages over processes,
which is wrong for shares of different sizes, so its communication hook sums instead.
"""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from vaekit.model.contracts import Terms
from vaekit.model.inference import Batch
from vaekit.system.distributed import Team, lost_processes_named

if TYPE_CHECKING:  # not every build of torch has it
    from torch.distributed import GradBucket, Work  # type: ignore[attr-defined]

__all__ = ["ParallelStep"]


class ParallelStep:
    """A step module whose gradients are summed over the ``team`` after :meth:`wait`.

    Every process creates it from the same module with the same weights. Buffers are not synchronized, because parts
    with running statistics sum them over the team themselves.
    """

    def __init__(self, step: nn.Module, team: Team) -> None:
        self._team = team
        self._sent: list[Work] = []
        self._steps = 0
        self._is_settled = False
        with warnings.catch_warnings():  # newer versions of torch call it forward_sync_buffers
            warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated", category=FutureWarning)
            self._module = DistributedDataParallel(
                step, broadcast_buffers=False, init_sync=False, gradient_as_bucket_view=True
            )
        self._module.register_comm_hook(None, lambda state, bucket: self._send(bucket))

    def __call__(self, batch: Batch, noise: Tensor, ramp: Tensor) -> Terms:
        if self._steps == 1 and not self._is_settled:
            self._is_settled = True
            return self._settle(batch, noise, ramp)
        return self._forward(batch, noise, ramp)

    def no_sync(self) -> AbstractContextManager[None]:
        """A context for all micro-batches but the last one: gradients are accumulated, not sent."""
        return self._module.no_sync()

    def wait(self) -> None:
        """Wait until all gradients are summed; raises :class:`UserError` if another process has ended or is silent."""
        self._team.wait_for(self._sent)
        self._sent.clear()
        self._steps += 1

    def _forward(self, batch: Batch, noise: Tensor, ramp: Tensor) -> Terms:
        terms = self._module(batch, noise, ramp)
        assert isinstance(terms, Terms)
        return terms

    def _settle(self, batch: Batch, noise: Tensor, ramp: Tensor) -> Terms:
        """Run the first forward pass of the second step, in which the processes agree on the buckets.

        That wait has no timeout, so all processes enter it together.
        """
        self._team.wait()
        with lost_processes_named():
            return self._forward(batch, noise, ramp)

    def _send(self, bucket: GradBucket) -> Future[Tensor]:
        """Start the sum of a bucket, in place.

        The returned future is complete at once, because waiting within the backward pass could not detect lost
        processes. Gradients are views of the bucket, so they are the sums after :meth:`wait`.
        """
        gradients = bucket.buffer()
        self._sent.append(torch.distributed.all_reduce(gradients, async_op=True))
        done: Future[Tensor] = Future(devices=[gradients.device] if gradients.is_cuda else None)
        done.set_result(gradients)
        return done
