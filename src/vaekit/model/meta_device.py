"""Initial values on the meta device, where ``build_model`` computes the size of a model before it allocates memory."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

__all__ = ["unless_meta"]


def unless_meta(start: Tensor, formula: Callable[[Tensor], Tensor]) -> Tensor:
    """Return ``formula(start)``, a tensor of the same shape and type; on the meta device, return ``start`` unchanged.

    Only shapes count there, and the first arithmetic or random numbers would import torch._dynamo or sympy, which takes
    a second or two.

    >>> import torch
    >>> unless_meta(torch.ones(2), lambda ones: 3 * ones)
    tensor([3., 3.])
    """
    return start if start.is_meta else formula(start)
