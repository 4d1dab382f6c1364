"""Exports of models with discrete codes: integers between the networks, and every mismatch is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vaekit as vk
from vaekit.errors import UserError
from vaekit.export.bundle import CODE_SHARES, SUMS, TOLERANCES, Session, differences, sums_of, verify

SMALL = {"width": 8, "code_count": 20, "code_levels": "5,4", "batch_size": 16}


@pytest.fixture(scope="module", params=["vq-vae", "fsq-vae"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> vk.Run:
    folder = tmp_path_factory.mktemp(request.param) / "run"
    return vk.train("digits", request.param, folder, images=1600, settings=SMALL, quiet=True)


@pytest.fixture(scope="module")
def artefact(run: vk.Run) -> Path:
    out = run.path.parent / "out"
    run.export(out)
    return out


def copied(artefact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(artefact, tmp_path / "copy"))


def facts_of(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((folder / "model.json").read_text())
    return facts


def expected_in(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "check.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def test_the_networks_speak_codes(artefact: Path, run: vk.Run) -> None:
    facts, session = facts_of(artefact), Session(artefact)
    assert facts["codes"] == {"rows": 8, "columns": 8, "count": 20}
    assert facts["prior"] is None and facts["directions"] == {}
    assert facts["compared_with_pytorch"]["allowed"] == {"codes": CODE_SHARES["fp32"], "pictures": 1e-4}
    images = run.images("test").pixels[:5]
    (codes,) = session.encode(images.numpy().astype(np.float32) / 255)
    assert codes.dtype == np.int64 and len(np.unique(codes)) > 3
    assert (codes != run.codes(images).numpy()).mean() <= CODE_SHARES["fp32"]
    pictures = np.round(session.decode(run.codes(images).numpy()) * 255).astype(int)
    assert np.abs(pictures - run.reconstruct(images).pixels.numpy()).max() <= 1
    assert verify(artefact)["allowed"] == facts["compared_with_pytorch"]["allowed"]


def test_the_example_and_the_readme_are_of_codes(artefact: Path, run: vk.Run, tmp_path: Path) -> None:
    digit = run.images("test").pixels[0]
    Image.fromarray(digit[0].numpy()).save(tmp_path / "me.png")
    words = [str(artefact / "example.py"), str(tmp_path / "me.png"), str(tmp_path / "out.png")]
    without = "import sys; sys.modules['torch'] = sys.modules['vaekit'] = None; import runpy; sys.argv = sys.argv[1:]; "
    subprocess.run([sys.executable, "-c", without + "runpy.run_path(sys.argv[0])", *words], check=True)
    found = np.asarray(Image.open(tmp_path / "out.png")).astype(int)
    assert np.abs(found - run.reconstruct(digit[None]).pixels[0, 0].numpy()).max() <= 1
    told = subprocess.run([sys.executable, *words, "five=1"], capture_output=True, text=True)
    assert told.returncode == 1 and "there is no direction 'five'; there are: none" in told.stderr
    text = (artefact / "README.md").read_text()
    assert "a grid of 8×8 codes, each one of 20," in text and "codes, int64 `[N, 8, 8]` → image" in text
    assert "The prior of the codes is not part of the export" in text


def test_networks_that_compute_otherwise_are_seen(artefact: Path, tmp_path: Path) -> None:
    folder, expected, session = copied(artefact, tmp_path), expected_in(artefact), Session(artefact)
    kept = differences(session, expected)
    assert kept["codes"] <= CODE_SHARES["fp32"] and kept["pictures"] < 1e-4
    for name in ("pictures", "round_trips"):
        assert differences(session, expected | {name: expected[name] + 0.01})["pictures"] > 0.009
    half = expected["codes"].copy()
    half[:2] = (half[:2] + 1) % 20
    found = differences(session, expected | {"codes": half})
    assert found["codes"] == pytest.approx(0.5, abs=0.03), "the share of cells"
    for name, spoilt in (("codes", half), ("sampled_codes", (expected["sampled_codes"] + 1) % 20)):
        np.savez(folder / "check.npz", **expected | {name: spoilt})
        (folder / SUMS).write_text(sums_of(folder))
        with pytest.raises(UserError, match="differ from PyTorch by"):
            verify(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda facts: facts["image"].update(width=9), "describes other images"),
        (lambda facts: facts["codes"].update(rows=4), "describes other codes"),
        (lambda facts: facts["codes"].update(columns=16), "describes other codes"),
        (lambda facts: facts["codes"].update(count=2), "describes other codes"),
        (lambda facts: facts["codes"].update(count=0), "codes.count = 0"),
        (lambda facts: facts.update(latent_dim=65), "describes other codes"),
        (lambda facts: facts.update(codes=None), "lacks the codes"),
        (lambda facts: facts.pop("codes"), "lacks the codes"),
        (
            lambda facts: facts["directions"].update(a={"vector": [1.0], "method": "means", "accuracy": None}),
            "describes other codes",
        ),
        (
            lambda facts: facts.update(prior={"formula": "", "mean": [0.0], "factor": [[1.0]], "network": None}),
            "describes other codes",
        ),
    ],
)
def test_what_is_told_of_the_codes_fits_the_networks(
    artefact: Path, tmp_path: Path, change: Callable[[Any], Any], said: str
) -> None:
    folder, facts = copied(artefact, tmp_path), facts_of(artefact)
    change(facts)
    (folder / "model.json").write_text(json.dumps(facts))
    (folder / SUMS).write_text(sums_of(folder))
    with pytest.raises(UserError, match=said):
        verify(folder)


@pytest.mark.parametrize("name", ["codes", "sampled_codes"])
@pytest.mark.parametrize(
    "spoil",
    [lambda codes: codes + 20, lambda codes: codes - 20, lambda codes: codes.astype(float), lambda codes: codes[:, :4]],
)
def test_codes_of_a_stranger_are_codes(
    artefact: Path, tmp_path: Path, name: str, spoil: Callable[[np.ndarray], np.ndarray]
) -> None:
    folder, expected = copied(artefact, tmp_path), expected_in(artefact)
    np.savez(folder / "check.npz", **expected | {name: spoil(expected[name])})
    (folder / SUMS).write_text(sums_of(folder))
    with pytest.raises(UserError, match="describes other codes"):
        verify(folder)


def test_an_encoder_without_codes_is_refused(artefact: Path, tmp_path: Path) -> None:
    folder = copied(artefact, tmp_path)
    shutil.copy(folder / "decoder.onnx", folder / "encoder.onnx")
    (folder / SUMS).write_text(sums_of(folder))
    with pytest.raises(UserError, match="cannot compute with"):
        verify(folder)


def test_half_precision(run: vk.Run, tmp_path: Path) -> None:
    numbers = run.export(tmp_path / "half", precision="fp16").numbers
    assert numbers["allowed"] == {"codes": CODE_SHARES["fp16"], "pictures": TOLERANCES["fp16"]["pictures"]}
    assert verify(tmp_path / "half")["precision"] == "fp16"


def test_the_samples_compared_are_of_the_prior(artefact: Path, run: vk.Run) -> None:
    noise = torch.randn(4, run.model.latent_dim, generator=torch.Generator().manual_seed(0))
    pictures = run.model.sample(noise).picture
    np.testing.assert_allclose(expected_in(artefact)["pictures"], pictures.detach().numpy(), atol=1e-5)
