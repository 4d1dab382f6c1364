"""A hierarchy's verbs on a run: what moves, what follows, and what other recipes answer; in Python and as commands."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import vaekit as vk
from vaekit.data import to_float, write_folder
from vaekit.errors import UserError
from vaekit.evaluation.metrics import psnr_db
from vaekit.latent.levels import Moved, follow, top_size
from vaekit.model.ladder import LadderModel
from vaekit.runs.report.curves import panels
from vaekit.runs.report.facts import Facts
from vaekit.runs.verbs.traverse import axes_by_level
from vaekit.system.notes import note_once

Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def ladder_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ladder on drawn faces whose weights make every level count."""
    folder = tmp_path_factory.mktemp("ladder") / "run"
    settings = {
        "width": 8,
        "top_latents": 6,
        "latent_channels": 2,
        "patch": 2,
        "batch_size": 32,
        "clip_norm": 1,
        "kl_warmup": 0.3,
        "posterior_mean_gain": 0,
    }
    vk.train("portraits:60", "ladder-vae", folder, size=16, epochs=12, settings=settings, quiet=True)
    return folder


@pytest.fixture
def run(ladder_run: Path) -> vk.Run:
    return vk.load(ladder_run)


def model_of(run: vk.Run) -> LadderModel:
    assert isinstance(run.model, LadderModel)
    return run.model


def near(one: Tensor, other: Tensor) -> bool:
    """Whether two pictures differ by rounding only."""
    return int((one.int() - other.int()).abs().max()) <= 1


def test_a_row_for_each_level(run: vk.Run) -> None:
    faces, model = run.images("test").pixels[:3], model_of(run)
    count = len(model.level_sizes)
    figure, numbers = run.compare(faces, levels=True)
    assert figure.row_labels == ("original", "level 1", "levels 1 to 2", f"all {count} levels")
    rows = figure.pixels.unflatten(0, (1 + count, 3))
    assert torch.equal(rows[0], faces) and torch.equal(rows[-1], run.reconstruct(faces).pixels)
    z = run.encode(faces)
    for level in range(1, count + 1):
        assert near(rows[level], run.decode(model.completed(z, level)).pixels)
        psnr = psnr_db(to_float(rows[level]), to_float(faces))
        assert numbers[f"psnr_db_levels_{level}"] == pytest.approx(psnr)
    assert sum(numbers[f"rate_nats_level_{level}"] for level in range(1, count + 1)) == pytest.approx(
        numbers["rate_nats"], rel=1e-4
    )
    assert torch.equal(run.reconstruct(faces, levels=True).pixels, figure.pixels[3:])
    shorter = run.reconstruct(faces, levels=1)
    assert torch.equal(shorter.pixels, torch.cat([rows[1], rows[-1]]))
    assert set(shorter.numbers) >= {"psnr_db_levels_1", f"psnr_db_levels_{count}"}


def test_edits_that_lose_detail_say_so(run: vk.Run, capsys: pytest.CaptureFixture[str]) -> None:
    faces, count = run.images("test").pixels[:1], len(run.model.latent_shapes)
    moves = {
        "edit": lambda **how: run.edit(faces, {"glasses": 1.0}, **how),
        "arithmetic": lambda **how: run.arithmetic("attr:glasses=1", **how),
        "interpolate": lambda **how: run.interpolate("attr:glasses=0", "attr:glasses=1", steps=2, **how),
        "traverse": lambda **how: run.traverse(count=1, steps=2, **how),
    }
    for verb, move in moves.items():
        note_once.cache_clear()
        move(keep_detail=True)
        if verb != "edit":
            move(levels=count)
        assert capsys.readouterr().err == ""
        move()
        assert capsys.readouterr().err == (
            f"vaekit: {verb}: the levels that do not move take the mean of their prior, so images lose detail; "
            "keep_detail keeps it\n"
        )


def test_detail_that_is_kept_gives_the_reconstruction_back(run: vk.Run, tmp_path: Path) -> None:
    faces = run.images("test").pixels[:3]
    expected = run.reconstruct(faces).pixels
    assert near(run.edit(faces, {"glasses": 0.0}, keep_detail=True).pixels, expected)
    without = run.edit(faces, {"glasses": 0.0}).pixels
    assert not near(without, expected)
    assert near(without, run.reconstruct(faces, levels=1).pixels[:3])
    path = tmp_path / "me.png"
    Image.fromarray(faces[0].permute(1, 2, 0).numpy()).save(path)
    assert near(run.arithmetic(f"1*'{path}'", keep_detail=True).pixels, expected[:1])
    same = f"'{path}' + attr:glasses=1 - attr:glasses=1"
    assert near(run.arithmetic(same, keep_detail=True).pixels, expected[:1])
    assert near(run.arithmetic(same).pixels, without[:1])
    z = run.encode(faces)
    assert near(run.interpolate(z[0], z[1], steps=3, keep_detail=True).pixels[[0, 2]], expected[:2])
    assert near(run.interpolate(z[0], z[1], steps=3).pixels[[0, 2]], without[:2])
    assert near(run.traverse(str(path), count=1, steps=3, keep_detail=True).pixels[[1]], expected[:1])
    assert near(run.traverse(str(path), count=1, steps=3).pixels[[1]], without[:1])


def test_an_edit_moves_the_levels_of_its_directions(run: vk.Run) -> None:
    faces, model = run.images("test").pixels[:3], model_of(run)
    z = run.encode(faces)
    for levels in (1, 2):
        known = run.directions(levels=levels)
        size, vector = top_size(model, levels), known["glasses"].vector
        assert known["glasses"].levels == levels
        assert bool(vector[:size].any()) and not vector[size:].any()
        moved = follow(model, z, z + 5 * vector, Moved(levels, keeps_detail=True))
        found = run.edit(faces, {"glasses": 5.0}, known, keep_detail=True)
        assert torch.equal(found.pixels, run.decode(moved).pixels)
    one, two = (run.directions(levels=levels)["glasses"] for levels in (1, 2))
    assert torch.equal(one.vector[:6], two.vector[:6]), "each number of adjusted directions is fitted by itself"
    sheet, facts = run.edit_sheet(faces, {"glasses": 1.0}, keep_detail=True)
    assert len(sheet) == 9 and facts["directions"]["glasses"]["accuracy"] == one.accuracy


def test_the_accuracy_is_that_of_the_levels_that_move(run: vk.Run) -> None:
    held, latents = run.images("val"), run.stored()[0]
    has, truth = latents["attribute.glasses"] == 1, torch.from_numpy(held.attributes["glasses"] == 1)
    for levels in (1, 2):
        direction = run.directions("classifier", levels=levels)["glasses"]
        fitted, tested = latents["latents"] @ direction.vector, run.encode(held.pixels) @ direction.vector
        cut = (fitted[has].mean() + fitted[~has].mean()) / 2
        right = ((tested[truth] > cut).float().mean() + (tested[~truth] <= cut).float().mean()) / 2
        assert direction.accuracy == pytest.approx(float(right))


def test_directions_of_each_number_of_levels_are_stored(
    ladder_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(ladder_run, folder)
    run = vk.load(folder)
    first = [run.directions(levels=levels)["glasses"].vector for levels in (1, 2)]
    monkeypatch.setattr("vaekit.runs.verbs.directions.fit_all", None)  # is not called again
    again = [vk.load(folder).directions(levels=levels)["glasses"].vector for levels in (1, 2)]
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


def test_a_direction_of_folders_is_stored_for_each_number_of_levels(ladder_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(ladder_run, folder)
    run = vk.load(folder)
    for name, value in (("with", 1), ("without", 0)):
        write_folder(run.images("train").select(f"attr:glasses={value}")[:8], tmp_path / name)
    folders = str(tmp_path / "with"), str(tmp_path / "without")
    made = [run.add_direction("frames", *folders, levels=levels) for levels in (1, 2)]
    for levels, direction in zip((1, 2), made, strict=True):
        size = top_size(run.model, levels)
        expected = (run.encode(folders[0]).mean(0) - run.encode(folders[1]).mean(0))[:size]
        torch.testing.assert_close(run.directions(levels=levels)["frames"].vector, direction.vector)
        assert (
            float(torch.corrcoef(torch.stack([direction.vector[:size], expected]))[0, 1]) > 0.7
        )  # a fifth is held out
        assert not direction.vector[size:].any()


def test_a_traversal_is_of_the_levels_that_move(run: vk.Run) -> None:
    size = top_size(model_of(run), 1)
    numbers = run.traverse(count=10, steps=3).numbers
    assert set(numbers["change_in_gray_levels"]) == {f"z{i}" for i in range(size)}, (
        "all six, although ten are asked for"
    )
    assert sum(run.traverse(count=6, steps=3)["variance_shares"].values()) == pytest.approx(1)
    assert all(not axis.step[size:].any() for axis in run.axes(3))
    wider = run.traverse(count=40, steps=3, levels=2)["change_in_gray_levels"]
    assert any(int(name[1:]) >= size and change > 0 for name, change in wider.items())


def test_pictures_and_reports_show_the_levels(run: vk.Run) -> None:
    facts, count = Facts.of(run.path), len(model_of(run).level_sizes)
    with Image.open(max(facts.pictures.items())[1]["reconstructions"]) as drawn:
        expected = run.compare(run.pick(None, "val", 10), levels=True).image()
        assert drawn.size == expected.size and np.abs(np.asarray(drawn).astype(int) - expected).max() <= 1
    found = {panel.title: panel.series for panel in panels(facts)}
    names = ("Rate of level 1, the top", "Rate of level 2", "Rate of level 3, the finest")
    lines = facts.of_kind("validation")
    for number, name in enumerate(names, 1):
        (series,) = found[name]
        assert series.part == "validation" and series.x == tuple(float(line["images"]) for line in lines)
        assert series.y == tuple(line[f"validation_rate_nats_level_{number}"] for line in lines)
    numbers = facts.numbers
    assert sum(numbers[f"rate_nats_level_{i + 1}"] for i in range(count)) == pytest.approx(numbers["rate_nats"])
    page, card = ((run.path / name).read_text("utf-8") for name in ("report.html", "README.md"))
    for number, name in enumerate(names, 1):
        shown = f"{numbers[f'rate_nats_level_{number}']:,.1f}"
        assert (
            f"<h3>{name}</h3>" in page and f'<th>{name} <small>nats per image</small></th><td class="n">{shown}' in page
        )
        assert f"| {name} | {shown} nats per image |" in card
    assert "Each row has one more level, and the last all" in page


def test_each_level_has_its_own_dimensions(run: vk.Run, portraits_vae: Path) -> None:
    model, start = model_of(run), run.stored()[0]["latents"].mean(0)
    found = axes_by_level(run.context, 4)
    ends = [top_size(model, level) for level in range(1 + len(model.level_sizes))]
    assert len(found) == len(model.level_sizes)
    for axes, first, end in zip(found, ends, ends[1:], strict=False):
        assert len(axes) == 4 and all(first <= int(axis.name[1:]) < end for axis in axes)
        for axis in axes:
            place = int(axis.name[1:])
            assert axis.step[place] > 0 and int((axis.step != 0).sum()) == 1
        low, high = (run.decode((start + sign * axes[0].step.float())[None]).pixels.float() for sign in (-1, 1))
        assert axes[0].size == pytest.approx(float((high - low).square().mean().sqrt()), rel=1e-3)
    plain = vk.load(portraits_vae)
    (only,) = axes_by_level(plain.context, 4)
    assert [(axis.name, axis.size) for axis in only] == [(axis.name, axis.size) for axis in plain.axes(4)]


@pytest.mark.parametrize(
    ("act", "told"),
    [
        (lambda run, face: run.reconstruct(face, levels=9), "levels 9: expected 1 to 3, or all"),
        (lambda run, face: run.reconstruct(face, levels=0), "levels 0: expected 1 to 3, or all"),
        (lambda run, face: run.reconstruct(face, levels=2, tiled=True), "tiled: "),
        (lambda run, face: run.interpolate("label:x", "label:x", levels=0), "levels 0: expected 1 to 3"),
        (lambda run, face: run.arithmetic("attr:glasses=1", levels=4), "levels 4: expected 1 to 3"),
        (lambda run, face: run.traverse(levels=4), "levels 4: expected 1 to 3"),
        (lambda run, face: run.directions(levels=4), "levels 4: expected 1 to 3"),
    ],
)
def test_levels_that_do_not_exist_are_refused(run: vk.Run, act: Callable[[vk.Run, Tensor], object], told: str) -> None:
    with pytest.raises(UserError, match=f"^{told}"):
        act(run, run.images("test").pixels[:1])


@pytest.mark.parametrize(
    "words",
    [
        "reconstruct vae --levels 2",
        "interpolate vae attr:glasses=0 attr:glasses=1 --levels 2",
        "arithmetic vae attr:glasses=0 --keep-detail",
        "traverse vae --keep-detail",
        "edit vae me.png --add glasses --keep-detail",
        "edit vae me.png --add glasses --levels 2",
    ],
)
def test_other_recipes_refuse_levels_by_name(
    words: str, vaekit: Cli, portraits_vae: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("vae").symlink_to(portraits_vae)
    Image.new("RGB", (16, 16)).save("me.png")
    answer = vaekit(*shlex.split(words))
    assert answer.code == 2
    flag = "--levels" if "--levels" in words else "--keep-detail"
    told = f"vaekit: {flag}: recipe 'vae' has a latent vector, and this needs latent levels; train ladder-vae\n"
    assert told in answer.err and sorted(path.name for path in tmp_path.iterdir()) == ["me.png", "vae"]


def test_the_commands_take_levels(
    vaekit: Cli, ladder_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ladder").symlink_to(ladder_run)
    run = vk.load("ladder")
    face = run.images("test").pixels[0]
    Image.fromarray(face.permute(1, 2, 0).numpy()).save("me.png")
    groups = "attr:glasses=0 attr:glasses=1"
    for words, expected in (
        ("reconstruct ladder --count 3 --levels all", lambda: run.compare(run.pick(None, None, 3), levels=True)),
        ("reconstruct ladder --count 3 --levels 1", lambda: run.compare(run.pick(None, None, 3), levels=1)),
        (
            f"interpolate ladder {groups} --levels 2 --keep-detail",
            lambda: run.interpolate(*groups.split(), levels=2, keep_detail=True),
        ),
        (
            "arithmetic ladder me.png --levels 2 --keep-detail",
            lambda: run.arithmetic("me.png", levels=2, keep_detail=True),
        ),
        (
            "edit ladder me.png --add glasses --levels 2 --keep-detail",
            lambda: run.edit_sheet("me.png", {"glasses": 1.0}, run.directions(levels=2), keep_detail=True),
        ),
        ("traverse ladder me.png --levels 2 --keep-detail", lambda: run.traverse("me.png", levels=2, keep_detail=True)),
        ("generate ladder --temperature 1,0.5,0.5", lambda: run.generate(temperature=[1, 0.5, 0.5])),
    ):
        answer = vaekit(*shlex.split(words), "--out", "new.png", "--json", "--overwrite")
        assert answer.code == 0, (words, answer.err)
        with Image.open("new.png") as picture:
            assert (np.asarray(picture) == np.asarray(expected().image())).all(), words
    numbers = json.loads(vaekit(*shlex.split("reconstruct ladder --levels all --json")).out)
    assert {"picture", "psnr_db_levels_1", "rate_nats_level_3", "rate_nats"} <= set(numbers)
    assert numbers["images"] == min(10, len(run.images("test")))  # the numbers are those of the pictured images
    answer = vaekit(*shlex.split("reconstruct ladder --levels many"))
    assert (answer.code, answer.err) == (2, "vaekit: --levels many: expected a number of levels, or all\n")
