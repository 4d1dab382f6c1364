"""Axes of the space of codes that are worth walking along: the most active dimensions, and the principal directions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vaekit.latent.neighbours import components
from vaekit.system.arguments import record_text

__all__ = ["Axis", "active_axes", "principal_axes", "walk"]


@dataclass(frozen=True, eq=False, repr=False)
class Axis:
    """One direction of the space of codes."""

    name: str
    step: Tensor  #: float64 ``[L]``: one standard deviation of the codes along it
    size: float  #: how much it does: see the function that made it

    def __repr__(self) -> str:
        return record_text(self)


def active_axes(codes: Tensor, effects: Tensor, count: int) -> list[Axis]:
    """The dimensions of codes ``[N, L]`` that change the picture most, by ``effects`` ``[L]``, ``z0`` …, and those.

    ``size`` is the effect. The variance of a dimension does not tell how much of the picture hangs on it: under a prior
    that is fitted to the codes all of them vary as much as the prior does.
    """
    spread = codes.double().std(0, unbiased=False)
    order = effects.argsort(descending=True, stable=True)[:count].tolist()
    unit = torch.eye(codes.shape[1], dtype=torch.float64)
    return [Axis(f"z{i}", unit[i] * spread[i], float(effects[i])) for i in order]


def principal_axes(codes: Tensor, count: int) -> list[Axis]:
    """The first principal components of codes ``[N, L]``, ``pc1`` …; ``size`` is their share of the variance."""
    axes, variances = components(codes)
    whole = max(float(variances.sum()), 1e-300)
    return [
        Axis(f"pc{i + 1}", axis * variance.sqrt(), float(variance) / whole)
        for i, (axis, variance) in enumerate(zip(axes[:count], variances[:count], strict=True))
    ]


def walk(start: Tensor, axes: list[Axis], steps: int, reach: float) -> Tensor:
    """Codes ``[A, steps, L]`` from ``-reach`` to ``reach`` standard deviations about a code ``[L]`` along each axis.

    >>> walk(torch.zeros(2), [Axis("z1", torch.tensor([0.0, 2.0]), 1.0)], 3, 1.5)[0, :, 1].tolist()
    [-3.0, 0.0, 3.0]
    """
    ways = torch.stack([axis.step for axis in axes])
    places = torch.linspace(-reach, reach, steps, dtype=torch.float64)
    return (start.double() + places[:, None] * ways[:, None]).float()
