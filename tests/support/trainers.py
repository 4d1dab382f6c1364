"""A small training of any recipe, for tests; conditional ones get a numeric condition."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vaekit.config.run_config import Condition, DataConfig, Engine, RunConfig
from vaekit.config.table import get, override
from vaekit.data import Selection
from vaekit.model.conditioning import size_of
from vaekit.model.factory import resolve
from vaekit.model.inference import Batch
from vaekit.system.distributed import ALONE, Team
from vaekit.training.model_trainer import ModelTrainer
from vaekit.training.optimizer import Adam

__all__ = ["in_double", "small_trainer"]


def small_trainer(
    name: str,
    pixels: Tensor,
    epochs: float,
    *,
    seed: int = 0,
    engine: Engine | None = None,
    team: Team = ALONE,
    **values: Any,
) -> ModelTrainer:
    """On uint8 ``pixels`` ``[N, C, H, W]``, on the CPU; ``values`` are of the recipe."""
    recipe, count = get(name), len(pixels)
    told = (Condition("age"),) if recipe.is_conditional else ()
    own = {"vector": {"latent_dim": 4}, "codes": {"code_count": 16}, "levels": {"top_latents": 4}}
    latents = own.get(recipe.latent, {})
    values = {"width": 8, **latents, **values}
    shape = (pixels.shape[1], pixels.shape[2], pixels.shape[3])
    row = resolve(replace(override(recipe, values), condition_size=size_of(told)), shape, count)
    data = DataConfig("array", shape[1:], shape[0], "00", images=count, train_images=count)
    total = round(epochs * count)
    config = RunConfig(row, data, total, seed, engine=engine or Engine(), conditions=told)
    known = torch.stack([torch.linspace(0, 1, count), torch.ones(count)], 1) if told else None
    return ModelTrainer(config, Selection(pixels, torch.arange(count), known), torch.device("cpu"), team)


def in_double(trainer: ModelTrainer) -> ModelTrainer:
    """The same in float64, where sums in another order agree to ten digits; without averaged weights."""
    trainer.model.double()
    trainer.average = None
    trainer.adam = Adam(trainer.parameters, 0.0)
    inputs = trainer._inputs

    def doubled(index: Tensor) -> tuple[Batch, Tensor, Tensor]:
        batch, noise, warmth = inputs(index)
        wide = (None if t is None else t.double() for t in (batch.x, batch.target, batch.condition))
        return Batch(*wide), noise.double(), warmth.double()  # type: ignore[arg-type]

    trainer._inputs = doubled  # type: ignore[method-assign]
    return trainer
