"""Distances of sets by their features: closed forms, and slow versions in numpy and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor

from vaekit.distances import few_images_warning, frechet_distance, kernel_distance
from vaekit.features import Features


def randoms(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_frechet_distance_is_that_of_two_normals() -> None:
    a, b = randoms(60, 5, seed=0) @ randoms(5, 5, seed=1), 0.5 + randoms(40, 5, seed=2) @ randoms(5, 5, seed=3)
    cov_a, cov_b = (np.cov(x.numpy(), rowvar=False) for x in (a, b))
    means = ((a.mean(0) - b.mean(0)) ** 2).sum()
    expected = float(means) + np.trace(cov_a + cov_b - 2 * sqrtm(cov_a @ cov_b).real)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-9)


def test_a_frechet_distance_knows_moved_scaled_and_equal_sets() -> None:
    a, by = randoms(500, 4, seed=0), torch.tensor([1.0, -2.0, 0.0, 2.0])
    assert frechet_distance(a, a + by) == pytest.approx(9.0, rel=1e-9)
    assert frechet_distance(a, 3 * (a - a.mean(0)) + a.mean(0)) == pytest.approx(
        4 * float(a.mT.cov().trace()), rel=1e-9
    )
    assert 0 <= frechet_distance(a, a) < 1e-9
    turn = torch.linalg.qr(randoms(4, 4, seed=1)).Q
    assert frechet_distance(a @ turn, (a + by) @ turn) == pytest.approx(9.0, rel=1e-9)
    assert math.isfinite(frechet_distance(a[:2], a[2:5]))


def test_a_kernel_distance_leaves_out_pairs_of_an_image_with_itself() -> None:
    a, b = randoms(9, 4, seed=0), 0.3 + randoms(7, 4, seed=1)

    def kernel(x: Tensor, y: Tensor) -> float:
        return (float(x @ y) / 4 + 1) ** 3

    within = [np.mean([kernel(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j]) for x in (a, b)]
    across = np.mean([kernel(x, y) for x in a for y in b])
    found, error = kernel_distance(a, b)
    assert found == pytest.approx(within[0] + within[1] - 2 * across, rel=1e-9) and error is None


def test_a_kernel_distance_of_one_distribution_is_zero_on_average() -> None:
    found, error = kernel_distance(randoms(3000, 4, seed=0), randoms(3000, 4, seed=1))
    moved, _ = kernel_distance(randoms(3000, 4, seed=0), 0.3 + randoms(3000, 4, seed=1))
    assert error is not None and abs(found) < 0.05 < moved
    small = [kernel_distance(randoms(30, 3, seed=2 * i), randoms(30, 3, seed=2 * i + 1))[0] for i in range(300)]
    assert abs(np.mean(small)) < 4 * np.std(small) / math.sqrt(300)


def test_few_images_are_warned_of() -> None:
    assert few_images_warning(1280, 128) is None
    assert "1,280 images or more" in str(few_images_warning(1279, 128))


def test_features_are_the_same_in_any_company_and_size() -> None:
    features = Features()
    assert features.size == 128 and features.name == "cifar10-classifier-1"
    pixels = torch.randint(0, 256, (5, 3, 40, 48), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    found = features.of(pixels)
    assert found.shape == (5, 128) and found.isfinite().all()
    torch.testing.assert_close(features.of(pixels[3:]), found[3:], rtol=1e-4, atol=1e-5)
    gray = pixels[:, :1]
    torch.testing.assert_close(features.of(gray), features.of(gray.expand(-1, 3, -1, -1)))
    opaque, clear = torch.full_like(gray, 255), torch.zeros_like(gray)
    torch.testing.assert_close(features.of(torch.cat([pixels, opaque], 1)), found)
    white = features.of(torch.full_like(pixels, 255))
    torch.testing.assert_close(features.of(torch.cat([pixels, clear], 1)), white)


def test_features_tell_pictures_from_noise() -> None:
    import vaekit as vk

    faces = vk.open_images("portraits:120", 32).pixels
    noise = torch.randint(0, 256, (60, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    first, second, other = (Features().of(pixels) for pixels in (faces[:60], faces[60:], noise))
    assert frechet_distance(first, other) > 5 * frechet_distance(first, second)
    assert kernel_distance(first, other)[0] > 5 * abs(kernel_distance(first, second)[0])
