"""Interpolations, edits and traversals of a run equal their formulas, in Python and on the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

import vaekit as vk
from vaekit.data import write_folder
from vaekit.errors import UserError
from vaekit.figures.animation import Animation, animated, is_animated
from vaekit.figures.grid import Sheet
from vaekit.latent import ops as edit
from vaekit.latent.paths import spherical
from vaekit.runs.context import RunContext

Cli = Callable[..., Any]


def test_a_walk_through_several_places_has_a_row_for_each_stretch(portraits_vae: Path) -> None:
    run = vk.load(portraits_vae)
    noise = 3 * torch.randn(3, run.model.latent_dim, generator=torch.Generator().manual_seed(0))
    z = run.model.drawn_from().from_noise(noise)  # far from one another, or all pictures would be one
    whole = run.interpolate(*z, steps=4)
    assert len(whole) == 8 and whole.figure.columns == 4
    assert torch.equal(whole.pixels[:4], run.interpolate(z[0], z[1], steps=4).pixels)
    assert torch.equal(whole.pixels[4:], run.interpolate(z[1], z[2], steps=4).pixels)
    round_ = run.interpolate(z[0], z[1], steps=5, path="spherical").pixels
    torch.testing.assert_close(round_[[0, 4]].int(), run.decode(z[:2]).pixels.int(), atol=1, rtol=0)
    middle = run.model.drawn_from().from_noise(spherical(noise[0], noise[1], torch.tensor([0.5])))
    torch.testing.assert_close(round_[2].int(), run.decode(middle[None]).pixels[0].int(), atol=1, rtol=0)
    straight = run.interpolate(z[0], z[1], steps=5).pixels
    assert int((round_[2].int() - straight[2].int()).abs().max()) > 5
    with pytest.raises(UserError, match="at least 2"):
        run.interpolate(z[0])
    with pytest.raises(UserError, match="did you mean 'spherical'"):
        run.interpolate(z[0], z[1], path="sphere")


def test_a_traversal_goes_through_the_mean_or_the_image(portraits_vae: Path, tmp_path: Path) -> None:
    run = vk.load(portraits_vae)
    sheet, facts = run.traverse(count=2, steps=3)
    assert len(sheet) == 4 * 3 and sheet.columns == 3
    assert [text.split()[0] for text in sheet.row_labels] == [
        *facts["change_in_gray_levels"],
        *facts["variance_shares"],
    ]
    latents = run.stored()[0]["latents"]
    unit = torch.zeros(run.model.latent_dim)
    first = next(iter(facts["change_in_gray_levels"]))
    unit[int(first[1:])] = latents[:, int(first[1:])].std(unbiased=False)
    low, high = (run.decode((latents.mean(0) + sign * unit)[None]).pixels.float() for sign in (-1, 1))
    assert facts["change_in_gray_levels"][first] == pytest.approx(float((high - low).square().mean().sqrt()), rel=0.02)
    assert torch.equal(sheet.pixels[1], sheet.pixels[4])
    face = run.images("test").pixels[0]
    path = tmp_path / "me.png"
    Image.fromarray(face.permute(1, 2, 0).numpy()).save(path)
    own, _ = run.traverse(str(path), count=1, steps=3)
    assert torch.equal(own.pixels[1], run.decode(run.latent(str(path))[None]).pixels[0])
    with pytest.raises(UserError, match="^steps 1: expected"):
        run.traverse(steps=1)


def test_an_edit_is_the_latent_moved_and_decoded(portraits_vae: Path) -> None:
    run = vk.load(portraits_vae)
    faces = run.images("test").pixels[:4]
    known = run.directions()
    moved = run.encode(faces) + 300 * known["glasses"].vector - 200 * known["smiling"].vector
    edited = run.edit(faces, {"glasses": 300, "smiling": -200}).pixels
    assert torch.equal(edited, run.decode(moved).pixels)
    assert (
        int((edited.int() - run.reconstruct(faces).pixels.int()).abs().max()) > 20
    )  # it is no edit that shows nothing
    sheet, facts = run.edit_sheet(faces, {"glasses": 1})
    assert len(sheet) == 12 and torch.equal(sheet.pixels[:4], faces)
    assert facts["directions"]["glasses"]["accuracy"] == known["glasses"].accuracy
    with pytest.raises(UserError, match="did you mean 'glasses'"):
        run.edit(faces, {"glases": 1})


def test_directions_are_found_once_and_kept_until_the_weights_change(
    portraits_vae: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(portraits_vae, folder)
    (folder / "directions.safetensors").unlink(missing_ok=True)
    run = vk.load(folder)
    first = run.directions()
    assert {"glasses", "male", "smiling"} <= set(first) and any("=" in name for name in first)
    assert first["glasses"].held_out_from == "val part" and first["glasses"].held_out == len(run.images("val"))
    monkeypatch.setattr("vaekit.runs.verbs.directions.fit_all", None)  # is not called again
    again = vk.load(folder).directions()
    assert set(again) == set(first)
    assert all(torch.equal(again[name].vector, first[name].vector) for name in first)
    assert [each.facts() for each in again.values()] == [first[name].facts() for name in again]
    monkeypatch.setattr(RunContext, "images_seen", lambda self: 1)
    with pytest.raises(TypeError):  # the weights are others: fitted anew
        run.directions()


def test_without_its_images_a_run_holds_out_stored_codes(portraits_vae: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = vk.load(portraits_vae)

    def gone(*_: object) -> None:
        raise UserError("gone")

    monkeypatch.setattr(RunContext, "images", gone)
    monkeypatch.setattr("vaekit.runs.verbs.directions.load_directions", lambda *_: {})
    monkeypatch.setattr("vaekit.runs.verbs.directions.save_directions", lambda *_: None)
    found = run.directions()["glasses"]
    assert found.held_out_from == "a fifth of the stored latents"
    assert found.held_out + found.images_with + found.images_without == run.config.data.train_images


def test_a_direction_of_two_folders(vaekit: Cli, portraits_vae: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(portraits_vae, folder)
    run = vk.load(folder)
    faces = run.images("train")
    for name, value in (("with", 1), ("without", 0)):
        write_folder(faces.select(f"attr:glasses={value}")[:12], tmp_path / name)
    words = [f"frames={tmp_path / 'with'},{tmp_path / 'without'}", "--add", "frames", "--out", tmp_path / "e.png"]
    done = vaekit("edit", folder, tmp_path / "with", "--direction", *words, "--json")
    assert done.code == 0, done.err
    known = vk.load(folder).directions()["frames"]
    mean = [run.encode(str(tmp_path / name)).mean(0) for name in ("with", "without")]
    kept = torch.arange(12) % 5 != 4
    latents = torch.cat([run.encode(str(tmp_path / name)) for name in ("without", "with")])
    fitted = latents[12:][kept].mean(0) - latents[:12][kept].mean(0)
    torch.testing.assert_close(known.vector, fitted, rtol=1e-4, atol=1e-5)
    assert float((known.vector - (mean[0] - mean[1])).norm()) < float(known.vector.norm())
    assert known.held_out == 4 and known.accuracy is not None and known.method == "means"
    assert vaekit("edit", folder, tmp_path / "with", "--remove", "frames=0.5", "--out", tmp_path / "f.png").code == 0
    clash = vaekit(
        "edit", folder, tmp_path / "with", "--direction", words[0].replace("frames=", "glasses="), "--add", "male"
    )
    assert clash.code == 2 and "choose another name" in clash.err


def test_a_direction_needs_two_folders_of_different_images(vaekit: Cli, portraits_vae: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(portraits_vae, folder)
    faces = vk.load(folder).images("train")
    write_folder(faces[:4], tmp_path / "some")
    shutil.copytree(tmp_path / "some", tmp_path / "copy")
    (tmp_path / "copy" / "000000.png").rename(tmp_path / "copy" / "last.png")
    write_folder(faces[:6], tmp_path / "more")
    for other in ("some", "copy"):
        words = ["--direction", f"x={tmp_path / 'some'},{tmp_path / other}", "--add", "x", "--out", tmp_path / "e.png"]
        done = vaekit("edit", folder, tmp_path / "some", *words)
        assert done.code == 2 and f"{tmp_path / other} contain the same images; give a folder" in done.err
    assert not (tmp_path / "e.png").exists() and "x" not in vk.load(folder).directions()
    assert vk.load(folder).add_direction("x", str(tmp_path / "more"), str(tmp_path / "some")).vector.abs().sum() > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing is added or removed"),
        (["--add", "glases"], "did you mean 'glasses'"),
        (["--add", "hat"], "make one: --direction hat=with/,without/"),
        (["--remove", "red hat=2"], "make one: --direction 'red hat'=with/,without/"),
        (["--add", "glasses=much"], "glasses=much: expected a number up to 1,000"),
        (["--add", "glasses=nan"], "a number up to 1,000"),
        (["--add", "glasses=1e39"], "a number up to 1,000"),
        (["--add", "glasses", "--method", "mean"], "did you mean 'means'"),
        (["--add", "glasses", "--direction", "x=only"], "expected NAME=WITH,WITHOUT"),
        (["--add", "glasses", "--direction", "x=no/,where/"], "no file or folder 'where'"),
    ],
)
def test_an_edit_that_cannot_be_done_says_why(
    vaekit: Cli, portraits_vae: Path, tmp_path: Path, words: list[str], said: str
) -> None:
    face = tmp_path / "me.png"
    Image.new("RGB", (40, 40), "red").save(face)
    done = vaekit("edit", portraits_vae, face, *words, "--out", tmp_path / "out.png")
    assert done.code == 2 and said in done.err and "Traceback" not in done.err
    assert not (tmp_path / "out.png").exists()


def test_an_edit_of_images_without_labels_names_the_option(vaekit: Cli, tmp_path: Path) -> None:
    pixels = vk.open_images("digits").pixels[:40]
    vk.train(pixels, "vae", tmp_path / "run", epochs=1, settings={"width": 4}, quiet=True)
    digit = tmp_path / "digit.png"
    Image.fromarray(pixels[0, 0].numpy()).save(digit)
    done = vaekit("edit", tmp_path / "run", digit, "--add", "glasses", "--out", tmp_path / "e.png")
    assert done.code == 2 and "the data of this run has neither labels nor attributes; two folders of" in done.err
    assert done.err.endswith("make one: --direction glasses=with/,without/\n")


def frames(count: int) -> tuple[Sheet, ...]:
    return tuple(Sheet(torch.full((2, 3, 8, 8), 40 * i, dtype=torch.uint8), 2) for i in range(count))


@pytest.mark.parametrize("ending", [".gif", ".webp"])
def test_an_animation_goes_there_and_back(tmp_path: Path, ending: str) -> None:
    path = Animation(frames(4)).save(tmp_path / f"a{ending}")
    with Image.open(path) as image:
        assert getattr(image, "n_frames", 1) == 6
        seen = []
        for i in range(6):
            image.seek(i)
            seen.append(image.convert("RGB").getpixel((10, 10))[0])
    assert np.abs(np.array(seen) - [0, 40, 80, 120, 80, 40]).max() <= (8 if ending == ".gif" else 0)


def test_an_animation_has_two_frames_and_a_name_that_can_move(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="2 frames"):
        Animation(frames(1))
    with pytest.raises(UserError, match=r"\.gif or \.webp"):
        Animation(frames(2)).save(tmp_path / "a.png")
    assert is_animated(Path("a.gif"), False) and is_animated(Path("a.webp"), True) and is_animated(None, True)
    assert not is_animated(Path("a.webp"), False) and not is_animated(None, False)
    with pytest.raises(UserError, match=r"\.gif or \.webp"):
        is_animated(Path("a.png"), True)
    assert not list(tmp_path.iterdir())


def test_a_walk_moves_image_by_image_and_named_rows_together() -> None:
    pixels = torch.tensor([0, 1, 2, 2, 3, 4], dtype=torch.uint8).view(6, 1, 1, 1).expand(6, 1, 8, 8)
    assert [int(frame.pixels[0, 0, 0, 0]) for frame in animated(Sheet(pixels, 3)).frames] == [0, 1, 2, 3, 4]
    named = animated(Sheet(pixels, 3, row_labels=("a", "b")))
    assert [frame.pixels[:, 0, 0, 0].tolist() for frame in named.frames] == [[0, 2], [1, 3], [2, 4]]


@pytest.mark.parametrize("steps", [2, 11, 12, 13, 23, 24, 25, 37])
@pytest.mark.parametrize("stops", [2, 3])
def test_a_moving_walk_of_any_length_shows_each_step_once(digits_vae: Path, steps: int, stops: int) -> None:
    run = vk.load(digits_vae)
    latents = torch.randn(stops, run.model.latent_dim, generator=torch.Generator().manual_seed(0))
    shown = [frame.pixels[0] for frame in animated(run.interpolate(*latents, steps=steps).figure).frames]
    walks = [edit.interpolate(run.model, a, b, steps) for a, b in pairwise(latents)]
    wanted = torch.cat([walk[1:] if number else walk for number, walk in enumerate(walks)])
    assert len(shown) == steps + (stops - 2) * (steps - 1)
    torch.testing.assert_close(torch.stack(shown).float(), wanted.float(), atol=1, rtol=0)


def test_thirteen_steps_are_written_as_a_gif(vaekit: Cli, digits_vae: Path, tmp_path: Path) -> None:
    done = vaekit(
        "interpolate", digits_vae, "label:0", "label:7", "--steps", 13, "--out", tmp_path / "walk.gif", "--json"
    )
    assert done.code == 0, done.err
    with Image.open(tmp_path / "walk.gif") as image:
        durations = [frame.info["duration"] for frame in ImageSequence.Iterator(image)]
    assert sum(durations) == 22 * 120 + 2 * 480


def test_walks_in_words(vaekit: Cli, portraits_vae: Path, tmp_path: Path) -> None:
    groups = ["attr:glasses=0", "attr:glasses=1", "attr:glasses=0,male=1"]
    gif = tmp_path / "walk.gif"
    done = vaekit("interpolate", portraits_vae, *groups, "--steps", 3, "--path", "spherical", "--out", gif, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["picture"] == str(gif)
    with Image.open(gif) as image:
        assert getattr(image, "n_frames", 1) == 2 * 5 - 2
    assert vaekit("traverse", portraits_vae, "--count", 1, "--out", tmp_path / "t.webp", "--animate").code == 0
    wrong = vaekit("traverse", portraits_vae, "--out", tmp_path / "t.png", "--animate")
    assert wrong.code == 2 and ".gif or .webp" in wrong.err
