"""Distances between two sets of images, taken over their features [N, F] (:mod:`vaekit.evaluation.features`).

    Fréchet   d² = |μ_a − μ_b|² + tr(C_a + C_b − 2 (C_a C_b)^½)    of the normals with the sets' means and covariances
    kernel    MMD² = E k(a, a′) + E k(b, b′) − 2 E k(a, b),  k(x, y) = (x·y / F + 1)³

Both are squares, as is usual in reports, and both are of the feature function as much as of the images: say which.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vaekit.errors import UserError

__all__ = ["KernelDistance", "fewest_images", "frechet_distance", "kernel_distance", "small_sample_warning"]

_IMAGES_PER_FEATURE = 10
_SMALLEST_SUBSET = 50  # images; of fewer, a subset's estimate is mostly noise
_AT_ONCE = 2048  # rows of a kernel matrix held at once


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """The squared Fréchet distance of two sets of features ``[N, F]`` and ``[M, F]``, N, M ≥ 2; never below 0.

    Dowson & Landau 1982; Heusel et al. 2017, Eq. 6. Covariances are divided by N − 1. The trace of (C_a C_b)^½ is that
    of the symmetric (C_a^½ C_b C_a^½)^½, which has the same eigenvalues. Computed in float64 on the CPU.

    It is biased upwards in small sets: see :func:`small_sample_warning`, and compare only distances of equal N.

    Raises :class:`~vaekit.errors.UserError` for fewer than 2 rows, unequal F, or values that are not finite.

    >>> square = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> round(frechet_distance(square, square + 3), 9)
    18.0
    """
    a, b = _checked(a, b)
    cov_a, cov_b = _covariance(a), _covariance(b)
    root = _root(cov_a)
    product = root @ cov_b @ root
    # rounding makes the smallest eigenvalues of a covariance slightly negative
    shared = torch.linalg.eigvalsh((product + product.T) / 2).clamp_min(0).sqrt().sum()
    means = (a.mean(0) - b.mean(0)).square().sum()
    return max(0.0, float(means + cov_a.trace() + cov_b.trace() - 2 * shared))


@dataclass(frozen=True)
class KernelDistance:
    """A kernel distance (KID), and how well it is known."""

    mean: float  #: over the subsets; an unbiased estimate of MMD², so about half of them are below 0 at a distance of 0
    standard_error: float | None  #: of the mean; None of a single estimate
    subsets: int  #: how many there were; 1 if all images were taken together
    subset_size: int  #: images of either set in each; of the smaller set, if all were taken together


def kernel_distance(a: Tensor, b: Tensor, subsets: int = 10, subset_size: int = 1000, seed: int = 0) -> KernelDistance:
    """The kernel distance (KID) of two sets of features ``[N, F]`` and ``[M, F]``: Bińkowski et al. 2018, Sec. 4.

    The unbiased estimate of MMD² with the cubic kernel (Gretton et al. 2012, Eq. 3), averaged over ``subsets`` random
    subsets of at most ``subset_size`` images of either set. Subsets are *disjoint*, unlike in most code for KID: they
    are independent, and so the standard error means what it says. Where they would have fewer than 50 images, there is
    one estimate over all images and no standard error. The expectation is the same for any N. Deterministic in
    ``seed``; float64 on the CPU.

    Raises :class:`~vaekit.errors.UserError` as :func:`frechet_distance` does, and for sizes that are not positive.
    """
    if subsets < 1 or subset_size < 2:
        raise UserError(f"subsets is {subsets} and subset_size {subset_size}; expected at least 1 and 2")
    a, b = _checked(a, b)
    fewest = min(len(a), len(b))
    size = min(subset_size, fewest // subsets)
    if subsets == 1 or size < min(_SMALLEST_SUBSET, subset_size):
        return KernelDistance(_mmd(a, b), None, 1, fewest)
    generator = torch.Generator().manual_seed(seed)
    rows_a, rows_b = (torch.randperm(len(each), generator=generator).split(size)[:subsets] for each in (a, b))
    found = torch.tensor([_mmd(a[i], b[j]) for i, j in zip(rows_a, rows_b, strict=True)], dtype=torch.float64)
    return KernelDistance(float(found.mean()), float(found.std()) / math.sqrt(subsets), subsets, size)


def fewest_images(size: int) -> int:
    """How many images of either set a Fréchet distance over F = ``size`` features should have: 10 F.

    Two samples of one normal with F equal variances are about F² / 2N apart for N well above F: at 10 F, that is a
    twentieth of the total variance. Fewer eigenvalues that matter mean less.

    >>> fewest_images(64), fewest_images(2048)
    (640, 20480)
    """
    return _IMAGES_PER_FEATURE * size


def small_sample_warning(images: int, size: int) -> str | None:
    """What to say of a Fréchet distance of ``images`` (of the smaller set) over ``size`` features; None if enough.

    Its bias is upwards and depends on the model (Bińkowski et al. 2018, Sec. 4 and App. D; Chong & Forsyth 2020).
    """
    if images >= fewest_images(size):
        return None
    singular = " and a covariance of so few is singular" if images <= size else ""
    return (
        f"the Fréchet distance of {images:,} images over {size:,} features is biased upwards{singular}: compare it "
        f"only with others of {images:,} images, use at least {fewest_images(size):,}, or read the kernel distance, "
        "which is unbiased"
    )


def _checked(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both sets in float64 on the CPU."""
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise UserError(f"a distance is of features [N, F] and [M, F], not {list(a.shape)} and {list(b.shape)}")
    if min(len(a), len(b)) < 2:
        raise UserError(f"a distance needs at least 2 images in either set, not {len(a)} and {len(b)}")
    a, b = a.cpu().double(), b.cpu().double()
    if not (a.isfinite().all() and b.isfinite().all()):
        raise UserError("a distance is of finite features; some of these are infinite or not a number")
    return a, b


def _covariance(features: Tensor) -> Tensor:
    centred = features - features.mean(0)
    return centred.T @ centred / (len(features) - 1)


def _root(covariance: Tensor) -> Tensor:
    """The symmetric square root of a covariance."""
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T


def _mmd(a: Tensor, b: Tensor) -> float:
    """The unbiased estimate of MMD²: within each set over all pairs of different images, between them over all."""
    within = sum((_kernel_sum(x, x) - _diagonal_sum(x)) / (len(x) * (len(x) - 1)) for x in (a, b))
    return within - 2 * _kernel_sum(a, b) / (len(a) * len(b))


def _kernel_sum(x: Tensor, y: Tensor) -> float:
    """Σ over all pairs of k(x, y)."""
    return sum(float(_cubic(rows @ y.T, x.shape[1]).sum()) for rows in x.split(_AT_ONCE))


def _diagonal_sum(x: Tensor) -> float:
    return float(_cubic(x.square().sum(1), x.shape[1]).sum())


def _cubic(products: Tensor, size: int) -> Tensor:
    """k = (x·y / F + 1)³ of inner products (Bińkowski et al. 2018, Sec. 4)."""
    return (products / size + 1) ** 3
