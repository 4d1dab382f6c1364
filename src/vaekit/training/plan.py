"""The cost of a training before it starts: parameters, memory, steps, seconds and the full configuration."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TypedDict

import torch

from vaekit.config.options import TrainOptions
from vaekit.config.run_config import RunConfig
from vaekit.config.steps import steps_to_see
from vaekit.config.table import Recipe
from vaekit.data import Images
from vaekit.errors import UserError, argument
from vaekit.model.factory import parameter_count
from vaekit.runs.new_config import make_config
from vaekit.system.cpu import torch_threads
from vaekit.system.locks import only_writer
from vaekit.system.memory import physical_bytes
from vaekit.system.notes import note, spoken
from vaekit.system.number_text import size_text
from vaekit.training.decision import Decision, decide
from vaekit.training.model_trainer import ModelTrainer
from vaekit.training.resuming import load_initial
from vaekit.training.setup import request, with_engine

__all__ = ["Plan", "largest_batch", "make_plan"]

_TIMED_STEPS = 3
_TIMED_PASSES = 256  # images times samples in a timed step; larger batches are extrapolated
_FILL = 0.8  # share of the free memory; the rest is for workspaces of kernels
_LARGEST_BATCH = 4096


class Plan(TypedDict):
    """The cost of a training, as JSON values."""

    status: str  #: new, resumed, extended or finished
    sentence: str  #: what the training does with the run folder
    images_seen: int  #: by the run so far
    parameters: int
    memory_bytes: int
    steps: int  #: that are left
    estimated_seconds: float  #: that are left
    config: dict[str, object]  #: the fields of :class:`~vaekit.config.run_config.RunConfig`


def make_plan(
    images: Images,
    counts: tuple[int, int] | None,
    recipe: Recipe,
    out: Path,
    options: TrainOptions,
    device: torch.device,
) -> Plan:
    """Plan a training; refuses what the training would refuse before its first step.

    Seconds are measured in a few steps on some images. Memory includes images, weights, gradients, moments and the
    activations of a step. For a budget, the number of steps is the estimate that fits.

    Args:
        images: The images, or a sample of them.
        counts: Numbers of all images and of training images, if ``images`` is a sample.
        recipe: The recipe, with the values of ``options`` already applied.
        out: The run folder.
        options: All other options.
        device: The device.
    """
    requested = request(images, recipe, out, options, device, counts=counts)
    with only_writer(out, note) if out.is_dir() else nullcontext():
        decision = decide(out, requested.config, options, requested.engine)
    with torch_threads(requested.computing.threads):
        return _costs(decision, images, out, device)


def _costs(decision: Decision, images: Images, out: Path, device: torch.device) -> Plan:
    config = decision.config
    row, data = config.recipe, config.data
    assert row.batch_size is not None, "the row is resolved"
    batch = min(row.batch_size, data.train_images)
    timed = min(batch, max(2, _TIMED_PASSES // row.samples))
    trainer = _trainer_of(config, images, timed, device)
    if decision.kind == "new":
        load_initial(trainer)
    kept, seconds = _kept_bytes(trainer), _seconds_per_step(trainer) * batch / timed
    if timed < batch:  # weights are kept too, whatever the size of the batch
        half = _kept_bytes(_trainer_of(config, images, timed // 2, device))
        kept += (kept - half) * (batch - timed) // (timed - timed // 2)
    weights = parameter_count(trainer.model)
    copies = 5 if trainer.average is not None else 4  # weights, gradients, two moments, average
    step_bytes = 4 * copies * weights + kept
    _check_memory(step_bytes, batch, device)
    if config.budget_seconds and decision.stored is None:
        config = dataclasses.replace(config, total_images=max(batch, int(config.budget_seconds / seconds * batch)))
    steps = steps_to_see(config.total_images, data.train_images, batch) - decision.steps
    steps = 0 if decision.kind == "finished" else steps
    values: dict[str, dict[str, object]] = json.loads(config.to_json())
    if len(images) < data.images:
        del values["data"]["fingerprint"]  # it would be that of the sample
    return {
        "status": decision.kind,
        "sentence": spoken(decision.sentence(out)),
        "images_seen": decision.images_seen,
        "parameters": weights,
        "memory_bytes": images.pixels[0].numel() * data.images + step_bytes,
        "steps": steps,
        "estimated_seconds": round(steps * seconds, 1),
        "config": {**values},
    }


def _trainer_of(config: RunConfig, images: Images, batch: int, device: torch.device) -> ModelTrainer:
    """Return a trainer whose steps take this many images; few images are repeated."""
    pixels = images.pixels[:batch].repeat(math.ceil(batch / len(images)), 1, 1, 1)[:batch]
    return ModelTrainer(dataclasses.replace(config, total_images=10**9), pixels, device)


def _check_memory(step_bytes: int, batch: int, device: torch.device) -> None:
    """Refuse a step that needs more memory than there is."""
    whole = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else physical_bytes()
    if whole is not None and step_bytes > whole:
        raise UserError(
            f"there is not enough memory: a step on {batch:,} images needs {size_text(step_bytes)}, and there are "
            f"{size_text(whole)}; give a smaller {argument('batch_size')} or {argument('micro_batch')}"
        )


def largest_batch(
    recipe: Recipe,
    images: Images,
    count: int,
    device: torch.device,
    options: TrainOptions,
    free_bytes: int | None = None,
) -> int | None:
    """Return the largest power of two as the batch size for which a step and ``count`` images fit into a GPU's memory.

    None on other devices. Gradients of activations are assumed to need as much memory as the activations themselves.
    ``free_bytes`` is for tests.
    """
    if device.type == "cuda" and free_bytes is None:
        free_bytes = torch.cuda.mem_get_info(device)[0]
    if free_bytes is None:
        return None
    kept = {}
    for size in (1, 2):
        row = dataclasses.replace(recipe, batch_size=size)
        config = with_engine(make_config(images, row, options), device, options.engine())
        trainer = _trainer_of(config, images, size, device)
        kept[size] = _kept_bytes(trainer)
    fixed = 4 * 5 * parameter_count(trainer.model) + images.pixels[0].numel() * count
    fitting = int((_FILL * free_bytes - fixed) / (2 * max(1, kept[2] - kept[1])))
    return 1 << int(math.log2(max(1, min(fitting, _LARGEST_BATCH, count))))


def _kept_bytes(trainer: ModelTrainer) -> int:
    """Take a step, and return the bytes that it keeps for the backward pass."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        trainer.step()
    return sum(kept.values())


def _seconds_per_step(trainer: ModelTrainer) -> float:
    """Return the median seconds of some steps; the trainer has already taken one."""
    seconds = []
    for _ in range(_TIMED_STEPS):
        before = time.perf_counter()
        trainer.step().loss.sum().item()
        seconds.append(time.perf_counter() - before)
    return sorted(seconds)[_TIMED_STEPS // 2]
