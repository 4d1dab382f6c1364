"""Numbers that a user gives, as float32 tensors: latents, and images as floats.

They may be tensors of any device and type, numpy arrays, lists, or anything else that numpy can make an array of.
Images as bytes, files and names go through :mod:`vaekit.data`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaekit.errors import UserError, lacks_memory
from vaekit.system.arguments import shown

__all__ = ["as_dense", "as_intensities", "as_latents", "as_mask", "as_numbers", "check_values"]


def as_latents(value: Any, latent_dim: int, name: str = "latents") -> Tensor:
    """Latents float32 ``[N, latent_dim]`` on the CPU; raises :class:`UserError` for another shape, NaN and infinity.

    >>> as_latents([[1, 2.5]], 2)
    tensor([[1.0000, 2.5000]])
    """
    found = as_numbers(value, name)
    if found.ndim != 2 or found.shape[1] != latent_dim:
        raise UserError(f"{name} have shape {tuple(found.shape)}; expected [N, {latent_dim}]", name)
    return found


def as_numbers(value: Any, name: str) -> Tensor:
    """float32 of any shape on the CPU; raises :class:`UserError` for what is not numbers, NaN and infinity."""
    found = _as_tensor(value, name)
    if found.dtype == torch.bool:
        raise UserError(f"{name} {shown(value)}: expected numbers, not True and False", name)
    found = found.to(torch.float32)
    check_values(found, name)
    return found


def as_intensities(value: Any, shape: tuple[int, int, int], name: str) -> Tensor:
    """Float images ``[N, C, H, W]`` of a shape (C, H, W), on the CPU, in the float type that they came in.

    Arrays ``[N, H, W, C]``, and ``[N, H, W]`` of gray images, are rearranged.
    """
    found = _as_tensor(value, name)
    if not found.is_floating_point():
        raise UserError(
            f"{name} are {found.dtype}; expected floats in [0, 1], as vaekit.data.to_float gives of run.pixels(images)",
            name,
        )
    channels, height, width = shape
    if found.shape[1:] == (channels, height, width):
        return found
    if found.shape[1:] == (height, width, channels):
        return found.movedim(-1, 1).contiguous()
    if found.shape[1:] == (height, width) and channels == 1:
        return found[:, None]
    raise UserError(
        f"{name} have shape {tuple(found.shape)}; expected floats [N, {channels}, {height}, {width}], which "
        "vaekit.data.to_float gives of run.pixels(images)",
        name,
    )


def as_mask(value: Any, name: str) -> Tensor:
    """A mask on the CPU, whatever its shape; raises :class:`UserError` if it is not of True and False."""
    found = _as_tensor(value, name)
    if found.dtype != torch.bool:
        raise UserError(f"{name} is {found.dtype} {tuple(found.shape)}; expected bool, True where hidden", name)
    return found


def check_values(values: Tensor, name: str) -> None:
    """Raises :class:`UserError` if some are NaN or infinite."""
    if not bool(values.isfinite().all()):
        raise UserError(f"{name} hold NaN or infinity; expected finite numbers", name)


def _as_tensor(value: Any, name: str) -> Tensor:
    """A dense tensor on the CPU, without gradients, of the type that the numbers came in."""
    if isinstance(value, Tensor):
        return as_dense(value, name)
    if isinstance(value, list | tuple) and value and all(isinstance(each, Tensor) for each in value):
        parts = [as_dense(each, name) for each in value]
        if len({(part.shape, part.dtype) for part in parts}) > 1:
            raise UserError(f"{name} {shown(value)}: expected tensors of one shape and type", name)
        return torch.stack(parts)
    try:
        array = np.asarray(value)
        if array.dtype.kind == "f" and array.dtype.itemsize > 8:  # long doubles, which torch lacks
            array = array.astype(np.float64)
        if array.dtype.kind not in "fiub":
            raise TypeError(array.dtype)
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        return torch.from_numpy(array.copy())
    except Exception as error:  # of an object of any kind, which may raise anything when it is read
        if lacks_memory(error):
            raise
        raise UserError(f"{name} {shown(value)}: expected an array or a tensor of numbers", name) from error


def as_dense(value: Tensor, name: str) -> Tensor:
    """The tensor on the CPU, dense and without gradients; raises :class:`UserError` if it holds no real numbers."""
    if value.is_meta:
        raise UserError(f"{name}: the tensor is on the meta device, which holds no values; give one on the cpu", name)
    if value.is_complex():
        raise UserError(f"{name}: the tensor is {value.dtype}; expected real numbers", name)
    found = value.detach()
    if found.is_quantized:
        found = found.dequantize()
    return (found if found.layout == torch.strided else found.to_dense()).cpu()
