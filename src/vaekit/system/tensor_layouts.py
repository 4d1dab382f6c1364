"""Expected names, shapes and data types of the tensors in a file.

Files of a run are compared with their expected layout before use. A network of another shape, or one whose weights are
NaN, would otherwise still draw pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["Layout", "fault", "layouts_of"]


@dataclass(frozen=True)
class Layout:
    """Shape and data type of one tensor. A side of -1 matches any length."""

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32

    def fits(self, tensor: Tensor) -> bool:
        """Whether ``tensor`` has this shape and data type."""
        sides = zip(tensor.shape, self.shape, strict=False)
        is_alike = tensor.ndim == len(self.shape) and all(want in (-1, have) for have, want in sides)
        return is_alike and tensor.dtype == self.dtype

    def __str__(self) -> str:
        return _text(self.shape, self.dtype)


def layouts_of(module: nn.Module) -> dict[str, Layout]:
    """Return the layout of every tensor in the state of ``module``, which may be on the ``meta`` device."""
    return {name: Layout(tuple(t.shape), t.dtype) for name, t in module.state_dict().items()}


def fault(tensors: Mapping[str, Tensor], expected: Mapping[str, Layout]) -> str | None:
    """Describe the first tensor that is missing, unexpected, of another layout or not finite.

    Args:
        tensors: Tensors by name, as read from a file.
        expected: Expected layouts by name.

    Returns:
        A short description, or None if all tensors fit.


    >>> fault({"a": torch.zeros(2)}, {"a": Layout((3,))})
    'a is float32 [2], expected float32 [3]'
    >>> fault({"a": torch.tensor([0.0, torch.nan])}, {"a": Layout((-1,))})
    'a contains NaN or infinity'
    """
    for name in expected:
        if name not in tensors:
            return f"{name} is missing"
    for name, tensor in tensors.items():
        if name not in expected:
            return f"it has {name}, which is unknown"
        if not expected[name].fits(tensor):
            return f"{name} is {_text(tuple(tensor.shape), tensor.dtype)}, expected {expected[name]}"
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            return f"{name} contains NaN or infinity"
    return None


def _text(shape: tuple[int, ...], dtype: torch.dtype) -> str:
    sides = ", ".join("N" if side == -1 else str(side) for side in shape)
    return f"{str(dtype).removeprefix('torch.')} [{sides}]"
