"""Numbers about a model, against the same numbers by hand in numpy and float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from vaekit.build import build_model
from vaekit.data import to_float
from vaekit.evaluate import evaluate, psnr_db
from vaekit.models import LatentModel
from vaekit.recipes import get, override

PIXELS = torch.randint(0, 256, (10, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def model_of(name: str, **values: object) -> LatentModel:
    return build_model(override(get(name), {"width": 8, **values}), (3, 16, 16)).eval()


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
    """Rate, distortion and the standard error of the distortion's one-sample estimate."""
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
    assert numbers["elbo_nats"] == -numbers["distortion_nats"] - numbers["rate_nats"]


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
