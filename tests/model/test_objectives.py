"""Objectives: what is minimized, and that the reported bound does not depend on it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch import distributions as td

from vaekit.model.distributions.latent import DiagonalNormal, PointMass
from vaekit.model.distributions.pixel import NormalImage
from vaekit.model.inference import Inference, Level
from vaekit.model.objectives import ELBO, MMD, Capacity, Distortion, TotalCorrelation, decomposition, mmd_squared
from vaekit.model.priors import StandardNormal

ONE = torch.tensor(1.0)
X = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def randoms(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def inference(mean: Tensor | None = None, samples: int = 3) -> Inference:
    qz = DiagonalNormal(randoms(6, 5, seed=1) if mean is None else mean, 0.2 * randoms(6, 5, seed=2))
    pictures = torch.rand(samples, 6, 1, 4, 4, generator=torch.Generator().manual_seed(3))
    noise = randoms(samples, 6, 5, seed=4)
    level = Level(qz.from_noise(noise), qz, StandardNormal(5)())
    return Inference((level,), NormalImage(pictures, torch.tensor(-0.5)), X, noise)


@pytest.mark.parametrize("beta", [0.0, 0.25, 1.0, 4.0])
def test_the_loss_is_distortion_plus_beta_rate_and_the_elbo_ignores_beta(beta: float) -> None:
    record = inference()
    terms = ELBO(beta)(record, ONE)
    distortion = -record.px.log_prob(X).mean(0)
    q = record.levels[0].qz
    rate = 0.5 * ((2 * q.log_std).exp() + q.mean.square() - 1 - 2 * q.log_std).sum(-1)
    torch.testing.assert_close(terms.distortion, distortion)
    torch.testing.assert_close(terms.rate, rate)
    torch.testing.assert_close(terms.loss, distortion + beta * rate)
    assert terms.elbo is not None
    torch.testing.assert_close(terms.elbo, -distortion - rate)


def test_at_beta_one_the_loss_is_minus_the_bound() -> None:
    terms = ELBO()(inference(), ONE)
    assert terms.elbo is not None
    torch.testing.assert_close(terms.loss, -terms.elbo)


def test_free_bits_charge_each_dimension_at_least_its_allowance() -> None:
    record, allowance, weight = inference(), 0.8, 0.5
    terms = ELBO(weight, allowance)(record, ONE)
    mean_kl = record.kl[0].mean(0)
    assert bool((mean_kl < allowance).any()) and bool((mean_kl > allowance).any())
    charged = torch.maximum(mean_kl, torch.tensor(allowance)).sum()
    torch.testing.assert_close(terms.loss.mean(), terms.distortion.mean() + weight * charged)
    torch.testing.assert_close(terms.rate, record.kl[0].sum(-1))


def test_free_bits_pull_only_on_dimensions_above_their_allowance() -> None:
    mean = randoms(6, 5, seed=1)
    mean[:, :2] *= 0.1
    mean.requires_grad_()
    record = inference(mean)
    below = record.kl[0].mean(0) < 0.3
    assert below.tolist()[:2] == [True, True] and not bool(below.all())
    terms = ELBO(1.0, 0.3)(record, ONE)
    (terms.loss - terms.distortion).mean().backward()
    assert mean.grad is not None
    torch.testing.assert_close(mean.grad, torch.where(below, 0.0, mean.detach() / 6))


def test_free_bits_below_every_dimension_change_nothing() -> None:
    record = inference()
    with_bits, without = ELBO(2.0, 1e-6)(record, ONE), ELBO(2.0)(record, ONE)
    torch.testing.assert_close(with_bits.loss.mean(), without.loss.mean())


def test_an_autoencoder_has_a_distortion_and_no_bound() -> None:
    record = inference()
    level = Level(record.levels[0].z, PointMass(record.levels[0].qz.mean), None)
    terms = Distortion()(replace(record, levels=(level,)), ONE)
    torch.testing.assert_close(terms.loss, -record.log_px.mean(0))
    assert torch.equal(terms.loss, terms.distortion)
    assert terms.rate is None and terms.elbo is None


def test_penalties_are_added_to_any_loss_and_to_no_bound() -> None:
    record = inference()
    fined = replace(record, penalties={"one": torch.arange(6.0), "two": torch.ones(6)})
    for objective in (ELBO(), Distortion()):
        plain, extra = objective(record, ONE), objective(fined, ONE)
        torch.testing.assert_close(extra.loss - plain.loss, torch.arange(6.0) + 1, rtol=1e-4, atol=1e-4)
        assert torch.equal(extra.distortion, plain.distortion)


@pytest.mark.parametrize("ramp", [0.0, 0.25, 1.0])
def test_capacity_charges_the_distance_of_the_rate_from_where_it_is_led(ramp: float) -> None:
    record = inference()
    terms, nats = Capacity(50.0, 8.0)(record, torch.tensor(ramp)), record.kl[0].sum(-1)
    assert bool((nats < 8).any())
    torch.testing.assert_close(terms.loss, terms.distortion + 50 * (nats - 8 * ramp).abs())
    torch.testing.assert_close(terms.rate, nats)


def test_what_the_rate_is_made_of_adds_up_to_it() -> None:
    record = inference(samples=1)
    level = record.levels[0]
    sampled = level.qz.log_prob(level.z[0]) - level.pz.log_prob(level.z[0])
    torch.testing.assert_close(sum(decomposition(record)), sampled, rtol=1e-5, atol=1e-5)


def test_the_parts_of_the_rate_are_those_computed_one_by_one() -> None:
    record = inference(samples=1)
    q, z = record.levels[0].qz, record.levels[0].z[0].double()
    normals = [td.Normal(m, s) for m, s in zip(q.mean.double(), q.log_std.double().exp(), strict=True)]
    densities = torch.stack([n.log_prob(z).exp() for n in normals], 1)  # of code i by image j: [6, 6, 5]
    log_qz, log_product = densities.prod(-1).mean(1).log(), densities.mean(1).log().sum(-1)
    information, correlation, by_dimension = decomposition(record)
    log_q = torch.stack([n.log_prob(z[i]).sum() for i, n in enumerate(normals)])
    torch.testing.assert_close(information.double(), log_q - log_qz, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(correlation.double(), log_qz - log_product, rtol=1e-4, atol=1e-4)
    log_p = td.Normal(0.0, 1.0).log_prob(z).sum(-1)
    torch.testing.assert_close(by_dimension.double(), log_product - log_p, rtol=1e-4, atol=1e-4)


def test_the_total_correlation_of_correlated_codes_is_that_of_their_normal() -> None:
    """Narrow posteriors around points of a normal: TC → −½ log det of the correlation matrix, here 0.51 nats."""
    correlation = torch.tensor([[1.0, 0.8], [0.8, 1.0]])
    points = randoms(2000, 2, seed=5) @ torch.linalg.cholesky(correlation).mT
    qz = DiagonalNormal(points, torch.full_like(points, -1.2))
    noise = randoms(1, 2000, 2, seed=6)
    record = replace(inference(), levels=(Level(qz.from_noise(noise), qz, StandardNormal(2)()),))
    widened = correlation + torch.eye(2) * torch.tensor(-2.4).exp()
    expected = -0.5 * torch.logdet(widened / widened[0, 0])
    assert decomposition(record)[1].mean().item() == pytest.approx(expected.item(), abs=0.05)


@pytest.mark.parametrize(("weight", "ramp"), [(1.0, 1.0), (6.0, 0.5)])
def test_total_correlation_alone_costs_more(weight: float, ramp: float) -> None:
    record = inference(samples=1)
    terms = TotalCorrelation(weight)(record, torch.tensor(ramp))
    assert terms.rate is not None
    extra = (weight - 1) * ramp * decomposition(record)[1]
    torch.testing.assert_close(terms.loss, terms.distortion + terms.rate + extra)


def kernel(a: Tensor, b: Tensor) -> Tensor:
    scales = [2 * len(a) * s for s in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)]
    return sum(c / (c + (a - b).square().sum()) for c in scales)


def test_mmd_is_that_of_pairs_one_by_one() -> None:
    a, b = randoms(5, 3, seed=7), 1 + randoms(5, 3, seed=8)
    pairs = [(i, j) for i in range(5) for j in range(5) if i != j]
    each = [kernel(a[i], a[j]) + kernel(b[i], b[j]) - kernel(a[i], b[j]) - kernel(a[j], b[i]) for i, j in pairs]
    torch.testing.assert_close(mmd_squared(a, b), torch.stack(each).mean(), rtol=1e-4, atol=1e-5)


def test_mmd_of_equal_distributions_is_zero_on_average_even_of_the_same_noise() -> None:
    """Rows of one set may depend on the same rows of the other, because pairs of a row with itself are left out."""
    found = []
    for seed in range(300):
        draws = randoms(16, 4, seed=seed)
        rotated = torch.stack([draws[:, 1], -draws[:, 0], draws[:, 3], draws[:, 2]], 1)  # standard normal too
        found.append(mmd_squared(rotated, draws))
    mean, error = torch.stack(found).mean(), torch.stack(found).std() / 300**0.5
    assert abs(mean) < 4 * error
    assert mmd_squared(2 + randoms(64, 4, seed=1), randoms(64, 4, seed=2)) > 20 * error


def test_mmd_of_one_image_is_nothing() -> None:
    assert mmd_squared(randoms(1, 3, seed=1), randoms(1, 3, seed=2)) == 0


@pytest.mark.parametrize("is_point", [False, True])
def test_the_mmd_objective_holds_codes_to_draws_of_the_prior(is_point: bool) -> None:
    record = inference(samples=1)
    level = record.levels[0]
    if is_point:
        record = replace(record, levels=(Level(level.z, PointMass(level.qz.mean), level.pz),))
    terms = MMD(0.25, 30.0)(record, torch.tensor(0.5))
    apart = 15 * mmd_squared(level.z[0], record.noise[0])
    rate = 0 if is_point else 0.125 * record.kl[0].sum(-1)
    torch.testing.assert_close(terms.loss, terms.distortion + apart + rate)
    assert (terms.rate is None) == is_point


def test_a_regularized_autoencoder_pays_for_long_latents() -> None:
    record = inference(samples=1)
    level = Level(record.levels[0].z, PointMass(record.levels[0].qz.mean), None)
    terms = Distortion(0.4)(replace(record, levels=(level,)), ONE)
    torch.testing.assert_close(terms.loss, terms.distortion + 0.2 * level.z[0].square().sum(-1))
    assert terms.rate is None
