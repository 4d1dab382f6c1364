"""What the tensors of a file should be: a name, a shape and a data type each, and finite numbers.

A file of a run is compared with this before anything is made of it, because a network of another shape, or one
whose weights are NaN, would draw pictures all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["Layout", "fault", "layouts_of"]


@dataclass(frozen=True)
class Layout:
    """Shape and data type of one tensor; a side of -1 may have any length."""

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32

    def fits(self, tensor: Tensor) -> bool:
        """Whether a tensor has this shape and data type."""
        sides = zip(tensor.shape, self.shape, strict=False)
        is_alike = tensor.ndim == len(self.shape) and all(want in (-1, have) for have, want in sides)
        return is_alike and tensor.dtype == self.dtype

    def __str__(self) -> str:
        return _words(self.shape, self.dtype)


def layouts_of(module: nn.Module) -> dict[str, Layout]:
    """The layouts of what a module loads; of one on the ``meta`` device too."""
    return {name: Layout(tuple(t.shape), t.dtype) for name, t in module.state_dict().items()}


def fault(tensors: Mapping[str, Tensor], expected: Mapping[str, Layout]) -> str | None:
    """The first thing that is wrong with some tensors, in words; None if they are as expected and finite.

    >>> fault({"a": torch.zeros(2)}, {"a": Layout((3,))})
    'a is float32 [2], expected float32 [3]'
    >>> fault({"a": torch.tensor([0.0, torch.nan])}, {"a": Layout((-1,))})
    'a has a number that is not finite'
    """
    for name in expected:
        if name not in tensors:
            return f"it lacks {name}"
    for name, tensor in tensors.items():
        if name not in expected:
            return f"it has {name}, which is unknown"
        if not expected[name].fits(tensor):
            return f"{name} is {_words(tuple(tensor.shape), tensor.dtype)}, expected {expected[name]}"
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            return f"{name} has a number that is not finite"
    return None


def _words(shape: tuple[int, ...], dtype: torch.dtype) -> str:
    sides = ", ".join("N" if side == -1 else str(side) for side in shape)
    return f"{str(dtype).removeprefix('torch.')} [{sides}]"
