"""Objectives: what is minimised, and that the bound stays the bound whatever is minimised."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from vaekit.distributions import DiagonalNormal, NormalImage, PointMass
from vaekit.models import Inference, Level
from vaekit.objectives import ELBO, Distortion
from vaekit.priors import StandardNormal

X = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def randoms(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def inference(mean: Tensor | None = None, samples: int = 3) -> Inference:
    qz = DiagonalNormal(randoms(6, 5, seed=1) if mean is None else mean, 0.2 * randoms(6, 5, seed=2))
    pictures = torch.rand(samples, 6, 1, 4, 4, generator=torch.Generator().manual_seed(3))
    z = qz.from_noise(randoms(samples, 6, 5, seed=4))
    return Inference((Level(z, qz, StandardNormal(5)()),), NormalImage(pictures, torch.tensor(-0.5)), X)


@pytest.mark.parametrize("beta", [0.0, 0.25, 1.0, 4.0])
def test_the_loss_is_distortion_plus_beta_rate_and_the_elbo_ignores_beta(beta: float) -> None:
    record = inference()
    terms = ELBO()(record, torch.tensor(beta))
    distortion = -record.px.log_prob(X).mean(0)
    q = record.levels[0].qz
    rate = 0.5 * ((2 * q.log_std).exp() + q.mean.square() - 1 - 2 * q.log_std).sum(-1)
    torch.testing.assert_close(terms.distortion, distortion)
    torch.testing.assert_close(terms.rate, rate)
    torch.testing.assert_close(terms.loss, distortion + beta * rate)
    assert terms.elbo is not None
    torch.testing.assert_close(terms.elbo, -distortion - rate)


def test_at_beta_one_the_loss_is_minus_the_bound() -> None:
    terms = ELBO()(inference(), torch.tensor(1.0))
    assert terms.elbo is not None
    torch.testing.assert_close(terms.loss, -terms.elbo)


def test_free_bits_charge_each_dimension_at_least_its_allowance() -> None:
    record, allowance, weight = inference(), 0.8, 0.5
    terms = ELBO(allowance)(record, torch.tensor(weight))
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
    terms = ELBO(0.3)(record, torch.tensor(1.0))
    (terms.loss - terms.distortion).mean().backward()
    assert mean.grad is not None
    torch.testing.assert_close(mean.grad, torch.where(below, 0.0, mean.detach() / 6))


def test_free_bits_below_every_dimension_change_nothing() -> None:
    record = inference()
    with_bits, without = ELBO(1e-6)(record, torch.tensor(2.0)), ELBO()(record, torch.tensor(2.0))
    torch.testing.assert_close(with_bits.loss.mean(), without.loss.mean())


def test_an_autoencoder_has_a_distortion_and_no_bound() -> None:
    record = inference()
    level = Level(record.levels[0].z, PointMass(record.levels[0].qz.mean), None)
    terms = Distortion()(replace(record, levels=(level,)), torch.tensor(1.0))
    torch.testing.assert_close(terms.loss, -record.log_px.mean(0))
    assert torch.equal(terms.loss, terms.distortion)
    assert terms.rate is None and terms.elbo is None


def test_penalties_are_added_to_any_loss_and_to_no_bound() -> None:
    record = inference()
    fined = replace(record, penalties={"one": torch.arange(6.0), "two": torch.ones(6)})
    for objective in (ELBO(), Distortion()):
        plain, extra = objective(record, torch.tensor(1.0)), objective(fined, torch.tensor(1.0))
        torch.testing.assert_close(extra.loss - plain.loss, torch.arange(6.0) + 1, rtol=1e-4, atol=1e-4)
        assert torch.equal(extra.distortion, plain.distortion)
