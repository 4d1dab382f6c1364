"""Choose the images that a recipe trains on and those held out."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vaekit.config.table import Recipe
from vaekit.data import PARTS, Images

__all__ = ["held_out", "is_binary", "is_trained_on", "one_per_class"]


def is_binary(pixels: Tensor) -> bool:
    """Whether all uint8 pixels are 0 or 255."""
    return bool(((pixels == 0) | (pixels == 255)).all())


def is_trained_on(images: Images, recipe: Recipe) -> np.ndarray:
    """Return a mask ``[N]`` of the images to train on: the train part, plus validation for the original systems."""
    result: np.ndarray = (
        images.parts != PARTS.index("test") if recipe.train_on_val else images.parts == PARTS.index("train")
    )
    return result


def held_out(images: Images, recipe: Recipe) -> tuple[str, np.ndarray]:
    """Return the name and rows of the part that is monitored during training: val, else test, else train."""
    for part in ("test",) if recipe.train_on_val else ("val", "test"):
        rows = np.flatnonzero(images.parts == PARTS.index(part))
        if len(rows):
            return part, rows
    return "train", np.flatnonzero(is_trained_on(images, recipe))


def one_per_class(labels: Tensor | None, count: int, n: int) -> Tensor:
    """Choose ``n`` images that cover all classes: the first of each class, then the second of each, and so on.

    Args:
        labels: int64 ``[count]``. If None, the first ``n`` images are chosen.
        count: Number of images.
        n: Number of images to choose.

    Returns:
        Positions, int64 ``[min(n, count)]``.
    >>> one_per_class(torch.tensor([1, 1, 0, 2, 0]), 5, 4)
    tensor([2, 0, 3, 4])
    """
    if labels is None:
        return torch.arange(min(n, count))
    by_class = labels.cpu().argsort(stable=True)
    ordered = labels.cpu()[by_class]
    rank = torch.arange(count) - torch.searchsorted(ordered, ordered)
    return by_class[rank.argsort(stable=True)][:n]
