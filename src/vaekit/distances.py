"""How far two sets of images are apart, by features [N, F] and [M, F] of theirs.

    Fréchet   |μa − μb|² + tr(Ca + Cb − 2 (Ca^½ Cb Ca^½)^½)        Heusel et al. 2017, Eq. 6; Dowson & Landau 1982
    kernel    the unbiased MMD² with k(x, y) = (x·y / F + 1)³       Bińkowski et al. 2018, Sec. 3

The first is biased upwards for few images, the more so the more features there are (Bińkowski et al. 2018, Sec. 4), so
that only figures of one N may be compared; the second is not, and comes with a standard error. Neither means anything
without the name of its features.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["few_images_warning", "frechet_distance", "kernel_distance"]

_SUBSETS, _SUBSET_IMAGES = 100, 1000
_IMAGES_PER_FEATURE = 10  #: fewer, and the covariance is mostly noise


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """The squared distance of the normals that have the means and covariances of two sets, at least two images each.

    >>> a = torch.randn(100, 3, dtype=torch.float64)
    >>> round(frechet_distance(a, a + 1), 6)
    3.0
    """
    a, b = a.double(), b.double()
    cov_a, cov_b = a.mT.cov().view(a.shape[1], -1), b.mT.cov().view(b.shape[1], -1)
    values, vectors = torch.linalg.eigh(cov_a)
    # rounding makes the smallest eigenvalues of a covariance slightly negative
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.mT
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    return max(0.0, float((a.mean(0) - b.mean(0)).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross))


def kernel_distance(a: Tensor, b: Tensor, seed: int = 0) -> tuple[float, float | None]:
    """The mean over 100 pairs of random subsets of 1,000 images, and its standard error; of smaller sets, all of them
    once, and no error. It may be negative where the sets are alike.
    """
    a, b = a.double(), b.double()
    count = min(len(a), len(b))
    if count <= _SUBSET_IMAGES:
        return _mmd(a, b), None
    generator = torch.Generator().manual_seed(seed)

    def some(features: Tensor) -> Tensor:
        return features[torch.randperm(len(features), generator=generator)[:_SUBSET_IMAGES]]

    found = torch.tensor([_mmd(some(a), some(b)) for _ in range(_SUBSETS)], dtype=torch.float64)
    return float(found.mean()), float(found.std() / math.sqrt(_SUBSETS))


def few_images_warning(images: int, features: int) -> str | None:
    """What to say of a Fréchet distance over so few images; None where they are enough.

    >>> few_images_warning(100, 128)
    'a Fréchet distance over 100 images and 128 features is mostly bias; take 1,280 images or more, or compare at one N'
    """
    enough = _IMAGES_PER_FEATURE * features
    if images >= enough:
        return None
    return (
        f"a Fréchet distance over {images:,} images and {features:,} features is mostly bias; "
        f"take {enough:,} images or more, or compare at one N"
    )


def _mmd(a: Tensor, b: Tensor) -> float:
    """Σᵢ≠ⱼ k(aᵢ, aⱼ)/n(n − 1) + Σᵢ≠ⱼ k(bᵢ, bⱼ)/m(m − 1) − 2 Σᵢⱼ k(aᵢ, bⱼ)/nm."""

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.mT / x.shape[1] + 1) ** 3

    def within(x: Tensor) -> Tensor:
        values = kernel(x, x)
        return (values.sum() - values.trace()) / (len(x) * (len(x) - 1))

    return float(within(a) + within(b) - 2 * kernel(a, b).mean())
