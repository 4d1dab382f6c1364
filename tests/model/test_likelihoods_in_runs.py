"""Every likelihood in a complete run: it trains, is measured in the right unit, and works with every verb."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import vaekit as vk
from vaekit.config import table as recipes
from vaekit.config.run_config import DataConfig, RunConfig
from vaekit.config.table import DENSITIES, LIKELIHOODS, RECIPES, get, override, with_likelihood
from vaekit.data import to_float
from vaekit.data.portraits.portraits import draw
from vaekit.errors import UserError
from vaekit.evaluation.metrics import evaluate
from vaekit.latent import ops as edit
from vaekit.model.factory import build_model, resolve
from vaekit.model.inference import Batch
from vaekit.training.model_trainer import ModelTrainer

DENSE = [name for name, row in RECIPES.items() if row.objective == "elbo" and not row.is_conditional]
PMFS = [name for name in LIKELIHOODS if name not in DENSITIES]
SMALL = {"width": 8, "latent_dim": 4}


def pixels_for(likelihood: str, count: int = 64, size: int = 8) -> Tensor:
    pixels = vk.open_images("digits", size=size).pixels[:count]
    return (pixels > 127).to(torch.uint8) * 255 if likelihood == "bernoulli" else pixels


def trainer_of(row: recipes.Recipe, pixels: Tensor, epochs: int) -> ModelTrainer:
    row = resolve(row, tuple(pixels.shape[1:]), len(pixels))  # type: ignore[arg-type]
    data = DataConfig("array", tuple(pixels.shape[2:]), pixels.shape[1], "00", images=len(pixels))  # type: ignore[arg-type]
    return ModelTrainer(RunConfig(row, data, epochs * len(pixels)), pixels, torch.device("cpu"))


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("name", DENSE)
def test_every_recipe_with_a_bound_learns_under_every_likelihood(name: str, likelihood: str) -> None:
    size = 16 if RECIPES[name].net == "seed-conv" else 8
    row = with_likelihood(get(name), likelihood)
    own = {"vector": SMALL, "codes": {"width": 8, "smallest_grid": 4, "code_count": 8}}
    sizes = own.get(row.latent, {"width": 8})
    small = {**sizes, "batch_size": 32, "learning_rate": 2e-3, "kl_warmup": 0.0}
    trainer = trainer_of(override(row, small), pixels_for(likelihood, 64, size), 6)
    losses = [float(trainer.step().loss.mean()) for _ in range(12)]
    assert all(map(math.isfinite, losses)) and trainer.skipped == 0
    assert sum(losses[-2:]) < sum(losses[:2])


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("name", ["ae", "seed-ae"])
def test_an_autoencoder_may_measure_its_error_with_any(name: str, likelihood: str) -> None:
    row = override(get(name), {**SMALL, "likelihood": likelihood, "learning_rate": 2e-3, "batch_size": 32})
    trainer = trainer_of(row, pixels_for(likelihood), 6)
    losses = [float(trainer.step().loss.mean()) for _ in range(12)]
    assert sum(losses[-2:]) < sum(losses[:2])


def test_a_mixture_overfits_eight_faces() -> None:
    """Five bits below the start, and pictures much nearer to the faces than their mean."""
    pixels = torch.from_numpy(draw(8, 8)).permute(0, 3, 1, 2).contiguous()
    values = {"net": "mlp", "hidden": "100", "latent_dim": 8, "mixture_components": 3, "batch_size": 8}
    row = override(with_likelihood(get("vae"), "discretized-logistic-mixture"), {**values, "learning_rate": 1e-2})
    trainer = trainer_of(override(row, {"ema_power": 0, "kl_warmup": 0.5}), pixels, 400)
    bits = [float(trainer.step().distortion.mean()) / (192 * math.log(2)) for _ in range(400)]
    assert bits[0] > 7.5 and bits[-1] < bits[0] - 5
    x, model = to_float(pixels), trainer.eval_model()
    with torch.no_grad():
        picture = model.decode(model.encode(x).mean).picture
    assert float((picture - x).square().mean()) < 0.5 * float((x - x.mean(0)).square().mean())


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_bits_are_of_probabilities_alone(likelihood: str) -> None:
    pixels = pixels_for(likelihood)
    model = build_model(override(get("vae"), {**SMALL, "likelihood": likelihood}), (1, 8, 8)).eval()
    numbers = evaluate(model, pixels, batch_size=20)
    elbo = numbers["elbo_nats"]
    assert elbo is not None
    if likelihood in DENSITIES:
        assert numbers["bits_per_dim"] is None
    else:
        assert numbers["bits_per_dim"] == pytest.approx(-elbo / (64 * math.log(2)), rel=1e-12)
    autoencoder = build_model(override(get("ae"), {**SMALL, "likelihood": likelihood}), (1, 8, 8)).eval()
    assert evaluate(autoencoder, pixels)["bits_per_dim"] is None


def test_a_uniform_model_that_says_nothing_needs_eight_bits() -> None:
    values = {**SMALL, "likelihood": "categorical", "prior": "standard-normal", "net": "mlp"}
    model = build_model(override(get("vae"), values), (3, 4, 4)).eval()
    for part in (model.posterior, model.decoder):
        for parameter in part.parameters():
            torch.nn.init.zeros_(parameter)
    numbers = evaluate(model, torch.randint(0, 256, (6, 3, 4, 4), dtype=torch.uint8))
    assert numbers["rate_nats"] == 0 and numbers["bits_per_dim"] == pytest.approx(8, abs=1e-6)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_a_decoder_of_real_shapes_gives_each_image_its_probability(likelihood: str) -> None:
    """Several samples per image at once equal those computed one by one."""
    model = build_model(override(get("vae"), {**SMALL, "likelihood": likelihood}), (3, 8, 8)).eval()
    x = torch.randint(0, 2, (2, 3, 8, 8), generator=torch.Generator().manual_seed(0)).float()
    noise = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        together = model.infer(Batch(x), noise).log_px
        alone = torch.cat([model.infer(Batch(x), noise[k : k + 1]).log_px for k in range(3)])
    assert together.shape == (3, 2)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-3)


def test_another_likelihood_learns_its_scale() -> None:
    row = with_likelihood(get("seed-vae"), "discretized-logistic")
    assert (row.likelihood, row.scale, row.mean) == ("discretized-logistic", "shared", "linear")
    assert with_likelihood(get("seed-vae"), "normal") == get("seed-vae")
    assert with_likelihood(override(get("vae"), {"scale": "pixel"}), "laplace").scale == "pixel"
    with pytest.raises(UserError, match="likelihood=laplac: did you mean 'laplace'"):
        with_likelihood(get("vae"), "laplac")
    with pytest.raises(UserError, match="mixture_components=0: must be greater than 0"):
        override(get("vae"), {"mixture_components": 0})


# Whole runs


def options_for(likelihood: str) -> dict[str, Any]:
    return {"images": 320, "batch_size": 32, "settings": {**SMALL, "mixture_components": 3}, "quiet": True} | {
        "likelihood": likelihood
    }


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_every_verb_serves_every_likelihood(likelihood: str, tmp_path: Path) -> None:
    pixels = pixels_for(likelihood, 80)
    run = vk.train(pixels, "vae", tmp_path / "run", **options_for(likelihood))
    numbers = run.evaluate(pixels)
    assert (numbers["bits_per_dim"] is None) == (likelihood in DENSITIES)
    assert run.final_numbers().keys() == {
        f"final_{key}" for key in numbers if "ssim" not in key and "kl_per_dim" not in key and key != "part"
    }
    few = pixels[:3]
    assert run.reconstruct(few).pixels.shape == few.shape
    assert len(run.generate(4)) == 4 and len(run.interpolate(*run.encode(few[:2]), steps=3)) == 3
    assert run.denoise(to_float(few)).isfinite().all()
    hidden = torch.zeros(3, 1, 8, 8, dtype=torch.bool)
    hidden[..., 2:6, 2:6] = True
    filled = run.inpaint(to_float(few), hidden)
    assert torch.equal(filled[~hidden], to_float(few)[~hidden])
    assert filled.isfinite().all() and float(filled.min()) >= 0 and float(filled.max()) <= 1
    card = (run.path / "README.md").read_text()
    assert ("Bits per dimension" in card) == (likelihood not in DENSITIES)
    again = vk.train(pixels, "vae", tmp_path / "run", **options_for(likelihood))
    assert torch.equal(again.encode(few), run.encode(few))


def test_the_flag_names_the_likelihood(tmp_path: Path, vaekit: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = "train digits --recipe vae --likelihood discretized-logistic --images 64 --set width=8 --out run"
    plan = json.loads(vaekit(*shlex.split(command), "--dry-run", "--json").out)
    assert plan["config"]["recipe"]["likelihood"] == "discretized-logistic"
    answer = vaekit(*shlex.split(command))
    assert answer.code == 0 and "bits per dimension on the test images" in answer.err
    assert vk.load("run").config.recipe.likelihood == "discretized-logistic"
    printed = json.loads(vaekit("evaluate", "run", "--json").out)
    assert printed["bits_per_dim"] == pytest.approx(-printed["elbo_nats"] / (64 * math.log(2)))
    fixed = json.loads(
        vaekit(*shlex.split(command.replace("run", "other")), "--set", "scale=fixed", "--dry-run", "--json").out
    )
    assert fixed["config"]["recipe"]["scale"] == "fixed"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "--recipe ae --likelihood laplace",
            "--likelihood laplace: recipe 'ae' is an autoencoder.*vae, beta-vae, iwae, .*seed-vae",
        ),
        ("--recipe seed-ae --likelihood normal", "--likelihood normal: recipe 'seed-ae' is an autoencoder"),
        ("--likelihood laplacian", "--likelihood laplacian: did you mean 'laplace'"),
        ("--likelihood bernoulli", "likelihood=bernoulli needs binary pixels"),
        ("--likelihood categorical --set mixture_components=0", "mixture_components=0: must be greater than 0"),
    ],
)
def test_what_cannot_be_is_refused(words: str, message: str, tmp_path: Path, vaekit: Callable) -> None:
    answer = vaekit("train", "digits", *shlex.split(words), "--out", tmp_path / "run")
    assert answer.code == 2 and re.search(message, answer.err), answer.err
    assert not (tmp_path / "run").exists()


def test_many_outputs_are_decoded_in_small_pieces_with_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = torch.randint(0, 256, (9, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    row = dataclasses.replace(recipes.get("vae"), likelihood="categorical", net="mlp", hidden=(8,), latent_dim=2)
    model = build_model(resolve(row, (1, 8, 8), 9), (1, 8, 8)).eval()
    assert model.at_once(128) == 128
    whole, pictures = evaluate(model, pixels), edit.reconstruct(model, pixels)
    monkeypatch.setattr("vaekit.model.latent_model._OUTPUTS_AT_ONCE", 2 * 256 * 64)
    assert model.at_once(128) == 2
    pieces = evaluate(model, pixels)
    assert {name for name in whole if whole[name] is None} == {name for name in pieces if pieces[name] is None}
    known = {name: value for name, value in whole.items() if value is not None}
    # some are differences of large ones
    assert {name: pieces[name] for name in known} == pytest.approx(known, rel=1e-6, abs=1e-6)
    assert edit.reconstruct(model, pixels).equal(pictures)


def test_bits_of_gray_pixels_under_binary_ones_are_refused(tmp_path: Path) -> None:
    binary = (torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.5).to(torch.uint8) * 255
    run = vk.train(binary, "vae", tmp_path / "r", epochs=1, likelihood="bernoulli", settings={"width": 8}, quiet=True)
    assert run.evaluate(binary)["bits_per_dim"] is not None
    with pytest.raises(UserError, match="binary pixels"):
        run.evaluate(binary // 2)


def test_a_fixed_scale_that_float32_cannot_divide_by_is_refused() -> None:
    row = dataclasses.replace(recipes.get("vae"), likelihood="discretized-normal", scale="fixed", fixed_scale=150.0)
    with pytest.raises(UserError, match="fixed_scale=150"):
        resolve(row, (1, 8, 8), 9)
