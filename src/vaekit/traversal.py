"""Axes of the space of codes that are worth walking along: the most active dimensions, and the principal directions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vaekit.search import components

__all__ = ["Axis", "active_axes", "principal_axes", "walk"]


@dataclass(frozen=True, eq=False)
class Axis:
    """One direction of the space of codes."""

    name: str
    step: Tensor  #: float64 ``[L]``: one standard deviation of the codes along it
    share: float  #: see the function that made it


def active_axes(codes: Tensor, prior_variance: Tensor | None, count: int) -> list[Axis]:
    """The dimensions of codes ``[N, L]`` that vary most with the image, the most active first, ``z0`` …

    ``share`` is the variance of the posterior means over that of the prior ``[L]`` (Burda et al. 2016, Sec. 5.1, call a
    dimension active above 0.01), for an autoencoder over the variance of all its codes together.
    """
    variance = codes.double().var(0, unbiased=False)
    whole = variance.sum().clamp(min=1e-300) if prior_variance is None else prior_variance.cpu().double()
    shares = variance / whole
    order = shares.argsort(descending=True, stable=True)[:count].tolist()
    unit = torch.eye(codes.shape[1], dtype=torch.float64)
    return [Axis(f"z{i}", unit[i] * variance[i].sqrt(), float(shares[i])) for i in order]


def principal_axes(codes: Tensor, count: int) -> list[Axis]:
    """The first principal components of codes ``[N, L]``, ``pc1`` …; ``share`` is that of their variance."""
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
