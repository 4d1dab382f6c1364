"""Which images of a set a recipe trains on, and which are held out."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vaekit.config.table import Recipe
from vaekit.data import PARTS, Images

__all__ = ["held_out", "is_binary", "is_trained_on", "one_per_class"]


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


def one_per_class(labels: Tensor | None, count: int, n: int) -> Tensor:
    """Positions of ``n`` of ``count`` images: the first of each class in class order, then the second …

    ``labels`` is int64 ``[count]``, or None: then the first ``n``. Fewer than ``n`` if there are fewer.

    >>> one_per_class(torch.tensor([1, 1, 0, 2, 0]), 5, 4)
    tensor([2, 0, 3, 4])
    """
    if labels is None:
        return torch.arange(min(n, count))
    by_class = labels.cpu().argsort(stable=True)
    ordered = labels.cpu()[by_class]
    rank = torch.arange(count) - torch.searchsorted(ordered, ordered)
    return by_class[rank.argsort(stable=True)][:n]
