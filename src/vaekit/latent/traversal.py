"""Axes of the latent space worth traversing: the most active dimensions, and the principal components."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vaekit.latent.neighbors import components
from vaekit.system.arguments import record_text

__all__ = ["Axis", "active_axes", "principal_axes", "walk"]

_MOST_WHOLE = 1024  # dimensions, and latents of as many, of which all principal components are computed


@dataclass(frozen=True, eq=False, repr=False)
class Axis:
    """One direction of the latent space."""

    name: str
    step: Tensor  #: float64 ``[L]``: one standard deviation of the latents along the axis
    size: float  #: importance; its meaning depends on the function that created the axis

    def __repr__(self) -> str:
        return record_text(self)


def active_axes(latents: Tensor, effects: Tensor, count: int) -> list[Axis]:
    """Return the ``count`` dimensions with the largest effect on the picture, named ``z0``, ``z1`` and so on.

    The variance of a dimension does not show its effect: under a prior that is fitted to the latents, all of them vary
    as much as the prior does.

    Args:
        latents: Latents ``[N, L]``.
        effects: Effect of each dimension ``[L]``, which becomes ``size``.
        count: Number of axes.
    """
    spread = latents.double().std(0, unbiased=False)
    order = effects.argsort(descending=True, stable=True)[:count].tolist()
    steps = torch.zeros(len(order), latents.shape[1], dtype=torch.float64)
    for step, i in zip(steps, order, strict=True):
        step[i] = spread[i]
    return [Axis(f"z{i}", step, float(effects[i])) for i, step in zip(order, steps, strict=True)]


def principal_axes(latents: Tensor, count: int) -> list[Axis]:
    """Return the first principal components of latents ``[N, L]``, named ``pc1`` …; ``size`` is the variance share.

    For more than 1,024 dimensions, they are those of at most 1,024 of the latents, evenly spaced.
    """
    if latents.shape[1] > _MOST_WHOLE and len(latents) > _MOST_WHOLE:
        latents = latents[torch.arange(_MOST_WHOLE) * len(latents) // _MOST_WHOLE]
    axes, variances = components(latents)
    total = max(float(variances.sum()), 1e-300)
    return [
        Axis(f"pc{i + 1}", axis * variance.sqrt(), float(variance) / total)
        for i, (axis, variance) in enumerate(zip(axes[:count], variances[:count], strict=True))
    ]


def walk(start: Tensor, axes: list[Axis], steps: int, reach: float) -> Tensor:
    """Return latents ``[A, steps, L]`` along each axis, from ``-reach`` to ``reach`` deviations about ``start``.

    >>> walk(torch.zeros(2), [Axis("z1", torch.tensor([0.0, 2.0]), 1.0)], 3, 1.5)[0, :, 1].tolist()
    [-3.0, 0.0, 3.0]
    """
    directions = torch.stack([axis.step for axis in axes])
    places = torch.linspace(-reach, reach, steps, dtype=torch.float64)
    return (start.double() + places[:, None] * directions[:, None]).float()
