"""The aggregate posterior: mixtures computed by hand, and the two terms of the mean rate."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch import distributions as td

from vaekit.evaluation.aggregate_posterior import AggregatePosterior, active_units, aggregate_log_density, is_saturated
from vaekit.model.distributions.latent import DiagonalNormal, FullNormal, kl_divergence


def randoms(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def posterior_of(count: int, latents: int, spread: float, log_std: float, seed: int = 0) -> AggregatePosterior:
    mean, scale = spread * randoms(count, latents, seed=seed), log_std + 0.1 * randoms(count, latents, seed=seed + 1)
    return AggregatePosterior(mean, scale, mean + scale.exp() * randoms(count, latents, seed=seed + 2))


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("log_std", [-5.0, 0.0])
def test_its_density_is_that_of_the_mixture(offset: float, log_std: float) -> None:
    posterior = posterior_of(50, 3, 2.0, log_std)
    mean, z = posterior.mean + offset, posterior.z + offset
    each = td.Independent(td.Normal(mean, posterior.log_std.exp()), 1)
    mixture = td.MixtureSameFamily(td.Categorical(torch.ones(50, dtype=torch.float64)), each)
    found = aggregate_log_density(z, mean, posterior.log_std)
    torch.testing.assert_close(found, mixture.log_prob(z), rtol=1e-6, atol=1e-5 if offset else 1e-9)


def test_it_is_computed_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    posterior = posterior_of(40, 3, 2.0, -1.0)
    whole = aggregate_log_density(posterior.z, posterior.mean, posterior.log_std)
    monkeypatch.setattr("vaekit.evaluation.aggregate_posterior._PAIRS_AT_ONCE", 120)
    torch.testing.assert_close(aggregate_log_density(posterior.z, posterior.mean, posterior.log_std), whole)


def test_posteriors_that_say_nothing_have_no_information_and_those_apart_name_their_image() -> None:
    nothing = posterior_of(200, 4, 0.0, 0.0)
    nothing = AggregatePosterior(nothing.mean, torch.zeros(200, 4, dtype=torch.float64), randoms(200, 4, seed=7))
    assert float(nothing.log_ratios().mean()) == pytest.approx(0.0, abs=1e-9)
    apart = posterior_of(200, 4, 100.0, -3.0)
    assert float(apart.log_ratios().mean()) == pytest.approx(math.log(200), abs=1e-9)
    assert posterior_of(1, 100, 1.0, -2.0).log_ratios().item() == pytest.approx(0.0, abs=1e-9), "of one image"


def test_information_and_marginal_divergence_make_the_mean_rate() -> None:
    """KL(q(z)‖p(z)), estimated from samples of the mixture, is the mean rate minus the information."""
    posterior, prior = posterior_of(300, 2, 1.5, -0.5), DiagonalNormal(torch.zeros(2).double(), torch.zeros(2).double())
    rate = float(kl_divergence(DiagonalNormal(posterior.mean, posterior.log_std), prior).sum(1).mean())
    rows = torch.randint(300, (20_000,), generator=torch.Generator().manual_seed(4))
    z = posterior.mean[rows] + posterior.log_std[rows].exp() * randoms(20_000, 2, seed=5)
    marginal = aggregate_log_density(z, posterior.mean, posterior.log_std) - prior.log_prob(z)
    information = td.Independent(td.Normal(posterior.mean[rows], posterior.log_std[rows].exp()), 1).log_prob(z)
    information = information - aggregate_log_density(z, posterior.mean, posterior.log_std)
    error = float((marginal + information).std()) / math.sqrt(20_000)
    assert float((marginal + information).mean()) == pytest.approx(rate, abs=4 * error)
    # and the estimate from one draw per image is the same within its own error
    own = float(information.std()) / math.sqrt(300)
    assert float(posterior.log_ratios().mean()) == pytest.approx(float(information.mean()), abs=4 * own)


@pytest.mark.parametrize(("std", "is_told"), [(0.02, True), (0.5, True), (2.0, True), (0.002, False), (0.0001, False)])
def test_what_is_called_information_is_that_of_the_set_and_what_is_not_is_saturated(std: float, is_told: bool) -> None:
    """x ~ N(0, 1), z = x + std · noise: I(x; z) = ½ log(1 + 1/std²), whatever the number of images."""
    mean, log_std = randoms(1000, 1, seed=0), torch.full((1000, 1), math.log(std), dtype=torch.float64)
    ratios = AggregatePosterior(mean, log_std, mean + std * randoms(1000, 1, seed=1)).log_ratios()
    exact, error = 0.5 * math.log1p(std**-2), float(ratios.std()) / math.sqrt(1000)
    assert is_saturated(ratios) != is_told
    if is_told:
        assert float(ratios.mean()) == pytest.approx(exact, abs=0.1 + 3 * error)
    else:
        assert float(ratios.mean()) < exact - 0.1


def test_few_images_are_no_saturation_by_themselves() -> None:
    assert not is_saturated(torch.zeros(2)) and is_saturated(torch.full((2,), math.log(2)))
    half = torch.tensor([0.0, math.log(100)]).repeat(50)
    assert is_saturated(half), "where half of the images are known for sure"


def test_a_unit_is_active_if_its_mean_moves_by_a_hundredth_of_the_priors_variance() -> None:
    variances = torch.tensor([0.0, 0.0099, 0.0101, 0.9], dtype=torch.float64)
    assert active_units(variances, torch.ones(4)) == 2
    assert active_units(variances, torch.full((4,), 100.0)) == 0
    factor = torch.tensor(np.diag([0.01, 0.01, 10.0, 0.1]), dtype=torch.float64)
    factor[3, 0] = 10.0
    assert active_units(variances, FullNormal(torch.zeros(4, dtype=torch.float64), factor).variance) == 1


def test_variances_are_those_of_the_distributions() -> None:
    factor = torch.tril(randoms(3, 3, seed=1))
    factor.diagonal().abs_().add_(0.5)
    full = td.MultivariateNormal(torch.zeros(3).double(), scale_tril=factor)
    torch.testing.assert_close(FullNormal(torch.zeros(3).double(), factor).variance, full.variance)
    log_std = randoms(3, seed=2)
    torch.testing.assert_close(DiagonalNormal(log_std, log_std).variance, log_std.exp() ** 2)
