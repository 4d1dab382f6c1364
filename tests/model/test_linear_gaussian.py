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

from vaekit.model.contracts import Likelihood
from vaekit.model.distributions.latent import FullNormal
from vaekit.model.distributions.pixel import NormalImage
from vaekit.model.inference import Batch
from vaekit.model.latent_model import LatentModel
from vaekit.model.objectives import ELBO, IWAE, Step
from vaekit.model.posteriors import NormalPosterior
from vaekit.model.priors import FittedNormal, StandardNormal

SHAPE, LATENTS, SCALE = (1, 3, 2), 2, 0.7
ONE = torch.tensor(1.0, dtype=torch.float64)
_SIDES = math.sqrt(LATENTS) * torch.eye(LATENTS, dtype=torch.float64)
SIGMA_POINTS = torch.cat([_SIDES, -_SIDES]).unsqueeze(1)  # [2L, 1, L]


class NormalOutput(Likelihood):
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
    """Return images sampled from the model itself."""
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
    """Set the encoder to the true posterior."""
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
    centered = flat - flat.mean(0)
    values, vectors = torch.linalg.eigh(centered.mT @ centered / len(flat))
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


def gradients_of(model: LatentModel, loss: Tensor) -> Tensor:
    """Return the gradient of the encoder's weights as one vector."""
    found = torch.autograd.grad(loss, list(model.posterior.parameters()))
    return torch.cat([gradient.flatten() for gradient in found])


def test_gradients_of_the_reparameterized_bound_are_the_analytic_ones() -> None:
    """With residual r = b + W m − x, the loss is Σ(r² + Σ_l W_l² s_l²)/2σ² + Σ(m² + s² − 1 − 2 log s)/2 + constants."""
    model = ppca(3)
    x = images(model)
    weight, bias = weights_of(model)
    flat = x.flatten(1)
    with torch.no_grad():
        qz = model.encode(x)
        by_mean = (bias + qz.mean @ weight.mT - flat) @ weight / SCALE**2 + qz.mean
        variance = (2 * qz.log_std).exp()
        by_log_std = variance * (weight.square().sum(0) / SCALE**2 + 1) - 1
    expected = torch.cat([(g.mT @ flat).flatten() if d else g.sum(0) for g in (by_mean, by_log_std) for d in (1, 0)])
    found = gradients_of(model, -bound(model, x).sum())
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def iwae_bounds(model: LatentModel, x: Tensor, samples: int, repeats: int = 4000) -> Tensor:
    """Return independent estimates of the bound of one image, ``[repeats]``."""
    noise = torch.randn(samples, repeats, LATENTS, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    with torch.no_grad():
        return -IWAE()(model.infer(Batch(x.expand(repeats, -1, -1, -1)), noise), ONE).loss


def test_the_importance_weighted_bound_rises_with_its_samples_to_log_px() -> None:
    """Burda et al. 2016, Theorem 1; the encoder differs from the true posterior."""
    model = ppca(3)
    make_exact(model)
    model.posterior.mean.weight.data += 0.1
    model.posterior.log_std.bias.data += 0.5
    x = images(model)[:1]
    exact = float(exact_log_px(model, x))
    kinds = [iwae_bounds(model, x, samples) for samples in (1, 2, 4, 16, 256)]
    means = [float(kind.mean()) for kind in kinds]
    errors = [float(kind.std()) / math.sqrt(len(kind)) for kind in kinds]
    assert means[0] == pytest.approx(float(bound(model, x).detach()), abs=4 * errors[0])
    for lower, higher, low_error, high_error in zip(means, means[1:], errors, errors[1:], strict=False):
        assert higher > lower - 4 * math.hypot(low_error, high_error)
    assert means[3] > means[0] + 0.1
    assert all(mean < exact + 4 * error for mean, error in zip(means, errors, strict=True))
    assert exact - means[-1] < 0.05 < exact - means[0]


def test_with_the_true_posterior_any_number_of_samples_gives_log_px() -> None:
    model = ppca()
    make_exact(model)
    x = images(model)
    inference = model.infer(Batch(x), torch.randn(7, len(x), LATENTS, dtype=torch.float64))
    for objective in (IWAE(), IWAE(is_doubly_reparameterized=True)):
        torch.testing.assert_close(-objective(inference, ONE).loss, exact_log_px(model, x), rtol=0, atol=1e-10)


def test_both_gradients_of_the_importance_weighted_bound_agree_on_average_and_one_is_less_noisy() -> None:
    """Tucker et al. 2018: the doubly reparameterized gradient is unbiased and has a smaller variance."""
    model, repeats = ppca(3), 1000
    make_exact(model)
    model.posterior.mean.weight.data += 0.1
    model.posterior.log_std.bias.data -= 0.2
    x = images(model)[:1]
    generator = torch.Generator().manual_seed(3)
    found: dict[bool, list[Tensor]] = {False: [], True: []}
    for _ in range(repeats):
        noise = torch.randn(8, 1, LATENTS, generator=generator, dtype=torch.float64)
        for is_doubly, kept in found.items():
            kept.append(gradients_of(model, IWAE(is_doubly)(model.infer(Batch(x), noise), ONE).loss.sum()))
    plain, doubly = (torch.stack(found[kind]) for kind in (False, True))
    error = (plain - doubly).std(0) / math.sqrt(repeats)
    assert ((plain - doubly).mean(0).abs() < 4 * error).all()
    assert doubly.var(0).sum() < 0.5 * plain.var(0).sum()


def test_both_gradients_of_the_decoder_are_the_same() -> None:
    model = ppca(3)
    x = images(model)
    noise = torch.randn(5, len(x), LATENTS, dtype=torch.float64)
    first, second = (
        torch.autograd.grad(IWAE(kind)(model.infer(Batch(x), noise), ONE).loss.sum(), list(model.decoder.parameters()))
        for kind in (False, True)
    )
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b)


def test_at_the_true_posterior_the_doubly_reparameterized_gradient_has_no_noise() -> None:
    model = ppca()
    make_exact(model)
    x = images(model)
    noise = torch.randn(5, len(x), LATENTS, dtype=torch.float64)
    loss = IWAE(is_doubly_reparameterized=True)(model.infer(Batch(x), noise), ONE).loss.sum()
    assert gradients_of(model, loss).abs().max() < 1e-9
