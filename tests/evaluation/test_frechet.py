"""Distances between sets of features, compared with closed forms, scipy, and double loops in numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from vaekit.errors import UserError
from vaekit.evaluation.frechet import (
    KernelDistance,
    fewest_images,
    frechet_distance,
    kernel_distance,
    small_sample_warning,
)


def normal(count: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def exact(count: int, mean: Tensor, root: Tensor) -> Tensor:
    """``count`` rows whose sample mean and covariance (N − 1) are exactly ``mean`` and ``root @ root.T``."""
    x = normal(count, len(mean))
    x = x - x.mean(0)
    whitened = x @ torch.linalg.inv(torch.linalg.cholesky(x.T @ x / (count - 1))).T
    return whitened @ root.T + mean


def rotation(size: int, seed: int = 5) -> Tensor:
    return torch.linalg.qr(normal(size, size, seed))[0]


# Fréchet


def test_frechet_is_the_closed_form_where_covariances_commute() -> None:
    """|Δμ|² + Σ (σ_a − σ_b)² for two covariances with the same axes."""
    axes, mean = rotation(4), torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=torch.float64)
    std_a, std_b = torch.tensor([[1.0, 2.0, 0.5, 0.1], [3.0, 1.0, 0.5, 0.7]], dtype=torch.float64)
    a, b = exact(50, mean, axes * std_a), exact(80, torch.zeros_like(mean), axes * std_b)
    expected = 5.25 + 4 + 1 + 0 + 0.36
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("counts", [(200, 100), (40, 7), (7, 8)])
def test_frechet_is_that_of_scipy_sqrtm(counts: tuple[int, int]) -> None:
    """The formula of the paper, with the root of a product that is not symmetric."""
    a, b = normal(counts[0], 6) @ normal(6, 6, 1), normal(counts[1], 6, 2) @ normal(6, 6, 3) + 0.5
    cov_a, cov_b = np.cov(a.numpy(), rowvar=False), np.cov(b.numpy(), rowvar=False)
    root = scipy.linalg.sqrtm(cov_a @ cov_b)
    means = ((a.mean(0) - b.mean(0)) ** 2).sum().item()
    expected = means + np.trace(cov_a + cov_b - 2 * np.real(root))
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("count", [2, 5, 100])
def test_equal_sets_are_nothing_apart(count: int) -> None:
    a = normal(count, 20) * 3 + 1
    assert 0 <= frechet_distance(a, a) < 1e-6
    assert 0 <= frechet_distance(a, a.flip(0)) < 1e-6


def test_frechet_is_a_squared_distance_of_translations() -> None:
    a, shift = normal(60, 5), torch.tensor([3.0, 0.0, 4.0, 0.0, 0.0], dtype=torch.float64)
    assert frechet_distance(a, a + shift) == pytest.approx(25, rel=1e-9)
    assert frechet_distance(2 * a, 2 * a + shift) == pytest.approx(25, rel=1e-9)


def test_frechet_is_symmetric_keeps_under_rotation_and_scales_with_the_square() -> None:
    a, b, turn = normal(60, 5), normal(70, 5, 1) @ normal(5, 5, 2) + 1, rotation(5)
    whole = frechet_distance(a, b)
    assert frechet_distance(b, a) == pytest.approx(whole, rel=1e-9)
    assert frechet_distance(a @ turn, b @ turn) == pytest.approx(whole, rel=1e-9)
    assert frechet_distance(3 * a, 3 * b) == pytest.approx(9 * whole, rel=1e-9)


def test_float32_is_taken_to_float64_first() -> None:
    """Far from the origin, float32 would lose the covariance."""
    a, b = (normal(100, 4, seed).float() + 1000 for seed in (0, 1))
    assert frechet_distance(a, b) == frechet_distance(a.double(), b.double())
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(a.double() - 1000, b.double() - 1000), rel=1e-6)


# kernel


def slow_mmd(a: np.ndarray, b: np.ndarray) -> float:
    """Gretton et al. 2012, Eq. 3, with (x·y / F + 1)³: a loop over pairs."""
    n, m, size = len(a), len(b), a.shape[1]

    def k(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / size + 1) ** 3)

    within_a = sum(k(a[i], a[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_b = sum(k(b[i], b[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within_a + within_b - 2 * sum(k(x, y) for x in a for y in b) / (n * m)


@pytest.mark.parametrize(("n", "m"), [(12, 12), (9, 17), (2, 2)])
def test_one_estimate_is_the_double_loop(n: int, m: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vaekit.evaluation.frechet._AT_ONCE", 5)  # several pieces
    a, b = normal(n, 4), normal(m, 4, 1) + 0.5
    found = kernel_distance(a, b)
    assert found == KernelDistance(pytest.approx(slow_mmd(a.numpy(), b.numpy()), rel=1e-9), None, 1, min(n, m))


def test_subsets_are_disjoint_and_of_either_set() -> None:
    """Each image is in one subset, so the mean equals that of loops over the same permutations."""
    a, b = normal(120, 3), normal(150, 3, 1) + 1
    found = kernel_distance(a, b, subsets=2, subset_size=60, seed=3)
    generator = torch.Generator().manual_seed(3)
    rows_a, rows_b = torch.randperm(120, generator=generator), torch.randperm(150, generator=generator)
    each = [slow_mmd(a[rows_a[s]].numpy(), b[rows_b[s]].numpy()) for s in (slice(0, 60), slice(60, 120))]
    error = abs(each[0] - each[1]) / 2  # the deviation |d|/√2, over √2
    assert found == KernelDistance(pytest.approx(np.mean(each)), pytest.approx(error), 2, 60)


def test_the_kernel_distance_is_unbiased_and_its_error_is_honest() -> None:
    """For one distribution, (mean / standard error) over many pairs has mean 0 and the spread of Student's t."""
    found = [kernel_distance(normal(500, 3, 2 * s), normal(500, 3, 2 * s + 1), subset_size=50) for s in range(60)]
    ratios = torch.tensor([each.mean / each.standard_error for each in found if each.standard_error])
    assert len(ratios) == 60 and all(each.subsets == 10 and each.subset_size == 50 for each in found)
    assert abs(float(ratios.mean())) < 4 / math.sqrt(60)
    assert 0.7 < float(ratios.std()) < 1.7  # t with 9 degrees of freedom: 1.13
    assert min(each.mean for each in found) < 0


def test_different_distributions_are_apart_by_many_errors() -> None:
    """Normals with means 0 and 1 in one dimension: the value is known from their moments."""
    a, b = normal(4000, 1), normal(4000, 1, 1) + 1
    found = kernel_distance(a, b, subset_size=400)
    assert found.standard_error is not None and found.mean > 10 * found.standard_error
    assert abs(found.mean - _moments_distance(1.0)) < 4 * found.standard_error


def _moments_distance(m: float) -> float:
    """MMD² of N(0, 1) and N(m, 1) with (xy + 1)³: Σ_k C(3, k) (E x^k − E y^k)²."""
    moments = [0.0, m, m**2, m**3 + 3 * m]  # differences of the first, second and third
    return sum(math.comb(3, k) * d**2 for k, d in enumerate(moments))


def test_a_seed_chooses_the_subsets_and_nothing_else() -> None:
    a, b = normal(300, 4), normal(300, 4, 1)
    one, same, other = (kernel_distance(a, b, 3, 100, seed) for seed in (0, 0, 1))
    assert one == same and one.mean != other.mean
    assert abs(one.mean - other.mean) < 0.1


def test_kernel_distance_is_rotation_invariant() -> None:
    a, b, turn = normal(100, 5), normal(100, 5, 1) + 0.3, rotation(5)
    assert kernel_distance(a @ turn, b @ turn, 1).mean == pytest.approx(kernel_distance(a, b, 1).mean, rel=1e-9)


# what is too little, and what is no set of features


def test_at_the_fewest_images_the_bias_is_a_twentieth_of_the_variance() -> None:
    """The worst case, all variances equal; half as many images, about twice the bias."""
    size = 40
    count = fewest_images(size)
    assert count == 400
    at_ten, at_five = (frechet_distance(normal(n, size), normal(n, size, 1)) / size for n in (count, count // 2))
    assert 0.04 < at_ten < 0.06
    assert 1.8 < at_five / at_ten < 2.4


def test_the_warning_says_what_is_wrong_and_what_to_do() -> None:
    assert small_sample_warning(640, 64) is None
    few = small_sample_warning(639, 64)
    assert few is not None and "639 images" in few and "at least 640" in few and "singular" not in few
    fewer = small_sample_warning(64, 64)
    assert fewer is not None and "singular" in fewer
    assert "singular" not in str(small_sample_warning(65, 64))


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (torch.zeros(1, 3), torch.zeros(5, 3), "at least 2"),
        (torch.zeros(5, 3), torch.zeros(1, 3), "at least 2"),
        (torch.zeros(5, 3), torch.zeros(5, 4), "features"),
        (torch.zeros(5), torch.zeros(5), "features"),
        (torch.full((5, 3), math.nan), torch.zeros(5, 3), "finite"),
        (torch.zeros(5, 3), torch.full((5, 3), math.inf), "finite"),
    ],
)
def test_what_is_no_pair_of_feature_sets_is_refused(distance: object, a: Tensor, b: Tensor, said: str) -> None:
    with pytest.raises(UserError, match=said):
        distance(a, b)  # type: ignore[operator]


@pytest.mark.parametrize("sizes", [(0, 100), (3, 1)])
def test_sizes_of_subsets_are_checked(sizes: tuple[int, int]) -> None:
    with pytest.raises(UserError, match="subset"):
        kernel_distance(torch.zeros(5, 3), torch.zeros(5, 3), *sizes)
