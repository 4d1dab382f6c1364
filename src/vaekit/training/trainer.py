"""One training step and its state: weights, their average, optimizer moments, the image count.

    batches → gradients → Adam → average

Batches, noise and the learning rate follow from the position, so they are not part of the state. The trainer is created
from a :class:`~vaekit.model.trainable.Trainable`, a :class:`BatchSource` and
:class:`~vaekit.training.values.TrainingValues`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from vaekit.errors import UserError, counted
from vaekit.model.contracts import Terms
from vaekit.model.inference import Batch
from vaekit.model.trainable import Trainable
from vaekit.runs.records import StateFacts
from vaekit.system.distributed import ALONE, Team
from vaekit.system.schema import record
from vaekit.system.tensor_layouts import Layout, fault
from vaekit.training.gradients import Gradients, refuse_coupled
from vaekit.training.optimizer import Adam
from vaekit.training.schedules import learning_rate, ramp
from vaekit.training.values import TrainingValues

__all__ = ["BatchSource", "Trainer"]

_Model_co = TypeVar("_Model_co", bound=nn.Module, covariant=True)
_Module = TypeVar("_Module", bound=nn.Module)


class BatchSource(Protocol):
    """A source of batches. They depend only on the arguments, so that a resumed run gets the same ones."""

    @property
    def size(self) -> int:
        """The batch size over all processes; the last batch of an epoch or of the run may be smaller."""

    def index_at(self, images: int) -> Tensor:
        """Return the positions ``[B]`` of the batch after ``images`` examples."""

    def batch(self, index: Tensor, images: int, steps: int) -> tuple[Batch, Tensor]:
        """Return this process's share of the examples at ``index``, on the device, and their noise ``[K, B, L]``.

        Args:
            index: Result of :meth:`index_at` for ``images``.
            images: Examples seen before.
            steps: Steps done before.
        """


class Trainer(Generic[_Model_co]):
    """The state of a training in memory.

    In a ``team``, each process takes its share of every batch, and all have the same state.

    Args:
        step: The module to train.
        batches: The training data.
        values: The training values.
        device: The device.
        team: The processes that train together.

    Raises:
        UserError: If ``step`` cannot be trained with these values or processes.
    """

    def __init__(
        self,
        step: Trainable[_Model_co],
        batches: BatchSource,
        values: TrainingValues,
        device: torch.device,
        team: Team = ALONE,
    ) -> None:
        refuse_coupled(step, values.micro_batch, team)
        self.values, self.device, self.team = values, device, team
        self.batches = batches
        self.images = 0
        self.steps = 0
        self.model = step.to(device).train().model
        step.join_team(team)
        trained = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        self.names, self.parameters = [*trained], [*trained.values()]
        self.average = _copy(self.model) if values.ema_power else None
        averages = () if self.average is None else self.average.named_parameters()
        self._averaged = [average for name, average in averages if name in trained]
        if values.precision == "bf16":
            step.compute_in(torch.bfloat16)
        self.gradients = Gradients(step, self.parameters, values, device, team)
        # non-persistent buffers never change, so they are not part of the state
        self.buffers = [buffer for name, buffer in self.model.named_buffers() if name in self.model.state_dict()]
        self.adam = Adam(self.parameters, values.weight_decay, values.adam_beta2)
        # skipped steps: total, current row, longest row, and the image at which the last row began
        self.bad = torch.zeros(4, dtype=torch.int64, device=device)
        self._in_bad_row = False
        self._stop_votes = torch.zeros(())

    @property
    def batch_size(self) -> int:
        """Images per step, over all processes."""
        return self.batches.size

    def step(self, wants_to_stop: bool = False) -> Terms:
        """Train on the next batch; return its detached terms without waiting for them.

        A step whose loss or gradient is not finite changes only the counts.
        """
        index = self.next_index()
        buffers = [buffer.clone() for buffer in self.buffers]
        for parameter in self.parameters:
            parameter.grad = None
        divisor = 1 if self.values.reduction == "sum" else len(index)
        terms = self.gradients.accumulate(*self._inputs(index), divisor)
        gradients, number, norm = self._summed(terms.loss.sum(), wants_to_stop)
        is_bad = self._note_bad(norm + number)
        if self.values.clip_norm:
            self._clip(gradients, norm)
        self.adam.step(gradients, learning_rate(self.values, self.fraction), is_bad)
        if is_bad is not None:
            for buffer, before in zip(self.buffers, buffers, strict=True):
                buffer.copy_(torch.where(is_bad > 0, before, buffer))
        self.images += len(index)
        self.steps += 1
        if self.average is not None:
            self._update_average()
        return terms

    def someone_wants_to_stop(self) -> bool:
        """Whether a process asked to stop in the last step. On a GPU, this is read only in every tenth step."""
        return (self.device.type == "cpu" or self.steps % 10 == 0) and bool(self._stop_votes)

    def follow_leader(self) -> None:
        """Copy the state of the main process."""
        tensors, _ = self.state()
        counts = torch.tensor([self.images, self.steps, self.skipped])
        self.team.lead_(counts, *tensors.values())
        self.images, self.steps, self.bad[0] = counts.tolist()

    def next_index(self) -> Tensor:
        """Return the positions of the next batch."""
        return self.batches.index_at(self.images)

    @property
    def fraction(self) -> float:
        """The completed fraction of the run, 0 to 1."""
        return self.images / self.values.total_images

    @property
    def skipped(self) -> int:
        """Number of steps that were skipped because their loss or gradient was not finite."""
        return int(self.bad[0])

    def eval_model(self) -> _Model_co:
        """Return the model for evaluation: in eval mode, with averaged weights if there are any."""
        return (self.average if self.average is not None else self.model).eval()

    def state(self) -> tuple[dict[str, Tensor], dict[str, float | None]]:
        """Return everything needed to resume exactly, as named tensors and counters."""
        tensors = {f"model.{name}": t for name, t in self.model.state_dict().items()}
        if self.average is not None:
            tensors |= {f"average.{name}": t for name, t in self.average.state_dict().items()}
        for key, values in self.adam.moments().items():
            tensors |= {f"adam.{key}.{name}": value for name, value in zip(self.names, values, strict=True)}
        tensors["adam.step"] = self.adam.step_count
        return tensors, {"images": self.images, "steps": self.steps, "skipped": self.skipped}

    def state_fault(self, tensors: dict[str, Tensor], facts: Mapping[str, float | None]) -> str | None:
        """Describe what is wrong with a saved state; None if :meth:`load_state` accepts it."""
        expected = {name: Layout(tuple(t.shape), t.dtype) for name, t in self.state()[0].items()}
        try:
            found = record(StateFacts, dict(facts), "the state")
        except UserError as error:
            return str(error)
        if found.images > self.values.total_images:
            return f"it has seen {found.images:,} of {counted(self.values.total_images, 'image')}"
        return fault(tensors, expected)

    def load_state(self, tensors: dict[str, Tensor], facts: Mapping[str, float | None]) -> None:
        """Load a saved state."""
        self.model.load_state_dict(_with_prefix(tensors, "model."))
        if self.average is not None:
            self.average.load_state_dict(_with_prefix(tensors, "average."))
        for key, values in self.adam.moments().items():
            for name, value in zip(self.names, values, strict=True):
                value.copy_(tensors[f"adam.{key}.{name}"])
        self.adam.step_count.copy_(tensors["adam.step"])
        counts = record(StateFacts, dict(facts), "the state")
        self.images, self.steps = counts.images, counts.steps
        self.bad[0] = counts.skipped

    def _summed(self, number: Tensor, wants_to_stop: bool) -> tuple[list[Tensor], Tensor, Tensor]:
        """Return gradients and ``number`` summed over the team, and the norm of the gradients."""
        if self.team.size > 1:
            self.gradients.wait()
            numbers = torch.stack([number, torch.full_like(number, float(wants_to_stop))])
            self.team.sum_(numbers)
            number, self._stop_votes = numbers
        gradients: list[Tensor] = [parameter.grad for parameter in self.parameters]  # type: ignore[misc]
        return gradients, number, torch.stack(torch._foreach_norm(gradients)).norm()

    def _inputs(self, index: Tensor) -> tuple[Batch, Tensor, Tensor]:
        """Return this process's share of the batch at ``index``, its noise ``[K, B, L]``, and the ramp."""
        batch, noise = self.batches.batch(index, self.images, self.steps)
        return batch, noise, torch.tensor(ramp(self.values.ramp_warmup, self.fraction), device=self.device)

    def _note_bad(self, number: Tensor) -> Tensor | None:
        """Count a bad step; return 1.0 if ``number`` is not finite, else 0.0, without waiting for the device.

        None means that ``number`` is known to be finite.
        """
        if self.device.type == "cpu" and math.isfinite(number.item()):
            if self._in_bad_row:
                self.bad[1] = 0
                self._in_bad_row = False
            return None
        self._in_bad_row = True
        is_bad = ~number.isfinite()
        skipped, row, longest, first = self.bad.unbind()
        begins = is_bad & (row == 0)
        row = (row + 1) * is_bad
        first = torch.where(begins, self.images, first)
        self.bad = torch.stack([skipped + is_bad, row, torch.maximum(longest, row), first])
        return is_bad.float()

    def _clip(self, gradients: list[Tensor], norm: Tensor) -> None:
        """Scale the gradients down to the limit."""
        factor = (self.values.clip_norm / (norm + 1e-6)).clamp(max=1)
        if self.device.type == "cpu" and factor.item() == 1:  # on a GPU, reading the factor would block
            return
        torch._foreach_mul_(gradients, factor)

    @torch.no_grad()
    def _update_average(self) -> None:
        assert self.average is not None
        # Karras et al. 2024, Eq. 2: the weight of the past is (1 − 1/t)^(power + 1), so the average always spans the
        # same fraction of the run, and forgets the start even in a short one.
        keep = (1 - 1 / self.steps) ** (self.values.ema_power + 1)
        torch._foreach_lerp_([*self._averaged], [*self.parameters], 1 - keep)
        for mean, now in zip(self.average.buffers(), self.model.buffers(), strict=True):
            mean.lerp_(now, 1 - keep) if mean.is_floating_point() else mean.copy_(now)


def _copy(model: _Module) -> _Module:
    return copy.deepcopy(model).requires_grad_(False).eval()


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
