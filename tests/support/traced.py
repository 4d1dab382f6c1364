"""Tracing for ONNX, which takes most of the time of an export, is done once for equal networks."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["traced_once"]


def traced_once(real: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap :func:`torch.onnx.export`, so that networks of the same layers, weights and outputs share one program.

    Each export compares the program with PyTorch, so a network that only looks equal is noticed. A network without
    weights is always traced.
    """
    programs: dict[object, Any] = {}

    def export(network: torch.nn.Module, given: tuple[torch.Tensor, ...], **options: Any) -> Any:
        _translations_once()
        weights = b"".join(weight.detach().numpy().tobytes() for weight in network.state_dict().values())
        if not weights:
            return real(network, given, **options)
        shapes = tuple(tensor.shape for tensor in given)
        key = str(network), hashlib.sha256(weights).digest(), shapes, tuple(options["output_names"])
        if key not in programs:
            programs[key] = real(network, given, **options)
        return programs[key]

    return export


@functools.cache
def _translations_once() -> None:
    """The table of translations, which every export makes anew, is the same for all."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    ONNXRegistry.from_torchlib = staticmethod(functools.cache(ONNXRegistry.from_torchlib))  # type: ignore
