"""Probabilities of bytes: they sum to one, equal those of numpy and scipy in float64, and are finite everywhere."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats
from torch import Tensor

from vaekit.data import to_float
from vaekit.model.distributions.pixel_discrete import (
    Categorical256,
    DiscretizedLogistic,
    DiscretizedLogisticMixture,
    DiscretizedNormal,
)

VALUES = torch.arange(256, dtype=torch.float64).view(256, 1, 1, 1) / 255
KINDS: dict[Any, Callable] = {DiscretizedLogistic: special.expit, DiscretizedNormal: special.ndtr}
SMALLEST, LARGEST = -7 - math.log(2), 2.0  # log scales that a head gives


def doubles(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mixture_of(channels: int, shape: tuple[int, ...] = (), components: int = 4, seed: int = 0) -> Any:
    """A mixture of narrow components, strongly coupled, over images of 2×2 pixels."""
    size = (*shape, components, channels, 2, 2)
    coefficients = 2 * doubles(*shape, components, 3, 2, 2, seed=seed + 3)
    return DiscretizedLogisticMixture(
        doubles(*shape, components, 2, 2, seed=seed),
        0.5 + 0.4 * doubles(*size, seed=seed + 1),
        0.7 * doubles(*size, seed=seed + 2) - 2.5,
        coefficients.tanh() if channels >= 3 else None,
    )


def images(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, generator=generator).double() / 255


def by_hand(cdf: Callable, location: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return ``[256, ...]``: differences of the distribution function; the edges include the tails."""
    edges = (np.arange(1, 256) - 0.5) / 255
    below = cdf((edges.reshape(-1, *[1] * location.ndim) - location) / scale)
    none = np.zeros((1, *location.shape))
    return np.diff(np.concatenate([none, below, none + 1]), axis=0)


# One component


@pytest.mark.parametrize("kind", KINDS)
@given(location=st.floats(-3, 4), log_scale=st.floats(SMALLEST, LARGEST))
def test_the_bins_of_a_density_sum_to_one(kind: Any, location: float, log_scale: float) -> None:
    px = kind(torch.full((1, 1, 1), location).double(), torch.tensor(log_scale).double())
    assert float(px.log_prob(VALUES).exp().sum()) == pytest.approx(1, abs=1e-9)
    assert float(px.log_prob_map(VALUES).exp().sum()) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", ["a scale for all", "a scale per pixel"])
def test_they_are_the_differences_of_the_distribution_function(kind: Any, kept: str) -> None:
    location = 0.5 + 0.5 * doubles(2, 3, 4)
    log_scale = doubles(2, 3, 4, seed=1) - 2 if kept == "a scale per pixel" else torch.tensor(-2.0).double()
    expected = by_hand(KINDS[kind], location.numpy(), log_scale.exp().numpy())
    got = kind(location, log_scale).log_prob_map(VALUES.expand(256, 2, 3, 4))
    np.testing.assert_allclose(got.exp().numpy(), expected, rtol=0, atol=1e-14)
    likely = expected > 1e-6
    np.testing.assert_allclose(got.numpy()[likely], np.log(expected[likely]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("kind", "error"), [(DiscretizedLogistic, 3e-5), (DiscretizedNormal, 2e-4)])
def test_float32_is_as_fine_as_its_inputs(kind: Any, error: float) -> None:
    """The two tails of the normal are nearly equal if the bin is a hundredth of the scale: two digits are lost."""
    location, log_scale = 0.5 + 0.3 * doubles(1, 8, 8), doubles(1, 8, 8, seed=1).clamp(-1, 1) - 2
    x = images(20, 1, 8, 8)
    exact = kind(location, log_scale).log_prob_map(x)
    rounded = kind(location.float(), log_scale.float()).log_prob_map(x.float())
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded.double(), exact, rtol=1e-5, atol=error)


@pytest.mark.parametrize(
    ("kind", "log_cdf"), [(DiscretizedLogistic, special.log_expit), (DiscretizedNormal, special.log_ndtr)]
)
def test_tails_far_away_are_those_of_scipy(kind: Any, log_cdf: Callable) -> None:
    """A steep density has all mass of a bin near its edge, and the edges include the tails."""
    location, scale = torch.tensor([-3.0, 0.5, 4.0]).double().view(1, 1, 3), 0.004
    px = kind(location, torch.tensor(scale, dtype=torch.float64).log())
    for value in (0, 10, 250, 255):
        near = {0: 0.5, 255: 254.5}.get(value)
        for i, at in enumerate(location.flatten().tolist()):
            low, high = (value - 0.5) / 255, (value + 0.5) / 255
            inner = high if at > high else low  # the end of the bin that is nearer
            inner = inner if near is None else near / 255
            upward = value == 255 or (value != 0 and at < low)
            first = log_cdf(((at - inner) if upward else (inner - at)) / scale)
            other = (high if upward else low) if near is None else None
            rest = -np.inf if other is None else log_cdf(((at - other) if upward else (other - at)) / scale)
            expected = first + np.log1p(-np.exp(rest - first))
            got = float(px.log_prob_map(torch.tensor(value / 255).double().view(1, 1, 1))[..., i])
            assert got == pytest.approx(expected, rel=1e-9), (value, at)


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_is_that_of_the_bins_to_half_a_level(kind: Any) -> None:
    location, log_scale = torch.linspace(-1, 2, 61).double().view(1, 1, -1), torch.tensor([-7.0, -4.0, -2.0, 0.0, 2.0])
    px = kind(location.view(1, -1, 1), log_scale.double())
    summed = (VALUES * px.log_prob_map(VALUES.expand(256, 1, 61, 5)).exp()).sum(0)
    assert float((px.mean - summed).abs().max()) < 0.5 / 255 + 1e-9
    wide_ones = (px.mean - summed)[..., 1:]  # where the scale spans several levels, rounding hardly moves it
    assert float(wide_ones.abs().max()) < 2e-5
    assert torch.equal(px.picture, px.mean) and float(px.mean.min()) >= 0 and float(px.mean.max()) <= 1


def test_a_wide_range_of_bytes_is_recovered() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1)
    px = Categorical256(torch.randn(256, 1, 1, 1, generator=torch.Generator().manual_seed(0)))
    expected = px.logits.log_softmax(0).view(256)
    torch.testing.assert_close(px.log_prob(to_float(levels)), expected)


@pytest.mark.parametrize("off", [-1e-6, 1e-6])
def test_a_byte_is_recovered_from_a_value_that_was_rounded_otherwise(off: float) -> None:
    """Rounding as from v · (1/255) in float32, or from a mean of equal pixels."""
    px = Categorical256(doubles(256, 1, 1, 1))
    torch.testing.assert_close(px.log_prob_map(VALUES + off), px.log_prob_map(VALUES), rtol=0, atol=0)
    for kind in KINDS:
        px = kind(torch.full((1, 1, 1), 0.4).double(), torch.tensor(-2.0).double())
        torch.testing.assert_close(px.log_prob_map(VALUES + off), px.log_prob_map(VALUES), rtol=0, atol=0)


# Anything a decoder may say


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extremes_are_finite_and_so_are_their_gradients(kind: Any, dtype: torch.dtype) -> None:
    far = torch.tensor([-1e4, -30.0, -1.0, 0.0, 1e-3, 0.5, 1.0, 2.0, 30.0, 1e4], dtype=dtype).view(1, -1, 1)
    for log_scale in (SMALLEST, -4.0, 0.0, LARGEST):
        location = far.clone().requires_grad_()
        scale = torch.tensor(log_scale, dtype=dtype, requires_grad=True)
        log_p = kind(location, scale).log_prob_map(VALUES.to(dtype).expand(256, 1, 10, 1))
        assert bool(log_p.isfinite().all()) and float(log_p.max().detach()) <= 1e-6
        log_p.sum().backward()
        assert location.grad is not None and bool(location.grad.isfinite().all())
        assert scale.grad is not None and bool(scale.grad.isfinite().all())


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_finite_differences(kind: Any) -> None:
    location = (0.5 + 0.6 * doubles(1, 6, 5)).requires_grad_()
    log_scale = (doubles(1, 6, 5, seed=1) - 2).requires_grad_()
    x = images(1, 6, 5)
    x[0, 0], x[0, 1] = 0, 1
    assert torch.autograd.gradcheck(lambda m, s: kind(m, s).log_prob_map(x), (location, log_scale))


@pytest.mark.parametrize("kind", KINDS)
def test_far_away_the_gradient_points_to_the_value(kind: Any) -> None:
    location = torch.tensor([-50.0, 50.0]).view(1, 1, 2).requires_grad_()
    kind(location, torch.tensor(-6.0)).log_prob(torch.full((1, 1, 2), 100 / 255)).backward()
    assert location.grad is not None
    assert location.grad[0, 0, 0] > 100 and location.grad[0, 0, 1] < -100


# Mixtures


def test_one_gray_component_is_a_discretized_logistic() -> None:
    mixture = mixture_of(1, (3,), components=1)
    single = DiscretizedLogistic(mixture.location.squeeze(1), mixture.component_log_scale.squeeze(1))
    x = images(3, 1, 2, 2)
    torch.testing.assert_close(mixture.log_prob_map(x), single.log_prob_map(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(mixture.mean, single.mean, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_each_channel_sums_to_one_given_those_before_it(channels: int, seed: int) -> None:
    """By the chain rule, the mixture sums to one over all 256^C values of a pixel, too."""
    mixture, x = mixture_of(channels, seed=10 * seed), images(channels, 2, 2, seed=seed)
    for channel in range(channels):
        every = x.repeat(256, 1, 1, 1)
        every[:, channel] = VALUES.view(256, 1, 1)
        total = mixture.log_prob_map(every)[:, channel].exp().sum(0)
        torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-9)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_map_of_a_mixture_adds_up_to_its_images(channels: int) -> None:
    mixture, x = mixture_of(channels, (5, 2)), images(2, channels, 2, 2)
    assert mixture.log_prob_map(x).shape == (5, 2, channels, 2, 2)
    torch.testing.assert_close(mixture.log_prob(x), mixture.log_prob_map(x).sum((-3, -2, -1)), rtol=1e-12, atol=1e-12)


def test_a_mixture_of_colors_is_that_of_the_paper() -> None:
    """Salimans et al. 2017, Eq. 2 and 3, on their range of [−1, 1], one pixel and component at a time."""
    mixture, x = mixture_of(3), images(3, 2, 2)
    weights = special.softmax(mixture.log_weight.numpy(), axis=0)
    total = 0.0
    for row, column in np.ndindex(2, 2):
        pixel = 2 * x[:, row, column].numpy() - 1
        likelihood = 0.0
        for k in range(4):
            mu = 2 * mixture.location[k, :, row, column].numpy() - 1
            s = 2 * mixture.component_log_scale[k, :, row, column].exp().numpy()
            alpha, beta, gamma = mixture.coefficients[k, :, row, column].numpy()
            means = (
                mu[0],
                mu[1] + alpha * pixel[0],
                mu[2] + beta * pixel[0] + gamma * pixel[1],
            )
            product = 1.0
            for value, mean, scale in zip(pixel, means, s, strict=True):
                upper = 1.0 if value > 0.999 else special.expit((value + 1 / 255 - mean) / scale)
                lower = 0.0 if value < -0.999 else special.expit((value - 1 / 255 - mean) / scale)
                product *= upper - lower
            likelihood += weights[k, row, column] * product
        total += math.log(likelihood)
    assert float(mixture.log_prob(x)) == pytest.approx(total, rel=1e-9)


def test_opacity_follows_no_color() -> None:
    mixture, x = mixture_of(4, components=1), images(4, 2, 2)
    other = x.clone()
    other[:3] = images(3, 2, 2, seed=9)
    change = (mixture.log_prob_map(x) - mixture.log_prob_map(other)).abs().amax((1, 2))
    assert change[3] < 1e-12 and change[2] > 0.1


def test_the_mean_of_a_gray_mixture_is_that_of_its_bins() -> None:
    mixture = mixture_of(1)
    summed = (VALUES * mixture.log_prob_map(VALUES.expand(256, 1, 2, 2)).exp()).sum(0)
    torch.testing.assert_close(mixture.mean, summed, rtol=0, atol=1e-4)


def test_the_mean_of_a_colored_mixture_is_that_of_its_bins() -> None:
    """Summed over earlier channels, in the interior, where nothing is clamped."""
    location = torch.tensor([[0.57, 0.5, 0.5], [0.45, 0.52, 0.48]], dtype=torch.float64).view(2, 3, 1, 1)
    coefficients = torch.tensor([[0.8, 0.7, 0.6], [-0.7, 0.5, 0.8]], dtype=torch.float64).view(2, 3, 1, 1)
    mixture = DiscretizedLogisticMixture(doubles(2, 1, 1), location, torch.full_like(location, -5.5), coefficients)
    values = torch.arange(96, 160).double() / 255
    every = torch.cartesian_prod(values, values, values).view(-1, 3, 1, 1)
    weight = mixture.log_prob(every).exp()
    assert float(weight.sum()) > 0.99
    summed = (weight.view(-1, 1) * every.view(-1, 3)).sum(0) / weight.sum()
    torch.testing.assert_close(mixture.mean.flatten(), summed, rtol=0, atol=1e-3)


def _means_by_sums(location: np.ndarray, scale: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Means of red, green and blue of components ``[N, 3]``, by sums over the 256 values of each channel."""
    values, edges, places = np.arange(256) / 255, (np.arange(255) + 0.5) / 255, np.linspace(-3, 4, 4001)
    found = np.zeros((len(location), 3))
    for row, (at, s, (alpha, beta, gamma)) in enumerate(zip(location, scale, coefficients, strict=True)):
        red = np.diff(special.expit((edges - at[0]) / s[0]), prepend=0, append=1)
        greens = (edges - at[1] - alpha * (values[:, None] - 0.5)) / s[1]
        joint = red[:, None] * np.diff(special.expit(greens), prepend=0, append=1)
        blue_at = at[2] + beta * (values[:, None] - 0.5) + gamma * (values - 0.5)
        blue = np.interp(blue_at, places, special.expit((places[:, None] - edges) / s[2]).sum(1) / 255)
        found[row] = (red * values).sum(), (joint * values).sum(), (joint * blue).sum()
    return found


@pytest.mark.parametrize("log_scales", [(-7.5, -5.0), (-5.0, -3.0), (-3.0, -2.0), (-2.0, -1.0), (-1.0, 2.0)])
def test_the_mean_of_colors_is_within_a_level_of_sums_over_all_their_values(log_scales: tuple[float, float]) -> None:
    draws = np.random.default_rng(0)
    location, log_scale = draws.uniform(-0.2, 1.2, (30, 3)), draws.uniform(*log_scales, (30, 3))
    coefficients = np.tanh(draws.normal(0, 2, (30, 3)))
    expected = _means_by_sums(location, np.exp(log_scale), coefficients)
    parts = [torch.tensor(each).T for each in (location, log_scale, coefficients)]
    each = [part.view(1, 3, 30, 1) for part in parts]
    single = DiscretizedLogisticMixture(torch.zeros(1, 30, 1).double(), *each).mean.squeeze(-1).T
    assert np.abs(single.numpy() - expected).max() < 1 / 255
    logits = torch.tensor(draws.normal(0, 3, (5, 6, 1)))
    together = [part.reshape(3, 5, 6, 1).transpose(0, 1) for part in parts]
    mixture = DiscretizedLogisticMixture(logits, *together).mean.squeeze(-1).T
    weight = special.softmax(logits.numpy(), axis=0)
    assert np.abs(mixture.numpy() - (weight * expected.reshape(5, 6, 3)).sum(0)).max() < 1 / 255


@pytest.mark.parametrize(
    ("log_scale", "coefficients"),
    [
        ((-7.6, -7.6, -7.6), (0.03, -0.03, 0.03)),
        ((-7.0, -1.5, -6.0), (0.0, 0.0, 0.9)),
        ((-1.5, -7.0, -6.0), (0.0, 0.9, 0)),
    ],
)
def test_the_mean_of_colors_that_hardly_vary_and_of_those_of_which_one_does(
    log_scale: tuple[float, ...], coefficients: tuple[float, ...]
) -> None:
    location = np.random.default_rng(1).uniform(-0.1, 1.1, (20, 3))
    expected = _means_by_sums(location, np.exp(np.tile(log_scale, (20, 1))), np.tile(coefficients, (20, 1)))
    every = [torch.tensor(each).double().view(1, 3, 1, 1).expand(1, 3, 20, 1) for each in (log_scale, coefficients)]
    at = torch.tensor(location).T.reshape(1, 3, 20, 1)
    mean = DiscretizedLogisticMixture(torch.zeros(1, 20, 1).double(), at, *every).mean.squeeze(-1).T
    assert np.abs(mean.numpy() - expected).max() < 1 / 255


def test_the_mean_of_colors_is_the_same_in_pieces_and_in_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    mixture = mixture_of(4, (3, 2), components=5)
    mixture.component_log_scale = mixture.component_log_scale + 3
    whole = mixture.mean
    monkeypatch.setattr("vaekit.model.distributions.pixel_discrete._COMPONENTS_AT_ONCE", 7)
    torch.testing.assert_close(mixture.mean, whole, rtol=0, atol=1e-12)
    monkeypatch.setattr("torch.compiler.is_compiling", lambda: True)
    torch.testing.assert_close(mixture.mean, whole, rtol=0, atol=1e-12)


def test_the_mean_of_colors_has_finite_values_and_gradients_at_the_ends_of_all_ranges() -> None:
    for location, log_scale in itertools.product((-50.0, 0.0, 0.5, 1.0, 50.0), (-7.7, -3.0, 2.0)):
        parts = [torch.zeros(2, 1, 1), torch.full((2, 3, 1, 1), location), torch.full((2, 3, 1, 1), log_scale)]
        parts = [part.requires_grad_() for part in (*parts, torch.full((2, 3, 1, 1), 0.99))]
        mean = DiscretizedLogisticMixture(*parts).mean
        gradients = torch.autograd.grad(mean.sum(), parts)
        assert mean.isfinite().all() and mean.min() >= 0 and mean.max() <= 1
        assert all(gradient.isfinite().all() for gradient in gradients)


def test_extreme_mixtures_are_finite_and_so_are_their_gradients() -> None:
    for log_scale in (SMALLEST, LARGEST):
        parts = [
            (1e3 * doubles(3, 2, 2)).float(),
            (1e3 * doubles(3, 3, 2, 2, seed=1)).float(),
            torch.full((3, 3, 2, 2), log_scale),
            torch.ones(3, 3, 2, 2),
        ]
        parts = [part.requires_grad_() for part in parts]
        x = torch.tensor([0.0, 1.0, 100 / 255]).view(3, 1, 1).expand(3, 2, 2)
        log_p = DiscretizedLogisticMixture(*parts).log_prob(x)
        log_p.backward()
        assert bool(log_p.isfinite())
        assert all(part.grad is not None and bool(part.grad.isfinite().all()) for part in parts)


def test_a_mixture_serves_many_images_and_many_latents() -> None:
    mixture, x = mixture_of(3, (5, 1)), images(7, 3, 2, 2)
    each = torch.stack([mixture.log_prob(image).squeeze(1) for image in x], 1)
    torch.testing.assert_close(mixture.log_prob(x), each, rtol=1e-12, atol=1e-12)
    assert mixture.mean.shape == (5, 1, 3, 2, 2)


# Free probabilities


def test_a_categorical_is_its_softmax_and_sums_to_one() -> None:
    px = Categorical256(doubles(256, 2, 3, 3))
    every = px.log_prob_map(VALUES.expand(256, 2, 3, 3))
    torch.testing.assert_close(every, px.logits.log_softmax(0), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(every.exp().sum(0), torch.ones(2, 3, 3).double(), rtol=0, atol=1e-9)
    torch.testing.assert_close(px.mean, (every.exp() * VALUES).sum(0), rtol=1e-12, atol=1e-12)
    x = images(5, 2, 3, 3)
    torch.testing.assert_close(px.log_prob(x), px.log_prob_map(x).sum((-3, -2, -1)), rtol=1e-12, atol=1e-12)


def test_a_uniform_categorical_needs_eight_bits() -> None:
    nats = Categorical256(torch.zeros(256, 3, 4, 4)).log_prob(images(3, 4, 4).float())
    assert -float(nats) / (48 * math.log(2)) == pytest.approx(8, abs=1e-6)


def test_a_categorical_serves_many_images_and_many_latents() -> None:
    px, x = Categorical256(doubles(5, 1, 256, 3, 2, 2)), images(7, 3, 2, 2)
    each = torch.stack([px.log_prob(image).squeeze(1) for image in x], 1)
    torch.testing.assert_close(px.log_prob(x), each, rtol=1e-12, atol=1e-12)


def test_a_discretized_normal_of_a_wide_scale_is_its_density_times_the_bin() -> None:
    location, x = torch.full((1, 4, 4), 0.4).double(), images(1, 4, 4).clamp(1 / 255, 254 / 255)
    px = DiscretizedNormal(location, torch.tensor(-1.0).double())
    expected = stats.norm.logpdf(x.numpy(), 0.4, math.exp(-1)) - math.log(255)
    np.testing.assert_allclose(px.log_prob_map(x).numpy(), expected, rtol=0, atol=1e-4)
