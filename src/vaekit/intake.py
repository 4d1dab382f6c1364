"""Before the first step: which images are trained on, which are watched, on what device, and the full configuration."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from vaekit.build import resolve
from vaekit.config import DataConfig, Length, RunConfig
from vaekit.data import Images
from vaekit.errors import UserError
from vaekit.pictures import one_per_class
from vaekit.recipes import Recipe

__all__ = ["Watched", "held_out", "make_config", "pick_device", "training_images"]

_MOST_VALIDATION_IMAGES = 1000


def make_config(
    images: Images,
    recipe: Recipe,
    length: Length,
    *,
    seed: int = 0,
    initial: str | None = None,
    counts: tuple[int, int] | None = None,
) -> RunConfig:
    """The full configuration of a run about to start; ``counts`` are (all, training) images where a sample is given."""
    total_count, count = counts or (len(images), int(_is_trained_on(images, recipe).sum()))
    if not count:
        raise UserError(f"{images.source} names no training images, only other parts; add those to train on")
    row = resolve(recipe, images.shape, count)
    assert row.epochs is not None
    epochs = row.epochs if length.epochs is None else length.epochs
    total = length.images or max(1, round(epochs * count))
    data = DataConfig(
        source=images.source,
        size=(images.shape[1], images.shape[2]),
        channels=images.shape[0],
        fingerprint=images.fingerprint,
        split_seed=images.split_seed,
        images=total_count,
        train_images=count,
        classes=images.classes,
        attributes=tuple(images.attributes),
    )
    if row.likelihood == "bernoulli" and not bool(((images.pixels == 0) | (images.pixels == 255)).all()):
        raise UserError(
            "likelihood=bernoulli is for binary pixels, these images have grey levels; set likelihood=normal"
        )
    # The length is not part of what a recipe is: a finished run can be extended.
    recipe_row = replace(row, epochs=None).to_dict()
    return RunConfig(recipe_row, data, total, seed, initial, length.budget_seconds, notes=images.remarks)


def training_images(images: Images, recipe: Recipe) -> Images:
    """The images that a recipe trains on: the train part, with the validation part for the seed systems."""
    return images[_is_trained_on(images, recipe)]


def _is_trained_on(images: Images, recipe: Recipe) -> np.ndarray:
    """bool ``[N]``; counting it copies no pixels, as taking the part would."""
    return images.parts != 2 if recipe.train_on_val else images.parts == 0


def held_out(images: Images, recipe: Recipe) -> tuple[str, Images]:
    """The part that is watched during training, and its name: val, else test, else (for tiny sets) train."""
    for part in ("test",) if recipe.train_on_val else ("val", "test"):
        kept = images.part(part)
        if len(kept):
            return part, kept
    return "train", training_images(images, recipe)


@dataclass(frozen=True)
class Watched:
    """Held-out images looked at after every epoch: for pictures and for numbers."""

    part: str
    pictured: Tensor
    validation: Tensor

    @classmethod
    def of(cls, images: Images, recipe: Recipe) -> Watched:
        part, kept = held_out(images, recipe)
        chosen = one_per_class(kept.labels, len(kept), 10)
        return cls(part, kept.pixels[chosen], kept.pixels[:_MOST_VALIDATION_IMAGES])


def pick_device(name: str) -> torch.device:
    """``auto`` is a GPU if there is one; raises :class:`UserError` if the named device cannot be used."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"--device {name} cannot be used here; leave it out or give cpu") from error
    return device
