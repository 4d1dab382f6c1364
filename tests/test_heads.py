"""Heads: which numbers become means and scales, and what the scale is bounded by."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vaekit.heads import QUANTISATION_STD, BernoulliHead, NormalHead, NormalPosterior, PointPosterior


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


def test_a_shared_scale_starts_at_a_quarter_and_is_learnt_to_be_the_root_mean_square_error() -> None:
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
    assert float(rounding.square().mean().sqrt()) == pytest.approx(QUANTISATION_STD, rel=1e-3)


@pytest.mark.parametrize("scale", ["shared", "pixel"])
def test_no_learnt_scale_goes_below_the_rounding_error(scale: str) -> None:
    head = NormalHead(scale, 0.5)
    output = torch.full((1, head.outputs_per_channel, 2, 2), -100.0)
    if scale == "shared":
        head.free_log_scale.data.fill_(-100.0)
    px = head(output)
    torch.testing.assert_close(px.log_scale.exp().max(), torch.tensor(QUANTISATION_STD))
    best = -4 * (math.log(QUANTISATION_STD) + 0.5 * math.log(2 * math.pi))
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
