"""One training step and everything that it changes: weights, their average, optimiser moments, the image count.

Nothing here depends on anything but the configuration and the number of images seen: the order of an epoch, the noise
of a step and the learning rate are all recomputed from (seed, position), so a restart is arithmetic, not memory.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vaekit.config.run_config import RunConfig
from vaekit.config.table import Recipe
from vaekit.data import Selection, to_float
from vaekit.errors import UserError, argument
from vaekit.model.conditioning import hidden_parts
from vaekit.model.contracts import Terms
from vaekit.model.factory import build_model, build_objective
from vaekit.model.inference import Batch
from vaekit.model.latent_model import LatentModel
from vaekit.model.nets import MLPDecoder
from vaekit.model.objectives import Step
from vaekit.runs.records import StateFacts
from vaekit.system.distributed import ALONE, Team
from vaekit.system.rng import AUGMENTATION, BINARIZATION, CORRUPTION, HIDING, NOISE, stream
from vaekit.system.schema import record
from vaekit.system.tensor_layouts import Layout, fault
from vaekit.training.augment import DRAWS, augment
from vaekit.training.capture import Tape
from vaekit.training.optimizer import Adam
from vaekit.training.parallel import ParallelStep
from vaekit.training.schedules import epoch_order, learning_rate, ramp

__all__ = ["Trainer"]

_MEAN_IMAGES = 4096
_FETCHED_VALUES = 1 << 19  # pixel values turned into floats at once: more would leave the processor's cache
_DEVICE_SHARE = 0.5  # of a GPU's free memory that the images may take; more are sent batch by batch


class Trainer:
    """The state of a run in memory. ``pixels`` are the training images, uint8 ``[N, C, H, W]``, or a selection of some.

    In a ``team`` each process takes its share of every batch; all that is kept is the same in all of them.
    """

    def __init__(self, config: RunConfig, pixels: Tensor | Selection, device: torch.device, team: Team = ALONE) -> None:
        self.config, self.row, self.device, self.team = config, config.recipe, device, team
        assert self.row.batch_size is not None, "the row is resolved"
        self.batch_size = self.row.batch_size
        self.pixels = _placed(pixels, device)
        self.images = 0
        self.steps = 0
        shape = (config.data.channels, *config.data.size)
        self.model: LatentModel = build_model(self.row, shape, config.seed).to(device).train()
        objective = build_objective(self.row)
        _refuse_what_couples(self.row, self.model, objective.couples_batch, config.engine.micro_batch, team)
        self.model.join_team(team)
        self.average = _copy(self.model) if self.row.ema_power else None
        if config.engine.precision == "bf16":
            self.model.compute_dtype = torch.bfloat16
        self._uses_noise = self.model.posterior.uses_noise or objective.uses_noise
        self.step_module: Any = Step(self.model, objective)
        if config.engine.compiled:
            if self.row.objective == "iwae-dreg":  # its gradient passes a hook, which is lost in a compiled graph
                raise UserError(f"{argument('compiled')}: objective=iwae-dreg cannot be compiled; set objective=iwae")
            self.step_module = torch.compile(self.step_module, dynamic=False)
        # elsewhere the graph costs little beside the arithmetic, or the device works on meanwhile
        is_whole = team.size == 1 and not config.engine.compiled and not config.engine.micro_batch
        self._is_recorded = is_whole and self.row.net == "mlp" and device.type == "cpu" and not config.parts
        self._tapes: dict[int, Tape] = {}  # by batch size
        self.names = [name for name, _ in self.model.named_parameters()]
        self.parameters = list(self.model.parameters())
        # the others never change: nothing of them is kept in a state
        self.buffers = [buffer for name, buffer in self.model.named_buffers() if name in self.model.state_dict()]
        self.adam = Adam(self.parameters, self.row.weight_decay, self.row.adam_beta2)
        # steps skipped in all, in a row up to now, in a row at most; and the image at which the last such row began
        self.bad = torch.zeros(4, dtype=torch.int64, device=device)
        self._in_bad_row = False
        self._stop_votes = torch.zeros(())
        self._parallel: ParallelStep | None = None  # created at the first step, when the weights are what they will be
        self._order: tuple[int, Tensor] | None = None
        self._fetched = (0, torch.empty(0))  # the image count at the first of them

    def step(self, wants_to_stop: bool = False) -> Terms:
        """Trains on the next batch of the run's fixed order; returns its terms, detached, without waiting for them.

        A step whose loss or gradient is not finite changes nothing but the counts.
        """
        if self.team.size > 1 and self._parallel is None:
            self._parallel = ParallelStep(self.step_module, self.team)
        index = self.next_index()
        buffers = [buffer.clone() for buffer in self.buffers]
        for parameter in self.parameters:
            parameter.grad = None
        terms = self._accumulate(index)
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
        count = len(self.pixels)
        epoch, offset = divmod(self.images, count)
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, epoch_order(self.config.seed, epoch, count, self.config.window_images))
        size = min(self.batch_size, count - offset, self.config.total_images - self.images)
        return self._order[1][offset : offset + size]

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

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything needed to go on exactly, as named tensors and counters."""
        tensors = {f"model.{name}": t for name, t in self.model.state_dict().items()}
        if self.average is not None:
            tensors |= {f"average.{name}": t for name, t in self.average.state_dict().items()}
        for key, values in self.adam.moments().items():
            tensors |= {f"adam.{key}.{name}": value for name, value in zip(self.names, values, strict=True)}
        tensors["adam.step"] = self.adam.step_count
        return tensors, {"images": self.images, "steps": self.steps, "skipped": self.skipped}

    def state_fault(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> str | None:
        """What is wrong with a saved state, in words; None if :meth:`load_state` can take it."""
        expected = {name: Layout(tuple(t.shape), t.dtype) for name, t in self.state()[0].items()}
        try:
            found = record(StateFacts, facts, "the state")
        except UserError as error:
            return str(error)
        if found.images > self.config.total_images:
            return f"it has seen {found.images:,} images of {self.config.total_images:,}"
        return fault(tensors, expected)

    def load_state(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Goes back to a saved state."""
        self.model.load_state_dict(_with_prefix(tensors, "model."))
        if self.average is not None:
            self.average.load_state_dict(_with_prefix(tensors, "average."))
        for key, values in self.adam.moments().items():
            for name, value in zip(self.names, values, strict=True):
                value.copy_(tensors[f"adam.{key}.{name}"])
        self.adam.step_count.copy_(tensors["adam.step"])
        self.images, self.steps = facts["images"], facts["steps"]
        self.bad[0] = facts.get("skipped", 0)

    def start_at_mean(self) -> None:
        """Lets the decoder's last layer give the mean of (up to 4,096) training images, whatever the code."""
        seen = torch.arange(0, len(self.pixels), math.ceil(len(self.pixels) / _MEAN_IMAGES))
        mean = torch.stack([self._floats(part).sum(0) for part in seen.split(256)]).sum(0) / len(seen)
        bias = self.model.likelihood.output_of(mean).flatten()
        for model in (self.model, self.average):
            if model is not None:
                assert isinstance(model.decoder, MLPDecoder), "others are refused with start_at_mean"
                with torch.no_grad():
                    model.decoder.last.bias.copy_(bias)

    def start_at_images(self) -> None:
        """Lets a prior that is made of images begin with some of those that are trained on, evenly spaced."""
        assert self.model.prior is not None
        count = self.model.prior.starting_images
        some = self._floats(torch.arange(count) * len(self.pixels) // count)
        for model in (self.model, self.average):
            if model is not None and model.prior is not None:
                model.prior.start_from(some)

    def start_from(self, weights: dict[str, Tensor], where: str) -> None:
        """Takes another run's weights as the initial ones."""
        try:
            self.model.load_state_dict(weights)
        except RuntimeError as error:
            raise UserError(f"{argument('init')} {where}: its weights do not fit this recipe and image size") from error
        if self.average is not None:
            self.average.load_state_dict(weights)

    def _summed(self, number: Tensor, wants_to_stop: bool) -> tuple[list[Tensor], Tensor, Tensor]:
        """Gradients and ``number`` summed over the team, and the norm of the gradients."""
        if self._parallel is not None:
            self._parallel.wait()
            numbers = torch.stack([number, torch.full_like(number, float(wants_to_stop))])
            self.team.sum_(numbers)
            number, self._stop_votes = numbers
        gradients: list[Tensor] = [parameter.grad for parameter in self.parameters]  # type: ignore[misc]
        return gradients, number, torch.stack(torch._foreach_norm(gradients)).norm()

    def _accumulate(self, index: Tensor) -> Terms:
        """Leaves the gradients of this process's share of a batch; returns its terms, scaled as they are summed."""
        divisor = 1 if self.row.reduction == "sum" else len(index)
        batch, noise, warmth = self._inputs(index)
        size = self.config.engine.micro_batch or len(index)
        is_whole = len(batch.x) <= size
        pieces = [batch] if is_whole else batch.split(size)
        if not is_whole:
            self.model.observe_all(pieces)
        parts: list[Terms] = []
        with nullcontext() if is_whole else self.model.observed():
            for piece, e in zip(pieces, noise.split(size, 1), strict=True):
                is_last = len(parts) + 1 == len(pieces)
                with nullcontext() if self._parallel is None or is_last else self._parallel.no_sync():
                    parts.append(self._differentiate(piece, e, warmth, divisor))
        return parts[0] if is_whole else Terms.join(parts)

    def _differentiate(self, batch: Batch, noise: Tensor, warmth: Tensor, divisor: int) -> Terms:
        """Leaves the gradients of some images, added to those of earlier pieces; returns the terms, detached."""
        if not self._is_recorded:
            step: Callable[..., Terms] = self._parallel or self.step_module
            terms = step(batch, noise, warmth)
            (terms.loss.sum() / divisor).backward()
            return terms.detach()
        told = {"target": batch.target, "condition": batch.condition}
        names = tuple(name for name, tensor in told.items() if tensor is not None)
        inputs = [batch.x, noise, warmth, *(tensor for tensor in told.values() if tensor is not None)]
        if len(batch.x) in self._tapes:
            found = self._tapes[len(batch.x)](*inputs)
        else:
            found, tape = Tape.record(partial(self._terms_and_gradients, divisor, names), inputs)
            self._is_recorded = tape is not None
            if tape is not None:
                self._tapes[len(batch.x)] = tape
        count = len(found) - len(self.parameters)
        for parameter, gradient in zip(self.parameters, found[count:], strict=True):
            parameter.grad = gradient  # a recorded batch has no other pieces
        return Terms(found[0], found[1], found[2] if count > 2 else None)

    def _terms_and_gradients(
        self, divisor: int, names: tuple[str, ...], x: Tensor, noise: Tensor, warmth: Tensor, *more: Tensor
    ) -> tuple[Tensor, ...]:
        """``names`` are those of the fields of the batch that ``more`` holds."""
        terms: Terms = self.step_module(Batch(x, **dict(zip(names, more, strict=True))), noise, warmth)
        gradients = torch.autograd.grad(terms.loss.sum() / divisor, self.parameters)
        rate = () if terms.rate is None else (terms.rate.detach(),)
        return terms.loss.detach(), terms.distortion.detach(), *rate, *gradients

    def _inputs(self, index: Tensor) -> tuple[Batch, Tensor, Tensor]:
        x = self._fetch(len(index)) if self.team.size == 1 else self._floats(self.team.share(index))
        if self.row.flip or self.row.shift or self.row.jitter:
            x = self._augment(x, len(index))
        if self.config.data.binarize == "dynamic":
            x = self._drawn(x, len(index))
        shape = (self.row.samples, len(index), self.model.latent_dim)
        if not self._uses_noise:
            noise = x.new_zeros(()).expand(shape)
        else:
            noise = torch.randn(shape, generator=stream(self.config.seed, NOISE, self.steps)).to(self.device)
        noise = self.team.share(noise, 1)
        told = self._conditions(index)
        batch = Batch(self._corrupt(x, len(index)), x, told) if self.row.noise_std else Batch(x, condition=told)
        return batch, noise, torch.tensor(ramp(self.row, self.fraction), device=self.device)

    def _conditions(self, index: Tensor) -> Tensor | None:
        """What a conditional model is told of this process's share of a batch; some parts are hidden."""
        known = self.pixels.conditions_of(self.team.share(index))
        if known is None:
            return None
        known = known.to(self.device)
        shape = (len(index), len(self.config.conditions) + 1)
        draws = torch.rand(shape, generator=stream(self.config.seed, HIDING, self.steps))
        return known * hidden_parts(self.config.conditions, self.team.share(draws)).to(self.device)

    def _fetch(self, count: int) -> Tensor:
        """The next ``count`` images as floats on the device; small ones come for many steps at once."""
        assert self._order is not None
        start, some = self._fetched
        if not start <= self.images <= start + len(some) - count:
            offset = self.images % len(self.pixels)
            values = math.prod(self.pixels.shape[1:])
            # Kernels round otherwise where images do not begin on 64 bytes, and a restart would begin elsewhere.
            ahead = count if values % 16 else max(count, _FETCHED_VALUES // values)
            some = self._floats(self._order[1][offset : offset + ahead])
            start = self.images
            self._fetched = (start, some)
        return some[self.images - start : self.images - start + count]

    def _floats(self, index: Tensor) -> Tensor:
        return to_float(self.pixels[index].to(self.device))

    def _augment(self, x: Tensor, count: int) -> Tensor:
        """Images changed by the recipe; it is drawn for all ``count`` of the batch, of which ``x`` may be a share."""
        draws = torch.rand(count, DRAWS, generator=stream(self.config.seed, AUGMENTATION, self.steps))
        return augment(x, self.team.share(draws).to(self.device), self.row.flip, self.row.shift, self.row.jitter)

    def _drawn(self, x: Tensor, count: int) -> Tensor:
        """Black and white pixels, drawn with the grey levels as probabilities for all ``count`` images of the batch."""
        generator = stream(self.config.seed, BINARIZATION, self.steps)
        uniform = self.team.share(torch.rand((count, *x.shape[1:]), generator=generator)).to(self.device)
        return (uniform < x).to(x.dtype)

    def _corrupt(self, x: Tensor, count: int) -> Tensor:
        """Noise of a level drawn per image; half of the images are clipped to [0, 1] as a file would clip them.

        It is drawn for all ``count`` images of the batch, of which ``x`` may be a share.
        """
        generator = stream(self.config.seed, CORRUPTION, self.steps)
        draws = self.team.share(torch.rand(2, count, 1, 1, 1, generator=generator), 1).to(self.device)
        noise = self.team.share(torch.randn((count, *x.shape[1:]), generator=generator)).to(self.device)
        noisy = x + self.row.noise_std * draws[0] * noise
        return torch.where(draws[1] < 0.5, noisy.clamp(0, 1), noisy)

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


def _refuse_what_couples(row: Recipe, model: LatentModel, couples: str, micro_batch: int | None, team: Team) -> None:
    """A batch in pieces must train as the whole one: what mixes the images of a batch, and gathers nothing, may not."""
    if team.size == 1 and micro_batch is None:
        return
    normalised = any(isinstance(module, torch.nn.modules.batchnorm._BatchNorm) for module in model.modules())
    reason = "normalises over the batch" if normalised else couples
    if reason:
        remedy = "train it in one process" if team.size > 1 else f"leave out {argument('micro_batch')}"
        raise UserError(f"recipe {row.name!r} {reason}, so its parts are not independent; {remedy}")


def _placed(pixels: Tensor | Selection, device: torch.device) -> Selection:
    """The images on the device, if they fit there; else they stay and are sent batch by batch."""
    chosen = pixels if isinstance(pixels, Selection) else Selection(pixels, torch.arange(len(pixels)))
    if device.type == "cpu":
        return chosen
    fits = device.type != "cuda" or math.prod(chosen.shape) < _DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]
    if not fits:
        return chosen
    told = chosen.conditions_of(slice(None))
    told = None if told is None else told.to(device)
    return Selection(chosen[:].to(device), torch.arange(len(chosen), device=device), told)


def _copy(model: LatentModel) -> LatentModel:
    return copy.deepcopy(model).requires_grad_(False).eval()


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
