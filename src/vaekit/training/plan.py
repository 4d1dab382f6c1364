"""The cost of a training before it starts: parameters, memory, steps, seconds and the full configuration."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from typing import TypedDict

import torch

from vaekit.config.options import TrainOptions
from vaekit.config.run_config import EngineFields
from vaekit.config.steps import steps_to_see
from vaekit.config.table import Recipe
from vaekit.data import Images
from vaekit.model.factory import parameter_count
from vaekit.runs.new_config import make_config
from vaekit.training.model_trainer import ModelTrainer
from vaekit.training.setup import with_engine

__all__ = ["Plan", "largest_batch", "make_plan"]

_TIMED_STEPS = 3
_FILL = 0.8  # share of the free memory; the rest is for workspaces of kernels
_LARGEST_BATCH = 4096


class Plan(TypedDict):
    """The cost of a training, as JSON values."""

    parameters: int
    memory_bytes: int
    steps: int
    estimated_seconds: float
    config: dict[str, object]  #: the fields of :class:`~vaekit.config.run_config.RunConfig`


def make_plan(
    sample: Images,
    count: int,
    train_count: int,
    recipe: Recipe,
    options: TrainOptions,
    device: torch.device,
    engine: EngineFields,
) -> Plan:
    """Plan a training from a ``sample`` of ``count`` images, about ``train_count`` of them for training.

    Seconds are measured in a few steps on the sample. Memory includes images, weights, gradients, moments and the
    activations of these steps. For a budget, the number of steps is the estimate that fits.
    """
    length = options.length()
    config = make_config(sample, recipe, options, (count, train_count))
    config = with_engine(config, device, engine)
    assert config.recipe.batch_size is not None, "the row is resolved"
    batch = min(config.recipe.batch_size, train_count)
    repeats = math.ceil(batch / len(sample))
    trainer = ModelTrainer(
        dataclasses.replace(config, total_images=10**9), sample.pixels.repeat(repeats, 1, 1, 1)[:batch], device
    )
    seconds, activations = _measure(trainer)
    if length.budget_seconds:
        config = dataclasses.replace(config, total_images=max(batch, int(length.budget_seconds / seconds * batch)))
    steps = steps_to_see(config.total_images, config.data.train_images, batch)
    weights = parameter_count(trainer.model)
    copies = 5 if trainer.average is not None else 4  # weights, gradients, two moments, average
    return {
        "parameters": weights,
        "memory_bytes": sample.pixels[0].numel() * count + 4 * copies * weights + activations,
        "steps": steps,
        "estimated_seconds": round(steps * seconds, 1),
        "config": json.loads(config.to_json()),
    }


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
        config = make_config(images, row, dataclasses.replace(options, epochs=None, budget=None, images=10**9))
        config = with_engine(config, device, options.engine())
        trainer = ModelTrainer(config, images.pixels[:1].repeat(size, 1, 1, 1), device)
        kept[size] = _measure(trainer)[1]
    fixed = 4 * 5 * parameter_count(trainer.model) + images.pixels[0].numel() * count
    fitting = int((_FILL * free_bytes - fixed) / (2 * max(1, kept[2] - kept[1])))
    return 1 << int(math.log2(max(1, min(fitting, _LARGEST_BATCH, count))))


def _measure(trainer: ModelTrainer) -> tuple[float, int]:
    """Return the median seconds of a step, and the bytes that it keeps for the backward pass."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        trainer.step()
    seconds = []
    for _ in range(_TIMED_STEPS):
        before = time.perf_counter()
        trainer.step().loss.sum().item()
        seconds.append(time.perf_counter() - before)
    return sorted(seconds)[_TIMED_STEPS // 2], sum(kept.values())
