"""The one model whose likelihood is known: p(z) = N(0, I), p(x|z) = N(W z + b, s² I), so p(x) = N(b, W Wᵀ + s² I).

Tipping & Bishop 1999. The true posterior is N(M⁻¹ Wᵀ (x − b), s² M⁻¹) with M = Wᵀ W + s² I; where W has orthogonal
columns it is diagonal, and the bound can meet log p(x). Expectations are exact: log p(x|z) is quadratic in z, and the
noise is a set of points with exactly the first two moments of a standard normal.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch import distributions as td

from vaekit.distributions import FullNormal, NormalImage
from vaekit.heads import NormalPosterior
from vaekit.models import Batch, LatentModel
from vaekit.objectives import ELBO, Step
from vaekit.priors import FittedNormal, StandardNormal

SHAPE, LATENTS, SCALE = (1, 3, 2), 2, 0.7
ONE = torch.tensor(1.0, dtype=torch.float64)
_SIDES = math.sqrt(LATENTS) * torch.eye(LATENTS, dtype=torch.float64)
SIGMA_POINTS = torch.cat([_SIDES, -_SIDES]).unsqueeze(1)  # [2L, 1, L]


class NormalOutput(nn.Module):
    """The likelihood of the definition: the mean is the decoder's output as it is."""

    def forward(self, output: Tensor) -> NormalImage:
        return NormalImage(output, torch.tensor(math.log(SCALE), dtype=torch.float64))


def ppca(seed: int = 0) -> LatentModel:
    """A model with random weights, but orthogonal columns in W."""
    torch.manual_seed(seed)
    decoder = nn.Sequential(nn.Linear(LATENTS, math.prod(SHAPE)), nn.Unflatten(1, SHAPE))
    posterior, prior = NormalPosterior(math.prod(SHAPE), LATENTS), StandardNormal(LATENTS)
    model = LatentModel(nn.Flatten(), posterior, prior, decoder, NormalOutput(), LATENTS).double()
    columns = torch.linalg.qr(torch.randn(math.prod(SHAPE), LATENTS, dtype=torch.float64)).Q
    decoder[0].weight.data = columns * torch.tensor([2.0, 0.6], dtype=torch.float64)
    return model


def weights_of(model: LatentModel) -> tuple[Tensor, Tensor]:
    linear = model.decoder[0]
    return linear.weight.detach(), linear.bias.detach()


def images(model: LatentModel, count: int = 40) -> Tensor:
    """Images drawn from the model itself."""
    generator = torch.Generator().manual_seed(5)
    z = torch.randn(count, LATENTS, generator=generator, dtype=torch.float64)
    noise = torch.randn(count, *SHAPE, generator=generator, dtype=torch.float64)
    return (model.decode(z).mean + SCALE * noise).detach()


def exact_log_px(model: LatentModel, x: Tensor) -> Tensor:
    weight, bias = weights_of(model)
    prior, mean, spread = model.prior(), bias, weight
    if isinstance(prior, FullNormal):
        mean, spread = bias + weight @ prior.mean, weight @ prior.factor
    covariance = spread @ spread.mT + SCALE**2 * torch.eye(len(bias), dtype=torch.float64)
    return td.MultivariateNormal(mean, covariance).log_prob(x.flatten(1))


def exact_posterior(model: LatentModel, x: Tensor) -> td.MultivariateNormal:
    weight, bias = weights_of(model)
    precision = weight.mT @ weight / SCALE**2
    pull = (x.flatten(1) - bias) @ weight / SCALE**2
    prior = model.prior()
    inverse = torch.eye(LATENTS, dtype=torch.float64)
    if isinstance(prior, FullNormal):
        inverse = prior.whitening.mT @ prior.whitening
        pull = pull + inverse @ prior.mean
    covariance = torch.linalg.inv(precision + inverse)
    return td.MultivariateNormal(pull @ covariance, covariance)


def make_exact(model: LatentModel) -> None:
    """Gives the encoder the true posterior."""
    weight, bias = weights_of(model)
    inverse = torch.linalg.inv(weight.mT @ weight + SCALE**2 * torch.eye(LATENTS, dtype=torch.float64))
    model.posterior.mean.weight.data = inverse @ weight.mT
    model.posterior.mean.bias.data = -inverse @ weight.mT @ bias
    model.posterior.log_std.weight.data.zero_()
    model.posterior.log_std.bias.data = 0.5 * (SCALE**2 * inverse.diagonal()).log()


def bound(model: LatentModel, x: Tensor, noise: Tensor | None = None) -> Tensor:
    points = SIGMA_POINTS.expand(-1, len(x), -1) if noise is None else noise
    elbo = ELBO()(model.infer(Batch(x), points), ONE).elbo
    assert elbo is not None
    return elbo


def test_the_bound_meets_the_exact_log_likelihood_at_the_true_posterior() -> None:
    model = ppca()
    make_exact(model)
    x = images(model)
    torch.testing.assert_close(bound(model, x), exact_log_px(model, x), rtol=0, atol=1e-10)


def test_with_the_true_posterior_every_single_sample_gives_log_px() -> None:
    model = ppca()
    make_exact(model)
    x = images(model)
    inference = model.infer(Batch(x), torch.randn(3, len(x), LATENTS, dtype=torch.float64))
    each = inference.log_px + inference.log_pz - inference.log_qz
    torch.testing.assert_close(each, exact_log_px(model, x).expand(3, -1), rtol=0, atol=1e-10)


@pytest.mark.parametrize("seed", range(6))
def test_below_it_the_gap_is_the_divergence_from_the_true_posterior(seed: int) -> None:
    model = ppca(seed)
    x = images(model)
    qz, truth = model.encode(x), exact_posterior(model, x)
    mine = td.MultivariateNormal(qz.mean, scale_tril=torch.diag_embed(qz.log_std.exp()))
    gap = exact_log_px(model, x) - bound(model, x)
    assert (gap > 0).all()
    torch.testing.assert_close(gap, td.kl_divergence(mine, truth), rtol=1e-10, atol=1e-10)


def test_any_step_away_from_the_true_posterior_lowers_the_bound() -> None:
    model = ppca()
    make_exact(model)
    x = images(model)
    best = bound(model, x).mean()
    for name, parameter in model.posterior.named_parameters():
        for step in (-0.05, 0.05):
            parameter.data += step
            assert bound(model, x).mean() < best - 1e-6, name
            parameter.data -= step


def test_random_noise_gives_the_same_bound_within_its_error() -> None:
    model = ppca(3)
    x = images(model)[:1]
    noise = torch.randn(20_000, 1, LATENTS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    log_px = model.infer(Batch(x), noise).log_px.detach()
    error = float((bound(model, x, noise) - bound(model, x)).detach().abs())
    assert error < 4 * float(log_px.std()) / math.sqrt(len(noise))


def test_the_gap_law_holds_with_a_fitted_prior() -> None:
    model = ppca()
    model.prior = FittedNormal(LATENTS).double()
    model.prior.mean.copy_(torch.tensor([0.5, -1.0]))
    model.prior.covariance.copy_(torch.tensor([[1.5, 0.6], [0.6, 0.8]]))
    model.eval()
    x = images(model)
    qz, truth = model.encode(x), exact_posterior(model, x)
    mine = td.MultivariateNormal(qz.mean, scale_tril=torch.diag_embed(qz.log_std.exp()))
    gap = exact_log_px(model, x) - bound(model, x)
    torch.testing.assert_close(gap, td.kl_divergence(mine, truth), rtol=1e-9, atol=1e-9)


def test_training_the_encoder_reaches_the_exact_log_likelihood() -> None:
    model = ppca(2)
    x = images(model)
    model.decoder.requires_grad_(False)
    step, noise = Step(model, ELBO()), SIGMA_POINTS.expand(-1, len(x), -1)
    optimizer = torch.optim.Adam(model.posterior.parameters(), lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300)
    assert float((exact_log_px(model, x) - bound(model, x)).mean().detach()) > 0.5
    for _ in range(300):
        optimizer.zero_grad()
        step(Batch(x), noise, ONE).loss.mean().backward()
        optimizer.step()
        schedule.step()
    gap = float((exact_log_px(model, x) - bound(model, x)).mean().detach())
    assert 0 <= gap < 1e-2


def test_training_everything_reaches_the_maximum_likelihood_of_probabilistic_pca() -> None:
    """Tipping & Bishop 1999, Eq. 7: W = U (Λ − s² I)^½, b the mean; a linear VAE has no worse optimum."""
    x = images(ppca(4), 60)
    flat = x.flatten(1)
    centred = flat - flat.mean(0)
    values, vectors = torch.linalg.eigh(centred.mT @ centred / len(flat))
    spread = vectors[:, -LATENTS:] * (values[-LATENTS:] - SCALE**2).clamp(min=0).sqrt()
    covariance = spread @ spread.mT + SCALE**2 * torch.eye(flat.shape[1], dtype=torch.float64)
    best = td.MultivariateNormal(flat.mean(0), covariance).log_prob(flat).mean()
    model, noise = ppca(9), SIGMA_POINTS.expand(-1, len(x), -1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 400)
    for _ in range(400):
        optimizer.zero_grad()
        ELBO()(model.infer(Batch(x), noise), ONE).loss.mean().backward()
        optimizer.step()
        schedule.step()
    assert -1e-9 <= float(best - bound(model, x).mean().detach()) < 1e-2
