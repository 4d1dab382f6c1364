"""Before the first step: which images are trained on, which are watched, on what device, and the full configuration."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from vaekit.build import resolve
from vaekit.config import DataConfig, Engine, Length, RunConfig
from vaekit.data import PARTS, Images
from vaekit.errors import UserError
from vaekit.pictures import one_per_class
from vaekit.recipes import DENSITIES, Recipe

__all__ = ["Watched", "default_engine", "held_out", "is_binary", "is_trained_on", "make_config", "pick_device"]

_MOST_VALIDATION_IMAGES = 1000
_WINDOW_BYTES = 1 << 28  # of images mixed at a time where they lie on a disk


def make_config(
    images: Images,
    recipe: Recipe,
    length: Length,
    *,
    seed: int = 0,
    initial: str | None = None,
    patience: int | None = None,
    binarize: str | None = None,
    counts: tuple[int, int] | None = None,
) -> RunConfig:
    """The full configuration of a run about to start; ``counts`` are (all, training) images where a sample is given."""
    total_count, count = counts or (len(images), int(is_trained_on(images, recipe).sum()))
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
        fit=images.form.fit,
        background=images.form.background,
        frames=images.form.frames,
        binarize=binarize,
    )
    if row.likelihood == "bernoulli" and binarize is None and not all(map(is_binary, images.pixels.split(1024))):
        raise UserError(
            "likelihood=bernoulli is for binary pixels, these images have grey levels; "
            "give --binarize dynamic, or set likelihood=normal"
        )
    if binarize and row.has_bound and row.likelihood in DENSITIES and row.scale != "fixed":
        raise UserError(
            f"likelihood={row.likelihood} is a density, which grows without bound on pixels of two values; "
            "with --binarize leave it out (bernoulli), or name one of bytes"
        )
    # The length is not part of what a recipe is: a finished run can be extended.
    recipe_row = replace(row, epochs=None).to_dict()
    return RunConfig(
        recipe_row,
        data,
        total,
        seed,
        initial,
        length.budget_seconds,
        window_images=max(1, _WINDOW_BYTES // images.pixels[0].numel()) if images.is_mapped else 0,
        patience=patience,
        notes=images.remarks,
    )


def is_binary(pixels: Tensor) -> bool:
    """Whether uint8 pixels are black and white alone."""
    return bool(((pixels == 0) | (pixels == 255)).all())


def is_trained_on(images: Images, recipe: Recipe) -> np.ndarray:
    """bool ``[N]``: the images that a recipe trains on: the train part, for the seed systems validation too."""
    return images.parts != PARTS.index("test") if recipe.train_on_val else images.parts == PARTS.index("train")


def held_out(images: Images, recipe: Recipe) -> tuple[str, np.ndarray]:
    """The part that is watched during training and its rows: val, else test, else (for tiny sets) train."""
    for part in ("test",) if recipe.train_on_val else ("val", "test"):
        rows = np.flatnonzero(images.parts == PARTS.index(part))
        if len(rows):
            return part, rows
    return "train", np.flatnonzero(is_trained_on(images, recipe))


@dataclass(frozen=True)
class Watched:
    """Held-out images looked at after every epoch: for pictures and for numbers."""

    part: str
    pictured: Tensor
    validation: Tensor

    @classmethod
    def of(cls, images: Images, recipe: Recipe) -> Watched:
        part, rows = held_out(images, recipe)
        kept = images.selection(rows)
        labels = None if images.labels is None else images.labels[torch.from_numpy(rows)]
        return cls(part, kept[one_per_class(labels, len(kept), 10)], kept[:_MOST_VALIDATION_IMAGES])


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


def default_engine(device: torch.device) -> Engine:
    """How a new training is computed on a device where the user does not say: bf16 on GPUs that have it."""
    has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return Engine(precision="bf16" if has_bf16 else "fp32")
