"""Densities compared with torch.distributions in float64, divergences with Monte Carlo, samples with their moments."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate
from torch import Tensor
from torch import distributions as td

from vaekit.model.distributions.latent import DiagonalNormal, FullNormal, PointMass, kl_divergence
from vaekit.model.distributions.pixel import BernoulliImage, ContinuousBernoulli, Laplace, NormalImage


def doubles(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def triangle(size: int, seed: int = 0) -> Tensor:
    """A lower triangular factor with a positive diagonal."""
    raw = doubles(size, size, seed=seed)
    return raw.tril(-1) + torch.diag(raw.diagonal().abs() + 0.3)


def sigma_points(size: int) -> Tensor:
    """``[2L, L]`` with mean 0 and covariance I exactly: expectations of quadratics over them are exact."""
    eye = math.sqrt(size) * torch.eye(size, dtype=torch.float64)
    return torch.cat([eye, -eye])


def as_torch(q: DiagonalNormal) -> td.Normal:
    return td.Normal(q.mean, q.log_std.exp())


def test_diagonal_log_prob_is_that_of_torch() -> None:
    q, z = DiagonalNormal(doubles(5, 3), doubles(5, 3, seed=1)), doubles(4, 5, 3, seed=2)
    torch.testing.assert_close(q.log_prob_map(z), as_torch(q).log_prob(z), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(q.log_prob(z), as_torch(q).log_prob(z).sum(-1), rtol=1e-12, atol=1e-12)


def test_full_log_prob_is_that_of_torch() -> None:
    mean, factor, z = doubles(4), triangle(4), doubles(6, 5, 4, seed=2)
    expected = td.MultivariateNormal(mean, scale_tril=factor).log_prob(z)
    torch.testing.assert_close(FullNormal(mean, factor).log_prob(z), expected, rtol=1e-12, atol=1e-12)


def test_a_full_normal_with_a_diagonal_factor_is_a_diagonal_normal() -> None:
    p = DiagonalNormal(doubles(4), doubles(4, seed=1))
    full = FullNormal(p.mean, torch.diag(p.log_std.exp()))
    q, z = DiagonalNormal(doubles(7, 4, seed=2), doubles(7, 4, seed=3)), doubles(7, 4, seed=4)
    torch.testing.assert_close(full.log_prob(z), p.log_prob(z), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(full.from_noise(z), p.from_noise(z), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(kl_divergence(q, full), kl_divergence(q, p), rtol=1e-12, atol=1e-12)


@given(
    mean=st.floats(-30, 30),
    log_std=st.floats(-8, 4),
    prior_mean=st.floats(-30, 30),
    prior_log_std=st.floats(-4, 4),
)
def test_diagonal_kl_is_that_of_torch(mean: float, log_std: float, prior_mean: float, prior_log_std: float) -> None:
    def normal(m: float, s: float) -> DiagonalNormal:
        return DiagonalNormal(torch.tensor([m], dtype=torch.float64), torch.tensor([s], dtype=torch.float64))

    q, p = normal(mean, log_std), normal(prior_mean, prior_log_std)
    kl = kl_divergence(q, p)
    expected = td.kl_divergence(as_torch(q), as_torch(p))
    torch.testing.assert_close(kl, expected, rtol=1e-9, atol=1e-9)
    assert float(kl) >= -1e-12
    assert float(kl_divergence(q, q)) == 0


def test_full_kl_sums_to_that_of_torch() -> None:
    q, p = DiagonalNormal(doubles(6, 4), doubles(6, 4, seed=1)), FullNormal(doubles(4, seed=2), triangle(4))
    expected = td.kl_divergence(
        td.MultivariateNormal(q.mean, scale_tril=torch.diag_embed(q.log_std.exp())),
        td.MultivariateNormal(p.mean, scale_tril=p.factor),
    )
    torch.testing.assert_close(kl_divergence(q, p).sum(-1), expected, rtol=1e-11, atol=1e-11)
    assert (kl_divergence(q, p) >= 0).all()  # each is itself a mean of divergences


@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_kl_is_the_mean_log_ratio_of_samples(kind: str) -> None:
    q = DiagonalNormal(doubles(3), 0.3 * doubles(3, seed=1))
    p = DiagonalNormal(doubles(3, seed=2), 0.3 * doubles(3, seed=3))
    other = p if kind == "diagonal" else FullNormal(p.mean, triangle(3))
    z = q.from_noise(doubles(100_000, 3, seed=4))
    ratio = q.log_prob(z) - other.log_prob(z)
    error = ratio.mean() - kl_divergence(q, other).sum()
    assert abs(float(error)) < 4 * float(ratio.std()) / math.sqrt(len(ratio))


@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_samples_have_the_moments_they_should(kind: str) -> None:
    mean, factor = doubles(4), triangle(4)
    if kind == "diagonal":
        factor = torch.diag(factor.diagonal())
        q: DiagonalNormal | FullNormal = DiagonalNormal(mean, factor.diagonal().log())
    else:
        q = FullNormal(mean, factor)
    z = q.from_noise(sigma_points(4))
    torch.testing.assert_close(z.mean(0), mean, rtol=1e-12, atol=1e-12)
    covariance = (z - mean).mT @ (z - mean) / len(z)
    torch.testing.assert_close(covariance, factor @ factor.mT, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("q", [DiagonalNormal(doubles(4), doubles(4, seed=1)), FullNormal(doubles(4), triangle(4))])
def test_density_of_a_sample_is_that_of_its_noise_over_the_volume(q: DiagonalNormal | FullNormal) -> None:
    noise = doubles(9, 4, seed=5)
    log_volume = q.log_std.sum() if isinstance(q, DiagonalNormal) else q.factor.diagonal().log().sum()
    expected = td.Normal(0.0, 1.0).log_prob(noise).sum(-1) - log_volume
    torch.testing.assert_close(q.log_prob(q.from_noise(noise)), expected, rtol=1e-10, atol=1e-10)


def test_samples_carry_gradients_and_detach_cuts_them() -> None:
    mean, log_std = doubles(2, 3).requires_grad_(), doubles(2, 3, seed=1).requires_grad_()
    noise, q = doubles(5, 2, 3, seed=2), DiagonalNormal(mean, log_std)
    q.from_noise(noise).sum().backward()
    torch.testing.assert_close(mean.grad, torch.full((2, 3), 5.0, dtype=torch.float64))
    torch.testing.assert_close(log_std.grad, (noise.sum(0) * log_std.exp()).detach())
    cut = q.detach()
    assert not cut.from_noise(noise).requires_grad
    assert torch.equal(cut.from_noise(noise), q.from_noise(noise).detach())


def test_a_point_mass_is_its_point_and_has_no_density() -> None:
    point = PointMass(doubles(2, 3))
    assert torch.equal(point.from_noise(doubles(5, 2, 3)), point.mean.expand(5, 2, 3))
    assert not point.has_density
    with pytest.raises(NotImplementedError, match="PointMass has no density"):
        point.log_prob(point.mean)
    assert torch.equal(point.detach().mean, point.mean)


@pytest.mark.parametrize(("kind", "reference"), [(NormalImage, td.Normal), (Laplace, td.Laplace)])
def test_a_density_is_that_of_torch_with_one_scale_and_with_one_per_pixel(kind: Any, reference: Any) -> None:
    mean, x = doubles(3, 2, 2, 4, 5), doubles(2, 2, 4, 5, seed=1)
    for log_scale in (torch.tensor(-1.3, dtype=torch.float64), doubles(3, 2, 2, 4, 5, seed=2)):
        px = kind(mean, log_scale)
        expected = reference(mean, log_scale.exp()).log_prob(x)
        torch.testing.assert_close(px.log_prob_map(x), expected, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(px.log_prob(x), expected.sum((-3, -2, -1)), rtol=1e-12, atol=1e-12)
    assert torch.equal(px.picture, mean.clamp(0, 1))


def test_the_short_way_with_one_scale_is_the_sum_of_the_map_and_so_are_its_gradients() -> None:
    mean, log_scale, x = (
        doubles(3, 1, 4, 4),
        torch.tensor(-0.7, dtype=torch.float64),
        doubles(3, 1, 4, 4, seed=1),
    )
    gradients = []
    for way in ("log_prob", "log_prob_map"):
        inputs = [mean.clone().requires_grad_(), log_scale.clone().requires_grad_()]
        getattr(NormalImage(*inputs), way)(x).sum().backward()
        gradients.append([t.grad for t in inputs])
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


@given(mean=st.floats(0, 1), log_scale=st.floats(-6, 1))
def test_normal_image_integrates_to_one_at_every_pixel(mean: float, log_scale: float) -> None:
    x = mean + math.exp(log_scale) * torch.linspace(-9, 9, 2001, dtype=torch.float64).view(-1, 1, 1, 1)
    px = NormalImage(torch.full((1, 1, 1), mean, dtype=torch.float64), torch.tensor(log_scale, dtype=torch.float64))
    assert float(torch.trapezoid(px.log_prob(x).exp(), x.flatten())) == pytest.approx(1, abs=1e-9)
    assert float(torch.trapezoid(px.log_prob_map(x).exp().flatten(), x.flatten())) == pytest.approx(1, abs=1e-9)


@given(mean=st.floats(0, 1), log_scale=st.floats(-6, 1))
def test_laplace_integrates_to_one_at_every_pixel(mean: float, log_scale: float) -> None:
    side = math.exp(log_scale) * torch.linspace(0, 40, 20001, dtype=torch.float64).view(-1, 1, 1, 1)
    px = Laplace(torch.full((1, 1, 1), mean, dtype=torch.float64), torch.tensor(log_scale, dtype=torch.float64))
    sides = [torch.trapezoid(px.log_prob(mean + sign * side).exp(), side.flatten()) for sign in (-1, 1)]
    assert float(sum(sides)) == pytest.approx(1, abs=1e-6)


LOGITS = torch.tensor([-200.0, -30, -2, -0.501, -0.499, -1e-3, -1e-9, 0, 1e-12, 0.02, 0.4999, 0.5001, 1, 40, 150])


def test_continuous_bernoulli_is_that_of_torch() -> None:
    """Between λ = 0.499 and 0.501 torch has a series of two terms, and its results fewer digits."""
    px, x = ContinuousBernoulli(3 * doubles(4, 2, 1, 3, 3)), doubles(2, 1, 3, 3, seed=1).sigmoid()
    reference = td.ContinuousBernoulli(logits=px.logits)
    torch.testing.assert_close(px.log_prob_map(x), reference.log_prob(x.expand_as(px.logits)), rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(px.log_prob(x), px.log_prob_map(x).sum((-3, -2, -1)), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(px.mean, reference.mean, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("logit", LOGITS.tolist())
def test_continuous_bernoulli_integrates_to_one_and_has_its_mean(logit: float) -> None:
    px = ContinuousBernoulli(torch.full((1, 1, 1), logit, dtype=torch.float64))

    def density(x: float) -> float:
        return float(px.log_prob(torch.full((1, 1, 1), x, dtype=torch.float64)).exp())

    breaks = [0.03, 0.1, 0.9, 0.97]
    assert integrate.quad(density, 0, 1, points=breaks, epsabs=1e-12)[0] == pytest.approx(1, abs=1e-9)
    mean = integrate.quad(lambda x: x * density(x), 0, 1, points=breaks, epsabs=1e-12)[0]
    assert float(px.mean) == pytest.approx(mean, abs=1e-9)
    assert torch.equal(px.picture, px.mean)


def test_the_series_of_the_continuous_bernoulli_meets_its_closed_form() -> None:
    """The derivative of the log density is x − mean, on both sides of the switch between the two formulas."""
    logits = LOGITS.double().view(1, 1, -1).requires_grad_()
    px = ContinuousBernoulli(logits)
    (gradient,) = torch.autograd.grad(px.log_prob(torch.full_like(logits, 0.3).detach()), logits)
    torch.testing.assert_close(gradient, 0.3 - px.mean.detach(), rtol=0, atol=1e-9)
    narrow = LOGITS.view(1, 1, -1).requires_grad_()
    rounded = ContinuousBernoulli(narrow)
    (gradient,) = torch.autograd.grad(rounded.log_prob(torch.full((1, 1, 15), 0.3)), narrow)
    torch.testing.assert_close(gradient, 0.3 - px.mean.detach().float(), rtol=0, atol=2e-6)
    torch.testing.assert_close(rounded.mean.detach(), px.mean.detach().float(), rtol=0, atol=2e-6)


def test_bernoulli_image_is_that_of_torch_and_sums_to_one() -> None:
    px, x = BernoulliImage(3 * doubles(4, 2, 1, 3, 3)), (doubles(2, 1, 3, 3, seed=1) > 0).double()
    expected = td.Bernoulli(logits=px.logits).log_prob(x.expand_as(px.logits))
    torch.testing.assert_close(px.log_prob_map(x), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(px.log_prob(x), expected.sum((-3, -2, -1)), rtol=1e-12, atol=1e-12)
    both = px.log_prob_map(torch.zeros_like(x)).exp() + px.log_prob_map(torch.ones_like(x)).exp()
    torch.testing.assert_close(both, torch.ones_like(both), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(px.mean, px.log_prob_map(torch.ones_like(x)).exp(), rtol=1e-12, atol=1e-12)


def test_bernoulli_image_serves_many_images_under_one_set_of_logits() -> None:
    logits, x = doubles(1, 2, 2), (doubles(5, 1, 2, 2) > 0).double()
    each = torch.stack([BernoulliImage(logits).log_prob(image) for image in x])
    torch.testing.assert_close(BernoulliImage(logits).log_prob(x), each, rtol=1e-12, atol=1e-12)


def test_extreme_logits_stay_finite() -> None:
    px = BernoulliImage(torch.tensor([200.0, -200.0]).view(1, 1, 2))
    assert px.log_prob_map(torch.tensor([0.0, 1.0]).view(1, 1, 2)).flatten().tolist() == [-200, -200]


@pytest.mark.parametrize(
    ("given_type", "expected"), [("bfloat16", "float32"), ("float32", "float32"), ("float64", "float64")]
)
def test_likelihoods_are_computed_in_float32_or_better(given_type: str, expected: str) -> None:
    mean = torch.full((1, 2, 2), 0.5, dtype=getattr(torch, given_type))
    assert NormalImage(mean, mean).log_prob(mean).dtype == getattr(torch, expected)
    assert BernoulliImage(mean).log_prob(mean.to(getattr(torch, expected))).dtype == getattr(torch, expected)
