"""The laws of flow matching: the field of a Gaussian, the order of the solvers, guidance, and standardization."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from vaekit.errors import UserError
from vaekit.model.contracts import LatentShape
from vaekit.model.flow_matching import (
    FlowMatchingPrior,
    Sampling,
    VelocityStep,
    channel_moments,
    integrate,
    normal_error,
    velocity_error,
)
from vaekit.model.inference import Batch
from vaekit.system.rng import NOISE, stream
from vaekit.training.trainer import Trainer
from vaekit.training.values import TrainingValues

SHAPES: list[LatentShape] = [(6,), (4, 16, 16), (3, 5, 7), (2, 2, 1), (2, 9, 4)]


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def prior_of(shape: LatentShape, condition_size: int = 0, width: int = 16) -> FlowMatchingPrior:
    """Return a prior whose last layer is not zero, so that its field is a function of everything."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        prior = FlowMatchingPrior(shape, width, 1, condition_size)
        for parameter in prior.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.2)
    return prior.eval()


def size_of(shape: LatentShape) -> int:
    return math.prod(shape)


# --- the solvers


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2)])
def test_a_solver_converges_at_its_order_on_a_linear_field(solver: str, order: int) -> None:
    matrix = torch.tensor([[0.3, -2.0], [1.5, -0.4]], dtype=torch.float64)
    start = normal(5, 2, dtype=torch.float64)
    exact = start @ torch.linalg.matrix_exp(matrix).mT

    def error(steps: int) -> float:
        found = integrate(lambda z, t: z @ matrix.mT, start, steps, solver=solver)
        return float((found - exact).norm())

    orders = [math.log2(error(steps) / error(2 * steps)) for steps in (40, 80)]
    assert orders == pytest.approx([order, order], abs=0.06)


def test_a_solver_follows_the_time_and_starts_where_it_is_told() -> None:
    z = torch.zeros(2, 3, dtype=torch.float64)
    found = integrate(lambda z, t: (3 * t**2)[:, None].expand_as(z), z, 400, start=0.5, end=0.8)
    torch.testing.assert_close(found, torch.full_like(z, 0.8**3 - 0.5**3), rtol=1e-5, atol=0)


def test_eulers_method_evaluates_the_field_once_per_step_and_heuns_twice() -> None:
    calls: list[float] = []

    def field(z: Tensor, t: Tensor) -> Tensor:
        calls.append(round(float(t[0]), 6))
        return torch.zeros_like(z)

    integrate(field, torch.zeros(1, 1), 2, solver="euler")
    assert calls == [0.0, 0.5]
    calls.clear()
    integrate(field, torch.zeros(1, 1), 2)
    assert calls == [0.0, 0.5, 0.5, 1.0]


# --- the field


def test_the_exact_field_of_a_gaussian_draws_that_gaussian() -> None:
    """For z ~ N(m, s²): E[z − ε | z_t] = m + (t s² − (1 − t)) / (t² s² + (1 − t)²) · (z_t − t m)."""
    mean, std = torch.tensor([3.0, -1.0]).double(), torch.tensor([0.5, 2.0]).double()

    def field(z: Tensor, t: Tensor) -> Tensor:
        t = t[:, None]
        return mean + (t * std**2 - (1 - t)) / (t**2 * std**2 + (1 - t) ** 2) * (z - t * mean)

    noise = normal(50, 2, dtype=torch.float64)
    torch.testing.assert_close(integrate(field, noise, 400), mean + std * noise, rtol=1e-4, atol=1e-4)


def test_a_learned_field_draws_the_mean_and_the_covariance_of_a_gaussian() -> None:
    covariance = torch.tensor([[1.5, 1.1], [1.1, 1.0]])
    mean, factor = torch.tensor([0.4, -0.3]), torch.linalg.cholesky(covariance)

    class Draws:
        size = 256

        def index_at(self, images: int) -> Tensor:
            return torch.arange(self.size)

        def batch(self, index: Tensor, images: int, steps: int) -> tuple[Batch, Tensor]:
            draws = torch.randn(len(index), 5, generator=stream(0, NOISE, steps))
            return Batch(mean + draws[:, 3:] @ factor.mT), draws[None, :, :3]

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        prior = FlowMatchingPrior((2,), 64, 1)
    values = TrainingValues(total_images=256 * 1200, learning_rate=3e-3, warmup=0.02, ema_power=16.0)
    trainer = Trainer(VelocityStep(prior), Draws(), values, torch.device("cpu"))
    while trainer.images < values.total_images:
        trainer.step()
    with torch.no_grad():
        z = trainer.eval_model()(None).from_noise(normal(20_000, 2))
    # the standard error of a mean is 0.009, and of a covariance 0.015; the rest is for the field, which is learned
    torch.testing.assert_close(z.mean(0), mean, rtol=0, atol=0.06)
    torch.testing.assert_close(torch.cov(z.mT), covariance, rtol=0, atol=0.12)


@pytest.mark.parametrize("width", [16, 50, 65])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_weight_of_a_field_is_used_and_its_sizes_fit(shape: LatentShape, width: int) -> None:
    prior = prior_of(shape, 3, width=width)
    errors = velocity_error(prior, normal(4, size_of(shape)), normal(4, size_of(shape) + 1), normal(4, 3))
    assert errors.shape == (4,)
    errors.sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in prior.parameters())


@pytest.mark.parametrize("shape", SHAPES)
def test_a_field_that_has_learned_nothing_leaves_the_noise_as_it_is(shape: LatentShape) -> None:
    prior = FlowMatchingPrior(shape, 16, 1).eval()
    mean, std = normal(shape[0]), normal(shape[0]).abs() + 0.1
    prior.scale(mean, std)
    noise = normal(3, size_of(shape))
    with torch.no_grad():
        z = prior(None).from_noise(noise)
    grid = noise.unflatten(1, (shape[0], -1)) * std[:, None] + mean[:, None]
    torch.testing.assert_close(z, grid.flatten(1))


def test_the_error_is_that_of_equation_23() -> None:
    prior, z, noise = prior_of((4, 3, 3), 2), normal(5, 36), normal(5, 37, seed=1)
    condition = normal(5, 2, seed=2)
    start, t = noise[:, :36], torch.sigmoid(noise[:, 36])
    here = torch.stack([(1 - t[i]) * start[i] + t[i] * z[i] for i in range(5)])
    with torch.no_grad():
        expected = (prior.net(here, t, condition) - (z - start)).square().sum(1) / 36
        torch.testing.assert_close(velocity_error(prior, z, noise, condition), expected)


def test_the_error_of_the_best_field_of_a_standard_normal() -> None:
    """The regression of z − ε on z_t leaves 1 / ((1 − t)² + t²) of its variance of 2."""
    z, start = normal(200_000, dtype=torch.float64), normal(200_000, seed=1, dtype=torch.float64)
    for t in (0.1, 0.5, 0.8):
        here, target = (1 - t) * start + t * z, z - start
        slope = (here @ target) / (here @ here)
        left = float((target - slope * here).square().mean())
        noise = torch.tensor([[0.0, math.log(t / (1 - t))]])
        assert left == pytest.approx(float(normal_error(noise)), rel=0.01)


# --- conditions


def test_guidance_moves_from_no_condition_to_the_condition_and_beyond() -> None:
    prior, condition = prior_of((4, 4, 4), 3), normal(3)
    z, t = normal(2, 64), torch.tensor([0.2, 0.7])
    with torch.no_grad():
        without, with_ = prior.net(z, t, torch.zeros(2, 3)), prior.net(z, t, condition.expand(2, 3))
        assert not torch.allclose(without, with_)
        for weight in (0.0, 0.5, 1.0, 3.0):
            found = prior.field(condition, weight)(z, t)
            torch.testing.assert_close(found, without + weight * (with_ - without), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(prior.field(None, 3.0)(z, t), without)


def test_samples_follow_the_condition_the_steps_and_the_guidance() -> None:
    prior, noise = prior_of((5,), 3), normal(2, 5)
    with torch.no_grad():
        plain = prior(None).from_noise(noise)
        told = prior(None, torch.ones(3))
        assert not torch.allclose(told.from_noise(noise), plain)
        assert not torch.allclose(told.with_sampling(guidance=3.0).from_noise(noise), told.from_noise(noise))
        coarse = told.with_sampling(steps=1).from_noise(noise)
        by_hand = integrate(prior.field(torch.ones(3), 1.0), noise, 1)
    torch.testing.assert_close(coarse, by_hand)


@pytest.mark.parametrize(
    ("given", "message"), [({"steps": 0}, "steps 0: expected 1 to"), ({"guidance": -1.0}, "guidance -1: expected 0")]
)
def test_values_of_sampling_have_a_range(given: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        prior_of((5,))(None).with_sampling(**given)
    Sampling().check()


# --- variations


def test_variations_go_from_the_latent_itself_to_samples_that_do_not_depend_on_it() -> None:
    prior, noise, z = prior_of((3, 2, 2)), normal(4, 12), normal(12, seed=1)
    prior.scale(torch.tensor([1.0, 0.0, -2.0]), torch.tensor([2.0, 1.0, 0.5]))
    drawn = prior(None).with_sampling(steps=10)
    with torch.no_grad():
        torch.testing.assert_close(drawn.variations_of(z, 0.0).from_noise(noise), z.expand(4, 12))
        torch.testing.assert_close(drawn.variations_of(z, 1.0).from_noise(noise), drawn.from_noise(noise))
        found = drawn.variations_of(z, 0.3).from_noise(noise)
        start = 0.7 * prior.standardized(z) + 0.3 * noise  # z_t at t = 0.7
        by_hand = prior.restored(integrate(prior.net, start, 3, start=0.7))
    torch.testing.assert_close(found, by_hand)
    with pytest.raises(UserError, match="strength 1.5: expected 0"):
        drawn.variations_of(z, 1.5)


# --- standardization


def test_grids_are_standardized_per_channel_and_vectors_per_dimension() -> None:
    mean, std = 5 * normal(40, 24) + 3, normal(40, 24, seed=1).abs()
    draws = mean + std * normal(40, 24, seed=2)
    for shape in ((24,), (4, 2, 3)):
        found_mean, found_std = channel_moments(mean, std, shape)
        grid = mean.double().view(40, shape[0], -1)
        variance = std.double().square().view(40, shape[0], -1)
        for channel in range(shape[0]):
            rows = grid[:, channel].flatten()
            assert float(found_mean[channel]) == pytest.approx(float(rows.mean()))
            expected = rows.var(correction=0) + variance[:, channel].mean()
            assert float(found_std[channel]) == pytest.approx(float(expected.sqrt()))
        prior = FlowMatchingPrior(shape, 16, 1)
        prior.scale(found_mean, found_std)
        unit = prior.standardized(draws).view(40, shape[0], -1)
        assert unit.mean().abs() < 0.2 and 0.8 < unit.std() < 1.2
        torch.testing.assert_close(prior.restored(prior.standardized(draws)), draws, rtol=1e-4, atol=1e-4)


def test_its_moments_are_those_that_it_was_scaled_to_and_it_has_no_density() -> None:
    prior = FlowMatchingPrior((2, 1, 3), 16, 1)
    prior.scale(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 4.0]))
    moments = prior(None).moments
    torch.testing.assert_close(moments.mean, torch.tensor([1.0, 1, 1, -2, -2, -2]))
    torch.testing.assert_close(moments.log_std.exp(), torch.tensor([0.5, 0.5, 0.5, 4, 4, 4]))
    assert not prior(None).has_density
    with torch.no_grad():
        torch.testing.assert_close(prior(None).mean, moments.mean)  # it has learned nothing
