"""Distances between two sets of images, computed on their features ``[N, F]`` (:mod:`vaekit.evaluation.features`).

    Fréchet   d² = |μ_a − μ_b|² + tr(C_a + C_b − 2 (C_a C_b)^½)    with the means and covariances of the two sets
    kernel    MMD² = E k(a, a′) + E k(b, b′) − 2 E k(a, b),  k(x, y) = (x·y / F + 1)³

Both are reported as squares, as is usual. Both depend on the feature function, which must be named with them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vaekit.errors import UserError

__all__ = ["KernelDistance", "fewest_images", "frechet_distance", "kernel_distance", "small_sample_warning"]

_IMAGES_PER_FEATURE = 10
_SMALLEST_SUBSET = 50  # images; estimates of smaller subsets are mostly noise
_AT_ONCE = 2048  # rows of a kernel matrix per chunk


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Return the squared Fréchet distance of two sets of features (Dowson & Landau 1982; Heusel et al. 2017, Eq. 6).

    Covariances are divided by N − 1. The trace of (C_a C_b)^½ is that of the symmetric matrix (C_a^½ C_b C_a^½)^½,
    which has the same eigenvalues. Computed in float64 on the CPU.

    The estimate is biased upward for small sets; see :func:`small_sample_warning`. Compare only distances of equal N.

    Args:
        a: Features ``[N, F]``, N ≥ 2.
        b: Features ``[M, F]``, M ≥ 2.

    Returns:
        The squared distance, at least 0.

    Raises:
        UserError: If there are fewer than 2 rows, F differs, or values are not finite.

    >>> square = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> round(frechet_distance(square, square + 3), 9)
    18.0
    """
    a, b = _checked(a, b)
    cov_a, cov_b = _covariance(a), _covariance(b)
    root = _root(cov_a)
    product = root @ cov_b @ root
    # rounding can make the smallest eigenvalues slightly negative
    shared = torch.linalg.eigvalsh((product + product.T) / 2).clamp_min(0).sqrt().sum()
    means = (a.mean(0) - b.mean(0)).square().sum()
    return max(0.0, float(means + cov_a.trace() + cov_b.trace() - 2 * shared))


@dataclass(frozen=True)
class KernelDistance:
    """A kernel distance (KID) and its uncertainty."""

    mean: float  #: over the subsets; an unbiased estimate of MMD², which is negative half of the time if MMD² is 0
    standard_error: float | None  #: of the mean; None for a single estimate
    subsets: int  #: number of subsets; 1 if all images were used together
    subset_size: int  #: images of each set per subset; those of the smaller set if all were used together


def kernel_distance(a: Tensor, b: Tensor, subsets: int = 10, subset_size: int = 1000, seed: int = 0) -> KernelDistance:
    """Return the kernel distance (KID) between two sets of features (Bińkowski et al. 2018, Sec. 4).

    This is the unbiased estimate of MMD² with the cubic kernel (Gretton et al. 2012, Eq. 3), averaged over random
    subsets. Unlike in most implementations of KID, the subsets are *disjoint*. They are therefore independent, and the
    standard error is valid. If subsets would have fewer than 50 images, there is one estimate over all images, without
    a standard error. The expectation is the same for every N. Deterministic; float64 on the CPU.

    Args:
        a: Features ``[N, F]``.
        b: Features ``[M, F]``.
        subsets: Number of subsets.
        subset_size: Most images of each set per subset.
        seed: Seed of the subsets.

    Raises:
        UserError: As :func:`frechet_distance`, or if a size is not positive.
    """
    if subsets < 1 or subset_size < 2:
        raise UserError(f"subsets is {subsets} and subset_size {subset_size}; expected at least 1 and 2")
    a, b = _checked(a, b)
    fewest = min(len(a), len(b))
    size = min(subset_size, fewest // subsets)
    if subsets == 1 or size < min(_SMALLEST_SUBSET, subset_size):
        return KernelDistance(_mmd(a, b), None, 1, fewest)
    generator = torch.Generator().manual_seed(seed)
    rows_a, rows_b = (torch.randperm(len(x), generator=generator).split(size)[:subsets] for x in (a, b))
    found = torch.tensor([_mmd(a[i], b[j]) for i, j in zip(rows_a, rows_b, strict=True)], dtype=torch.float64)
    return KernelDistance(float(found.mean()), float(found.std()) / math.sqrt(subsets), subsets, size)


def fewest_images(size: int) -> int:
    """Return the number of images per set, 10 F, that a Fréchet distance over F = ``size`` features needs.

    Two samples of one normal distribution with F equal variances are about F² / 2N apart if N is well above F. At 10 F,
    that is a twentieth of the total variance. If fewer eigenvalues matter, the bias is smaller.

    >>> fewest_images(64), fewest_images(2048)
    (640, 20480)
    """
    return _IMAGES_PER_FEATURE * size


def small_sample_warning(images: int, size: int) -> str | None:
    """Return a warning if there are too few images for a Fréchet distance, else None.

    The bias is upward and depends on the model (Bińkowski et al. 2018, Sec. 4 and App. D; Chong & Forsyth 2020).

    Args:
        images: Images in the smaller set.
        size: Number of features.
    """
    if images >= fewest_images(size):
        return None
    singular = ", and a covariance of so few is singular" if images <= size else ""
    return (
        f"the Fréchet distance of {images:,} images over {size:,} features is biased upward{singular}: compare it "
        f"only with others of {images:,} images, use at least {fewest_images(size):,}, or use the kernel distance, "
        "which is unbiased"
    )


def _checked(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Validate both sets and convert them to float64 on the CPU."""
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise UserError(f"expected features [N, F] and [M, F], got {list(a.shape)} and {list(b.shape)}")
    if min(len(a), len(b)) < 2:
        raise UserError(f"expected at least 2 images per set, got {len(a)} and {len(b)}")
    a, b = a.cpu().double(), b.cpu().double()
    if not (a.isfinite().all() and b.isfinite().all()):
        raise UserError("expected finite features, got NaN or infinity")
    return a, b


def _covariance(features: Tensor) -> Tensor:
    centered = features - features.mean(0)
    return centered.T @ centered / (len(features) - 1)


def _root(covariance: Tensor) -> Tensor:
    """Return the symmetric square root of a covariance matrix."""
    values, vectors = torch.linalg.eigh(covariance)
    result: Tensor = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    return result


def _mmd(a: Tensor, b: Tensor) -> float:
    """Return the unbiased estimate of MMD², over pairs of different images within each set and all pairs between."""
    within = sum((_kernel_sum(x, x) - _diagonal_sum(x)) / (len(x) * (len(x) - 1)) for x in (a, b))
    return within - 2 * _kernel_sum(a, b) / (len(a) * len(b))


def _kernel_sum(x: Tensor, y: Tensor) -> float:
    """Sum k(x, y) over all pairs."""
    return sum(float(_cubic(rows @ y.T, x.shape[1]).sum()) for rows in x.split(_AT_ONCE))


def _diagonal_sum(x: Tensor) -> float:
    return float(_cubic(x.square().sum(1), x.shape[1]).sum())


def _cubic(products: Tensor, size: int) -> Tensor:
    """Apply k = (x·y / F + 1)³ to inner products (Bińkowski et al. 2018, Sec. 4)."""
    return (products / size + 1) ** 3
