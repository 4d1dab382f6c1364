"""A dense layer that uses the faster of the two matrix libraries in PyTorch.

For float32 on a CPU, ``nn.Linear`` calls MKL, which uses only AVX2 on processors of other makers than Intel. oneDNN,
which PyTorch uses for convolutions, uses AVX-512 there and is up to twice as fast. A call takes longer to start, so
small layers stay with MKL.
"""

from __future__ import annotations

from functools import cache
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from vaekit.system.cpu import has_avx512_that_mkl_leaves

__all__ = ["Linear"]

_LARGE_WEIGHT = 20_000  # values: from this size on, the faster product outweighs the slower start


class Linear(nn.Linear):
    """:class:`torch.nn.Linear`, equal up to rounding."""

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim != 2 or not _is_for_onednn(input, self.weight):
            return super().forward(input)
        output: Tensor = _Product.apply(input, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return output


def _is_for_onednn(x: Tensor, weight: Tensor) -> bool:
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu") or not len(x):
        return False
    is_plain = x.dtype == weight.dtype == torch.float32 and x.device.type == weight.device.type == "cpu"
    return is_plain and weight.numel() >= _LARGE_WEIGHT and _onednn_is_faster()


@cache
def _onednn_is_faster() -> bool:
    has_onednn = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return has_onednn and has_avx512_that_mkl_leaves()


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b."""
    found: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return found


class _Context(Protocol):
    """What is used of the context of an autograd function."""

    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]

    def save_for_backward(self, *tensors: Tensor) -> None:
        """Keep tensors for ``saved_tensors``."""


class _Product(torch.autograd.Function):
    """The product and its two gradients, which are products themselves."""

    @staticmethod
    def forward(ctx: _Context, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        return (
            _product(gradient, weight.t()) if wants_x else None,
            _product(gradient.t(), x.t()) if wants_weight else None,
            gradient.sum(0) if wants_bias else None,
        )
