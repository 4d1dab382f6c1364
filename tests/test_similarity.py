"""Structural similarity, against its definition place by place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from vaekit.similarity import ssim


def images(count: int, channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(seed))


def by_definition(x: np.ndarray, y: np.ndarray, side: int) -> float:
    """Of one channel: weighted moments about their means in every window."""
    row = np.exp(-((np.arange(side) - side // 2) ** 2) / (2 * 1.5**2))
    window = np.outer(row, row) / row.sum() ** 2
    found = []
    for top in range(x.shape[0] - side + 1):
        for left in range(x.shape[1] - side + 1):
            a, b = x[top : top + side, left : left + side], y[top : top + side, left : left + side]
            ma, mb = (window * a).sum(), (window * b).sum()
            va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
            cov = (window * (a - ma) * (b - mb)).sum()
            found.append((2 * ma * mb + 1e-4) * (2 * cov + 9e-4) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)))
    return float(np.mean(found))


@pytest.mark.parametrize(("height", "width", "side"), [(16, 20, 11), (11, 11, 11), (8, 20, 7), (9, 9, 9), (1, 5, 1)])
def test_it_is_that_of_the_definition(height: int, width: int, side: int) -> None:
    x, y = images(2, 3, height, width), images(2, 3, height, width, seed=1)
    expected = [
        np.mean([by_definition(*(t[n, c].double().numpy() for t in (x, y)), side) for c in range(3)]) for n in (0, 1)
    ]
    assert ssim(x, y).tolist() == pytest.approx(expected, abs=1e-9)


def test_even_images_are_compared_by_their_brightness_alone() -> None:
    x, y = torch.full((1, 1, 16, 16), 0.25), torch.full((1, 1, 16, 16), 0.75)
    assert ssim(x, y).item() == pytest.approx((2 * 0.25 * 0.75 + 1e-4) / (0.25**2 + 0.75**2 + 1e-4), abs=1e-9)


def test_it_is_one_for_equal_images_alone_symmetric_and_falls_with_noise() -> None:
    x, noise = images(3, 1, 20, 20), images(3, 1, 20, 20, seed=2) - 0.5
    torch.testing.assert_close(ssim(x, x), torch.ones(3, dtype=torch.float64))
    some, more = ssim(x, x + 0.1 * noise), ssim(x, x + 0.5 * noise)
    assert (some < 1).all() and (more < some).all()
    torch.testing.assert_close(ssim(x, x + noise), ssim(x + noise, x))
