"""Images found by their codes: those nearest to one, and a set laid out on a plane.

    d(a, b) = ‖N⁻¹(a) − N⁻¹(b)‖        N: standard normal noise → samples of a normal with the prior's moments

Codes are compared as the noise that the prior makes them of, so that a distance of 1 is one standard deviation of the
prior and does not depend on how the network scales its latents. An autoencoder without a prior has its codes compared
as they are. What the code does not tell, no distance sees. The plane is of the codes as they are: all directions of the
noise vary alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vaekit.errors import UserError
from vaekit.model.latent_model import LatentModel

__all__ = ["Plane", "components", "nearest", "plane", "standardised"]

_AT_ONCE = 1 << 24  # differences held at a time


@torch.inference_mode()
def standardised(model: LatentModel, codes: Tensor) -> Tensor:
    """Codes ``[N, L]`` as the noise that the prior makes them of, float64 on the CPU; as they are without a prior."""
    pz = model.drawn_from()
    normal = None if pz is None else pz.moments
    if normal is None:
        return codes.cpu().double()
    return normal.to_noise(codes.to(next(model.parameters()).device)).cpu().double()


def nearest(codes: Tensor, queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` of N codes nearest to each of Q queries: distances float64 ``[Q, k]``, rising, and rows ``[Q, k]``.

    Exact: every code is looked at, and equal distances come in the order of the rows. Fewer than ``count`` where there
    are fewer codes. Raises :class:`UserError` for a count below 1.

    >>> nearest(torch.tensor([[0.0], [3.0], [1.0]]), torch.tensor([[0.9]]), 2)[1]
    tensor([[2, 0]])
    """
    if count < 1:
        raise UserError(f"count {count}: expected at least 1 neighbor", "count")
    codes, queries = codes.double(), queries.double()
    piece = max(1, _AT_ONCE // max(1, codes.shape[1]))
    found = []
    for query in queries:
        squares = torch.cat([(some - query).square().sum(1) for some in codes.split(piece)])
        square, row = squares.sort(stable=True)
        found.append((square[:count].sqrt(), row[:count]))
    return torch.stack([distance for distance, _ in found]), torch.stack([row for _, row in found])


@dataclass(frozen=True, eq=False)
class Plane:
    """Codes in the plane that shows most of their variance."""

    coordinates: Tensor  #: float64 ``[N, 2]``, mean 0
    shares: tuple[float, float]  #: of the variance of the codes, along each axis
    axes: Tensor  #: float64 ``[2, L]``: unit rows; the second is 0 where codes have one number


def plane(codes: Tensor) -> Plane:
    """The two first principal components of codes ``[N, L]``, N ≥ 1 (Pearson 1901).

    The sign of an axis is such that its largest loading is positive, so that a set gives one picture.

    >>> plane(torch.tensor([[0.0, 0.0], [4.0, 0.0], [2.0, 1.0], [2.0, -1.0]])).shares
    (0.8, 0.2)
    """
    axes, variances = components(codes)
    across = torch.zeros(2, codes.shape[1], dtype=torch.float64)
    across[: len(axes[:2])] = axes[:2]
    coordinates = (codes.double() - codes.double().mean(0)) @ across.mT
    whole = max(float(variances.sum()), 1e-300)
    shares = [float(value) / whole for value in variances[:2]] + [0.0]
    return Plane(coordinates, (shares[0], shares[1]), across)


def components(codes: Tensor) -> tuple[Tensor, Tensor]:
    """The principal axes of codes ``[N, L]``: unit rows float64 ``[L, L]`` and the variances along them, falling."""
    centred = codes.double() - codes.double().mean(0)
    values, vectors = torch.linalg.eigh(centred.mT @ centred / len(codes))
    axes = vectors.mT.flip(0)
    return axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign(), values.flip(0).clamp(min=0)
