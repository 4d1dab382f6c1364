"""Some images of a set, read only when asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Selection"]


@dataclass(frozen=True, eq=False)
class Selection:
    """Rows of a set of images; an index gives their pixels, and nothing else is copied.

    >>> some = Selection(torch.arange(6, dtype=torch.uint8).view(3, 1, 1, 2), torch.tensor([2, 0]))
    >>> len(some), some.shape, some[torch.tensor([0])].flatten().tolist()
    (2, (2, 1, 1, 2), [4, 5])
    """

    pixels: Tensor  #: uint8 ``[N, C, H, W]``, all images of the set
    rows: Tensor  #: int64 ``[n]``, which of them
    conditions: Tensor | None = None  #: float32 ``[N, C]``, what a conditional model is told of all images

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """``(n, C, H, W)``."""
        channels, height, width = self.pixels.shape[1:]
        return len(self.rows), channels, height, width

    def __getitem__(self, index: slice | Tensor) -> Tensor:
        """The pixels of some of the images, uint8 ``[m, C, H, W]``, a copy."""
        rows = self.rows[index.to(self.rows.device) if isinstance(index, Tensor) else index]
        return torch.index_select(self.pixels, 0, rows)  # several times as fast as pixels[rows]

    def conditions_of(self, index: slice | Tensor) -> Tensor | None:
        """What a conditional model is told of some of the images, float32 ``[m, C]``."""
        if self.conditions is None:
            return None
        rows = self.rows[index.to(self.rows.device) if isinstance(index, Tensor) else index]
        return self.conditions[rows.to(self.conditions.device)]

    def split(self, size: int) -> Iterator[Tensor]:
        """The pixels in pieces of at most ``size`` images."""
        for start in range(0, len(self), size):
            yield self[start : start + size]
