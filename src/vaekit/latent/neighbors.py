"""Compare images by their latents: nearest neighbors, and a projection to the plane.

    d(a, b) = ‖N⁻¹(a) − N⁻¹(b)‖        N: standard normal noise → samples of a normal with the moments of the prior

Latents are compared as the noise from which the prior would produce them. A distance of 1 is then one standard
deviation of the prior, and does not depend on how the network scales its latents. Latents of an autoencoder without a
prior are compared directly, as are the summaries of grids and codes, and the top levels of hierarchies. Differences
that the latent does not encode are invisible. The plane uses the latents directly, because all directions of the noise
have equal variance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vaekit.errors import UserError
from vaekit.model.latent_model import LatentModel

__all__ = ["Plane", "components", "nearest", "plane", "standardized"]

_AT_ONCE = 1 << 24  # differences per chunk
_NO_VARIANCE = 1e-12  # relative to the largest; smaller variances are rounding errors


@torch.inference_mode()
def standardized(model: LatentModel, latents: Tensor) -> Tensor:
    """Convert the summaries of latents ``[N, S]`` to the prior's noise, float64 on the CPU.

    They are unchanged if there is no prior, and for grids, levels and codes, whose priors are standard normal or not.
    """
    pz = model.drawn_from() if model.latent == "vector" else None
    normal = None if pz is None else pz.moments
    if normal is None:
        return latents.cpu().double()
    return normal.to_noise(latents.to(model.device)).cpu().double()


def nearest(
    latents: Tensor, queries: Tensor, count: int, left_out: Sequence[int | None] | None = None
) -> tuple[Tensor, Tensor]:
    """Return the nearest of N latents to each of Q queries.

    The search is exact. Equal distances are in the order of the rows.

    Args:
        latents: Latents ``[N, L]``.
        queries: Latents ``[Q, L]``.
        count: Number of neighbors; fewer are returned if N is smaller.
        left_out: For each query, a row that is not a neighbor of it, or None.

    Returns:
        Increasing distances, float64 ``[Q, k]``, and rows ``[Q, k]``.

    Raises:
        UserError: If ``count`` is below 1, or the only latent is left out.

    >>> nearest(torch.tensor([[0.0], [3.0], [1.0]]), torch.tensor([[0.9]]), 2)[1]
    tensor([[2, 0]])
    """
    if count < 1:
        raise UserError(f"count {count}: expected at least 1 neighbor", "count")
    left_out = left_out or [None] * len(queries)
    count = min(count, len(latents) - any(row is not None for row in left_out))
    if not count:
        raise UserError("this image is the only one to search; give other images to find neighbors among")
    latents, queries = latents.double(), queries.double()
    piece = max(1, _AT_ONCE // max(1, latents.shape[1]))
    distances, rows = [], []
    for query, own in zip(queries, left_out, strict=True):
        squares = torch.cat([(chunk - query).square().sum(1) for chunk in latents.split(piece)])
        if own is not None:
            squares[own] = math.inf  # the last, and more than ``count``
        square, row = squares.sort(stable=True)
        distances.append(square[:count].sqrt())
        rows.append(row[:count])
    return torch.stack(distances), torch.stack(rows)


@dataclass(frozen=True, eq=False)
class Plane:
    """Latents projected to the plane with most of their variance."""

    coordinates: Tensor  #: float64 ``[N, 2]``, mean 0
    shares: tuple[float, float]  #: share of the variance along each axis
    axes: Tensor  #: float64 ``[2, L]``: unit rows; the second is 0 if L is 1


def plane(latents: Tensor) -> Plane:
    """Project latents ``[N, L]``, N ≥ 1, to their first two principal components (Pearson 1901).

    The sign of an axis is chosen so that its largest loading is positive, which makes the result unique.

    >>> plane(torch.tensor([[0.0, 0.0], [4.0, 0.0], [2.0, 1.0], [2.0, -1.0]])).shares
    (0.8, 0.2)
    """
    axes, variances = components(latents)
    plane_axes = torch.zeros(2, latents.shape[1], dtype=torch.float64)
    plane_axes[: len(axes[:2])] = axes[:2]
    coordinates = (latents.double() - latents.double().mean(0)) @ plane_axes.mT
    total = max(float(variances.sum()), 1e-300)
    shares = [float(value) / total for value in variances[:2]] + [0.0]
    return Plane(coordinates, (shares[0], shares[1]), plane_axes)


def components(latents: Tensor) -> tuple[Tensor, Tensor]:
    """Return the principal axes of latents ``[N, L]``, float64 ``[K, L]``, and their decreasing variances.

    K is L. If there are fewer latents than dimensions, it is N, because the others vary in no other direction; the axes
    are then computed from the N × N products of latents, and those without variance are zero.
    """
    centered = latents.double() - latents.double().mean(0)
    if len(latents) < latents.shape[1]:
        values, vectors = torch.linalg.eigh(centered @ centered.mT / len(latents))
        has_variance = values > _NO_VARIANCE * values[-1]
        lengths = (values * len(latents)).sqrt()  # of the latents along each axis
        axes = (vectors.mT @ centered / lengths[:, None]).where(has_variance[:, None], 0.0)
        values = values.where(has_variance, 0.0)
    else:
        values, vectors = torch.linalg.eigh(centered.mT @ centered / len(latents))
        axes = vectors.mT
    axes = axes.flip(0)
    return axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign(), values.flip(0).clamp(min=0)
