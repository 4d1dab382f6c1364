"""Compute the gradients of a batch: whole or in micro-batches, compiled, recorded, or summed over processes."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor, nn

from vaekit.errors import UserError, argument
from vaekit.model.contracts import Terms
from vaekit.model.inference import Batch
from vaekit.model.trainable import Trainable
from vaekit.system.distributed import Team
from vaekit.training.capture import Tape
from vaekit.training.parallel import ParallelStep
from vaekit.training.values import TrainingValues

__all__ = ["Gradients", "refuse_coupled"]


class Gradients:
    """Computes the gradients of a ``step`` with respect to the ``parameters``.

    Raises:
        UserError: If the step cannot be compiled, but ``values`` request it.
    """

    def __init__(
        self,
        step: Trainable[nn.Module],
        parameters: list[nn.Parameter],
        values: TrainingValues,
        device: torch.device,
        team: Team,
    ) -> None:
        if values.compiled and step.compile_fault:
            raise UserError(f"{argument('compiled')}: {step.compile_fault}")
        self._trainable, self._parameters, self._team = step, parameters, team
        self._micro_batch = values.micro_batch
        self._step: nn.Module = torch.compile(step, dynamic=False) if values.compiled else step  # type: ignore[assignment]
        self._parallel: ParallelStep | None = None  # created at the first step, when the weights have their final types
        is_whole = team.size == 1 and not values.compiled and not values.micro_batch
        # on a GPU, the graph is built while the device computes
        self.is_recorded = is_whole and step.can_be_recorded and device.type == "cpu"
        self.tapes: dict[int, Tape] = {}  #: recorded steps, by batch size

    def accumulate(self, batch: Batch, noise: Tensor, ramp: Tensor, divisor: int) -> Terms:
        """Compute the gradients of Σ loss / ``divisor`` over this process's share of a batch; return detached terms.

        With several processes, :meth:`wait` completes the sums.
        """
        if self._team.size > 1 and self._parallel is None:
            self._parallel = ParallelStep(self._step, self._team)
        if not len(batch.x) and not self._trainable.observes:
            return self._add_nothing(batch, noise, ramp)
        size = self._micro_batch or max(1, len(batch.x))
        # In a team, all or none split their share, because the order of summing statistics depends on it.
        if self._micro_batch is None or (self._team.size == 1 and len(batch.x) <= size):
            return self._differentiate(batch, noise, ramp, divisor)
        *pieces, last = zip(batch.split(size), noise.split(size, 1), strict=True)
        with self._trainable.in_pieces(batch.split(size)):
            with nullcontext() if self._parallel is None else self._parallel.no_sync():
                terms = [self._differentiate(piece, e, ramp, divisor) for piece, e in pieces]
            return Terms.join([*terms, self._differentiate(*last, ramp, divisor)])

    def wait(self) -> None:
        """Wait until the gradients of all processes are summed."""
        if self._parallel is not None:
            self._parallel.wait()

    def _differentiate(self, batch: Batch, noise: Tensor, ramp: Tensor, divisor: int) -> Terms:
        """Add the gradients of one piece to those of earlier ones; return detached terms."""
        if self.is_recorded:
            return self._repeat(batch, noise, ramp, divisor)
        terms: Terms = (self._parallel or self._step)(batch, noise, ramp)
        (terms.loss.sum() / divisor).backward()
        return terms.detach()

    def _add_nothing(self, batch: Batch, noise: Tensor, ramp: Tensor) -> Terms:
        """Contribute zero gradients for a share without examples, from one example of zeros; return no terms.

        The other processes wait for these gradients, and some networks do not support empty tensors.
        """
        assert self._parallel is not None, "a single process has examples in every batch"
        target, condition = (None if t is None else _one_of_zeros(t) for t in (batch.target, batch.condition))
        terms = self._parallel(Batch(_one_of_zeros(batch.x), target, condition), _one_of_zeros(noise, 1), ramp)
        (0 * terms.loss.sum()).backward()
        nothing = terms.loss.detach()[:0]
        return Terms(nothing, nothing, None if terms.rate is None else nothing)

    def _repeat(self, batch: Batch, noise: Tensor, ramp: Tensor, divisor: int) -> Terms:
        """Compute gradients by replaying a recorded step, or record it now. Micro-batches are not recorded."""
        optional = {"target": batch.target, "condition": batch.condition}
        given = {name: tensor for name, tensor in optional.items() if tensor is not None}
        inputs = [batch.x, noise, ramp, *given.values()]
        if len(batch.x) in self.tapes:
            found = self.tapes[len(batch.x)](*inputs)
        else:
            found, tape = Tape.record(partial(self._terms_and_gradients, divisor, tuple(given)), inputs)
            self.is_recorded = tape is not None
            if tape is not None:
                self.tapes[len(batch.x)] = tape
        count = len(found) - len(self._parameters)
        for parameter, gradient in zip(self._parameters, found[count:], strict=True):
            parameter.grad = gradient
        return Terms(found[0], found[1], found[2] if count > 2 else None)

    def _terms_and_gradients(
        self, divisor: int, names: tuple[str, ...], x: Tensor, noise: Tensor, ramp: Tensor, *more: Tensor
    ) -> tuple[Tensor, ...]:
        """Compute a step from tensors; ``names`` are the fields of the batch in ``more``."""
        terms: Terms = self._step(Batch(x, **dict(zip(names, more, strict=True))), noise, ramp)
        gradients = torch.autograd.grad(terms.loss.sum() / divisor, self._parameters)
        rate = () if terms.rate is None else (terms.rate.detach(),)
        return terms.loss.detach(), terms.distortion.detach(), *rate, *gradients


def refuse_coupled(step: Trainable[nn.Module], micro_batch: int | None, team: Team) -> None:
    """Raise :class:`UserError` if training on parts of a batch would differ from training on the whole batch.

    This is the case if the step mixes or compares the examples of a batch without gathering them.
    """
    if team.size == 1 and micro_batch is None:
        return
    normalizes = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in step.modules())
    reason = "normalizes over the batch" if normalizes else step.couples_batch
    if reason:
        remedy = "train it in one process" if team.size > 1 else f"leave out {argument('micro_batch')}"
        raise UserError(f"{step.name} {reason}, so its parts are not independent; {remedy}")


def _one_of_zeros(empty: Tensor, dim: int = 0) -> Tensor:
    """Return a tensor with one example of zeros along ``dim`` in place of none."""
    return empty.new_zeros(*empty.shape[:dim], 1, *empty.shape[dim + 1 :])
