"""Structural similarity, compared with its formula as loops over windows in numpy and float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from vaekit.errors import UserError
from vaekit.evaluation.ssim import ssim


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def slow_ssim(x: np.ndarray, y: np.ndarray, side: int) -> float:
    """Wang et al. 2004, Eq. 13 to 16, of one pair of images [C, H, W]."""
    offsets = np.arange(side) - side // 2
    weights = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    found = []
    for channel in range(x.shape[0]):
        for top in range(x.shape[1] - side + 1):
            for left in range(x.shape[2] - side + 1):
                a, b = (z[channel, top : top + side, left : left + side].astype(np.float64) for z in (x, y))
                mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
                var_a, var_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
                cov = (weights * (a - mean_a) * (b - mean_b)).sum()
                above = (2 * mean_a * mean_b + 0.0001) * (2 * cov + 0.0009)
                found.append(above / ((mean_a**2 + mean_b**2 + 0.0001) * (var_a + var_b + 0.0009)))
    return float(np.mean(found))


@pytest.mark.parametrize(
    ("shape", "side"),
    [((3, 16, 13), 11), ((1, 11, 11), 11), ((1, 10, 20), 9), ((4, 12, 8), 7), ((3, 2, 5), 1), ((1, 3, 3), 3)],
)
def test_it_is_the_formula_in_every_window(shape: tuple[int, ...], side: int) -> None:
    x, noise = rand(4, *shape), rand(4, *shape, seed=1)
    y = torch.lerp(x, noise, torch.tensor([0.0, 0.1, 0.5, 1.0]).view(-1, 1, 1, 1))
    expected = [slow_ssim(a, b, side) for a, b in zip(x.numpy(), y.numpy(), strict=True)]
    assert ssim(x, y).tolist() == pytest.approx(expected, abs=1e-9)


def test_of_plain_images_it_is_the_term_of_the_means() -> None:
    """No variance: (2ab + C1) / (a² + b² + C1), by hand for 0.2 and 0.6: 0.2401 / 0.4001."""
    found = ssim(torch.full((1, 3, 14, 14), 0.2), torch.full((1, 3, 14, 14), 0.6))
    assert float(found) == pytest.approx(0.2401 / 0.4001, abs=1e-7)


def test_equal_images_have_one() -> None:
    assert ssim(rand(3, 3, 20, 20), rand(3, 3, 20, 20)).tolist() == pytest.approx([1, 1, 1], abs=1e-12)


def test_it_is_symmetric_and_at_most_one() -> None:
    x, y = rand(20, 1, 15, 15), rand(20, 1, 15, 15, seed=1)
    assert torch.equal(ssim(x, y), ssim(y, x))
    assert (ssim(x, y) < 1).all() and (ssim(x, y) > -1).all()


def test_an_inverted_texture_is_below_zero() -> None:
    x = rand(1, 1, 32, 32)
    assert float(ssim(x, 1 - x)) < -0.5


def test_more_noise_is_less_similar() -> None:
    x = torch.linspace(0, 1, 24).expand(1, 3, 24, 24)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    found = [float(ssim(x, (x + std * noise).clamp(0, 1))) for std in (0, 0.01, 0.03, 0.1, 0.3)]
    assert found == sorted(found, reverse=True) and len(set(found)) == 5


def test_each_image_and_channel_is_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = rand(5, 3, 12, 12), rand(5, 3, 12, 12, seed=1)
    whole = ssim(x, y)
    by_channel = torch.stack([ssim(x[:, i : i + 1], y[:, i : i + 1]) for i in range(3)]).mean(0)
    assert whole.tolist() == pytest.approx(by_channel.tolist(), abs=1e-12)
    monkeypatch.setattr("vaekit.evaluation.ssim._AT_ONCE", 900)  # two images at once
    assert ssim(x, y).tolist() == pytest.approx(whole.tolist(), abs=1e-12)
    assert ssim(x[:0], y[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 9), "one shape"),
        (torch.zeros(1, 8, 8), torch.zeros(1, 8, 8), "one shape"),
        (torch.zeros(1, 1, 8, 8, dtype=torch.uint8), torch.zeros(1, 1, 8, 8, dtype=torch.uint8), "floats"),
    ],
)
def test_what_is_no_pair_of_image_sets_is_refused(x: Tensor, y: Tensor, said: str) -> None:
    with pytest.raises(UserError, match=said):
        ssim(x, y)
