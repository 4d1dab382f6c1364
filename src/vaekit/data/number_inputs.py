"""Convert numbers that a user passes, such as latents and float images, to tensors.

Accepts tensors of any device and type, numpy arrays, lists and anything else that numpy converts to an array. Images as
bytes, files and names are handled by :mod:`vaekit.data`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaekit.errors import UserError, lacks_memory
from vaekit.system.arguments import shown

__all__ = ["as_dense", "as_integers", "as_intensities", "as_latents", "as_mask", "as_numbers", "check_values"]


def as_latents(value: Any, latent_dim: int, name: str = "latents") -> Tensor:
    """Convert latents to float32 ``[N, latent_dim]`` on the CPU; raises :class:`UserError` if they do not fit.

    >>> as_latents([[1, 2.5]], 2)
    tensor([[1.0000, 2.5000]])
    """
    latents = as_numbers(value, name)
    if latents.ndim != 2 or latents.shape[1] != latent_dim:
        raise UserError(f"{name} have shape {tuple(latents.shape)}; expected [N, {latent_dim}]", name)
    return latents


def as_numbers(value: Any, name: str) -> Tensor:
    """Convert finite numbers of any shape to float32 on the CPU; raises :class:`UserError` for anything else."""
    tensor = _as_tensor(value, name)
    if tensor.dtype == torch.bool:
        raise UserError(f"{name} {shown(value)}: expected numbers, not True and False", name)
    numbers = tensor.to(torch.float32)
    check_values(numbers, name)
    return numbers


def as_integers(value: Any, name: str) -> Tensor:
    """Convert integers of any shape to int64 on the CPU; raises :class:`UserError` for other types."""
    tensor = _as_tensor(value, name)
    if tensor.is_floating_point() or tensor.dtype == torch.bool:
        raise UserError(f"{name} are {tensor.dtype} {tuple(tensor.shape)}; expected integers", name)
    return tensor.to(torch.int64)


def as_intensities(value: Any, shape: tuple[int, int, int], name: str) -> Tensor:
    """Convert float images to ``[N, C, H, W]`` on the CPU, keeping their float type.

    Images ``[N, H, W, C]``, and gray images ``[N, H, W]``, are rearranged.

    Args:
        value: The images, in [0, 1].
        shape: Expected (C, H, W).
        name: Name of the argument, for messages.

    Raises:
        UserError: If the values are not floats or the shape differs.
    """
    images = _as_tensor(value, name)
    if not images.is_floating_point():
        raise UserError(
            f"{name} are {images.dtype}; expected floats in [0, 1], as from vaekit.data.to_float(run.pixels(images))",
            name,
        )
    channels, height, width = shape
    if images.shape[1:] == (channels, height, width):
        return images
    if images.shape[1:] == (height, width, channels):
        return images.movedim(-1, 1).contiguous()
    if images.shape[1:] == (height, width) and channels == 1:
        return images[:, None]
    raise UserError(
        f"{name} have shape {tuple(images.shape)}; expected floats [N, {channels}, {height}, {width}], as from "
        "vaekit.data.to_float(run.pixels(images))",
        name,
    )


def as_mask(value: Any, name: str) -> Tensor:
    """Convert a bool mask of any shape to a tensor on the CPU; raises :class:`UserError` for other types."""
    mask = _as_tensor(value, name)
    if mask.dtype != torch.bool:
        raise UserError(f"{name} is {mask.dtype} {tuple(mask.shape)}; expected bool, True where hidden", name)
    return mask


def check_values(values: Tensor, name: str) -> None:
    """Raise :class:`UserError` if ``values`` contain NaN or infinity."""
    if not bool(values.isfinite().all()):
        raise UserError(f"{name} contain NaN or infinity; expected finite numbers", name)


def _as_tensor(value: Any, name: str) -> Tensor:
    """Convert to a dense tensor on the CPU, without gradients, keeping the type of the numbers."""
    if isinstance(value, Tensor):
        return as_dense(value, name)
    if isinstance(value, list | tuple) and value and all(isinstance(item, Tensor) for item in value):
        parts = [as_dense(item, name) for item in value]
        if len({(part.shape, part.dtype) for part in parts}) > 1:
            raise UserError(f"{name} {shown(value)}: expected tensors of one shape and type", name)
        return torch.stack(parts)
    try:
        array = np.asarray(value)
        if array.dtype.kind == "f" and array.dtype.itemsize > 8:  # torch has no long double
            array = array.astype(np.float64)
        if array.dtype.kind not in "fiub":
            raise TypeError(array.dtype)
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        return torch.from_numpy(array.copy())
    except Exception as error:  # reading a foreign object may raise anything
        if lacks_memory(error):
            raise
        raise UserError(f"{name} {shown(value)}: expected an array or a tensor of numbers", name) from error


def as_dense(value: Tensor, name: str) -> Tensor:
    """Move a tensor to the CPU, dense and detached; raises :class:`UserError` if it holds no real numbers."""
    if value.is_meta:
        raise UserError(f"{name}: the tensor is on the meta device, which holds no values; pass one on the cpu", name)
    if value.is_complex():
        raise UserError(f"{name}: the tensor is {value.dtype}; expected real numbers", name)
    detached = value.detach()
    if detached.is_quantized:
        detached = detached.dequantize()
    return (detached if detached.layout == torch.strided else detached.to_dense()).cpu()
