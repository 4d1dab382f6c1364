"""A hierarchy of latents: where it is linear and normal, all is known; elsewhere, the laws that any hierarchy keeps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from linear_ladder import LATENTS, PIXELS, SIGMA_POINTS, TOP, NormalOutput, images, linear
from torch import Tensor, nn
from torch import distributions as td

from vaekit.config.recipe import Recipe, with_likelihood
from vaekit.config.table import RECIPES, get, override
from vaekit.errors import UserError
from vaekit.model.distributions.latent import DiagonalNormal, kl_divergence
from vaekit.model.factory import build_model, resolve
from vaekit.model.inference import Batch
from vaekit.model.ladder import LadderModel, LadderPosterior, LadderPrior
from vaekit.model.latent_model import LatentModel
from vaekit.model.nets.ladder import LadderDecoder, LadderEncoder, Plan
from vaekit.model.objectives import ELBO, IWAE, Step
from vaekit.model.posteriors import NormalPosterior
from vaekit.model.priors import StandardNormal


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def bound(model: LadderModel, x: Tensor) -> Tensor:
    """Exact: all terms are quadratic in the noise."""
    elbo = ELBO()(model.infer(Batch(x), SIGMA_POINTS.expand(-1, len(x), -1)), torch.tensor(1.0)).elbo
    assert elbo is not None
    return elbo


@pytest.mark.parametrize("seed", range(3))
def test_the_bound_of_two_levels_meets_the_exact_log_likelihood(seed: int) -> None:
    model, truth = linear(seed)
    x = images(truth)
    torch.testing.assert_close(bound(model, x), truth.log_px(x), rtol=0, atol=1e-9)


def test_with_the_true_posterior_every_sample_gives_log_px() -> None:
    model, truth = linear()
    x = images(truth)
    inference = model.infer(Batch(x), torch.randn(3, len(x), LATENTS))
    each = inference.log_px + inference.log_pz - inference.log_qz
    torch.testing.assert_close(each, truth.log_px(x).expand(3, -1), rtol=0, atol=1e-9)


def test_any_other_posterior_has_a_lower_bound() -> None:
    for off in (-0.1, 0.1):
        model, truth = linear(off=off)
        x = images(truth)
        assert (bound(model, x) < truth.log_px(x) - 0.01).all()


def test_the_rates_of_the_levels_add_up_to_the_sampled_rate() -> None:
    model, truth = linear(off=0.2)
    x = images(truth)
    inference = model.infer(Batch(x), SIGMA_POINTS.expand(-1, len(x), -1))
    assert [kl.shape for kl in inference.kl] == [(len(x), TOP), (len(x), PIXELS)]
    sampled = [(level.log_qz - level.log_pz).mean(0) for level in inference.levels]
    for kl, rate in zip(inference.kl, sampled, strict=True):
        torch.testing.assert_close(kl.sum(-1), rate, rtol=0, atol=1e-9)
    torch.testing.assert_close((inference.log_qz - inference.log_pz).mean(0), sum(sampled), rtol=0, atol=1e-9)


def test_the_importance_weighted_bound_rises_with_its_samples() -> None:
    """Burda et al. 2016, Theorem 1."""
    model, truth = linear(off=0.3)
    x, repeats = images(truth)[:1], 3000
    found = []
    for samples in (1, 4, 16, 256):
        noise = torch.randn(samples, repeats, LATENTS, generator=torch.Generator().manual_seed(2))
        found.append(-IWAE()(model.infer(Batch(x.expand(repeats, -1, -1, -1)), noise), torch.tensor(1.0)).loss)
    means, errors = [float(f.mean()) for f in found], [float(f.std()) / math.sqrt(repeats) for f in found]
    exact = float(truth.log_px(x))
    assert means[0] == pytest.approx(float(bound(model, x)), abs=4 * errors[0])
    for i in range(len(means) - 1):
        assert means[i + 1] > means[i] + 0.01
    assert exact - 0.1 < means[-1] < exact + 4 * errors[-1]


SMALL = {"width": 8, "top_latents": 5, "latent_channels": 2}
IMAGE = (1, 16, 27)


def moved(likelihood: str = "bernoulli", shape: tuple[int, int, int] = IMAGE, **values: object) -> LadderModel:
    """A small hierarchy whose weights are no longer where they started."""
    row = override(get("ladder-vae"), SMALL | {"likelihood": likelihood} | values)
    model = build_model(row, shape).double().eval()
    assert isinstance(model, LadderModel)
    generator = torch.Generator().manual_seed(3)
    for parameter in model.requires_grad_(False).parameters():
        parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def some_images(count: int = 3, shape: tuple[int, int, int] = IMAGE) -> Tensor:
    return (torch.rand(count, *shape, generator=torch.Generator().manual_seed(4)) < 0.4).double()


def test_a_hierarchy_without_its_lower_levels_is_a_plain_model() -> None:
    row = replace(resolve(override(get("ladder-vae"), SMALL), IMAGE), level_groups=0)
    plan = Plan(row, IMAGE)
    torch.manual_seed(1)
    encoder, decoder, head = LadderEncoder(1, plan), LadderDecoder(IMAGE, plan), NormalOutput()
    posterior = LadderPosterior(plan, std_gain=0.5)
    ladder = LadderModel(encoder, posterior, LadderPrior(plan), decoder, head, plan.top_size)

    class Coarsest(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            features: Tensor = encoder(x)
            return features[:, -posterior.mean.in_features :]

    plain = LatentModel(
        Coarsest(), NormalPosterior(1, 1, 0.5), StandardNormal(plan.top_size), decoder, head, plan.top_size
    )
    plain.posterior.mean, plain.posterior.log_std = posterior.mean, posterior.log_std
    x, noise = some_images(), torch.randn(2, 3, plan.top_size)
    mine, theirs = (Step(model, ELBO())(Batch(x), noise, torch.tensor(1.0)) for model in (ladder, plain))
    torch.testing.assert_close(mine.loss, theirs.loss)
    torch.testing.assert_close(mine.rate, theirs.rate)
    torch.testing.assert_close(ladder.sample(noise[0]).mean, plain.sample(noise[0]).mean)
    torch.testing.assert_close(ladder.encode(x).mean, plain.encode(x).mean)


@pytest.mark.parametrize(("values", "is_equal"), [({}, False), ({"posterior_mean_gain": 0}, True)])
def test_below_the_top_the_posterior_starts_at_the_prior_or_with_detail(
    values: dict[str, float], is_equal: bool
) -> None:
    row = override(get("ladder-vae"), SMALL | values)
    noise = torch.randn(2, 3, resolve(row, IMAGE).latent_dim)
    _, *finer = build_model(row, IMAGE).double().infer(Batch(some_images()), noise).levels
    for level in finer:
        assert bool((level.kl.detach() == 0).all()) == is_equal
        assert bool((level.qz.mean != level.prior.mean).all()) != is_equal
        ratio = level.qz.log_std - level.prior.log_std
        torch.testing.assert_close(ratio, torch.full_like(ratio, 0.0 if is_equal else 5 * math.tanh(-2 / 5)))


def test_one_unusual_image_cannot_make_the_top_level_infinite() -> None:
    model = moved()
    for part in (*model.posterior.mean.parameters(), *model.posterior.log_std.parameters()):
        part.mul_(1e6)
    top = model.posterior(model.encoder(some_images()))
    assert top.log_std.min() == -5 and top.log_std.max() == 5


def test_an_older_recipe_starts_at_the_prior() -> None:
    stored = get("ladder-vae").to_dict()
    del stored["posterior_mean_gain"]
    assert resolve(Recipe.from_dict(stored), IMAGE).posterior_mean_gain == 0


def test_other_posteriors_refuse_the_gain() -> None:
    with pytest.raises(UserError, match="posterior_mean_gain=2: posterior=normal does not use it; leave it out"):
        resolve(override(get("vae"), {"posterior_mean_gain": 2}), IMAGE)


def test_binary_images_start_without_detail() -> None:
    gains = {kind: resolve(with_likelihood(get("ladder-vae"), kind), IMAGE) for kind in ("bernoulli", "normal")}
    assert {kind: row.posterior_mean_gain for kind, row in gains.items()} == {"bernoulli": 0.0, "normal": 3.0}


def test_the_rate_of_a_residual_is_that_of_its_paper_and_of_an_integral() -> None:
    """Vahdat & Kautz 2020, Eq. 2: ½ (Δμ²/σ² + Δσ² − log Δσ² − 1)."""
    model = moved()
    posterior, group = model.posterior, model.decoder.plan.groups[0]
    h = torch.randn(2, group.width, group.rows, group.columns)
    of_image = torch.randn(2, *posterior.of_image[0](h).shape[1:])
    p = DiagonalNormal(torch.randn(2, group.size), 0.3 * torch.randn(2, group.size))
    q = posterior.below(0, h, of_image, p)
    mean, log_std = posterior.heads[0](h, of_image)
    ratio = (2 * log_std).exp()
    expected = 0.5 * (mean.square() / (2 * p.log_std).exp() + ratio - ratio.log() - 1)
    torch.testing.assert_close(kl_divergence(q, p), expected)
    z = torch.linspace(-12, 12, 40_001)
    log_q, log_p = (td.Normal(d.mean[0, 0], d.log_std[0, 0].exp()).log_prob(z) for d in (q, p))
    integral = torch.trapezoid(log_q.exp() * (log_q - log_p), z)
    torch.testing.assert_close(expected[0, 0], integral, rtol=1e-6, atol=1e-9)
    same = posterior.below(0, torch.zeros_like(h), torch.zeros_like(of_image), p)  # not zero: the heads were moved
    for part in posterior.heads[0].last.parameters():
        part.zero_()
    nothing = posterior.below(0, h, of_image, p)
    assert torch.equal(nothing.mean, p.mean) and torch.equal(nothing.log_std, p.log_std)
    assert kl_divergence(nothing, p).abs().max() == 0 < kl_divergence(same, p).abs().max()


def test_no_logarithm_of_a_scale_leaves_its_bounds() -> None:
    model = moved()
    for part in (*model.prior.heads.parameters(), *model.posterior.heads.parameters()):
        part.mul_(1e4)
    inference = model.infer(Batch(some_images()), torch.zeros(1, 3, model.latent_dim))
    for level in inference.levels[1:]:
        assert isinstance(level.pz, DiagonalNormal) and isinstance(level.qz, DiagonalNormal)
        assert level.pz.log_std.abs().max() <= 5 and (level.qz.log_std - level.pz.log_std).abs().max() <= 5.001
    assert all(bool(kl.isfinite().all()) for kl in inference.kl)


def test_noise_and_latents_of_the_prior_are_one_to_one_and_the_density_is_that_of_the_map() -> None:
    model = moved(shape=(1, 8, 8))
    pz, noise = model.drawn_from(), torch.randn(2, 3, model.latent_dim)
    z = pz.from_noise(noise)
    torch.testing.assert_close(pz.to_noise(z), noise)
    torch.testing.assert_close(pz.from_noise(noise[1, 2]), z[1, 2])
    one = noise[0, 0]
    jacobian = torch.autograd.functional.jacobian(pz.from_noise, one)
    expected = (
        -0.5 * one.square().sum() - 0.5 * model.latent_dim * math.log(2 * math.pi) - torch.linalg.slogdet(jacobian)[1]
    )
    torch.testing.assert_close(pz.log_prob(z[0, 0]), expected)
    assert pz.log_prob(z).shape == (2, 3) and pz.mean.shape == (model.latent_dim,) and pz.moments is None
    torch.testing.assert_close(pz.mean, pz.from_noise(torch.zeros_like(one)))


def test_the_posterior_is_the_same_in_one_pass_and_by_itself() -> None:
    model, x = moved(), some_images()
    noise = torch.randn(4, 3, model.latent_dim)
    inference, qz = model.infer(Batch(x), noise), model.encode(x)
    z = torch.cat([level.z for level in inference.levels], dim=-1)
    torch.testing.assert_close(qz.from_noise(noise), z)
    torch.testing.assert_close(qz.to_noise(z), noise)
    torch.testing.assert_close(qz.log_prob(z), inference.log_qz)
    torch.testing.assert_close(model.drawn_from().log_prob(z), inference.log_pz)
    torch.testing.assert_close(model.decode(z).log_prob(x), inference.log_px)
    torch.testing.assert_close(qz.mean, qz.from_noise(torch.zeros(3, model.latent_dim)))
    assert [level.z.shape[-1] for level in inference.levels] == model.level_sizes
    assert model.latent_shapes == ((5,), (4, 4, 7), (4, 8, 14))


def test_the_prior_makes_the_mean_of_an_image_from_the_noise_of_the_mean() -> None:
    model = moved()
    qz = model.encode(some_images())
    torch.testing.assert_close(model.drawn_from().from_noise(qz.noise_of_mean), qz.mean)
    assert not torch.allclose(qz.noise_of_mean, qz.mean)


def test_finer_levels_are_completed_from_their_prior() -> None:
    model = moved()
    z, noise = torch.randn(3, model.latent_dim), torch.randn(3, model.latent_dim)
    count = len(model.level_sizes)
    for kept in range(count + 1):
        size = sum(model.level_sizes[:kept])
        made = model.completed(z, kept, noise)
        assert torch.equal(made[:, :size], z[:, :size])
        torch.testing.assert_close(model.drawn_from().to_noise(made)[:, size:], noise[:, size:])
        likeliest = model.drawn_from().to_noise(model.completed(z, kept))[:, size:]
        torch.testing.assert_close(likeliest, torch.zeros_like(likeliest))
    torch.testing.assert_close(model.completed(z, 0, noise), model.drawn_from().from_noise(noise))


def test_a_temperature_scales_the_noise_of_its_level() -> None:
    model = moved()
    z, noise = torch.randn(3, model.latent_dim), torch.randn(3, model.latent_dim)
    temperatures = [0.5 + 0.25 * level for level in range(len(model.level_sizes))]
    made = model.drawn_from().to_noise(model.completed(z, 0, noise, temperatures))
    pieces = zip(model.split_levels(made), model.split_levels(noise), temperatures, strict=True)
    for mine, given, temperature in pieces:
        torch.testing.assert_close(mine, temperature * given)
    torch.testing.assert_close(model.completed(z, 1, noise, 0.0), model.completed(z, 1))
    torch.testing.assert_close(model.tempered(noise, 0.7), 0.7 * noise)


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0, 1.5, (1.0, 0.5), (0.25, 1.0)])
def test_the_variance_of_samples_is_that_of_the_prior_times_the_temperature_squared(
    temperature: float | tuple[float, float],
) -> None:
    """Exact: the latents are linear in the noise, so the sigma points have their covariance."""
    model, truth = linear()
    top, below = (temperature, temperature) if isinstance(temperature, float) else temperature
    z = model.drawn_from().from_noise(model.tempered(SIGMA_POINTS[:, 0], temperature))
    torch.testing.assert_close(z.mean(0), torch.zeros(LATENTS))
    noise = torch.diag((2 * truth.prior_log_std).exp())
    found = z.mT @ z / len(z)
    torch.testing.assert_close(found[:TOP, :TOP], top**2 * torch.eye(TOP))
    torch.testing.assert_close(found[TOP:, :TOP], top**2 * truth.a)
    torch.testing.assert_close(found[TOP:, TOP:], top**2 * truth.a @ truth.a.mT + below**2 * noise)


def test_detail_keeps_its_place_in_the_prior_under_another_top() -> None:
    model = moved()
    z = model.encode(some_images()).mean
    other, prior = torch.randn(3, model.level_sizes[0]), model.drawn_from()
    torch.testing.assert_close(model.with_top(z, z[:, : model.level_sizes[0]]), z)
    kept = model.with_top(z, other)
    size = model.level_sizes[0]
    assert torch.equal(kept[:, :size], other) and not torch.allclose(kept[:, size:], z[:, size:])
    torch.testing.assert_close(prior.to_noise(kept)[:, size:], prior.to_noise(z)[:, size:])
    noise = torch.randn_like(z)
    torch.testing.assert_close(
        model.with_top(z, other, keep_detail=False, noise=noise), model.completed(kept, 1, noise)
    )
    two = sum(model.level_sizes[:2])
    assert torch.equal(model.with_top(z, z[:, :two] + 1)[:, :two], z[:, :two] + 1)


def test_a_noisy_image_is_compared_with_the_clean_one() -> None:
    model, clean = moved().eval(), some_images()
    noise = torch.randn(1, len(clean), model.latent_dim)
    found = model.infer(Batch(1 - clean, clean), noise)
    seen = model.infer(Batch(1 - clean), noise)
    torch.testing.assert_close(found.log_qz, seen.log_qz)  # the noisy image is what is encoded
    torch.testing.assert_close(found.log_px, seen.px.log_prob(clean))


def test_an_image_has_the_same_terms_in_any_batch() -> None:
    model, x = moved(), some_images()
    noise = torch.randn(2, 3, model.latent_dim)
    whole = model.infer(Batch(x), noise)
    for i in range(3):
        one = model.infer(Batch(x[i : i + 1]), noise[:, i : i + 1])
        torch.testing.assert_close(one.log_px, whole.log_px[:, i : i + 1])
        torch.testing.assert_close(one.log_qz, whole.log_qz[:, i : i + 1])


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"net": "resnet"}, "does not go together with net=resnet"),
        ({"posterior": "normal"}, "posterior=normal"),
        ({"prior": "standard-normal"}, "prior=standard-normal"),
        ({"prior": "vamp"}, "prior=vamp"),
        ({"latent": "vector"}, "net=ladder and posterior=ladder and prior=ladder"),
        ({"objective": "iwae-dreg", "kl_warmup": 0}, "give objective=iwae"),
        ({"is_conditional": "true"}, "give is_conditional=false"),
        ({"latent_dim": "7"}, "top_latents"),
    ],
)
def test_parts_for_another_latent_are_refused_by_name(values: dict[str, object], told: str) -> None:
    with pytest.raises(UserError, match=told):
        resolve(override(RECIPES["ladder-vae"], values), IMAGE)


def test_free_bits_are_those_of_a_level() -> None:
    model, x = moved(), some_images()
    inference = model.infer(Batch(x), torch.randn(1, 3, model.latent_dim))
    rates = [float(kl.sum(-1).mean()) for kl in inference.kl]
    free = sorted(rates)[1] + 1e-3
    loss = ELBO(free_bits_nats=free)(inference, torch.tensor(1.0)).loss
    expected = -inference.log_px.mean(0) + sum(max(free, rate) for rate in rates)
    torch.testing.assert_close(loss, expected)
