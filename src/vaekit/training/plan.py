"""The cost of a training before it starts: parameters, memory, steps, seconds and the full configuration."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch

from vaekit.config.options import TrainOptions
from vaekit.config.run_config import RunConfig
from vaekit.config.steps import steps_to_see
from vaekit.config.table import Recipe
from vaekit.data import Images, Selection
from vaekit.errors import UserError, argument
from vaekit.model.conditioning import selected
from vaekit.model.factory import parameter_count
from vaekit.runs.new_config import make_config
from vaekit.runs.watched import MOST_VALIDATION_IMAGES, Watched
from vaekit.system.cpu import torch_threads
from vaekit.system.locks import only_writer
from vaekit.system.memory import physical_bytes, resident_bytes
from vaekit.system.notes import note, spoken
from vaekit.system.number_text import size_text
from vaekit.training.budget import at_the_end, fitting, measure, measuring_seconds, per_image
from vaekit.training.decision import Decision, decide
from vaekit.training.model_trainer import ModelTrainer
from vaekit.training.resuming import load_initial
from vaekit.training.setup import batch_note, request, with_engine

__all__ = ["Plan", "largest_batch", "make_plan"]

_MEASURED_SECONDS = 10.0  # the budget whose measuring takes as long as that of a plan
_TIMED_PASSES = 256  # images times samples in a timed step; larger batches are extrapolated
_FILL = 0.8  # share of the free memory; the rest is for workspaces of kernels
_LARGEST_BATCH = 4096


class Plan(TypedDict):
    """The cost of a training, as JSON values."""

    status: str  #: new, resumed, extended or finished
    sentence: str  #: what the training does with the run folder
    images_seen: int  #: by the run so far
    parameters: int
    memory_bytes: int  #: on the device
    process_bytes: int  #: memory of Python and PyTorch before, on a CPU; 0 if the system does not report it
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
    started: float | None = None,
) -> Plan:
    """Plan a training; refuses what the training would refuse before its first step.

    Seconds are measured in a few steps and evaluations of some images. They include the evaluations, pictures and saved
    states of the training, and the results at its end, but not reading all images. Memory includes images, weights,
    gradients, moments and the activations of a step. For a budget, the number of steps is the estimate that fits.

    Args:
        images: The images, or a sample of them.
        counts: Numbers of all images and of training images, if ``images`` is a sample.
        recipe: The recipe, with the values of ``options`` already applied.
        out: The run folder.
        options: All other options.
        device: The device.
        started: The ``time.monotonic()`` from which a budget counts.
    """
    started = time.monotonic() if started is None else started
    requested = request(images, recipe, out, options, device, counts=counts)
    with only_writer(out, note) if out.is_dir() else nullcontext():
        decision = decide(out, requested.config, options, requested.engine, note)
    if decision.stored is None and (remark := batch_note(requested.config, options)):
        note(f"vaekit: {remark}")
    with torch_threads(requested.computing.threads):
        return _costs(decision, images, out, device, started)


def _costs(decision: Decision, images: Images, out: Path, device: torch.device, started: float) -> Plan:
    config = decision.config
    row, data = config.recipe, config.data
    process_bytes = (resident_bytes() or 0) if device.type == "cpu" else 0
    assert row.batch_size is not None, "the row is resolved"
    batch = min(row.batch_size, data.train_images)
    timed = min(batch, max(2, _TIMED_PASSES // row.samples))
    trainer = _trainer_of(config, images, timed, device)
    if decision.kind == "new":
        load_initial(trainer)
    kept = _kept_bytes(trainer)
    if timed < batch:  # weights are kept too, whatever the size of the batch
        half = _kept_bytes(_trainer_of(config, images, timed // 2, device))
        kept += (kept - half) * (batch - timed) // (timed - timed // 2)
    weights = parameter_count(trainer.model)
    copies = 5 if trainer.average is not None else 4  # weights, gradients, two moments, average
    step_bytes = 4 * copies * weights + kept
    _check_memory(step_bytes, batch, device)
    config, seconds = _length(decision, images, _trainer_of(config, images, timed, device).pixels, device, started)
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
        "process_bytes": process_bytes,
        "steps": steps,
        "estimated_seconds": round(seconds, 1),
        "config": {**values},
    }


def _length(
    decision: Decision, images: Images, pixels: Selection, device: torch.device, started: float
) -> tuple[RunConfig, float]:
    """Return the configuration with the number of images that fits into a new run's budget, and the seconds left."""
    config = decision.config
    if decision.kind == "finished":
        return config, 0.0
    spent = time.monotonic() - started
    images = images.binarized(config.data.binarize)
    sample = Watched("all", images.pixels[:1], selected(images, np.ones(len(images), bool), config.conditions))
    seconds = measure(config, pixels, sample, device, _MEASURED_SECONDS)
    validation = _validation_images(config)
    if config.budget_seconds and decision.stored is None:
        left = config.budget_seconds - spent - measuring_seconds(config.budget_seconds, seconds, validation)
        config = fitting(config, seconds, validation, config.budget_seconds, left, lambda text: note(f"vaekit: {text}"))
        return config, config.budget_seconds or 0.0
    images_left = config.total_images - decision.images_seen
    return config, images_left * per_image(config, seconds, validation) + at_the_end(config, seconds)


def _validation_images(config: RunConfig) -> int:
    """Estimate the number of images that are evaluated after each epoch."""
    others = config.data.images - config.data.train_images
    held_out = others if config.recipe.train_on_val else others // 2
    return min(MOST_VALIDATION_IMAGES, held_out or config.data.train_images)


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
