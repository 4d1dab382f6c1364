"""Priors: the standard normal is one, and the fitted one has the moments of the aggregate posterior."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch import distributions as td

from vaekit.config.table import get, override
from vaekit.model.distributions.latent import DiagonalNormal, FullNormal, Mixture, kl_divergence
from vaekit.model.factory import build_model, resolve
from vaekit.model.priors import ConditionalNormal, FittedNormal, MixturePrior, StandardNormal


def randoms(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def fitted(qz: DiagonalNormal, times: int) -> FittedNormal:
    prior = FittedNormal(qz.mean.shape[1])
    for _ in range(times):
        prior.observe(qz)
    return prior


@pytest.mark.parametrize("kind", [StandardNormal, FittedNormal])
def test_every_prior_starts_as_the_standard_normal(kind: type[StandardNormal] | type[FittedNormal]) -> None:
    prior, z = kind(3), randoms(5, 4, 3)
    torch.testing.assert_close(prior().log_prob(z), td.Normal(0.0, 1.0).log_prob(z).sum(-1), rtol=1e-5, atol=0)
    torch.testing.assert_close(prior().from_noise(z), z, rtol=1e-5, atol=0)


@pytest.mark.parametrize(("batch_size", "batches", "tolerance"), [(256, 300, 0.05), (1, 3000, 0.35)])
def test_the_fitted_moments_are_those_of_the_aggregate_posterior(
    batch_size: int, batches: int, tolerance: float
) -> None:
    mixing, center = randoms(3, 3), torch.tensor([2.0, -1.0, 0.5])
    log_std = torch.tensor([-2.0, 0.3, -0.5])
    prior, generator = FittedNormal(3), torch.Generator().manual_seed(1)
    for _ in range(batches):
        means = center + torch.randn(batch_size, 3, generator=generator) @ mixing.mT
        prior.observe(DiagonalNormal(means, log_std.expand(batch_size, 3)))
    expected = mixing @ mixing.mT + torch.diag((2 * log_std).exp())
    assert (prior.mean - center).norm() < tolerance * expected.trace().sqrt()
    assert (prior.covariance - expected).norm() < tolerance * expected.norm()


def test_one_batch_seen_often_gives_exactly_its_moments_and_nothing_of_the_start() -> None:
    qz = DiagonalNormal(3 + randoms(6, 2), randoms(6, 2, seed=1))
    prior = fitted(qz, 1500)
    centered = qz.mean - qz.mean.mean(0)
    covariance = centered.mT @ centered / 6 + torch.diag((2 * qz.log_std).exp().mean(0))
    torch.testing.assert_close(prior.mean, qz.mean.mean(0), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(prior.covariance, covariance, rtol=2e-3, atol=2e-3)


def test_among_normal_priors_the_fitted_one_gives_the_highest_bound() -> None:
    qz = DiagonalNormal(1 + randoms(40, 3) @ randoms(3, 3, seed=1), -1 + 0.3 * randoms(40, 3, seed=2))
    best = fitted(qz, 1500)()

    def rate(p: DiagonalNormal | FullNormal) -> float:
        return float(kl_divergence(qz, p).sum(-1).mean())

    assert rate(best) < rate(StandardNormal(3)())
    marginal = qz.mean.var(0, correction=0) + (2 * qz.log_std).exp().mean(0)
    assert rate(best) < rate(DiagonalNormal(qz.mean.mean(0), 0.5 * marginal.log()))
    for seed in range(8):
        step = 0.1 * randoms(3, seed=seed)
        assert rate(best) < rate(FullNormal(best.mean + step, best.factor))
        bent = best.factor + (0.1 * randoms(3, 3, seed=seed)).tril() @ best.factor.diagonal().diag()
        assert rate(best) < rate(FullNormal(best.mean, bent))


@given(
    seed=st.integers(0, 2**31),
    count=st.integers(1, 5),
    size=st.integers(1, 6),
    scale=st.sampled_from([0.0, 1e-3, 1.0, 100.0]),
    log_std=st.floats(-6, 3),
    batches=st.integers(1, 30),
)
def test_the_fitted_covariance_is_always_positive_definite(
    seed: int, count: int, size: int, scale: float, log_std: float, batches: int
) -> None:
    prior = FittedNormal(size)
    for batch in range(batches):
        means = scale * randoms(count, size, seed=seed + batch)
        prior.observe(DiagonalNormal(means, torch.full((count, size), log_std)))
    z = prior().from_noise(randoms(4, size))
    assert torch.isfinite(prior().log_prob(z)).all()
    assert torch.equal(prior.covariance, prior.covariance.mT) or torch.allclose(prior.covariance, prior.covariance.mT)


@pytest.mark.parametrize("images", [1, 2, 8, 64])
@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_few_images_in_many_dimensions_leave_a_factor(images: int, scale: float) -> None:
    """Without a weight of the rate, posteriors are far apart and narrow: a covariance of low rank, up to rounding."""
    qz = DiagonalNormal(scale * randoms(images, 64), torch.full((images, 64), -8.0))
    prior = FittedNormal(64)
    for _ in range(200):
        prior.observe(qz)
        assert torch.isfinite(kl_divergence(qz, prior())).all()


def test_codes_that_are_no_numbers_give_a_rate_that_is_none_and_no_traceback() -> None:
    qz = DiagonalNormal(torch.full((4, 3), torch.nan), torch.zeros(4, 3))
    assert torch.isnan(kl_divergence(qz, fitted(qz, 1)())).all()


def test_observing_keeps_no_graph_and_is_kept_with_the_weights() -> None:
    mean = randoms(4, 2).requires_grad_()
    prior = fitted(DiagonalNormal(mean, torch.zeros(4, 2)), 3)
    assert not prior.covariance.requires_grad and not list(prior.parameters())
    again = FittedNormal(2)
    again.load_state_dict(prior.state_dict())
    z = randoms(5, 2, seed=3)
    assert torch.equal(again().log_prob(z), prior().log_prob(z))
    assert not StandardNormal(2).state_dict()


@pytest.mark.parametrize("prior", [StandardNormal(3), FittedNormal(3)])
def test_the_noise_of_a_sample_is_found_again(prior: StandardNormal | FittedNormal) -> None:
    if isinstance(prior, FittedNormal):
        mixing = torch.tensor([[2.0, 0.0, 0.0], [1.0, 0.5, 0.0], [-3.0, 1.0, 4.0]])
        prior.mean.copy_(torch.tensor([1.0, -2.0, 5.0]))
        prior.covariance.copy_(mixing @ mixing.mT)
    noise = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(prior().to_noise(prior().from_noise(noise)), noise, rtol=1e-4, atol=1e-4)


def test_the_noise_of_a_sample_of_a_diagonal_normal_is_found_again() -> None:
    normal = DiagonalNormal(torch.tensor([1.0, -20.0]), torch.tensor([-2.0, 1.5]))
    noise = randoms(50, 2)
    torch.testing.assert_close(normal.to_noise(normal.from_noise(noise)), noise, rtol=1e-4, atol=1e-4)


def mixture(kind: str) -> Mixture:
    """Three normals in two dimensions with different weights."""
    mean = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 5.0]])
    log_std = torch.tensor([[0.0, -0.5], [-1.0, 0.2], [0.1, 0.1]])
    factor = torch.diag_embed(log_std.exp()) + torch.tensor([[0.0, 0.0], [0.7, 0.0]])
    components = DiagonalNormal(mean, log_std) if kind == "diagonal" else FullNormal(mean, factor)
    return Mixture(torch.tensor([0.5, 0.3, 0.2]).log(), components)


def of_torch(mixed: Mixture) -> td.MixtureSameFamily:
    components = mixed.components
    factor = torch.diag_embed(components.log_std.exp()) if isinstance(components, DiagonalNormal) else components.factor
    normals = td.MultivariateNormal(components.mean, scale_tril=factor)
    return td.MixtureSameFamily(td.Categorical(logits=mixed.log_weights), normals)


@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_the_density_of_a_mixture_is_that_of_torch(kind: str) -> None:
    mixed, z = mixture(kind), 3 * randoms(50, 4, 2)
    torch.testing.assert_close(mixed.log_prob(z), of_torch(mixed).log_prob(z), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_samples_of_a_mixture_are_of_its_density(kind: str) -> None:
    """Samples have the moments of the density, and the weights and moments of each component."""
    mixed = mixture(kind)
    z = mixed.from_noise(randoms(200_000, 2))
    reference = of_torch(mixed)
    torch.testing.assert_close(z.mean(0), reference.mean, atol=0.02, rtol=0)
    torch.testing.assert_close(z.var(0), reference.variance, atol=0.05, rtol=0)
    torch.testing.assert_close(mixed.moments.mean, reference.mean, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mixed.moments.variance, reference.variance, atol=1e-4, rtol=1e-4)
    entropy, error = -mixed.log_prob(z).mean(), mixed.log_prob(z).std() / len(z) ** 0.5
    others = reference.sample((200_000,))
    assert abs(entropy + mixed.log_prob(others).mean()) < 8 * error


def test_the_covariance_of_a_mixture_is_that_of_its_samples() -> None:
    mixed = mixture("full")
    factor = mixed.moments.factor
    torch.testing.assert_close(
        factor @ factor.mT, torch.cov(mixed.from_noise(randoms(200_000, 2)).mT), atol=0.06, rtol=0
    )


def test_weights_need_not_sum_to_one() -> None:
    mixed, z = mixture("full"), randoms(20, 2)
    doubled = Mixture(mixed.log_weights + 0.7, mixed.components)
    torch.testing.assert_close(doubled.log_prob(z), mixed.log_prob(z))
    torch.testing.assert_close(doubled.from_noise(z), mixed.from_noise(z))


def test_what_the_first_number_leaves_is_noise_of_the_component() -> None:
    """The first number selects the component, and increases with the first coordinate within it."""
    normals = DiagonalNormal(torch.tensor([[0.0], [100.0], [200.0]]), torch.zeros(3, 1))
    mixed = Mixture(torch.tensor([0.5, 0.3, 0.2]).log(), normals)
    ends, inner = [0.0, 0.5, 0.8, 1.0], [0.1, 0.5, 0.9]
    places = torch.tensor([[a + u * (b - a)] for a, b in itertools.pairwise(ends) for u in inner])
    expected = torch.tensor([[100.0 * k + td.Normal(0.0, 1.0).icdf(torch.tensor(u))] for k in range(3) for u in inner])
    torch.testing.assert_close(mixed.from_noise(torch.special.ndtri(places)), expected, rtol=0, atol=1e-4)


def test_a_fitted_mixture_is_that_of_scaled_codes() -> None:
    """log p(z) of latents z = mean + std · u is log p(u) − Σ log std."""
    mixed, prior = mixture("full"), MixturePrior(2, 3)
    prior.log_weights.copy_(mixed.log_weights)
    prior.mean.copy_(mixed.components.mean)
    prior.factor.copy_(mixed.components.factor)
    mean, std, u = torch.tensor([3.0, -20.0]), torch.tensor([0.1, 5.0]), randoms(50, 2)
    prior.scale(mean, std)
    torch.testing.assert_close(
        prior().log_prob(mean + std * u), mixed.log_prob(u) - std.log().sum(), rtol=1e-4, atol=1e-3
    )
    torch.testing.assert_close(prior().from_noise(u), mean + std * mixed.from_noise(u), rtol=1e-4, atol=1e-3)


def test_a_prior_that_is_told_begins_as_the_standard_normal_and_is_what_its_network_says() -> None:
    torch.manual_seed(0)
    prior, told, z = ConditionalNormal(4, 3), randoms(5, 4), randoms(5, 3, seed=1)
    standard = td.Normal(0.0, 1.0).log_prob(z).sum(-1)
    torch.testing.assert_close(prior(None, told).log_prob(z), standard)
    with torch.no_grad():
        prior.last.weight.normal_()
        prior.last.bias.normal_()
        hidden = (told @ prior.first.weight.mT + prior.first.bias).clamp(min=0)
        mean, log_std = (hidden @ prior.last.weight.mT + prior.last.bias).split(3, dim=1)
        expected = td.Normal(mean, log_std.exp()).log_prob(z).sum(-1)
        torch.testing.assert_close(prior(None, told).log_prob(z), expected)
        torch.testing.assert_close(prior().log_prob(z), prior(None, torch.zeros(5, 4)).log_prob(z))
    assert prior().mean.shape == (3,)


def test_a_mixture_of_one_is_a_normal() -> None:
    normal = DiagonalNormal(torch.tensor([[1.0, -2.0]]), torch.tensor([[0.3, -0.7]]))
    mixed, noise = Mixture(torch.zeros(1), normal), randoms(64, 2)
    torch.testing.assert_close(mixed.from_noise(noise), normal.from_noise(noise), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mixed.log_prob(noise), normal.log_prob(noise))


def test_noise_at_the_ends_of_the_line_stays_finite() -> None:
    noise = torch.tensor([[-40.0, 0.0], [40.0, 0.0], [-8.0, 1.0], [8.0, 1.0]])
    assert bool(mixture("full").from_noise(noise).isfinite().all())


def test_a_vamp_prior_is_the_mean_of_the_posteriors_of_its_images() -> None:
    row = resolve(override(get("vamp-vae"), {"prior_components": 3, "net": "mlp", "hidden": "8"}), (1, 8, 8))
    model = build_model(row, (1, 8, 8))
    with torch.no_grad():
        model.posterior.mean.weight.mul_(20)
        z = randoms(5, model.latent_dim)
        each = torch.stack([model.encode(u.clamp(0, 1)[None]).log_prob(z) for u in model.prior.images])
        torch.testing.assert_close(model.prior(model).log_prob(z), each.exp().mean(0).log(), rtol=1e-4, atol=1e-4)
