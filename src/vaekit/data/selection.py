"""A subset of images whose pixels are read on demand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Selection"]


@dataclass(frozen=True, eq=False)
class Selection:
    """Rows of a set of images. Indexing returns pixels; nothing else is copied.

    >>> subset = Selection(torch.arange(6, dtype=torch.uint8).view(3, 1, 1, 2), torch.tensor([2, 0]))
    >>> len(subset), subset.shape, subset[torch.tensor([0])].flatten().tolist()
    (2, (2, 1, 1, 2), [4, 5])
    """

    pixels: Tensor  #: uint8 ``[N, C, H, W]``, all images of the set
    rows: Tensor  #: int64 ``[n]``, rows of the subset
    conditions: Tensor | None = None  #: float32 ``[N, C]``, conditions of all images for a conditional model

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the subset's pixels, ``(n, C, H, W)``."""
        channels, height, width = self.pixels.shape[1:]
        return len(self.rows), channels, height, width

    def __getitem__(self, index: slice | Tensor) -> Tensor:
        """Copy the pixels of the given images, uint8 ``[m, C, H, W]``."""
        rows = self.rows[index.to(self.rows.device) if isinstance(index, Tensor) else index]
        return torch.index_select(self.pixels, 0, rows)  # several times faster than pixels[rows]

    def conditions_of(self, index: slice | Tensor) -> Tensor | None:
        """Return the conditions of the given images, float32 ``[m, C]``, or None."""
        if self.conditions is None:
            return None
        rows = self.rows[index.to(self.rows.device) if isinstance(index, Tensor) else index]
        return self.conditions[rows.to(self.conditions.device)]

    def split(self, size: int) -> Iterator[Tensor]:
        """Yield the pixels in batches of at most ``size`` images."""
        for start in range(0, len(self), size):
            yield self[start : start + size]
