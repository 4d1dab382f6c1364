"""The gradients of a batch: in one piece or several, compiled, recorded, or summed over processes."""

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
    """Runs a ``step`` and leaves the gradients of its loss at the ``parameters``.

    Raises:
        UserError: if the step cannot be compiled, and ``values`` ask for it.
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
        self._parallel: ParallelStep | None = None  # created at the first step, when the weights have their types
        is_whole = team.size == 1 and not values.compiled and not values.micro_batch
        # On a GPU the graph is built while the device computes.
        self.is_recorded = is_whole and step.can_be_recorded and device.type == "cpu"
        self.tapes: dict[int, Tape] = {}  #: recorded steps, by batch size

    def accumulate(self, batch: Batch, noise: Tensor, ramp: Tensor, divisor: int) -> Terms:
        """Leaves the gradients of Σ loss / ``divisor`` over this process's share of a batch; returns detached terms.

        With several processes they are summed once :meth:`wait` has returned.
        """
        if self._team.size > 1 and self._parallel is None:
            self._parallel = ParallelStep(self._step, self._team)
        if not len(batch.x) and not self._trainable.observes:
            return self._add_nothing(batch, noise, ramp)
        size = self._micro_batch or max(1, len(batch.x))
        # In a team, all or none are in pieces: else some would sum statistics before the forward pass, and some in it.
        if self._micro_batch is None or (self._team.size == 1 and len(batch.x) <= size):
            return self._differentiate(batch, noise, ramp, divisor)
        *pieces, last = zip(batch.split(size), noise.split(size, 1), strict=True)
        with self._trainable.in_pieces(batch.split(size)):
            with nullcontext() if self._parallel is None else self._parallel.no_sync():
                terms = [self._differentiate(piece, e, ramp, divisor) for piece, e in pieces]
            return Terms.join([*terms, self._differentiate(*last, ramp, divisor)])

    def wait(self) -> None:
        """Waits until the gradients of all processes are summed."""
        if self._parallel is not None:
            self._parallel.wait()

    def _differentiate(self, batch: Batch, noise: Tensor, ramp: Tensor, divisor: int) -> Terms:
        """Leaves the gradients of some images, added to those of earlier pieces; returns the terms, detached."""
        if self.is_recorded:
            return self._repeat(batch, noise, ramp, divisor)
        terms: Terms = (self._parallel or self._step)(batch, noise, ramp)
        (terms.loss.sum() / divisor).backward()
        return terms.detach()

    def _add_nothing(self, batch: Batch, noise: Tensor, ramp: Tensor) -> Terms:
        """The part of a process without examples: zero times the gradient of an example of zeros; returns no terms.

        The other processes wait for its gradient, and some networks cannot compute on an empty tensor.
        """
        assert self._parallel is not None, "in one process a batch has examples"
        target, condition = (None if t is None else _one_of_zeros(t) for t in (batch.target, batch.condition))
        terms = self._parallel(Batch(_one_of_zeros(batch.x), target, condition), _one_of_zeros(noise, 1), ramp)
        (0 * terms.loss.sum()).backward()
        nothing = terms.loss.detach()[:0]
        return Terms(nothing, nothing, None if terms.rate is None else nothing)

    def _repeat(self, batch: Batch, noise: Tensor, ramp: Tensor, divisor: int) -> Terms:
        """The same by a recorded step, or by one that is recorded now. A recorded batch has no other pieces."""
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
        """``names`` are those of the fields of the batch that ``more`` holds."""
        terms: Terms = self._step(Batch(x, **dict(zip(names, more, strict=True))), noise, ramp)
        gradients = torch.autograd.grad(terms.loss.sum() / divisor, self._parameters)
        rate = () if terms.rate is None else (terms.rate.detach(),)
        return terms.loss.detach(), terms.distortion.detach(), *rate, *gradients


def refuse_coupled(step: Trainable[nn.Module], micro_batch: int | None, team: Team) -> None:
    """Raises :class:`UserError` where a batch in pieces would not train as the whole one.

    That is so if the step mixes the examples of a batch without gathering them, or compares them.
    """
    if team.size == 1 and micro_batch is None:
        return
    normalizes = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in step.modules())
    reason = "normalizes over the batch" if normalizes else step.couples_batch
    if reason:
        remedy = "train it in one process" if team.size > 1 else f"leave out {argument('micro_batch')}"
        raise UserError(f"{step.name} {reason}, so its parts are not independent; {remedy}")


def _one_of_zeros(empty: Tensor, dim: int = 0) -> Tensor:
    """A tensor of no examples, which lie along ``dim``, as one of a single example of zeros."""
    return empty.new_zeros(*empty.shape[:dim], 1, *empty.shape[dim + 1 :])
