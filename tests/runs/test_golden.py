"""Runs saved by earlier versions load in this one, and give the recorded numbers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import vaekit as vk
from vaekit.data import to_float
from vaekit.errors import UserError
from vaekit.model.inference import Batch
from vaekit.system.files import load_tensors

GOLDEN = sorted(path.parent for path in (Path(__file__).parents[1] / "golden").glob("*/config.json"))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN[0], tmp_path / "run"))


def _change(run: Path, **keys: object) -> None:
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | keys))


def test_they_are_there_and_small() -> None:
    assert len(GOLDEN) >= 2
    assert sum(p.stat().st_size for run in GOLDEN for p in run.rglob("*")) < 300_000


@pytest.mark.parametrize("folder", GOLDEN, ids=lambda path: path.name)
def test_a_golden_run_gives_the_same_numbers(folder: Path) -> None:
    recorded, facts = load_tensors(folder / "recorded.safetensors")
    run = vk.load(folder)
    pixels = recorded["pixels"]
    torch.testing.assert_close(run.encode(pixels), recorded["codes"], atol=1e-5, rtol=1e-5)
    with torch.inference_mode():
        pictures = run.model.decode(recorded["codes"]).mean
    torch.testing.assert_close(pictures, recorded["pictures"], atol=1e-5, rtol=0)
    torch.testing.assert_close(run.latent("label:3"), recorded["threes"], atol=1e-5, rtol=1e-5)
    numbers, expected = run.evaluate(pixels), facts["evaluated"]
    assert {k for k in expected if numbers[k] is None} == {k for k, v in expected.items() if v is None}
    assert numbers.get("bits_per_dim") is None  # of a density, in golden runs of any age
    sampled = {"distortion_nats", "elbo_nats"} if run.row.has_density else set()
    exact = {key: value for key, value in expected.items() if value is not None and key not in sampled}
    assert all(numbers[key] == pytest.approx(value, rel=1e-4) for key, value in exact.items())
    with torch.inference_mode():  # the noise that these were measured with
        noise = torch.randn(1, 6, run.model.latent_dim, generator=torch.Generator().manual_seed(0))
        distortion = -run.model.infer(Batch(to_float(pixels)), noise).log_px.mean().item()
    assert distortion == pytest.approx(expected["distortion_nats"], rel=1e-4)
    if "generated" in recorded:
        difference = run.generate(4, seed=7).pixels.int() - recorded["generated"].int()
        assert difference.abs().max() <= 1  # another machine may round the other way


@pytest.mark.parametrize("folder", GOLDEN, ids=lambda path: path.name)
def test_its_images_are_still_known_by_their_content(folder: Path) -> None:
    recorded, _ = load_tensors(folder / "recorded.safetensors")
    assert torch.equal(vk.load(folder).images("test").pixels[:6], recorded["pixels"])


def test_an_unknown_key_is_refused(copy: Path) -> None:
    _change(copy, color_space="sRGB")
    with pytest.raises(UserError, match=r"config\.json has the unknown key 'color_space'"):
        vk.load(copy)


@pytest.mark.parametrize("part", ["recipe", "data"])
def test_an_unknown_key_inside_is_refused(copy: Path, part: str) -> None:
    config = json.loads((copy / "config.json").read_text())
    _change(copy, **{part: config[part] | {"color_space": "sRGB"}})
    with pytest.raises(UserError, match="'color_space'"):
        vk.load(copy)


def test_a_format_of_the_future_is_refused(copy: Path) -> None:
    _change(copy, format_version=2)
    with pytest.raises(UserError, match="format_version 2, but this vaekit reads 1; upgrade"):
        vk.load(copy)


def test_a_missing_key_is_named(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    del config["total_images"]
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="is missing total_images"):
        vk.load(copy)


def test_weights_of_another_model_are_refused(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    _change(copy, recipe=config["recipe"] | {"latent_dim": 5})
    with pytest.raises(UserError, match="do not fit its config.json"):
        vk.load(copy)


def test_missing_weights_are_named(copy: Path) -> None:
    (copy / "weights.safetensors").unlink()
    with pytest.raises(UserError, match=r"weights\.safetensors is missing.*repeat the training"):
        vk.load(copy)


def test_a_run_without_stored_codes_makes_them(copy: Path) -> None:
    stored = vk.load(copy).latent("label:3")
    (copy / "latents.safetensors").unlink()
    torch.testing.assert_close(vk.load(copy).latent("label:3"), stored, atol=1e-5, rtol=1e-5)
