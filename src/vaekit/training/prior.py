"""Fit a flow-matching prior to the latents of a run, or resume the training of one.

It is a training like any other: the same trainer and the same steps, in the folder ``prior/`` of the run.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from vaekit.data import Images
from vaekit.data.subsets import held_out, is_trained_on
from vaekit.errors import UserError, argument, counted
from vaekit.latent.fit_prior import forget_fitted
from vaekit.latent.flow_prior import (
    FLOW_MATCHING,
    FlowConfig,
    facts_of,
    flow_folder,
    forget_flow,
    has_flow,
    load_flow,
    new_flow,
    read_flow_config,
    save_flow_weights,
    write_flow_config,
)
from vaekit.model.conditioning import possible_conditions
from vaekit.model.flow_matching import FlowMatchingPrior, VelocityStep, normal_error, velocity_error
from vaekit.model.inference import Batch
from vaekit.model.nets.velocity import default_width
from vaekit.runs import folder as runs
from vaekit.runs.context import RunContext
from vaekit.system.cpu import one_thread_per_core, torch_threads
from vaekit.system.distributed import Team, join
from vaekit.system.durations import duration_text
from vaekit.system.files import atomic_write_text, file_digest, load_facts
from vaekit.system.machine_load import Choice, choose, is_set_by_user, recent_load
from vaekit.system.malloc import freed_memory_is_kept
from vaekit.system.progress import Progress
from vaekit.system.schema import fault_of, record
from vaekit.training.latent_batches import LatentBatches, Latents, encoded, fixed_draw
from vaekit.training.schedules import learning_rate
from vaekit.training.steps import take_steps
from vaekit.training.stopping import breakdown
from vaekit.training.trainer import Trainer
from vaekit.training.values import TrainingValues

__all__ = ["FlowOptions", "fit_flow"]

_IMAGES, _BATCH, _DEPTH, _LEARNING_RATE = 200_000, 64, 2, 1e-3
_WARMUP, _CLIP_NORM, _EMA_POWER, _BETA2 = 0.02, 1.0, 16.0, 0.99
_MOST_NUMBERS = 1 << 28  # in the means of all latents: 1 GiB
_MOST_MEASURED = 1000  # held-out latents
_MEASURED_EVERY = 200  # steps, at least
_MEASURING_SHARE, _MOST_MEASURING_SECONDS, _LEAST_MEASURED = 1 / 20, 15.0, 5  # of the budget; steps
_AT_THE_END = 2.0  # seconds for the last files of a budget
_FIELDS = {"images": "total_images", "budget": "budget_seconds"}  # options with another name in the configuration


@dataclass(frozen=True)
class FlowOptions:
    """The user's options. None means the default, or the stored value when resuming."""

    images: int | None = None  #: latents seen in training, counting repeats
    budget: float | None = None  #: seconds of wall time in place of ``images``
    width: int | None = None
    depth: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    seed: int | None = None

    def check(self) -> None:
        """Raise :class:`UserError` for values that exclude each other, or out of the ranges of a configuration."""
        if self.images is not None and self.budget is not None:
            raise UserError(f"{argument('images')} and {argument('budget')} exclude each other; give one of them")
        for name, value in dataclasses.asdict(self).items():
            expected = None if value is None else fault_of(FlowConfig, _FIELDS.get(name, name), value)
            if expected:
                raise UserError(f"{argument(name, value)}: expected {expected}", name)

    def refuse_with(self, kind: str) -> None:
        """Raise :class:`UserError` if an option is given that priors of another ``kind`` do not have."""
        for name, value in dataclasses.asdict(self).items():
            if value is not None and name != "seed":
                raise UserError(
                    f"{argument(name, value)}: only {argument('kind', FLOW_MATCHING)} takes it, not {kind}; leave it "
                    "out",
                    name,
                )


def fit_flow(run: RunContext, options: FlowOptions, progress: Progress) -> tuple[FlowMatchingPrior, dict[str, object]]:
    """Fit a prior and store it in the run; the same call resumes.

    Args:
        run: A finished run whose latent is a vector or a grid.
        options: The user's options.
        progress: Receives the progress.

    Returns:
        The prior with averaged weights, and facts about it.

    Raises:
        UserError: For mistakes that the user can fix.
        Interrupted: On SIGINT, SIGTERM and SIGHUP, after the state is saved.
    """
    options.check()
    started, team = time.monotonic(), join()
    with run.writing(), ExitStack() as held:
        images = run.images()
        team.agree({"run": str(run.path.absolute()), "images": images.fingerprint, **dataclasses.asdict(options)})
        stored = _stored(run, options, progress) if team.leads else None
        is_new = team.any(team.leads and stored is None)
        if team.any(team.leads and stored is not None and _is_finished(run, stored)):
            return _finished(run, progress)
        device = run.model.device
        computing = _threads(stored, device, team)
        held.enter_context(torch_threads(computing.threads))
        if computing.is_pinned:
            held.enter_context(one_thread_per_core())
        held.enter_context(freed_memory_is_kept())
        config = _of_leader(stored or _new_config(run, images, options, computing, team), team)
        rows = np.flatnonzero(is_trained_on(images, run.recipe))
        rows = rows[:: math.ceil(len(rows) * (1 + config.flip) * run.model.latent_dim / _MOST_NUMBERS)]
        latents = encoded(run.model, images, rows, config.conditions, config.flip, team)
        config = replace(config, latents=len(latents))
        prior = new_flow(run.model, config)
        prior.scale(*latents.moments(prior))
        latents = latents.standardized(prior)
        measured, part = _held_out(run, images, config, prior, team)
        if is_new and config.budget_seconds is not None:
            fitted = _fitting(config, run, latents, len(measured), started, team, progress)
            config = _of_leader(fitted, team)
        trainer = _trainer(config, prior.to(device), latents, device, team)
        recorder = _PriorRecorder(trainer, run.path, config, measured, part)
        _begin_or_resume(recorder, progress)
        try:
            take_steps(trainer, recorder, len(latents), flow_folder(run.path), progress)
        except BaseException:
            if team.leads and is_new and not runs.has_state(flow_folder(run.path)):
                forget_flow(run.path)  # nothing was learned, and nothing is left behind
            raise
        if team.leads:
            forget_fitted(run.path)
        return recorder.finished()


def _is_finished(run: RunContext, config: FlowConfig) -> bool:
    """Whether all steps have been taken with this configuration, and the weights can be used."""
    try:
        facts = load_facts(flow_folder(run.path) / "state.safetensors")
        is_unfinished = load_flow(run.path, run.model)[1] is not None
    except UserError:
        return False
    return not is_unfinished and facts.get("images") == config.total_images and _trained_with(facts, config)


def _finished(run: RunContext, progress: Progress) -> tuple[FlowMatchingPrior, dict[str, object]]:
    """Return the prior of an earlier training, and what was last measured."""
    prior, config = load_flow(run.path, run.model)[0], read_flow_config(run.path)
    progress.say(f"{flow_folder(run.path)}: finished already, after {counted(config.total_images, 'latent')}")
    lines = [line for line in runs.read_metrics(flow_folder(run.path)) if line["kind"] == "validation"]
    last = {name: value for name, value in (lines[-1] if lines else {}).items() if name.startswith("held_out")}
    return prior.to(run.model.device), facts_of(config, **last)


@dataclass(eq=False)
class _PriorRecorder:
    """Writes the training of a prior into its folder; see :class:`~vaekit.training.steps.TrainingRecorder`."""

    trainer: Trainer[FlowMatchingPrior]
    run: Path
    config: FlowConfig
    held: Latents
    part: str  #: that the held-out latents are from
    is_exhausted: bool = False
    has_failed: bool = False

    @property
    def folder(self) -> Path:
        """The folder of the prior."""
        return flow_folder(self.run)

    def raise_failure(self) -> None:
        """Raise nothing, because there are no callbacks."""

    def check(self, about_to_save: bool = False) -> None:
        """Raise :class:`UserError` if the training has broken down."""
        found = breakdown(self.trainer, about_to_save)
        if found is not None:
            what, at = found
            kept = f", after {argument('kind', 'none')}" if runs.has_state(self.folder) else ""
            raise UserError(
                f"{what}, after {counted(at, 'latent')}; fit the prior again with a smaller "
                f"{argument('learning_rate')} than {self.config.learning_rate:g}{kept}"
            )

    def named(self, numbers: Mapping[str, float | None]) -> dict[str, float | None]:
        """Return the loss, which is not in nats, under its own name."""
        return {"velocity_error": numbers["distortion_nats"]}

    def log(self, numbers: Mapping[str, float | None], rate: float) -> None:
        """Write a line of metrics."""
        if self.trainer.team.leads:
            line = {
                "images": self.trainer.images,
                "kind": "train",
                "epoch": self.trainer.images / self.config.latents,
                **numbers,
                "learning_rate": learning_rate(self.trainer.values, self.trainer.fraction),
                "images_per_second": round(rate, 1),
            }
            runs.append_metrics(self.folder, line)

    def end_epoch(self) -> None:
        """Measure the velocity of held-out latents with the averaged weights, every few epochs and at the end."""
        trainer, steps = self.trainer, math.ceil(self.config.latents / self.config.batch_size)
        epoch, every = math.ceil(trainer.images / self.config.latents), math.ceil(_MEASURED_EVERY / steps)
        if trainer.team.leads and (epoch % every == 0 or trainer.images == self.config.total_images):
            found = self.measured()
            line = {"images": self.trainer.images, "kind": "validation", "part": self.part, **found}
            runs.append_metrics(self.folder, line)
        self.trainer.model.train()

    def save(self) -> None:
        """Write the state, then the weights."""
        tensors, facts = self.trainer.state()
        runs.save_state(self.folder, tensors, {**facts, "trained": json.loads(self.config.to_json())})
        save_flow_weights(self.run, self.trainer.eval_model(), self.trainer.images, self.config)
        self.trainer.model.train()

    @torch.no_grad()
    def measured(self) -> dict[str, float]:
        """Return the error of the velocity on held-out latents, and that of the best field for a standard normal."""
        prior, device, size = self.trainer.eval_model(), self.trainer.device, self.config.batch_size
        z, noise = fixed_draw(self.held, self.config.seed)
        pieces = zip(Batch(z, condition=self.held.conditions).split(size), noise.split(size), strict=True)
        errors = [
            velocity_error(prior, piece.x.to(device), e.to(device), _moved(piece.condition, device))
            for piece, e in pieces
        ]
        return {
            "held_out_velocity_error": float(torch.cat(errors).mean()),
            "held_out_velocity_error_of_a_normal": float(normal_error(noise).mean()),
        }

    def finished(self) -> tuple[FlowMatchingPrior, dict[str, object]]:
        """Return the prior and what is known about it."""
        prior = self.trainer.eval_model().requires_grad_(False)
        return prior, facts_of(self.config, **self.measured(), held_out=len(self.held), held_out_from=self.part)


def _stored(run: RunContext, options: FlowOptions, progress: Progress) -> FlowConfig | None:
    """Return the configuration of a training to resume; remove one that belongs to earlier weights."""
    if not has_flow(run.path):
        forget_flow(run.path)  # leftovers of a kill
        return None
    config = read_flow_config(run.path)
    if config.weights != file_digest(run.path / "weights.safetensors"):
        progress.say(f"{flow_folder(run.path)} was fitted to earlier weights of the run, and is replaced")
        forget_flow(run.path)
        return None
    asked = {
        "images": (options.images, config.total_images),
        "budget": (options.budget, config.budget_seconds),
        "width": (options.width, config.width),
        "depth": (options.depth, config.depth),
        "batch_size": (options.batch_size, config.batch_size),
        "learning_rate": (options.learning_rate, config.learning_rate),
        "seed": (options.seed, config.seed),
    }
    for name, (wanted, is_) in asked.items():
        if wanted is not None and wanted != is_:
            shown = [duration_text(x) if name == "budget" and x is not None else x for x in (wanted, is_)]
            has = f"{argument(name, shown[1])}" if is_ is not None else f"no {argument(name)}"
            raise UserError(
                f"{argument(name, shown[0])}: {flow_folder(run.path)} contains a prior with {has}; leave it out to "
                f"resume, or remove that prior first with {argument('kind', 'none')}"
            )
    return config


def _new_config(run: RunContext, images: Images, options: FlowOptions, computing: Choice, team: Team) -> FlowConfig:
    """Return the configuration of a new prior."""
    rows, device, flips = is_trained_on(images, run.recipe), run.model.device, run.recipe.flip
    has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return FlowConfig(
        weights=file_digest(run.path / "weights.safetensors") or "",
        width=options.width or default_width(run.model.latent_shapes[0]),
        depth=options.depth or _DEPTH,
        conditions=possible_conditions(images, rows),
        latents=int(rows.sum()) * (1 + flips),
        total_images=options.images or _IMAGES,
        batch_size=options.batch_size or _BATCH,
        learning_rate=options.learning_rate or _LEARNING_RATE,
        seed=options.seed or 0,
        flip=flips,
        precision="bf16" if has_bf16 else "fp32",
        threads=computing.threads if device.type == "cpu" and team.size == 1 else None,
        budget_seconds=options.budget,
    )


def _threads(stored: FlowConfig | None, device: torch.device, team: Team) -> Choice:
    limit = torch.get_num_threads()
    if team.size > 1 or device.type != "cpu":
        return Choice(limit)
    before = stored.threads if stored is not None else None
    load = recent_load() if max(before or 1, limit) > 1 else None
    return choose(None, before, limit, load, is_set_by_user())


def _of_leader(config: FlowConfig, team: Team) -> FlowConfig:
    """Return the main process's configuration in every process."""
    return record(FlowConfig, json.loads(team.text_of_leader(config.to_json())), "the configuration of the prior")


def _trainer(
    config: FlowConfig, prior: FlowMatchingPrior, latents: Latents, device: torch.device, team: Team
) -> Trainer[FlowMatchingPrior]:
    values = TrainingValues(
        total_images=config.total_images,
        learning_rate=config.learning_rate,
        warmup=_WARMUP,
        adam_beta2=_BETA2,
        clip_norm=_CLIP_NORM,
        ema_power=_EMA_POWER,
        precision=config.precision,
    )
    return Trainer(VelocityStep(prior), LatentBatches(config, latents, device, team), values, device, team)


def _fitting(
    config: FlowConfig,
    run: RunContext,
    latents: Latents,
    measured: int,
    started: float,
    team: Team,
    progress: Progress,
) -> FlowConfig:
    """Return the configuration with the number of latents that fit into the rest of its budget."""
    device, budget = run.model.device, config.budget_seconds or 0.0
    trial_config = replace(config, total_images=10**9)
    trial = _trainer(trial_config, new_flow(run.model, config).to(device), latents, device, team)
    trial.step().loss.sum().item()  # the first step is slower
    taken: list[float] = []
    end = time.monotonic() + min(_MOST_MEASURING_SECONDS, _MEASURING_SHARE * budget)
    while len(taken) < _LEAST_MEASURED or not team.any(time.monotonic() > end):
        before = time.monotonic()
        trial.step().loss.sum().item()
        taken.append(time.monotonic() - before)
    per_step = sorted(taken)[len(taken) // 3]  # disturbances only make steps slower
    per_step *= 1 + measured / 3 / config.batch_size / _MEASURED_EVERY  # a forward pass is a third of a step
    left = budget - (time.monotonic() - started) - _AT_THE_END
    if left < budget / 4:
        progress.say(
            f"{argument('budget', duration_text(budget))} is too short to be useful: encoding the images and measuring "
            f"the speed take about {duration_text(budget - left)}"
        )
    epochs, rest = divmod(max(1, int(left / per_step)), math.ceil(len(latents) / config.batch_size))
    return replace(config, total_images=epochs * len(latents) + min(rest * config.batch_size, len(latents)))


def _held_out(
    run: RunContext, images: Images, config: FlowConfig, prior: FlowMatchingPrior, team: Team
) -> tuple[Latents, str]:
    """Return standardized latents to measure, and the name of their part: ``train`` if no image is held out."""
    part, rows = held_out(images, run.recipe)
    rows = rows[:: math.ceil(len(rows) / _MOST_MEASURED)]
    found = encoded(run.model, images, rows, config.conditions, team=team)
    return found.standardized(prior), part


def _moved(tensor: torch.Tensor | None, device: torch.device) -> torch.Tensor | None:
    return None if tensor is None else tensor.to(device)


def _begin_or_resume(recorder: _PriorRecorder, progress: Progress) -> None:
    """Load the last state into every process, or write the files that exist before the first step."""
    trainer, folder, config = recorder.trainer, recorder.folder, recorder.config
    if trainer.team.leads:
        saved = None
        if has_flow(recorder.run):
            runs.clear_leftovers(folder)
            saved = _state(recorder, progress)
        if saved is None:
            folder.mkdir(exist_ok=True)
            write_flow_config(recorder.run, config)
            atomic_write_text(folder / "metrics.jsonl", "")
            runs.append_metrics(folder, {"images": 0, "kind": "start"})
        else:
            trainer.load_state(*saved)
            runs.trim_metrics(folder, trainer.images)
            save_flow_weights(recorder.run, trainer.eval_model(), trainer.images, config)  # a kill may have come before
            trainer.model.train()
            is_done = trainer.images == config.total_images
            words = "finished already" if is_done else f"resumed after {trainer.images:,}"
            progress.say(f"{folder}: {words}, of {counted(config.total_images, 'latent')}")
    trainer.follow_leader()


def _state(
    recorder: _PriorRecorder, progress: Progress
) -> tuple[dict[str, torch.Tensor], dict[str, float | None]] | None:
    """Return the newest valid state, or None if there is none yet."""
    try:
        return runs.load_state(recorder.folder, progress.say, lambda *state: _fault(recorder, *state))
    except UserError as error:
        raise UserError(
            f"no state in {recorder.folder} can be read; remove the prior with {argument('kind', 'none')}, and fit it "
            "again"
        ) from error


def _fault(recorder: _PriorRecorder, tensors: dict[str, torch.Tensor], facts: dict[str, float | None]) -> str | None:
    """Describe what is wrong with a saved state; None if it belongs to this configuration."""
    if not _trained_with(facts, recorder.config):
        return "it belongs to another configuration"
    return recorder.trainer.state_fault(tensors, facts)


def _trained_with(facts: Mapping[str, object], config: FlowConfig) -> bool:
    """Whether a state is of the training with this configuration."""
    try:
        return record(FlowConfig, facts.get("trained"), "the state") == config
    except UserError:
        return False
