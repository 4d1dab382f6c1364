"""One training step and everything that it changes: weights, their average, optimizer moments, the image count.

    batches → gradients → Adam → average

That is the whole state. The images and the noise of a step (:mod:`vaekit.training.batches`) and the learning rate are
recomputed from (seed, position), so a restart is arithmetic, not memory.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from vaekit.config.run_config import RunConfig
from vaekit.data import Selection
from vaekit.errors import UserError
from vaekit.model.contracts import Terms
from vaekit.model.factory import build_model, build_objective
from vaekit.model.inference import Batch
from vaekit.model.latent_model import LatentModel
from vaekit.model.objectives import Step
from vaekit.runs.records import StateFacts
from vaekit.system.distributed import ALONE, Team
from vaekit.system.schema import record
from vaekit.system.tensor_layouts import Layout, fault
from vaekit.training.batches import Batches
from vaekit.training.gradients import Gradients, refuse_coupled
from vaekit.training.optimizer import Adam
from vaekit.training.schedules import learning_rate, ramp

__all__ = ["Trainer"]


class Trainer:
    """The state of a run in memory. ``pixels`` are the training images, uint8 ``[N, C, H, W]``, or a selection of some.

    In a ``team`` each process takes its share of every batch; all that is kept is the same in all of them.
    """

    def __init__(self, config: RunConfig, pixels: Tensor | Selection, device: torch.device, team: Team = ALONE) -> None:
        self.config, self.row, self.device, self.team = config, config.recipe, device, team
        self.images = 0
        self.steps = 0
        shape = (config.data.channels, *config.data.size)
        self.model: LatentModel = build_model(self.row, shape, config.seed).to(device).train()
        objective = build_objective(self.row)
        refuse_coupled(self.row, self.model, objective, config.engine.micro_batch, team)
        self.model.join_team(team)
        self.average = _copy(self.model) if self.row.ema_power else None
        if config.engine.precision == "bf16":
            self.model.compute_dtype = torch.bfloat16
        self.batches = Batches(
            config, pixels, device, team, self.model.latent_dim, self.model.posterior.uses_noise or objective.uses_noise
        )
        self.gradients = Gradients(Step(self.model, objective), config, device, team)
        self.names = [name for name, _ in self.model.named_parameters()]
        self.parameters = list(self.model.parameters())
        # the others never change: nothing of them is kept in a state
        self.buffers = [buffer for name, buffer in self.model.named_buffers() if name in self.model.state_dict()]
        self.adam = Adam(self.parameters, self.row.weight_decay, self.row.adam_beta2)
        # steps skipped in all, in a row up to now, in a row at most; and the image at which the last such row began
        self.bad = torch.zeros(4, dtype=torch.int64, device=device)
        self._in_bad_row = False
        self._stop_votes = torch.zeros(())

    @property
    def pixels(self) -> Selection:
        """The training images."""
        return self.batches.pixels

    @property
    def batch_size(self) -> int:
        """Images per step, over all processes."""
        return self.batches.size

    def step(self, wants_to_stop: bool = False) -> Terms:
        """Trains on the next batch of the run's fixed order; returns its terms, detached, without waiting for them.

        A step whose loss or gradient is not finite changes nothing but the counts.
        """
        index = self.next_index()
        buffers = [buffer.clone() for buffer in self.buffers]
        for parameter in self.parameters:
            parameter.grad = None
        divisor = 1 if self.row.reduction == "sum" else len(index)
        terms = self.gradients.accumulate(*self._inputs(index), divisor)
        gradients, number, norm = self._summed(terms.loss.sum(), wants_to_stop)
        is_bad = self._note_bad(norm + number)
        if self.row.clip_norm:
            self._clip(gradients, norm)
        self.adam.step(gradients, learning_rate(self.row, self.fraction), is_bad)
        if is_bad is not None:
            for buffer, before in zip(self.buffers, buffers, strict=True):
                buffer.copy_(torch.where(is_bad > 0, before, buffer))
        self.images += len(index)
        self.steps += 1
        if self.average is not None:
            self._update_average()
        return terms

    def someone_wants_to_stop(self) -> bool:
        """Whether a process of the team said so in the last step; where reading costs, only in every tenth."""
        return (self.device.type == "cpu" or self.steps % 10 == 0) and bool(self._stop_votes)

    def follow_leader(self) -> None:
        """Takes the state of the team's leader."""
        tensors, _ = self.state()
        counts = torch.tensor([self.images, self.steps, self.skipped])
        self.team.lead_(counts, *tensors.values())
        self.images, self.steps, self.bad[0] = counts.tolist()

    def next_index(self) -> Tensor:
        """Positions in ``pixels`` of the next batch. A batch ends where an epoch or the run ends."""
        return self.batches.index_at(self.images)

    @property
    def fraction(self) -> float:
        """How much of the run is done, 0 to 1."""
        return self.images / self.config.total_images

    @property
    def skipped(self) -> int:
        """Steps that changed nothing because their loss or gradient was not finite."""
        return int(self.bad[0])

    def eval_model(self) -> LatentModel:
        """The model that the verbs will load: averaged weights where the recipe averages, in eval mode."""
        return (self.average if self.average is not None else self.model).eval()

    def state(self) -> tuple[dict[str, Tensor], dict[str, float | None]]:
        """Everything needed to go on exactly, as named tensors and counters."""
        tensors = {f"model.{name}": t for name, t in self.model.state_dict().items()}
        if self.average is not None:
            tensors |= {f"average.{name}": t for name, t in self.average.state_dict().items()}
        for key, values in self.adam.moments().items():
            tensors |= {f"adam.{key}.{name}": value for name, value in zip(self.names, values, strict=True)}
        tensors["adam.step"] = self.adam.step_count
        return tensors, {"images": self.images, "steps": self.steps, "skipped": self.skipped}

    def state_fault(self, tensors: dict[str, Tensor], facts: Mapping[str, float | None]) -> str | None:
        """What is wrong with a saved state, in words; None if :meth:`load_state` can take it."""
        expected = {name: Layout(tuple(t.shape), t.dtype) for name, t in self.state()[0].items()}
        try:
            found = record(StateFacts, dict(facts), "the state")
        except UserError as error:
            return str(error)
        if found.images > self.config.total_images:
            return f"it has seen {found.images:,} images of {self.config.total_images:,}"
        return fault(tensors, expected)

    def load_state(self, tensors: dict[str, Tensor], facts: Mapping[str, float | None]) -> None:
        """Goes back to a saved state."""
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
        """Gradients and ``number`` summed over the team, and the norm of the gradients."""
        if self.team.size > 1:
            self.gradients.wait()
            numbers = torch.stack([number, torch.full_like(number, float(wants_to_stop))])
            self.team.sum_(numbers)
            number, self._stop_votes = numbers
        gradients: list[Tensor] = [parameter.grad for parameter in self.parameters]  # type: ignore[misc]
        return gradients, number, torch.stack(torch._foreach_norm(gradients)).norm()

    def _inputs(self, index: Tensor) -> tuple[Batch, Tensor, Tensor]:
        """This process's share of the batch at ``index``, its noise ``[K, B, L]``, and the ramp."""
        batch, noise = self.batches.batch(index, self.images, self.steps)
        return batch, noise, torch.tensor(ramp(self.row, self.fraction), device=self.device)

    def _note_bad(self, number: Tensor) -> Tensor | None:
        """1.0 if ``number`` is not finite, else 0.0, counted without waiting for the device; None: it is finite."""
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
        """Scales the gradients down to the limit, which is per pixel value, so that one number serves every size."""
        limit = self.row.clip_norm * math.prod(self.pixels.shape[1:])
        factor = (limit / (norm + 1e-6)).clamp(max=1)
        if self.device.type == "cpu" and factor.item() == 1:  # asking a GPU would make it wait
            return
        torch._foreach_mul_(gradients, factor)

    @torch.no_grad()
    def _update_average(self) -> None:
        assert self.average is not None
        # Karras et al. 2024, Eq. 2: the weight of the past is (1 − 1/t)^(power + 1), so the average always spans the
        # same fraction of the run and forgets the start even in a short one.
        keep = (1 - 1 / self.steps) ** (self.row.ema_power + 1)
        torch._foreach_lerp_([*self.average.parameters()], [*self.parameters], 1 - keep)
        for mean, now in zip(self.average.buffers(), self.model.buffers(), strict=True):
            mean.lerp_(now, 1 - keep) if mean.is_floating_point() else mean.copy_(now)


def _copy(model: LatentModel) -> LatentModel:
    return copy.deepcopy(model).requires_grad_(False).eval()


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
