"""A flow-matching prior is a training of its own: it resumes to the same bytes, and belongs to one set of weights."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vaekit as vk
from vaekit.config.table import get
from vaekit.errors import Interrupted, UserError
from vaekit.latent.flow_prior import FlowConfig, load_flow, new_flow, read_flow_config
from vaekit.model.conditioning import possible_conditions, size_of
from vaekit.model.factory import build_model, resolve
from vaekit.runs.folder import read_metrics
from vaekit.system.files import load_tensors, save_tensors
from vaekit.training.latent_batches import LatentBatches, Latents, encoded
from vaekit.training.prior import _PriorRecorder

SMALL: dict[str, Any] = {"images": 400, "width": 8, "depth": 1, "batch_size": 32, "quiet": True}


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a latent grid of 2 × 2 cells, on faces with attributes."""
    out = tmp_path_factory.mktemp("runs") / "grid"
    settings = {"width": 8, "downsampling": 8, "latent_channels": 4}
    vk.train("portraits:80", "grid-vae", out, size=16, images=160, flip=True, settings=settings, quiet=True)
    return out


@pytest.fixture(scope="module")
def fitted(grid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = Path(shutil.copytree(grid, tmp_path_factory.mktemp("fitted") / "run"))
    vk.load(out).fit_prior(**SMALL)
    return out


@pytest.fixture
def run(grid: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(grid, tmp_path / "run"))


@pytest.fixture
def done(fitted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(fitted, tmp_path / "done"))


def files_of(run: Path) -> dict[str, bytes]:
    """Return all files of a prior; in the metrics, without the speed."""
    found = {path.name: path.read_bytes() for path in (run / "prior").iterdir()}
    lines = [json.loads(line) for line in found.pop("metrics.jsonl").splitlines()]
    kept = [{key: value for key, value in line.items() if key != "images_per_second"} for line in lines]
    return {**found, "metrics.jsonl": json.dumps(kept).encode()}


def test_a_prior_is_fitted_stored_and_drawn_from(fitted: Path) -> None:
    run = vk.load(fitted)
    drawn = run.generate(5).pixels
    assert drawn.shape == (5, 3, 16, 16)
    assert torch.equal(run.generate(3).pixels, drawn[:3])
    assert torch.equal(vk.load(fitted).generate(5).pixels, drawn)
    run.model.fitted_prior = None
    assert not torch.equal(run.generate(5).pixels, drawn)


def test_the_facts_name_what_it_was_fitted_to(run: Path) -> None:
    opened = vk.load(run)
    facts = opened.fit_prior(**SMALL)
    train = len(opened.images("train"))
    assert facts["latents"] == 2 * train  # and those of mirrored images, because the run was trained on these, too
    assert facts["trained_on"] == 400 and facts["held_out"] == len(opened.images("val"))
    assert facts["held_out_from"] == "val" and "glasses" in facts["conditions"]
    assert 0 < facts["held_out_velocity_error"] < 3


def test_the_error_falls_below_that_of_a_normal(tmp_path: Path) -> None:
    run = vk.train("digits", "ae", tmp_path / "run", images=4000, settings={"net": "mlp"}, latent_dim=8, quiet=True)
    facts = run.fit_prior("flow-matching", **SMALL | {"images": 20_000, "width": 32, "learning_rate": 0.003})
    errors = [line["velocity_error"] for line in read_metrics(run.path / "prior") if line["kind"] == "train"]
    assert np.mean(errors[-20:]) < 0.9 * np.mean(errors[:20])
    assert facts["held_out_velocity_error"] < 0.9 * facts["held_out_velocity_error_of_a_normal"]


def test_an_interrupted_fit_ends_with_the_same_bytes(
    run: Path, fitted: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for at in (64, 224):
        log = _PriorRecorder.log

        def interrupted(recorder: _PriorRecorder, *numbers: Any, at: int = at, log: Callable = log) -> None:
            log(recorder, *numbers)
            if recorder.trainer.images >= at:
                os.kill(os.getpid(), signal.SIGINT)

        with monkeypatch.context() as patched, pytest.raises(Interrupted):
            patched.setattr(_PriorRecorder, "log", interrupted)
            vk.load(run).fit_prior(**SMALL)
    capsys.readouterr()
    assert vk.load(run).generate(2).pixels.shape == (2, 3, 16, 16)  # of what was fitted so far
    assert "is not finished: it has seen 2" in capsys.readouterr().err
    vk.load(run).fit_prior(quiet=True)  # resumes with what it began with
    expected = files_of(fitted)
    found = files_of(run)
    for name in ("state.safetensors", "weights.safetensors", "config.json", "metrics.jsonl"):
        assert found[name] == expected[name], name


@pytest.mark.parametrize("moment", ["save_state", "save_flow_weights", "write_flow_config", "append_metrics"])
def test_a_killed_fit_ends_with_the_same_bytes(
    moment: str, run: Path, fitted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before and after each file that it writes."""
    from vaekit.runs import folder
    from vaekit.training import prior, steps

    place = folder if moment in ("save_state", "append_metrics") else prior
    for writes_first in (True, False, True):
        original, calls = getattr(place, moment), [0]

        def killed(*given: Any, original: Any = original, calls: list = calls, writes: bool = writes_first) -> None:
            calls[0] += 1
            if calls[0] == (3 if moment == "append_metrics" else 1):
                if writes:
                    original(*given)
                raise KeyboardInterrupt
            original(*given)

        with monkeypatch.context() as patched:
            patched.setattr(steps, "SAVE_EVERY_SECONDS", 0.0)
            patched.setattr(steps, "_FIRST_SAVE_SECONDS", 0.0)
            patched.setattr(place, moment, killed)
            with pytest.raises(KeyboardInterrupt):
                vk.load(run).fit_prior(**SMALL)
    vk.load(run).fit_prior(**SMALL)
    found, expected = files_of(run), files_of(fitted)
    for name in ("state.safetensors", "weights.safetensors", "config.json", "metrics.jsonl"):
        assert found[name] == expected[name], name
    assert not [path for path in (run / "prior").iterdir() if path.name.startswith(".")]


def test_a_finished_prior_is_not_trained_again(done: Path) -> None:
    before = files_of(done)
    facts = vk.load(done).fit_prior(quiet=True)
    after = files_of(done)
    assert after == before and facts["trained_on"] == 400


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"images": 500}, "images=500: .*/prior contains a prior with images=400; leave it out to resume, or remove"),
        ({"seed": 2}, "seed=2: .*contains a prior with seed=0"),
        ({"budget": "10s"}, "budget=10s: .*contains a prior with no budget"),
        ({"width": 32}, "width=32: .*contains a prior with width=8"),
    ],
)
def test_other_values_than_those_of_the_prior_are_refused(done: Path, given: dict[str, Any], message: str) -> None:
    before = files_of(done)
    with pytest.raises(UserError, match=message):
        vk.load(done).fit_prior(quiet=True, **given)
    assert files_of(done) == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"images": 0}, "images=0: expected a number from 1"),
        ({"width": 5000}, "width=5000: expected a number from 8 to 4,096"),
        ({"depth": 40}, "depth=40: expected a number from 1 to 32"),
        ({"seed": -1}, "seed=-1: expected a number from 0"),
        ({"batch_size": 0}, "batch_size=0: expected"),
        ({"images": 10, "budget": "1m"}, "images and budget exclude each other"),
        ({"width": 4}, "width=4: expected a number from 8"),
        ({"learning_rate": 0.0}, "learning_rate=0.0: expected a number from 1e-12 to 1"),
        ({"learning_rate": -1.0}, "learning_rate=-1.0: expected"),
        ({"kind": "mixture"}, "kind=mixture: the latent of recipe 'grid-vae' is a grid, and only kind=flow-matching"),
        ({"kind": "mixture", "width": 8}, "width=8: only kind=flow-matching takes it"),
        ({"components": 3}, "components 3: a flow-matching prior has none"),
        ({"kind": "flowmatching"}, "kind=flowmatching: .*grid"),
    ],
)
def test_wrong_values_are_refused_before_anything_is_written(run: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        vk.load(run).fit_prior(**given)
    assert not (run / "prior").exists()


def test_after_more_training_it_is_not_used_and_fitted_anew(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"width": 8, "downsampling": 8, "latent_channels": 4}
    vk.train("portraits:80", "grid-vae", done, size=16, images=224, flip=True, settings=settings, quiet=True)
    run = vk.load(done)
    assert "fitted to earlier weights of the run; fit it again" in capsys.readouterr().err
    assert run.model.fitted_prior is None
    run.fit_prior(**SMALL | {"images": 64, "quiet": False})
    assert "was fitted to earlier weights of the run, and is replaced" in capsys.readouterr().err
    assert vk.load(done).model.fitted_prior is not None and read_flow_config(done).total_images == 64


def test_it_can_be_removed(done: Path) -> None:
    run = vk.load(done)
    assert run.fit_prior("none") == {"removed": True}
    assert not (done / "prior").exists() and run.model.fitted_prior is None
    assert run.fit_prior("none") == {"removed": False}


def test_a_mixture_does_not_replace_it_and_it_replaces_a_mixture(tmp_path: Path) -> None:
    run = vk.train("digits", "vae", tmp_path / "run", images=256, settings={"net": "mlp"}, quiet=True)
    run.fit_prior("mixture", 2)
    facts = run.fit_prior("flow-matching", **SMALL | {"images": 8000, "learning_rate": 0.01})
    assert facts["conditions"] == ["label"] and not (tmp_path / "run" / "prior.safetensors").exists()
    with pytest.raises(UserError, match="contains a flow-matching prior; remove it first"):
        run.fit_prior("mixture", 2)
    drawn = run.generate(4, condition={"label": "3"}, guidance=2.0, steps=3).pixels
    assert not torch.equal(drawn, run.generate(4, steps=3).pixels)


def test_steps_and_guidance_are_refused_where_they_do_nothing(fitted: Path, grid: Path) -> None:
    with pytest.raises(UserError, match="guidance=2.0: needs condition"):
        vk.load(fitted).generate(1, guidance=2.0)
    with pytest.raises(UserError, match="steps=5: only a prior of fit-prior with kind=flow-matching takes it"):
        vk.load(grid).generate(1, steps=5)
    with pytest.raises(UserError, match="is not conditional; .*fit-prior"):
        vk.load(grid).generate(1, condition={"glasses": 1})
    with pytest.raises(UserError, match="condition hat=1: the model was not trained with 'hat'"):
        vk.load(fitted).generate(1, condition={"hat": 1})
    with pytest.raises(UserError, match="temperature 0.5"):
        vk.load(fitted).generate(1, temperature=0.5)


def test_variations_of_an_image_come_from_a_file(done: Path, tmp_path: Path, vaekit: Callable) -> None:
    run = vk.load(done)
    photo = run.images().pixels[:1]
    same = run.generate(3, image=photo, strength=0.0).pixels
    assert torch.equal(same, run.reconstruct(photo).pixels.expand(3, -1, -1, -1))
    varied = run.generate(3, image=photo).pixels
    assert not torch.equal(varied, same) and not torch.equal(varied[0], varied[1])
    run.reconstruct(photo).figure.save(tmp_path / "photo.png")
    words = ("generate", done, "--from", tmp_path / "photo.png", "--out", tmp_path / "new.png")
    assert vaekit(*words, "--strength", "0.3").code == 0
    guided = ("generate", done, "--condition", "glasses=1", "--guidance", "2", "--steps", "3")
    assert vaekit(*guided, "--out", tmp_path / "guided.png").code == 0
    answer = vaekit("generate", done, "--strength", "0.3", "--out", tmp_path / "more.png")
    assert answer.code == 2 and answer.err == "vaekit: --strength 0.3: needs --from, the image to vary\n"
    with pytest.raises(UserError, match="image: there are 2 images; give one"):
        run.generate(1, image=run.images().pixels[:2])
    run.fit_prior("none")
    answer = vaekit(*words[:-1], tmp_path / "no.png")
    assert answer.code == 2 and "--from " in answer.err and "only a prior of fit-prior with --kind" in answer.err


def test_bounds_do_not_change(fitted: Path, grid: Path) -> None:
    assert vk.load(fitted).evaluate() == vk.load(grid).evaluate()


def test_a_batch_may_be_larger_than_the_data_and_the_same_call_resumes(run: Path) -> None:
    given = SMALL | {"batch_size": 1000}
    assert vk.load(run).fit_prior(**given)["trained_on"] == 400
    assert vk.load(run).fit_prior(**given)["trained_on"] == 400


def test_a_budget_is_measured_once(run: Path) -> None:
    facts = vk.load(run).fit_prior(**{**SMALL, "images": None, "budget": "5s"})
    assert facts["trained_on"] > 0 and read_flow_config(run).budget_seconds == 5
    assert vk.load(run).fit_prior(budget="5s", quiet=True)["trained_on"] == facts["trained_on"]


def test_attributes_that_do_not_vary_are_no_conditions(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 8, 8), dtype=np.uint8)
    images = vk.open_images(pixels)
    images = replace(images, attributes={"same": np.ones(40), "name": np.array([str(i) for i in range(40)])})
    assert possible_conditions(images, np.ones(40, bool)) == ()


def test_a_dimension_in_which_latents_are_equal_stays_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_model(resolve(get("ae"), (1, 8, 8), 100), (1, 8, 8))
    flow = FlowConfig(
        weights="", width=8, depth=1, conditions=(), latents=9, total_images=9, batch_size=3, learning_rate=0.1, seed=0,
        flip=False, precision="fp32",
    )  # fmt: skip
    prior, latents = new_flow(model, flow), Latents(torch.ones(9, 16), torch.zeros(9, 16), None)
    prior.scale(*latents.moments(prior))
    assert bool(latents.standardized(prior).mean.isfinite().all())
    assert bool(prior(None).from_noise(torch.randn(2, model.latent_dim)).isfinite().all())
    monkeypatch.setattr("vaekit.latent.flow_prior.physical_bytes", lambda: 1 << 30)
    with pytest.raises(
        UserError, match="width 4096 and depth 32 needs .* and this machine has .*; give a smaller width"
    ):
        new_flow(model, replace(flow, width=4096, depth=32))


def test_a_fit_that_fails_before_its_first_state_leaves_nothing(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("vaekit.model.flow_matching.VelocityStep.forward", failing)
    with pytest.raises(MemoryError):
        vk.load(run).fit_prior(**SMALL)
    assert not (run / "prior").exists()


def test_files_of_the_user_in_its_folder_are_kept(run: Path, done: Path) -> None:
    for folder, call in ((run, SMALL), (done, {"kind": "none"})):
        (folder / "prior").mkdir(exist_ok=True)
        (folder / "prior" / "mine.png").write_bytes(b"mine")
        with pytest.raises(UserError, match="contains files that are not of a prior, such as mine.png"):
            vk.load(folder).fit_prior(**call)
        assert (folder / "prior" / "mine.png").read_bytes() == b"mine"


@pytest.mark.skipif(find_spec("onnx") is None, reason="needs the extra export")
def test_an_export_says_that_it_draws_from_the_prior_of_the_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = vk.train("digits", "vae", tmp_path / "run", images=64, settings={"net": "mlp"}, quiet=True)
    run.fit_prior("flow-matching", **SMALL)
    run.export(tmp_path / "out")
    assert "a flow-matching prior cannot be exported; the export samples from the prior of" in capsys.readouterr().err
    assert run.model.fitted_prior is not None


def test_inpainting_uses_the_prior_of_the_training(done: Path, grid: Path) -> None:
    photo = np.random.default_rng(0).random((1, 3, 16, 16)).astype(np.float32)
    hidden = np.zeros((1, 1, 16, 16), bool)
    hidden[..., :6, :6] = True
    for run in (done, grid):
        (run / "latents.safetensors").rename(run / "aside")
    try:
        one, two = (vk.load(run).inpaint(photo, hidden) for run in (done, grid))
    finally:
        for run in (done, grid):
            (run / "aside").rename(run / "latents.safetensors")
    assert torch.equal(torch.as_tensor(one), torch.as_tensor(two))


# --- a damaged or hostile folder


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("config.json", lambda path: path.write_text("{")),
        ("config.json", lambda path: path.write_text(path.read_text().replace('"width": 8', '"width": 16'))),
        ("config.json", lambda path: path.write_text(path.read_text().replace('"depth": 1', '"depth": 1000000'))),
        ("config.json", lambda path: path.write_text(path.read_text().replace('"kind"', '"sort"'))),
        ("weights.safetensors", lambda path: path.write_bytes(path.read_bytes()[:200])),
        ("weights.safetensors", lambda path: save_tensors(path, {}, load_tensors(path)[1])),
        ("weights.safetensors", lambda path: path.unlink()),
        ("weights.safetensors", lambda path: _with_tensor(path, "std", torch.zeros(4))),
        ("weights.safetensors", lambda path: _with_tensor(path, "mean", torch.full((4,), float("nan")))),
    ],
)
def test_a_damaged_prior_is_not_used_and_said(
    name: str, change: Callable[[Path], Any], done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(done / "prior" / name)
    run = vk.load(done)
    assert run.model.fitted_prior is None
    told = capsys.readouterr().err
    assert (
        told.count("\n") == 1
        and "fitted prior is not used" in told
        and "--kind none" in told.replace("kind=", "--kind ")
    )
    run.fit_prior("none")


def _with_tensor(path: Path, name: str, value: torch.Tensor) -> None:
    tensors, facts = load_tensors(path)
    save_tensors(path, {**tensors, name: value}, facts)


def test_a_state_of_another_configuration_is_not_resumed(done: Path) -> None:
    path = done / "prior" / "config.json"
    path.write_text(path.read_text().replace('"learning_rate": 0.001', '"learning_rate": 0.002'))
    with pytest.raises(UserError, match=r"no state in .*/prior can be read; remove the prior with kind=none"):
        vk.load(done).fit_prior(quiet=True)


def test_a_prior_is_not_written_through_a_link(run: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (run / "prior").symlink_to(elsewhere)
    with pytest.raises(UserError, match="is not a folder; remove it first"):
        vk.load(run).fit_prior(**SMALL)
    assert not any(elsewhere.iterdir())


# --- batches


def latents_of(count: int = 20) -> Latents:
    generator = torch.Generator().manual_seed(0)
    mean, std = torch.randn(2, count, 16, generator=generator)
    return Latents(mean, std.abs(), torch.ones(count, 3))


def test_batches_follow_from_the_position_and_cover_each_epoch(fitted: Path) -> None:
    flow = replace(read_flow_config(fitted), batch_size=8)
    size = size_of(flow.conditions)
    latents = Latents(latents_of().mean, latents_of().std, torch.ones(20, size))
    one, two = (LatentBatches(flow, latents, torch.device("cpu")) for _ in range(2))
    seen = torch.cat([one.index_at(images) for images in (20, 28, 36)])
    assert sorted(seen.tolist()) == list(range(20)) and len(one.index_at(36)) == 4
    assert torch.equal(two.index_at(28), one.index_at(28)), "whatever was asked before"
    (batch, noise), (again, same) = (each.batch(one.index_at(28), 28, 3) for each in (one, two))
    assert torch.equal(batch.x, again.x) and torch.equal(noise, same)
    assert torch.equal(batch.condition, again.condition)


def test_conditions_are_hidden_at_random_all_together_and_each(fitted: Path) -> None:
    flow = replace(read_flow_config(fitted), batch_size=4000, total_images=10**6)
    latents = Latents(torch.zeros(4000, 2), torch.zeros(4000, 2), torch.ones(4000, size_of(flow.conditions)))
    batch, _ = LatentBatches(flow, latents, torch.device("cpu")).batch(torch.arange(4000), 0, 0)
    assert batch.condition is not None
    kept = batch.condition
    assert float((kept.sum(1) == 0).float().mean()) == pytest.approx(0.1, abs=0.02)
    assert float(kept[:, -1].mean()) == pytest.approx(0.9 * 0.9, abs=0.02)


def test_a_latent_is_a_sample_of_its_posterior_and_the_noise_is_another(fitted: Path) -> None:
    latents = Latents(*(each.repeat(300, 1) for each in (latents_of().mean, latents_of().std)), None)
    batches = LatentBatches(
        replace(read_flow_config(fitted), conditions=(), batch_size=6000, total_images=10**6),
        latents,
        torch.device("cpu"),
    )
    index = batches.index_at(0)
    batch, noise = batches.batch(index, 0, 0)
    again, _ = batches.batch(index, 0, 0)
    later, _ = batches.batch(index, 0, 1)
    assert torch.equal(batch.x, again.x) and not torch.equal(batch.x, later.x)
    unit = (batch.x - latents.mean[index]) / latents.std[index]
    assert unit.std() == pytest.approx(1, abs=0.02) and unit.mean() == pytest.approx(0, abs=0.02)
    assert noise.shape == (1, 6000, 17) and noise.std() == pytest.approx(1, abs=0.02)
    correlation = (unit * noise[0, :, :16]).mean()
    assert abs(float(correlation)) < 0.02


def test_mirrored_images_follow_with_the_conditions_of_the_originals(grid: Path) -> None:
    run = vk.load(grid)
    images, rows = run.images(), np.arange(3)
    both = encoded(run.model, images, rows, (), flip=True)
    assert len(both) == 6
    torch.testing.assert_close(both.mean[:3], run.encode(images.pixels[:3]))
    torch.testing.assert_close(both.mean[3:], run.encode(images.pixels[:3].flip(-1)))
    assert bool((both.std > 0).all())


def test_standardized_latents_have_unit_spread(fitted: Path) -> None:
    run = vk.load(fitted)
    prior, _ = load_flow(fitted, run.model)
    rows = np.flatnonzero(run.images().parts == 0)
    found = encoded(run.model, run.images(), rows, (), flip=True).standardized(prior)
    grid = found.mean.view(len(found), 4, -1)
    spread = grid.var((0, 2), correction=0) + found.std.view(len(found), 4, -1).square().mean((0, 2))
    torch.testing.assert_close(spread, torch.ones(4), rtol=0, atol=1e-3)
    torch.testing.assert_close(grid.mean((0, 2)), torch.zeros(4), rtol=0, atol=1e-3)
