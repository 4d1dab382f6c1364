"""Binary pixels: drawn with the intensity as probability, determined by the image or drawn anew in every step."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import vaekit as vk
from vaekit.api import plan
from vaekit.config.options import TrainOptions
from vaekit.data import BINARIZE, Images
from vaekit.data.binarize import binarized
from vaekit.errors import UserError
from vaekit.training.plan import largest_batch

GRAY = np.random.default_rng(0).integers(0, 256, (40, 1, 6, 5), np.uint8)


@pytest.mark.parametrize("kind", BINARIZE)
def test_pixels_are_black_and_white_and_stay_so(kind: str) -> None:
    once = binarized(GRAY, kind)
    assert set(np.unique(once)) == {0, 255} and once.shape == GRAY.shape
    assert (binarized(once, kind) == once).all()
    assert (binarized(np.full((2, 1, 3, 3), 255, np.uint8), kind) == 255).all()
    assert (binarized(np.zeros((2, 1, 3, 3), np.uint8), kind) == 0).all()


def test_a_threshold_is_one_half() -> None:
    assert (binarized(GRAY, "threshold") == np.where(GRAY / 255 >= 0.5, 255, 0)).all()


@pytest.mark.parametrize("value", [1, 60, 128, 254])
def test_an_intensity_is_the_probability_of_white(value: int) -> None:
    images = np.full((400, 1, 10, 10), value, np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = np.arange(400) // 256, np.arange(400) % 256  # or all were drawn alike
    share = (binarized(images, "static")[:, 0, 1:] == 255).mean()
    p = value / 255
    assert share == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / 36_000))


def test_bits_follow_from_the_image_whatever_stands_around_it() -> None:
    whole = binarized(GRAY, "static")
    assert (binarized(GRAY[[7, 3]], "static") == whole[[7, 3]]).all()
    assert (binarized(np.asfortranarray(GRAY), "static") == whole).all()
    assert whole[0, 0].tolist() == binarized(GRAY[:1], "dynamic")[0, 0].tolist(), (
        "outside of training they are the same"
    )
    known = binarized(np.arange(0, 256, 15, np.uint8).reshape(1, 1, 3, 6), "static") // 255
    assert known.flatten().tolist() == KNOWN


#: Of one image, for good: what a run was measured on must be drawn again elsewhere.
KNOWN = [0, 0, 1, 0, 0, 1, 1, 0, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1]


def test_images_keep_all_else() -> None:
    images = vk.open_images("digits")
    black = images.binarized("static")
    assert (black.names, black.fingerprint) == (images.names, images.fingerprint)
    assert images.binarized(None) is images


def small(tmp_path: Path, kind: str | None, name: str = "run", more: dict | None = None, **others: object) -> vk.Run:
    values = {"net": "mlp", "hidden": "16", "latent_dim": "3", "prior": "standard-normal", **(more or {})}
    return vk.train("digits", "vae", tmp_path / name, epochs=2, binarize=kind, settings=values, quiet=True, **others)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", BINARIZE)
def test_a_run_sees_binary_pixels_everywhere_and_says_so(tmp_path: Path, kind: str) -> None:
    run = small(tmp_path, kind)
    assert run.config.recipe.likelihood == "bernoulli" and run.config.data.binarize == kind
    numbers = run.evaluate(per_image=tmp_path / "each.csv", iwae_samples=4)
    assert numbers["binarize"] == kind and numbers["bits_per_dim"] > 0
    assert set(run.images().pixels.unique().tolist()) == {0, 255}
    gray = vk.open_images("digits", split="test")
    assert run.evaluate(gray)["elbo_nats"] == numbers["elbo_nats"]
    assert torch.equal(run.encode(gray.pixels), run.encode(gray.binarized(kind).pixels))
    rows = list(csv.DictReader((tmp_path / "each.csv").open()))
    assert [row["name"] for row in rows] == list(gray.names)
    assert np.mean([float(row["elbo_nats"]) for row in rows]) == pytest.approx(numbers["elbo_nats"], rel=1e-12)
    text = (run.path / "report.html").read_text() + (run.path / "README.md").read_text()
    assert text.count(f"binarized ({kind})") >= 2


def test_dynamic_pixels_change_from_step_to_step_and_static_ones_do_not(tmp_path: Path) -> None:
    from vaekit.training.model_trainer import ModelTrainer

    def batches(kind: str, seed: int = 0) -> list[torch.Tensor]:
        run = small(tmp_path, kind, f"{kind}-{seed}", seed=seed)
        images = vk.open_images("digits") if kind == "dynamic" else run.images()
        one = images.selection(np.arange(len(images)) == 4)
        trainer = ModelTrainer(run.config, one, torch.device("cpu"))
        seen = []
        for _ in range(3):
            seen.append(trainer._inputs(trainer.next_index())[0].x)
            trainer.images, trainer.steps = trainer.images + 1, trainer.steps + 1
        return seen

    static, dynamic = batches("static"), batches("dynamic")
    assert torch.equal(static[0], static[1]) and not torch.equal(dynamic[0], dynamic[1])
    assert all(torch.equal(a, b) for a, b in zip(dynamic, batches("dynamic"), strict=True)), (
        "from the seed and the step"
    )
    assert not torch.equal(dynamic[0], batches("dynamic", seed=1)[0])
    assert set(torch.stack(dynamic).unique().tolist()) == {0.0, 1.0}


def test_another_kind_is_another_run_and_an_unknown_one_is_named(tmp_path: Path) -> None:
    small(tmp_path, "static")
    with pytest.raises(UserError, match="its data binarize is static, not threshold"):
        small(tmp_path, "threshold")
    with pytest.raises(UserError, match="^binarize dinamic: did you mean 'dynamic'"):
        small(tmp_path, "dinamic", "other")
    with pytest.raises(UserError, match="give binarize=dynamic"):
        vk.train("digits", "vae", tmp_path / "other", epochs=1, likelihood="bernoulli", quiet=True)


def test_an_autoencoder_keeps_its_likelihood_and_so_does_who_names_one(tmp_path: Path) -> None:
    run = vk.train("digits", "seed-ae", tmp_path / "ae", epochs=1, binarize="threshold", quiet=True)
    assert run.config.recipe.likelihood == "normal"
    run = small(tmp_path, "static", "logistic", likelihood="discretized-logistic")
    assert run.config.recipe.likelihood == "discretized-logistic"
    with pytest.raises(UserError, match="is a density, which grows without bound"):
        small(tmp_path, "static", "laplace", likelihood="laplace")


def test_a_mapped_set_stays_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAEKIT_MAPPED_ABOVE_BYTES", "100")
    images = Images(torch.from_numpy(GRAY), tuple(map(str, range(40)))).binarized("static")
    assert images.is_mapped and (images.pixels.numpy() == binarized(GRAY, "static")).all()


def test_a_plan_and_the_largest_batch_know_of_binary_pixels() -> None:
    planned = plan("digits", "vae", binarize="dynamic", epochs=1)
    assert planned["config"]["data"]["binarize"] == "dynamic"
    images = vk.open_images("digits")[:8]
    row = vk.recipes.override(vk.recipes.get("vae"), {"likelihood": "bernoulli", "net": "mlp"})
    assert largest_batch(row, images, 8, torch.device("cpu"), TrainOptions(binarize="static"), 10**9) == 8


def test_weights_are_not_taken_for_those_of_another_function(tmp_path: Path) -> None:
    run = small(tmp_path, None, "first")
    with pytest.raises(UserError, match="another posterior_std_gain; give posterior_std_gain=0.125"):
        small(tmp_path, None, "second", {"posterior_std_gain": 1}, init=run.path)
    assert small(tmp_path, None, "third", init=run.path).config.initial == str(run.path)
