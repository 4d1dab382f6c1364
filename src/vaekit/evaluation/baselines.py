"""Simple baselines for a model's numbers: principal components (PCA), a linear probe, and the nearest image.

    PCA             1 − ‖H − H V Vᵀ‖² / ‖H‖², V the first k principal axes of training images, H held-out images; both
                    minus the mean training image
    probe           W = argmin ‖X W − C‖² + λ ‖W‖² from images X to conditions C (ridge regression)
    nearest image   mean over a of min over b of ‖a − b‖²

These functions operate on images, not models. Each row is a flattened image. Sums are in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["PrincipalComponents", "Probe", "nearest_square"]

_RIDGE = 1e-2  # relative to the mean variance of the axes that a probe uses
_AXES = 64  # most axes that a probe uses
_TINY = 1e-12  # relative to the largest eigenvalue; smaller ones are rounding errors


@dataclass(frozen=True)
class PrincipalComponents:
    """Principal axes of training images, stored as combinations of them, because few images may have many pixels."""

    mean: Tensor  #: ``[D]``
    centered: Tensor  #: training images minus the mean ``[N, D]``
    weights: Tensor  #: ``[N, K]``: axis k is ``centered.T @ weights[:, k]``; sorted by decreasing variance

    @classmethod
    def of(cls, images: Tensor) -> PrincipalComponents:
        """Compute the principal axes of training images ``[N, D]``."""
        images = images.double()
        mean = images.mean(0)
        centered = images - mean
        squares, vectors = torch.linalg.eigh(centered @ centered.mT)
        squares, vectors = squares.flip(0), vectors.flip(1)
        kept = squares > _TINY * squares[:1].clamp(min=_TINY)
        return cls(mean, centered, vectors[:, kept] * squares[kept].rsqrt())

    def encode(self, images: Tensor, size: int | None = None) -> Tensor:
        """Return the first ``size`` coordinates of images ``[M, D]``."""
        return ((images.double() - self.mean) @ self.centered.mT) @ self.weights[:, :size]

    def explained(self, images: Tensor, size: int) -> float:
        """Return the share of the variance about the mean training image that ``size`` coordinates reconstruct.

        >>> line = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
        >>> round(PrincipalComponents.of(line).explained(torch.tensor([[3.0, 3.0], [1.0, 3.0]]), 1), 3)
        0.833
        """
        whole = float((images.double() - self.mean).square().sum())
        return float(self.encode(images, size).square().sum()) / whole if whole else 0.0


@dataclass(frozen=True)
class Probe:
    """A linear predictor of conditions from images."""

    pca: PrincipalComponents
    weights: Tensor  #: ``[K, C]``
    center: Tensor  #: mean of the known values of each column ``[C]``

    @classmethod
    def of(cls, pca: PrincipalComponents, images: Tensor, columns: Tensor, known: Tensor) -> Probe:
        """Fit images ``[N, D]`` to columns ``[N, C]``; ``known`` (bool ``[N, C]``) marks the values to use."""
        columns, known = columns.double(), known.double()
        center = (columns * known).sum(0) / known.sum(0).clamp(min=1)
        z = pca.encode(images, _AXES)
        gram = z.mT @ z
        ridge = _RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
        return cls(pca, torch.linalg.solve(gram + ridge, z.mT @ ((columns - center) * known)), center)

    def agreement(self, images: Tensor, columns: Tensor, known: Tensor) -> Tensor:
        """Return Σ predicted · true / Σ true² over images for each column, both centered: ``[C]``.

        The value is 1 if every value is predicted exactly, and 0 if images carry no information about it.
        """
        wanted = (columns.double() - self.center) * known.double()
        read = self.pca.encode(images, _AXES) @ self.weights
        read = (read - read.mean(0)) * known.double()
        return (read * wanted).sum(0) / wanted.square().sum(0).clamp(min=_TINY)


def nearest_square(images: Tensor, others: Tensor) -> float:
    """Return the mean over images ``[M, D]`` of the squared distance to the nearest of ``others`` ``[N, D]``.

    >>> nearest_square(torch.tensor([[0.0], [5.0]]), torch.tensor([[1.0], [7.0]]))
    2.5
    """
    a, b = images.double(), others.double()
    squares = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.mT
    return float(squares.clamp(min=0).amin(1).mean())
