"""A small dense model, compared with a second implementation in numpy and scipy (reference.py), to a millionth."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np
import pytest
import reference
import torch
from numpy.testing import assert_allclose
from torch import Tensor

from vaekit.config.table import DENSITIES, LIKELIHOODS, get, override
from vaekit.evaluation.metrics import evaluate
from vaekit.model import latent_model as models
from vaekit.model.factory import build_model
from vaekit.model.inference import Batch, Inference
from vaekit.model.latent_model import LatentModel
from vaekit.model.objectives import ELBO, Distortion
from vaekit.system import rng as seeds

IMAGES, SAMPLES, LATENTS = 5, 4, 3
SMALL = {"net": "mlp", "hidden": "7,6", "latent_dim": LATENTS, "mixture_components": 4, "fixed_scale": 0.3}
PRIORS = ("standard-normal", "fitted-normal")
WITH_A_SCALE = ("normal", "laplace", "discretized-logistic", "discretized-normal")
CLOSE: Any = {"rtol": 1e-6, "atol": 1e-9}
POINT = {"posterior": "point", "prior": "none", "objective": "distortion"}


class Case(NamedTuple):
    likelihood: str
    channels: int = 1
    values: dict[str, Any] = {}
    gain: float = 1.0  #: of the decoder's last layer: large ones drive scales to the ends of their range

    def __str__(self) -> str:
        words = [self.likelihood, self.channels, *self.values.values(), *(["wild"] if self.gain > 1 else [])]
        return "-".join(map(str, words))


CASES = [
    *(Case(name, channels) for name in LIKELIHOODS for channels in (1, 3, 4)),
    *(Case(name, 3, {"scale": scale}) for name in WITH_A_SCALE for scale in ("fixed", "pixel")),
    *(Case(name, 1, {"scale": "pixel"}, gain=12) for name in WITH_A_SCALE),
    *(Case("discretized-logistic-mixture", channels, gain=12) for channels in (1, 3)),
    *(Case(name, 1, {"mean": "sigmoid"}) for name in WITH_A_SCALE),
    Case("normal", 1, {"posterior_std_gain": 1.0}),
]


def filled(model: LatentModel, seed: int, gain: float) -> LatentModel:
    """Return the module with weights and biases drawn by numpy, all far from zero."""
    generator = np.random.default_rng(seed)
    for parameter in model.parameters():
        size = 0.5 if parameter.ndim < 2 else 1.5 / math.sqrt(parameter.shape[1])
        parameter.data = torch.tensor(size * generator.standard_normal(tuple(parameter.shape)))
    for parameter in model.decoder.last.parameters():
        parameter.data *= gain
    if hasattr(model.likelihood, "free_log_scale"):
        model.likelihood.free_log_scale.data = torch.tensor(-0.17, dtype=torch.float64)
    if hasattr(model.prior, "covariance"):
        mixing = generator.standard_normal((LATENTS, LATENTS))
        model.prior.mean.copy_(torch.from_numpy(generator.standard_normal(LATENTS)))
        model.prior.covariance.copy_(torch.from_numpy(mixing @ mixing.T + 0.2 * np.eye(LATENTS)))
    return model


def both(case: Case, prior: str = "fitted-normal", seed: int = 0) -> tuple[LatentModel, reference.Net]:
    """Return the model of vaekit, and the same in numpy."""
    shape = (case.channels, 3, 2)
    row = override(get("vae"), {**SMALL, "likelihood": case.likelihood, "prior": prior, **case.values})
    model = filled(build_model(row, shape).double().eval(), seed, case.gain)
    weights = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    parts = {name: getattr(row, name) for name in ("likelihood", "scale", "fixed_scale", "mean", "prior")}
    return model, reference.Net(
        weights, shape, components=row.mixture_components, std_gain=row.posterior_std_gain, **parts
    )


def pixels_of(case: Case, seed: int = 1) -> Tensor:
    """Return bytes ``[B, C, 3, 2]``, including black and white."""
    generator = np.random.default_rng(seed)
    levels = np.array([0, 255] if case.likelihood == "bernoulli" else [*range(256), *20 * [0, 255]], dtype=np.uint8)
    return torch.from_numpy(generator.choice(levels, (IMAGES, case.channels, 3, 2)))


def noise_of(samples: int = SAMPLES) -> np.ndarray:
    return np.random.default_rng(2).standard_normal((samples, IMAGES, LATENTS))


def inferred(model: LatentModel, x: np.ndarray, noise: np.ndarray, target: np.ndarray | None = None) -> Inference:
    clean = None if target is None else torch.from_numpy(target)
    with torch.no_grad():
        return model.infer(Batch(torch.from_numpy(x), clean), torch.from_numpy(noise))


def is_quadrature(case: Case) -> bool:
    """Whether the library's mean is accurate only to within a level."""
    return case.likelihood == "discretized-logistic-mixture" and case.channels >= 3


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_likelihood_and_its_picture(case: Case) -> None:
    model, net = both(case)
    x, noise = pixels_of(case).numpy() / 255, noise_of()
    inference, output = inferred(model, x, noise), reference.output_of(net, reference.code(net, x, noise))
    assert inference.log_px.shape == (SAMPLES, IMAGES) and inference.log_px.dtype == torch.float64
    assert_allclose(inference.px.log_prob_map(inference.target), reference.log_px_map(net, output, x), **CLOSE)
    assert_allclose(inference.log_px, reference.log_px(net, output, x), **CLOSE)
    close = {"atol": 1 / 255} if is_quadrature(case) else {"rtol": 1e-6, "atol": 1e-8}
    assert_allclose(inference.px.picture[0], reference.picture(net, output[0]), **close)


@pytest.mark.parametrize("case", [case for case in CASES if case.gain > 1], ids=str)
def test_wild_outputs_reach_both_ends_of_the_range_of_scales(case: Case) -> None:
    model, _ = both(case)
    px = inferred(model, pixels_of(case).numpy() / 255, noise_of()).px
    scales = (px.log_scale if hasattr(px, "log_scale") else px.component_log_scale).exp().numpy()
    smallest, largest = reference.SCALES[case.likelihood]
    assert_allclose([scales.min(), scales.max() if largest < math.inf else math.inf], [smallest, largest], rtol=1e-12)


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("seed", range(3))
def test_densities_of_latents_and_their_divergence(prior: str, seed: int) -> None:
    model, net = both(Case("normal"), prior, seed)
    x, noise = pixels_of(Case("normal")).numpy() / 255, noise_of()
    inference, z = inferred(model, x, noise), reference.code(net, x, noise)
    mean, std = reference.posterior(net, x)
    assert_allclose(inference.levels[0].z, z, **CLOSE)
    assert_allclose(inference.levels[0].qz.mean, mean, **CLOSE)
    assert_allclose(inference.levels[0].qz.log_std.exp(), std, **CLOSE)
    assert_allclose(inference.log_qz, reference.log_qz(net, x, z), **CLOSE)
    assert_allclose(inference.log_pz, reference.log_prior(net, z), **CLOSE)
    assert_allclose(inference.kl[0], reference.divergence(net, x), **CLOSE)


def test_samples_of_a_fitted_prior_have_its_moments() -> None:
    """Expectations over noise that has exactly the moments of a standard normal."""
    model, net = both(Case("normal"))
    sides = math.sqrt(LATENTS) * np.eye(LATENTS)
    z = model.drawn_from().from_noise(torch.from_numpy(np.concatenate([sides, -sides]))).numpy()
    mean, covariance = reference.prior_moments(net)
    assert_allclose(z.mean(0), mean, **CLOSE)
    assert_allclose((z - mean).T @ (z - mean) / len(z), covariance, **CLOSE)


def test_a_fitted_prior_follows_the_posteriors_of_each_batch() -> None:
    model, net = both(Case("normal"))
    model.prior.mean.zero_()
    model.prior.covariance.copy_(torch.eye(LATENTS))
    model.train()
    seen = []
    for seed in range(1100):  # from the thousandth on, a hundredth of each is taken
        x = pixels_of(Case("normal"), seed % 7).numpy() / 255
        inferred(model, x, noise_of(1))
        seen.append(reference.posterior(net, x))
        if len(seen) in (1, 2, 20, 1100):
            mean, covariance = reference.moments_after(seen)
            assert_allclose(model.prior.mean, mean, **CLOSE)
            assert_allclose(model.prior.covariance, covariance, **CLOSE)


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_the_bound_and_the_loss_that_is_made_of_it(likelihood: str, prior: str) -> None:
    case = Case(likelihood, 3)
    model, net = both(case, prior)
    x, noise = pixels_of(case).numpy() / 255, noise_of()
    inference = inferred(model, x, noise)
    output, kl = reference.output_of(net, reference.code(net, x, noise)), reference.divergence(net, x)
    distortion, rate = -reference.log_px(net, output, x).mean(0), kl.sum(1)
    allowance = float(np.median(kl.mean(0)))  # some dimensions are above it, some below
    for beta in (0.0, 1.0, 3.5):
        for bits in (0.0, allowance):
            terms = ELBO(beta, bits)(inference, torch.tensor(1.0, dtype=torch.float64))
            charged = reference.free_bits(kl, bits) if bits else rate
            assert_allclose(terms.distortion, distortion, **CLOSE)
            assert_allclose(terms.rate, rate, **CLOSE)
            assert_allclose(terms.elbo, -distortion - rate, **CLOSE)
            assert_allclose(terms.loss, distortion + beta * charged, **CLOSE)
    alone = Distortion()(inference, torch.tensor(1.0))
    assert_allclose(alone.loss, distortion, **CLOSE)
    assert alone.elbo is None


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("samples", [1, SAMPLES])
def test_the_terms_of_an_inference_give_the_importance_weighted_bound(prior: str, samples: int) -> None:
    case = Case("discretized-logistic")
    model, net = both(case, prior)
    x, noise = pixels_of(case).numpy() / 255, noise_of(samples)
    z = reference.code(net, x, noise)
    log_px = reference.log_px(net, reference.output_of(net, z), x)
    log_pz, log_qz = reference.log_prior(net, z), reference.log_qz(net, x, z)
    bound = reference.importance_weighted_bound(log_px, log_pz, log_qz)
    terms = inferred(model, x, noise)
    mine = (terms.log_px + terms.log_pz - terms.log_qz).logsumexp(0) - math.log(samples)
    assert_allclose(mine, bound, **CLOSE)
    single = (log_px + log_pz - log_qz).mean(0)  # Burda et al. 2015, Theorem 1: by Jensen never above
    assert (bound > single).all() if samples > 1 else np.allclose(bound, single)


def test_the_reference_is_a_bound_that_rises_to_the_evidence() -> None:
    """In three dimensions, log p(x) can be integrated numerically, which checks the reference itself."""
    case = Case("normal", 1, {"scale": "fixed", "fixed_scale": 1.0})
    _, net = both(case, "standard-normal")
    wide = np.full(LATENTS, 5.0)  # a posterior that is wider than the prior: no weight has a heavy tail
    net = dataclasses.replace(net, weights={**net.weights, "posterior.log_std.bias": wide})
    x = pixels_of(case).numpy() / 255
    side = np.linspace(-9, 9, 55)
    grid = np.stack(np.meshgrid(side, side, side), -1).reshape(-1, 1, LATENTS)
    log_joint = reference.log_px(net, reference.output_of(net, grid), x) + reference.log_prior(net, grid)
    evidence = np.logaddexp.reduce(log_joint, axis=0) + LATENTS * math.log(side[1] - side[0])
    z = reference.code(net, x, np.random.default_rng(3).standard_normal((40_000, IMAGES, LATENTS)))
    log_px = reference.log_px(net, reference.output_of(net, z), x)
    terms = (log_px, reference.log_prior(net, z), reference.log_qz(net, x, z))
    means = []
    for samples in (1, 10, 100, len(z)):  # the mean over as many independent bounds as there are
        groups = [term.reshape(-1, samples, IMAGES).swapaxes(0, 1).reshape(samples, -1) for term in terms]
        means.append(reference.importance_weighted_bound(*groups).reshape(-1, IMAGES).mean(0))
    assert (np.diff(means, axis=0) > 0).all()
    assert_allclose(means[-1], evidence, rtol=0, atol=0.1)


def test_what_is_encoded_and_what_is_compared_may_differ() -> None:
    case = Case("laplace")
    model, net = both(case)
    x, clean = (pixels_of(case, seed).numpy() / 255 for seed in (1, 5))
    output = reference.output_of(net, reference.code(net, x, noise_of()))
    assert_allclose(inferred(model, x, noise_of(), clean).log_px, reference.log_px(net, output, clean), **CLOSE)


def noise_of_images(pixels: torch.Tensor, seed: int) -> np.ndarray:
    """Return the noise that ``evaluate`` draws for each image, ``[1, N, LATENTS]``."""
    return seeds.noise_of(seeds.keys_of(pixels), seed, seeds.EVALUATION, (LATENTS,)).double().numpy()[None]


@pytest.fixture
def in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere, pixels are float32, with six accurate digits."""
    monkeypatch.setattr("vaekit.evaluation.metrics.to_float", lambda pixels: pixels.double() / 255)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("case", [case for case in CASES if case.channels != 4 and case.gain == 1], ids=str)
@pytest.mark.parametrize("few_at_once", [False, True])
def test_evaluation(case: Case, few_at_once: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model, net = both(case)
    if few_at_once:
        monkeypatch.setattr(models, "_OUTPUTS_AT_ONCE", 2 * 6 * model.likelihood.outputs(case.channels))
    pixels = pixels_of(case)
    x, noise = pixels.numpy() / 255, noise_of_images(pixels, 7)
    numbers = evaluate(model, pixels, seed=7, batch_size=3)
    mean, _ = reference.posterior(net, x)
    squares = (reference.picture(net, reference.output_of(net, mean)) - x) ** 2
    distortion = -reference.log_px(net, reference.output_of(net, reference.code(net, x, noise)), x).mean()
    rate = reference.divergence(net, x).sum(1).mean()
    bits = None if case.likelihood in DENSITIES else (distortion + rate) / np.log(2) / (6 * case.channels)
    expected = {
        "images": IMAGES,
        "sse_per_image": squares.sum() / IMAGES,
        "psnr_db": 10 * math.log10(1 / squares.mean()),
        "distortion_nats": distortion,
        "rate_nats": rate,
        "elbo_nats": -distortion - rate,
        "bits_per_dim": bits,
    }
    for name, value in expected.items():
        close = 0.01 if name in ("sse_per_image", "psnr_db") and is_quadrature(case) else 1e-6
        assert numbers[name] == (value if value is None else pytest.approx(value, rel=close)), name


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_an_autoencoder_has_a_distortion_alone(likelihood: str) -> None:
    case = Case(likelihood, 3, POINT)
    model, net = both(case, "none")
    pixels = pixels_of(case)
    x, noise = pixels.numpy() / 255, noise_of()
    output = reference.output_of(net, reference.posterior(net, x)[0])
    distortion = -reference.log_px(net, output, x)
    terms = Distortion()(inferred(model, x, noise), torch.tensor(1.0))
    assert_allclose(terms.loss, distortion, **CLOSE)
    numbers = evaluate(model, pixels)
    assert numbers["distortion_nats"] == pytest.approx(distortion.mean(), rel=1e-6)
    assert numbers["sse_per_image"] == pytest.approx(
        ((reference.picture(net, output) - x) ** 2).sum() / IMAGES, rel=0.01 if is_quadrature(case) else 1e-6
    )
    assert numbers["rate_nats"] is numbers["elbo_nats"] is numbers["bits_per_dim"] is None
