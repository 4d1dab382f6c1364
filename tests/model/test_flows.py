"""Flows: the log determinant equals that of autograd's Jacobian, both directions are inverse, and each starts as the
identity."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vaekit.model.distributions.latent import DiagonalNormal, Transformed
from vaekit.model.flows import autoregressive_flow, coupling_flow
from vaekit.model.posteriors import FlowPosterior
from vaekit.model.priors import FlowPrior

SIZE = 4


def randoms(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def stirred(module: nn.Module) -> nn.Module:
    """Return the module with random weights instead of the initial ones."""
    generator = torch.Generator().manual_seed(1)
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return module


def transform(kind: str, is_stirred: bool = True):  # noqa: ANN201
    torch.manual_seed(0)
    if kind == "coupling":
        flow = coupling_flow(SIZE, 4, 8)
        return (stirred(flow) if is_stirred else flow.double())()
    flow = autoregressive_flow(SIZE, 3, 3, 8)
    return (stirred(flow) if is_stirred else flow.double())(randoms(5, 3, seed=2))


@pytest.mark.parametrize("kind", ["coupling", "autoregressive"])
def test_the_log_determinant_is_that_of_the_jacobian(kind: str) -> None:
    flow, z = transform(kind), randoms(5, SIZE, seed=3)
    _, log_volume = flow.call_and_ladj(z)
    whole = torch.autograd.functional.jacobian(lambda each: flow(each).sum(0), z)  # of image i by z of image j
    blocks = whole.permute(1, 0, 2)
    torch.testing.assert_close(log_volume, torch.linalg.slogdet(blocks).logabsdet)
    assert log_volume.abs().max() > 0.1


@pytest.mark.parametrize("kind", ["coupling", "autoregressive"])
def test_the_inverse_leads_back_with_the_opposite_determinant(kind: str) -> None:
    flow, z = transform(kind), randoms(5, SIZE, seed=3)
    moved, there = flow.call_and_ladj(z)
    found, back = flow.inv.call_and_ladj(moved)
    torch.testing.assert_close(found, z)
    torch.testing.assert_close(back, -there)
    again, forth = flow.inv.inv.call_and_ladj(z)
    torch.testing.assert_close((again, forth), (moved, there))


def test_the_inverse_of_a_coupling_asks_each_network_once() -> None:
    flow, calls = coupling_flow(SIZE, 4, 8), []
    for step in flow.transforms:
        step.hyper.register_forward_hook(lambda *_: calls.append(1))
    flow().inv.call_and_ladj(randoms(5, SIZE).float())
    assert len(calls) == 4


@pytest.mark.parametrize("kind", ["coupling", "autoregressive"])
def test_a_flow_begins_as_the_identity(kind: str) -> None:
    flow, z = transform(kind, is_stirred=False), randoms(5, SIZE, seed=3)
    moved, log_volume = flow.call_and_ladj(z)
    assert torch.equal(moved, z) and not log_volume.any()


def test_the_density_of_a_flow_integrates_to_one() -> None:
    torch.manual_seed(0)
    prior = stirred(FlowPrior(2, layers=4, hidden=8))
    line = torch.linspace(-12, 12, 481, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    with torch.no_grad():
        mass = prior().log_prob(grid).exp().sum() * (line[1] - line[0]) ** 2
    assert mass.item() == pytest.approx(1, abs=1e-3)


def test_a_sample_has_the_density_that_the_inverse_finds() -> None:
    torch.manual_seed(0)
    head = stirred(FlowPosterior(6, SIZE, layers=2, hidden=8))
    features, noise = randoms(5, 6), randoms(3, 5, SIZE, seed=4)
    drawn = head(features)
    z = drawn.from_noise(noise)
    torch.testing.assert_close(drawn.log_prob(z), head(features).log_prob(z.clone()))
    assert torch.equal(drawn.mean, head(features).from_noise(torch.zeros(5, SIZE, dtype=torch.float64)))


def test_other_points_have_a_density_of_their_own() -> None:
    torch.manual_seed(0)
    pz = stirred(FlowPrior(SIZE, layers=2, hidden=8))()
    noise, z = randoms(5, SIZE), randoms(5, SIZE, seed=1)
    expected = pz.log_prob(z)
    pz.from_noise(noise)
    torch.testing.assert_close(pz.log_prob(z), expected)


def test_couplings_move_every_number_by_what_the_others_say() -> None:
    jacobian = torch.autograd.functional.jacobian(transform("coupling"), randoms(SIZE, seed=3))
    assert bool(jacobian.all()) and (jacobian.diagonal() - 1).abs().min() > 1e-3


def test_orders_turn_around_so_that_every_number_hangs_on_every_other() -> None:
    flow = stirred(autoregressive_flow(SIZE, 3, 2, 64))(randoms(1, 3, seed=2))
    assert bool(torch.autograd.functional.jacobian(lambda z: flow(z)[0], randoms(1, SIZE, seed=3))[:, 0].all())


def test_a_number_hangs_on_those_before_it_alone() -> None:
    flow = stirred(autoregressive_flow(SIZE, 3, 1, 64))(randoms(1, 3, seed=2))
    jacobian = torch.autograd.functional.jacobian(lambda z: flow(z)[0], randoms(1, SIZE, seed=3))[:, 0]
    assert not jacobian.triu(1).any() and bool(jacobian[1:, 0].all())


def test_the_moments_of_a_flow_are_those_of_its_samples() -> None:
    torch.manual_seed(0)
    pz = stirred(FlowPrior(3, layers=4, hidden=8))()
    with torch.no_grad():
        z = pz.from_noise(randoms(20_000, 3, seed=9))
        moments = pz.moments
    torch.testing.assert_close(moments.mean, z.mean(0), atol=0.15, rtol=0.15)
    torch.testing.assert_close(moments.factor @ moments.factor.mT, torch.cov(z.mT), atol=0.5, rtol=0.3)


def test_a_normal_that_nothing_moves_is_a_normal() -> None:
    base = DiagonalNormal(randoms(5, SIZE), 0.1 * randoms(5, SIZE, seed=1))
    same = Transformed(base, autoregressive_flow(SIZE, 3, 2, 8).double()(randoms(5, 3)))
    z = randoms(5, SIZE, seed=2)
    torch.testing.assert_close(same.log_prob(z), base.log_prob(z))
