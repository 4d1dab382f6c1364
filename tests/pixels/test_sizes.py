"""How much a crop cuts off, what is suggested instead, and that all messages agree."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vaekit.data import open_images, peek, survey
from vaekit.errors import UserError, worded
from vaekit.pixels.image_form import Form, fit
from vaekit.pixels.sizes import crop_notes, kept_share, suggested

DROPS = "the center crop to {} drops {} % of the average image"


def as_flag(name: str, value: str | None) -> str:
    return f"--{name} {value}"


@pytest.mark.parametrize("size", [(40, 40), (60, 20), (20, 90)])
@pytest.mark.parametrize("picture", [(120, 480), (480, 120), (240, 240)])
def test_the_share_that_a_crop_keeps_is_what_is_seen_of_the_picture(picture: tuple, size: tuple) -> None:
    """A white center with that share of the area fills the crop; a slightly smaller one does not."""
    height, width = picture
    kept = kept_share([picture], size)
    assert 0 < kept <= 1 and kept == pytest.approx(kept_share([size], picture))
    axis = 1 if width * size[0] > height * size[1] else 0  # the one that is cut
    for share, is_full in ((kept + 0.05, True), (kept - 0.05, False)):
        half = round(picture[axis] * share / 2)
        pixels = np.zeros(picture, np.uint8)
        middle = picture[axis] // 2
        pixels[(slice(None),) * axis + (slice(max(0, middle - half), middle + half),)] = 255
        seen = np.asarray(fit(Image.fromarray(pixels), Form(size)))
        assert bool((seen == 255).all()) is is_full


def test_the_mean_is_over_pictures_whichever_side_is_longer() -> None:
    assert kept_share([(10, 20), (20, 10), (8, 8)], (5, 5)) == pytest.approx(2 / 3)
    assert not crop_notes([(20, 30)], Form((20, 20)))  # a photograph loses a third
    assert crop_notes([(20, 31)], Form((20, 20)))
    assert not crop_notes([(20, 31)], Form((20, 20), fit="pad")) and not crop_notes([(20, 31)], Form())


@pytest.mark.parametrize(
    ("sizes", "fit", "flags", "reason"),
    [
        ([(200, 5000)], "crop", "--size 256 --fit pad", "would drop 96 % of the average image"),
        ([(4, 100)], "crop", "--size 100 --fit pad", "would drop 96 %"),
        ([(64, 200)], "crop", "--size 64x200", "the size of the images; a square .* would drop 68 %"),
        ([(20, 90), (90, 20)], "crop", "--size 64 --fit pad", "would drop 78 %"),
        ([(20, 90), (80, 20)], "pad", "--size 64 --fit pad", "all longer sides are at least 80"),
        ([(20, 90)], "stretch", "--size 20 --fit stretch", "the shorter side of the images$"),
        ([(20, 90)], "pad", "--size 90 --fit pad", "the longer side of the images$"),
    ],
)
def test_pictures_that_a_crop_ruins_are_padded_or_left_as_they_are(
    sizes: list, fit: str, flags: str, reason: str
) -> None:
    found = suggested(sizes, fit)
    assert worded(found.arguments, as_flag) == flags
    with pytest.raises(ValueError, match=reason):
        raise ValueError(found.reason)


def long_pictures(folder: Path, *sizes: tuple[int, int]) -> Path:
    folder.mkdir()
    for index, size in enumerate(sizes):
        noise = np.random.default_rng(index).integers(0, 256, size, dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{index:02d}.png")
    return folder


@pytest.mark.parametrize("sizes", [[(20, 600)] * 12, [(20, 600 + index) for index in range(12)]])
def test_data_training_and_the_plan_agree(tmp_path: Path, vaekit: Callable, sizes: list) -> None:
    folder = long_pictures(tmp_path / "long", *sizes)
    assert survey(folder)["suggested"] | {"reason": ""} == {"size": 256, "fit": "pad", "recipe": "vae", "reason": ""}
    for words in ([], ["--dry-run"]):
        answer = vaekit("train", folder, "--out", tmp_path / "run", *words)
        assert answer.code == 2 and "--size 256 --fit pad (a square center crop would drop 97 %" in answer.err
    note = DROPS.format("8x8", 97)
    assert any(each.startswith(note) for each in json.loads(vaekit("data", folder, "--size", 8, "--json").out)["notes"])
    train = ("train", folder, "--size", 8, "--recipe", "seed-ae", "--epochs", 1, "--out", tmp_path / "run")
    assert any(note in each for each in json.loads(vaekit(*train, "--dry-run", "--json").out)["config"]["notes"])
    assert note in vaekit(*train).err
    assert note in vaekit("reconstruct", tmp_path / "run", folder / "00.png", "--out", tmp_path / "r.png").err
    assert note in vaekit("data", folder, "--size", 8, "--write", tmp_path / "written").err
    quiet = vaekit("data", folder, "--size", 8, "--fit", "pad", "--json")
    assert not json.loads(quiet.out)["notes"]


def test_a_plan_counts_the_same_pictures_as_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vaekit.data.ingest.loader._MEASURED", 4)
    monkeypatch.setattr(import_module("vaekit.data.inspect.peek"), "_MOST", 3)
    folder = long_pictures(tmp_path / "long", *[(8, 8 * (1 + index)) for index in range(12)])
    form = Form((8, 8))
    cut = [note for note in open_images(folder, 8).notes if "center crop" in note]
    assert cut == [note for note in peek(folder, form)[0].notes if "center crop" in note] and len(cut) == 1
    shutil.make_archive(str(tmp_path / "packed"), "zip", folder)
    assert cut == [note for note in open_images(tmp_path / "packed.zip", 8).notes if "center crop" in note]


def test_it_is_said_of_arrays_and_images_too(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (12, 8, 80), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=array)
    for source in (array, torch.from_numpy(array), list(array), tmp_path / "a.npz", open_images(array)):
        assert any(DROPS.format("8x8", 90) in note for note in open_images(source, 8).notes)
        assert not open_images(source).notes and not open_images(source, "4x40").notes
    assert any("drops 88 %" in note for note in open_images("digits", (8, 64)).notes)
    with pytest.raises(UserError, match="the dataset differ in size .* for example size=64 fit=pad"):
        open_images([array[0], array[1, :, :70]])
