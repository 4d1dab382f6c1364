"""Metrics of a model, compared with the same numbers computed by hand in numpy and float64."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vaekit.config.table import get, override
from vaekit.data import Selection, to_float
from vaekit.evaluation.metrics import evaluate, loss_nats, measure, psnr_db
from vaekit.model.factory import build_model
from vaekit.model.inference import Batch
from vaekit.model.latent_model import LatentModel
from vaekit.system.rng import EVALUATION, IMPORTANCE, keys_of, noise_of

PIXELS = torch.randint(0, 256, (10, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def model_of(name: str, **values: Any) -> LatentModel:
    return build_model(replace(override(get(name), {"width": 8}), **values), (3, 16, 16)).eval()


@pytest.mark.parametrize("name", ["vae", "ae", "seed-vae"])
def test_squared_errors_are_those_of_the_posterior_mean(name: str) -> None:
    model = model_of(name)
    with torch.no_grad():
        pictures = model.decode(model.encode(to_float(PIXELS)).mean).mean.double().numpy()
    squares = (pictures - PIXELS.numpy().astype(np.float64) / 255) ** 2
    numbers = evaluate(model, PIXELS, batch_size=4)
    assert numbers["images"] == 10
    assert numbers["sse_per_image"] == pytest.approx(squares.sum() / 10, rel=1e-5)
    assert numbers["psnr_db"] == pytest.approx(10 * math.log10(1 / squares.mean()), abs=1e-4)


@torch.no_grad()
def by_hand(model: LatentModel, x: Tensor, samples: int) -> tuple[float, float, float]:
    """Return rate, distortion and the standard error of the distortion's one-sample estimate."""
    qz = model.encode(x)
    mean, variance = qz.mean.double().numpy(), (2 * qz.log_std.double()).exp().numpy()
    rate = 0.5 * (variance + mean**2 - 1 - np.log(variance)).sum(1).mean()
    noise = torch.randn(samples, *qz.mean.shape, generator=torch.Generator().manual_seed(9))
    px = model.decode(qz.mean + qz.log_std.exp() * noise)
    scale = px.log_scale.double().exp().numpy()
    errors = (px.mean - x).double().numpy()
    nats = (0.5 * (errors / scale) ** 2 + np.log(scale) + 0.5 * np.log(2 * np.pi)).sum((2, 3, 4)).mean(1)
    return rate, nats.mean(), nats.std()


@pytest.mark.parametrize("scale", ["fixed", "shared", "pixel"])
def test_rate_and_distortion_are_those_of_the_formulas(scale: str) -> None:
    model = model_of("vae", scale=scale, prior="standard-normal")
    rate, distortion, error = by_hand(model, to_float(PIXELS), 50)
    numbers = evaluate(model, PIXELS)
    assert numbers["rate_nats"] == pytest.approx(rate, rel=1e-5)
    assert numbers["distortion_nats"] == pytest.approx(distortion, abs=5 * error)
    assert numbers["elbo_nats"] == pytest.approx(-numbers["distortion_nats"] - numbers["rate_nats"], rel=1e-12)


@pytest.mark.parametrize("name", ["ae", "denoising-ae", "seed-ae"])
def test_an_autoencoder_has_no_rate_and_no_bound(name: str) -> None:
    model = model_of(name)
    numbers = evaluate(model, PIXELS)
    assert numbers["rate_nats"] is None and numbers["elbo_nats"] is None
    x = to_float(PIXELS)
    with torch.inference_mode():
        px = model.decode(model.encode(x).mean)
    variance = float(px.log_scale.exp()) ** 2
    sse = float((px.mean - x).double().square().sum((1, 2, 3)).mean())
    by_hand = sse / (2 * variance) + 768 * 0.5 * math.log(2 * math.pi * variance)
    assert numbers["distortion_nats"] == pytest.approx(by_hand, rel=1e-5)
    if name == "seed-ae":  # variance 1/2: the sum of squares and a constant
        constant = 768 * 0.5 * math.log(math.pi)
        assert numbers["distortion_nats"] == pytest.approx(numbers["sse_per_image"] + constant, rel=1e-5)


def test_beta_is_not_in_the_bound() -> None:
    assert evaluate(model_of("vae", beta=7.0), PIXELS) == evaluate(model_of("vae"), PIXELS)


def test_the_same_seed_gives_the_same_numbers_and_another_only_another_sample() -> None:
    model = model_of("vae")
    torch.manual_seed(1)
    first = evaluate(model, PIXELS)
    torch.manual_seed(2)
    assert evaluate(model, PIXELS) == first
    other = evaluate(model, PIXELS, seed=1)
    assert other["distortion_nats"] != first["distortion_nats"]
    assert (other["sse_per_image"], other["rate_nats"]) == (first["sse_per_image"], first["rate_nats"])


def test_evaluation_changes_nothing_and_refuses_a_model_in_training_mode() -> None:
    model = model_of("seed-vae")
    before = {name: t.clone() for name, t in model.state_dict().items()}
    evaluate(model, PIXELS)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    with pytest.raises(AssertionError):
        evaluate(model.train(), PIXELS)


def test_psnr_is_by_the_mean_over_all_values() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.random((2, 5, 3, 4, 4))
    expected = -10 * math.log10(((a - b) ** 2).mean())
    assert psnr_db(torch.tensor(a), torch.tensor(b)) == pytest.approx(expected, rel=1e-12)
    mask = generator.random((5, 1, 4, 4)) < 0.5
    hidden = ((a - b) ** 2)[np.broadcast_to(mask, a.shape)].mean()
    assert psnr_db(torch.tensor(a), torch.tensor(b), torch.tensor(mask)) == pytest.approx(-10 * math.log10(hidden))
    assert psnr_db(torch.tensor(a), torch.tensor(a)) == math.inf


def test_standard_errors_are_those_of_means_of_independent_images() -> None:
    found = measure(model_of("vae"), PIXELS)
    numbers = found.numbers()
    for name in ("distortion_nats", "rate_nats", "elbo_nats"):
        column = found.columns[name].numpy()
        assert numbers[name] == pytest.approx(column.mean(), rel=1e-12)
        assert numbers[f"{name}_error"] == pytest.approx(column.std(ddof=1) / math.sqrt(10), rel=1e-12)
    sse = found.columns["sse"].numpy()
    moved = [10 * math.log10(768 / (sse.mean() + s * sse.std(ddof=1) / math.sqrt(10))) for s in (-0.01, 0.01)]
    assert numbers["psnr_db_error"] == pytest.approx((moved[0] - moved[1]) / 0.02, rel=1e-3)
    one = measure(model_of("vae"), PIXELS[:1])
    assert one.numbers()["elbo_nats_error"] is None and one.kl_per_dim_error is None


def test_columns_are_in_the_order_of_the_images_whatever_the_batch() -> None:
    model = model_of("vae", likelihood="discretized-logistic")
    whole, pieces = measure(model, PIXELS, iwae_samples=3), measure(model, PIXELS, batch_size=3, iwae_samples=3)
    for name in ("sse", "rate_nats", "iwae_nats"):
        torch.testing.assert_close(whole.columns[name], pieces.columns[name], rtol=1e-4, atol=1e-3)
    last = measure(model, PIXELS[9:])
    assert float(last.columns["sse"][0]) == pytest.approx(float(whole.columns["sse"][9]), rel=1e-5)


@pytest.mark.parametrize("recipe", ["vae", "iaf-vae", "vamp-vae"])
def test_an_image_has_the_same_numbers_in_any_batch_set_and_order(recipe: str) -> None:
    model = model_of(recipe, likelihood="discretized-logistic", latent_dim=4)
    whole = measure(model, PIXELS, batch_size=64, iwae_samples=3).columns
    order = torch.tensor([7, 2, 9, 0])
    sets = {7: PIXELS, 1: PIXELS, 2: PIXELS[order], 3: Selection(PIXELS, order)}
    for batch_size, pixels in sets.items():
        rows = torch.arange(10) if len(pixels) == 10 else order
        found = measure(model, pixels, batch_size=batch_size, iwae_samples=3).columns
        for name, column in found.items():
            torch.testing.assert_close(column, whole[name][rows], rtol=1e-5, atol=1e-3)
    noisy = whole["distortion_nats"]
    assert (measure(model, PIXELS, seed=1).columns["distortion_nats"] - noisy).abs().min() > 1e-2


def test_images_have_noise_of_their_own() -> None:
    noise = noise_of(keys_of(PIXELS), 0, EVALUATION, (4000,))
    torch.testing.assert_close(noise @ noise.mT / 4000, torch.eye(10), rtol=0, atol=0.1)
    other = noise_of(keys_of(PIXELS), 0, IMPORTANCE, (4000,))
    assert float((noise * other).mean(1).abs().max()) < 0.1


@torch.no_grad()
def test_information_and_marginal_divergence_are_bounds_where_the_images_are_too_few() -> None:
    model = model_of("vae", prior="standard-normal", latent_dim=4)
    model.posterior.log_std.weight.zero_()
    model.posterior.log_std.bias.zero_()
    known = measure(model, PIXELS)
    model.posterior.mean.weight.mul_(3.0)
    model.posterior.log_std.bias.sub_(60.0)
    unknown = measure(model, PIXELS)
    names = ("mutual_information_nats", "marginal_kl_nats")
    bounds = ("mutual_information_at_least_nats", "marginal_kl_at_most_nats")
    for found, told, untold in ((known, names, bounds), (unknown, bounds, names)):
        numbers = found.numbers()
        information, marginal = (numbers[name] for name in told)
        assert information + marginal == pytest.approx(numbers["rate_nats"], rel=1e-9)
        assert information <= math.log(10) + 1e-9
        ratios = found.aggregate.log_ratios()
        rates = found.columns["rate_nats"]
        for name, column in zip(told, (ratios, rates - ratios), strict=True):
            error = pytest.approx(float(column.std()) / math.sqrt(10)) if name in names else None
            assert numbers[f"{name}_error"] == error
        assert all(numbers[name] is None and numbers[f"{name}_error"] is None for name in untold)
    assert unknown.numbers()["mutual_information_at_least_nats"] == pytest.approx(math.log(10), abs=1e-3)


@torch.no_grad()
def test_kl_per_dimension_and_active_units_are_means_and_variances_over_images() -> None:
    model = model_of("vae", prior="standard-normal", latent_dim=4)
    model.posterior.mean.weight.mul_(torch.tensor([30.0, 1.0, 1.0, 30.0])[:, None])
    model.posterior.mean.bias.add_(3.0)  # a unit that is elsewhere, but does not move, says nothing
    found = measure(model, PIXELS, batch_size=4)
    qz = model.encode(to_float(PIXELS))
    mean, variance = qz.mean.double(), (2 * qz.log_std.double()).exp()
    kl_of_each = 0.5 * (variance + mean.square() - 1 - variance.log())
    kl = kl_of_each.mean(0)
    assert found.kl_per_dim is not None
    torch.testing.assert_close(found.kl_per_dim, kl, rtol=1e-4, atol=1e-6)
    moving = int((mean.var(0, correction=0) > 0.01).sum())
    assert 0 < moving < 4 and found.active_units == moving
    numbers = found.numbers()
    assert float(found.kl_per_dim.sum()) == pytest.approx(numbers["rate_nats"], rel=1e-9)
    errors = kl_of_each.std(0) / math.sqrt(10)
    torch.testing.assert_close(found.kl_per_dim_error, errors, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_the_importance_weighted_bound_is_that_of_its_samples() -> None:
    model = model_of("vae", latent_dim=4, prior="standard-normal", likelihood="discretized-logistic").double()
    x = to_float(PIXELS).double()
    found = measure(
        model_of("vae", latent_dim=4, prior="standard-normal", likelihood="discretized-logistic"),
        PIXELS,
        iwae_samples=600,
    )
    for row in (0, 7):
        noise = noise_of(keys_of(PIXELS[row : row + 1]), 0, IMPORTANCE, (600, 4))[0].double().unsqueeze(1)
        inference = model.infer(Batch(x[row : row + 1]), noise)
        weights = (inference.log_px + inference.log_pz - inference.log_qz)[:, 0].numpy()
        expected = weights.max() + math.log(np.exp(weights - weights.max()).mean())
        assert float(found.columns["iwae_nats"][row]) == pytest.approx(expected, abs=2e-3)
    numbers = found.numbers()
    assert numbers["iwae_nats"] > numbers["elbo_nats"] and numbers["iwae_samples"] == 600
    assert numbers["iwae_bits_per_dim"] == pytest.approx(-numbers["iwae_nats"] / (768 * math.log(2)))


@torch.no_grad()
@pytest.mark.parametrize("samples", [1, 30, 513])
def test_the_bound_of_an_image_does_not_depend_on_who_shares_its_pass(
    samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of("vae", latent_dim=5, likelihood="discretized-logistic")  # 5 · 513 is no multiple of 16
    together = measure(model, PIXELS, iwae_samples=samples).columns["iwae_nats"]
    monkeypatch.setattr(model, "at_once", lambda most: min(most, 3))
    assert torch.allclose(
        measure(model, PIXELS, iwae_samples=samples).columns["iwae_nats"], together, rtol=0, atol=1e-3
    )


def test_how_far_it_is_is_told() -> None:
    told: list[tuple[str, int, int]] = []
    measure(model_of("ae"), PIXELS, batch_size=4, counted=lambda *each: told.append(each))
    assert told[0] == ("images measured", 0, len(PIXELS)) and told[-1] == ("images measured", len(PIXELS), len(PIXELS))
    assert [done for _, done, _ in told] == sorted({done for _, done, _ in told})


@torch.no_grad()
@pytest.mark.parametrize(("images", "samples", "steps"), [(1, 1100, 3), (4, 2, 1)])
def test_importance_samples_are_counted_while_they_are_drawn(images: int, samples: int, steps: int) -> None:
    """Also within a single image, for which many samples may take hours."""
    told: list[tuple[str, int, int]] = []
    measure(model_of("vae"), PIXELS[:images], iwae_samples=samples, counted=lambda *each: told.append(each))
    assert {(task, total) for task, _, total in told} == {("importance samples", images * samples)}
    done = [done for _, done, _ in told]
    assert done == sorted(done) and done[0] == 0 and done[-1] == images * samples
    assert len(set(done)) == 1 + steps


def test_one_image_has_nothing_to_be_told_from() -> None:
    numbers = evaluate(model_of("vae"), PIXELS[:1])
    assert numbers["mutual_information_nats"] is None and numbers["marginal_kl_nats"] is None
    assert numbers["mutual_information_at_least_nats"] is None and numbers["marginal_kl_at_most_nats"] is None
    assert numbers["active_units"] is None and numbers["rate_nats"] is not None


def test_an_autoencoder_has_no_number_of_the_aggregate_posterior() -> None:
    numbers = evaluate(model_of("ae"), PIXELS)
    for name in ("active_units", "mutual_information_nats", "marginal_kl_nats", "elbo_nats_error", "rate_nats_error"):
        assert numbers[name] is None
    assert numbers["sse_per_image_error"] > 0


def test_posteriors_of_many_images_are_thinned_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("vae", latent_dim=4)
    whole = measure(model, PIXELS)
    monkeypatch.setattr("vaekit.evaluation.metrics._MOST_PAIRED", 4)
    few = measure(model, PIXELS, batch_size=4)
    assert whole.aggregate is not None and few.aggregate is not None
    torch.testing.assert_close(few.aggregate.mean, whole.aggregate.mean[[0, 3, 6, 9]], rtol=1e-4, atol=1e-5)
    assert few.aggregate_rate_nats is not None
    assert torch.equal(few.aggregate_rate_nats, few.columns["rate_nats"][[0, 3, 6, 9]])


@pytest.mark.parametrize(
    ("recipe", "values", "numbers", "nats"),
    [
        ("vae", {}, {"distortion_nats": 50.0, "rate_nats": 7.0}, 57.0),
        ("beta-vae", {"beta": 4.0}, {"distortion_nats": 50.0, "rate_nats": 7.0}, 78.0),
        ("ae", {}, {"distortion_nats": 50.0, "rate_nats": None}, 50.0),
        ("iwae", {}, {"distortion_nats": 50.0, "rate_nats": 7.0, "iwae_nats": -55.0}, 55.0),
        (
            "capacity-vae",
            {"capacity_weight": 3.0, "capacity_nats": 9.0},
            {"distortion_nats": 50.0, "rate_nats": 7.0},
            56.0,
        ),
        (
            "capacity-vae",
            {"capacity_weight": 3.0, "capacity_nats": 5.0},
            {"distortion_nats": 50.0, "rate_nats": 7.0},
            56.0,
        ),
        ("vae", {}, {}, None),
    ],
)
def test_the_loss_is_made_of_the_numbers(recipe: str, values: dict, numbers: dict, nats: float | None) -> None:
    assert loss_nats(numbers, override(get(recipe), values)) == nats


@torch.no_grad()
def test_each_image_is_told_of_itself_whatever_the_batch() -> None:
    model = model_of("conditional-vae", condition_size=3)
    for parameter in (*model.prior.last.parameters(), *model.posterior.parameters()):
        parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    told = torch.rand(10, 3, generator=torch.Generator().manual_seed(2))
    pixels = Selection(PIXELS, torch.arange(10), told)
    found = measure(model, pixels, batch_size=4, iwae_samples=2).columns
    qz, pz = model.encode(to_float(PIXELS), told), model.prior(model, told)
    spread = (2 * qz.log_std).exp() + (qz.mean - pz.mean).square()
    rate = (pz.log_std - qz.log_std + 0.5 * spread / (2 * pz.log_std).exp() - 0.5).sum(1)
    torch.testing.assert_close(found["rate_nats"].float(), rate, rtol=1e-4, atol=1e-4)
    pictures = model.decode(qz.mean, told).picture
    squares = (pictures - to_float(PIXELS)).square().sum((1, 2, 3))
    torch.testing.assert_close(found["sse"].float(), squares, rtol=1e-4, atol=1e-3)
