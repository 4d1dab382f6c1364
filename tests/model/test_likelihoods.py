"""Likelihood heads: which outputs become means and scales, and the bounds of the scale."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from vaekit.config import parts
from vaekit.config.table import DENSITIES, LIKELIHOODS, get, override
from vaekit.model import registry
from vaekit.model.likelihoods import (
    DISCRETIZED_LOG_SCALES,
    QUANTIZATION_STD,
    BernoulliHead,
    CategoricalHead,
    DiscretizedLogisticHead,
    DiscretizedNormalHead,
    LaplaceHead,
    LocationScaleHead,
    MixtureHead,
    NormalHead,
)
from vaekit.model.posteriors import NormalPosterior, PointPosterior


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def randoms(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_normal_posterior_is_two_linear_maps_the_second_of_log_std() -> None:
    head, features = NormalPosterior(5, 3), randoms(4, 5)
    q = head(features)
    torch.testing.assert_close(q.mean, features @ head.mean.weight.mT + head.mean.bias)
    std = (features @ head.log_std.weight.mT + head.log_std.bias).exp()
    assert (std > 0).all()
    torch.testing.assert_close(q.from_noise(torch.ones(4, 3)) - q.mean, std)


def test_the_gain_of_a_posterior_scales_its_log_std_alone() -> None:
    slow, features = NormalPosterior(5, 3, std_gain=0.25), randoms(4, 5)
    whole = NormalPosterior(5, 3)
    whole.load_state_dict(slow.state_dict())
    torch.testing.assert_close(slow(features).log_std, whole(features).log_std / 4)
    torch.testing.assert_close(slow(features).mean, whole(features).mean)


def test_a_point_posterior_is_one_linear_map() -> None:
    head, features = PointPosterior(5, 3), randoms(4, 5)
    torch.testing.assert_close(head(features).mean, features @ head.mean.weight.mT + head.mean.bias)


def test_the_fixed_scale_of_the_seeds_makes_the_distortion_the_sum_of_squares_plus_a_constant() -> None:
    x, output = torch.rand(2, 3, 4, 4), randoms(2, 3, 4, 4)
    px = NormalHead("fixed", 0.5**0.5, mean="sigmoid")(output)
    sse = (output.sigmoid() - x).square().sum((1, 2, 3))
    torch.testing.assert_close(-px.log_prob(x), sse + 48 * 0.5 * math.log(math.pi))


def test_a_fixed_scale_is_no_parameter_and_not_in_the_weights() -> None:
    head = NormalHead("fixed", 0.1)
    assert not list(head.parameters()) and not head.state_dict()
    assert float(head.log_scale().exp()) == pytest.approx(0.1)


def test_a_shared_scale_starts_at_a_quarter_and_is_learned_to_be_the_root_mean_square_error() -> None:
    head, x, output = NormalHead("shared", 0.5), torch.rand(8, 1, 6, 6), randoms(8, 1, 6, 6)
    assert float(head.log_scale().exp().detach()) == pytest.approx(0.25, rel=1e-6)
    optimizer = torch.optim.Adam(head.parameters(), lr=5e-3)
    for _ in range(200):
        optimizer.zero_grad()
        (-head(output).log_prob(x).mean()).backward()
        optimizer.step()
    rms = float((output + 0.5 - x).square().mean().sqrt())
    assert float(head.log_scale().exp().detach()) == pytest.approx(rms, rel=1e-3)


def test_the_floor_of_a_scale_is_the_rounding_error_of_bytes() -> None:
    values = torch.linspace(0, 1, 1_000_001, dtype=torch.float64)
    rounding = values - (values * 255).round() / 255
    assert float(rounding.square().mean().sqrt()) == pytest.approx(QUANTIZATION_STD, rel=1e-3)


@pytest.mark.parametrize("scale", ["shared", "pixel"])
def test_no_learned_scale_goes_below_the_rounding_error(scale: str) -> None:
    head = NormalHead(scale, 0.5)
    output = torch.full((1, head.outputs(1), 2, 2), -100.0)
    if scale == "shared":
        head.free_log_scale.data.fill_(-100.0)
    px = head(output)
    torch.testing.assert_close(px.log_scale.exp().max(), torch.tensor(QUANTIZATION_STD))
    best = -4 * (math.log(QUANTIZATION_STD) + 0.5 * math.log(2 * math.pi))
    assert float(px.log_prob(px.mean).detach()) == pytest.approx(best, rel=1e-5)


def test_a_pixel_scale_takes_the_second_half_of_the_channels() -> None:
    output = randoms(2, 6, 4, 4)
    px = NormalHead("pixel", 0.5)(output)
    torch.testing.assert_close(px.mean, output[:, :3] + 0.5)
    torch.testing.assert_close(px.log_scale.exp(), 0.25 * output[:, 3:].exp())
    many = NormalHead("pixel", 0.5)(output.unflatten(0, (2, 1)))
    torch.testing.assert_close(many.mean.squeeze(1), px.mean)


def test_bernoulli_logits_are_the_output() -> None:
    output = randoms(2, 1, 4, 4)
    assert torch.equal(BernoulliHead()(output).mean, output.sigmoid())


def head_of(likelihood: str, **values: object) -> Any:
    return registry.likelihood(likelihood).from_recipe(override(get("vae"), {"likelihood": likelihood, **values}))


def images(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(2)) / 255


def test_the_table_knows_every_likelihood_and_which_are_densities() -> None:
    assert parts.names("likelihood") == LIKELIHOODS
    for name in LIKELIHOODS:
        head = head_of(name)
        assert head.is_discrete == (name not in DENSITIES)
        assert head(torch.zeros(head.outputs(1), 2, 2)).is_discrete == (name not in DENSITIES)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("scale", ["fixed", "shared", "pixel"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_mean_image_has_an_output(likelihood: str, scale: str, channels: int) -> None:
    head = head_of(likelihood, scale=scale, fixed_scale=0.3)
    mean = torch.linspace(0, 1, channels * 30).view(channels, 5, 6)
    output = head.output_of(mean)
    assert output.shape == (head.outputs(channels), 5, 6)
    torch.testing.assert_close(head(output).mean.detach(), mean, rtol=0, atol=0.011)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("scale", ["shared", "pixel"])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_output_has_finite_terms_and_gradients(likelihood: str, scale: str, channels: int) -> None:
    head, x = head_of(likelihood, scale=scale), images(4, channels, 3, 3)
    x[0], x[1] = 0, 1
    for size in (0.0, 1.0, 30.0, 1e3, 1e4):
        output = (size * randoms(4, head.outputs(channels), 3, 3)).requires_grad_()
        px = head(output)
        log_px = px.log_prob(x)
        torch.testing.assert_close(log_px, px.log_prob_map(x).sum((-3, -2, -1)), rtol=1e-4, atol=1e-3)
        (gradient,) = torch.autograd.grad(log_px.sum(), output)
        assert bool(log_px.isfinite().all()) and bool(gradient.isfinite().all()), size
        assert bool(px.picture.isfinite().all()) and px.picture.min() >= 0 and px.picture.max() <= 1


@pytest.mark.parametrize("likelihood", [name for name in LIKELIHOODS if name not in (*DENSITIES, "bernoulli")])
@pytest.mark.parametrize("scale", ["shared", "pixel"])
def test_training_starts_with_about_as_many_bits_as_an_image_has(likelihood: str, scale: str) -> None:
    head, x = head_of(likelihood, scale=scale), images(16, 3, 6, 6)
    bits = -head(torch.zeros(16, head.outputs(3), 6, 6)).log_prob(x) / (108 * math.log(2))
    assert 7.9 < float(bits.mean().detach()) < 9.5


@pytest.mark.parametrize("kind", [NormalHead, LaplaceHead, DiscretizedLogisticHead, DiscretizedNormalHead])
@pytest.mark.parametrize("scale", ["shared", "pixel"])
def test_learned_scales_stay_in_their_range(kind: type[LocationScaleHead], scale: str) -> None:
    head = kind(scale, 0.5)
    smallest, largest = kind.log_scales
    for free in (-100.0, 100.0):
        if scale == "shared":
            head.free_log_scale.data.fill_(free)
        log_scale = head(torch.full((head.outputs(1), 2, 2), free)).log_scale
        raw = free + math.log(0.25) if scale == "pixel" else 10 * free
        expected = min(max(raw, smallest), largest)
        torch.testing.assert_close(log_scale.detach(), torch.full_like(log_scale, expected))


def test_a_mixture_takes_logits_locations_scales_and_coefficients_in_this_order() -> None:
    head, output = MixtureHead(4), randoms(2, 40, 3, 3)
    px = head(output)
    torch.testing.assert_close(px.log_weight, output[:, :4].log_softmax(1))
    first = (torch.arange(4) + 0.5) / 4
    torch.testing.assert_close(px.location, output[:, 4:16].view(2, 4, 3, 3, 3) + first.view(4, 1, 1, 1))
    expected = (output[:, 16:28].view(2, 4, 3, 3, 3) + math.log(0.1)).clamp(*DISCRETIZED_LOG_SCALES)
    torch.testing.assert_close(px.component_log_scale, expected)
    torch.testing.assert_close(px.coefficients, output[:, 28:].view(2, 4, 3, 3, 3).tanh())
    assert [head.outputs(channels) for channels in (1, 3, 4)] == [12, 40, 48]
    assert head(randoms(12, 3, 3)).coefficients is None and not list(head.parameters())


def test_categorical_logits_are_the_output_value_by_value() -> None:
    output = randoms(2, 768, 2, 2)
    torch.testing.assert_close(CategoricalHead()(output).logits[:, 7, 2], output[:, 7 * 3 + 2])
