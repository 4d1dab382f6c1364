"""The trainer of a run: model, batches and values, created from its configuration."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vaekit.config.run_config import RunConfig
from vaekit.data import Selection
from vaekit.model import registry
from vaekit.model.factory import build_model, build_objective
from vaekit.model.latent_model import LatentModel
from vaekit.model.objectives import Step
from vaekit.system.distributed import ALONE, Team
from vaekit.training.batches import Batches
from vaekit.training.trainer import Trainer
from vaekit.training.values import TrainingValues

__all__ = ["ModelTrainer", "training_values"]


class ModelTrainer(Trainer[LatentModel]):
    """Trains the model of a run on ``pixels``, uint8 ``[N, C, H, W]``, or a selection of some."""

    batches: Batches

    def __init__(self, config: RunConfig, pixels: Tensor | Selection, device: torch.device, team: Team = ALONE) -> None:
        self.config, self.row = config, config.recipe
        step = _step(config, device)
        batches = Batches(config, pixels, device, team, step.model.latent_dim, step.uses_noise)
        super().__init__(step, batches, training_values(config), device, team)

    @property
    def pixels(self) -> Selection:
        """The training images."""
        return self.batches.pixels


def training_values(config: RunConfig) -> TrainingValues:
    """Return the training values of a run, from its recipe and its engine."""
    row, engine = config.recipe, config.engine
    return TrainingValues(
        total_images=config.total_images,
        learning_rate=row.learning_rate,
        schedule=row.schedule,
        warmup=row.warmup,
        ramp_warmup=row.kl_warmup,
        weight_decay=row.weight_decay,
        adam_beta2=row.adam_beta2,
        clip_norm=row.clip_norm
        * config.data.channels
        * math.prod(config.data.size),  # so that one limit serves every image size
        ema_power=row.ema_power,
        reduction=row.reduction,
        precision=engine.precision,
        compiled=engine.compiled,
        micro_batch=engine.micro_batch,
    )


def _step(config: RunConfig, device: torch.device) -> Step:
    """Return model and objective of a recipe, with the properties that the trainer needs."""
    row = config.recipe
    model = build_model(row, (config.data.channels, *config.data.size), config.seed).to(device)
    step = Step(model, build_objective(row))
    step.name = f"recipe {row.name!r}"
    if step.objective.compile_remedy:
        step.compile_fault = f"objective={row.objective} cannot be compiled; {step.objective.compile_remedy}"
    # a recording may miss what parts from outside the package do
    step.can_be_recorded = registry.network(row.net).can_be_recorded and not config.parts
    return step
