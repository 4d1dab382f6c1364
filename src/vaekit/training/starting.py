"""Initial weights that are not only random."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vaekit.errors import UserError, argument
from vaekit.model.latent_model import LatentModel
from vaekit.model.nets import MLPDecoder
from vaekit.training.model_trainer import ModelTrainer

__all__ = ["start_at_images", "start_at_mean", "start_from"]

_MEAN_IMAGES = 4096


def start_at_mean(trainer: ModelTrainer) -> None:
    """Initialize the decoder's last layer, so that it outputs the mean of up to 4,096 training images."""
    count = len(trainer.pixels)
    seen = torch.arange(0, count, math.ceil(count / _MEAN_IMAGES))
    mean = torch.stack([trainer.batches.floats(part).sum(0) for part in seen.split(256)]).sum(0) / len(seen)
    bias = trainer.model.likelihood.output_of(mean).flatten()
    for model in _models(trainer):
        assert isinstance(model.decoder, MLPDecoder), "others are refused with start_at_mean"
        with torch.no_grad():
            model.decoder.last.bias.copy_(bias)


def start_at_images(trainer: ModelTrainer) -> None:
    """Initialize a prior that needs training images with evenly spaced ones."""
    for model in _models(trainer):
        if model.prior is not None and model.prior.starting_images:
            count = model.prior.starting_images
            model.prior.start_from(trainer.batches.floats(torch.arange(count) * len(trainer.pixels) // count))


def start_from(trainer: ModelTrainer, weights: dict[str, Tensor], where: str) -> None:
    """Load the weights of the run ``where`` as initial weights."""
    for model in _models(trainer):
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise UserError(f"{argument('init')} {where}: its weights do not fit this recipe and image size") from error


def _models(trainer: ModelTrainer) -> list[LatentModel]:
    """Return the model, and its average if there is one."""
    return [trainer.model] if trainer.average is None else [trainer.model, trainer.average]
