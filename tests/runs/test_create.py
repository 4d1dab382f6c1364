"""A model from the user's own training loop becomes a complete run, or none at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import vaekit as vk
from vaekit.data import to_float
from vaekit.errors import UserError
from vaekit.model.factory import build_model, build_objective
from vaekit.model.inference import Batch
from vaekit.model.latent_model import LatentModel

RECIPE = vk.recipes.override(vk.recipes.get("vae"), {"width": 4})


@pytest.fixture(scope="module")
def images() -> vk.Images:
    return vk.open_images("portraits:60", size=16)


@pytest.fixture(scope="module")
def model(images: vk.Images) -> LatentModel:
    """A few steps of training."""
    model, objective = build_model(RECIPE, images.shape), build_objective(RECIPE)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for rows in torch.arange(len(images)).split(20):
        inference = model.infer(Batch(to_float(images.pixels[rows])), torch.randn(1, len(rows), model.latent_dim))
        objective(inference, torch.tensor(1.0)).loss.mean().backward()
        optimizer.step()
    return model


@pytest.fixture(scope="module")
def run(model: LatentModel, images: vk.Images, tmp_path_factory: pytest.TempPathFactory) -> vk.Run:
    return vk.Run.create(model, RECIPE, images, tmp_path_factory.mktemp("created") / "new" / "run", images_seen=60)


def test_the_folder_holds_what_a_training_leaves(run: vk.Run, portraits_vae: Path) -> None:
    left = {path.relative_to(portraits_vae).as_posix() for path in portraits_vae.rglob("*")}
    made = {path.relative_to(run.path).as_posix() for path in run.path.rglob("*")}
    needed = {"config.json", "weights.safetensors", "latents.safetensors", "metrics.jsonl", "doctor.json", "README.md"}
    assert needed | {"report.html", "pictures/epoch-0002-samples.png"} <= made & left
    assert made <= left and not any("state" in name for name in made)
    assert run.path.name in (run.path / "README.md").read_text()


def test_the_run_has_the_weights_and_the_model_stays_as_it_was(run: vk.Run, model: LatentModel) -> None:
    stored = run.model.state_dict()
    assert all(torch.equal(tensor, stored[name]) for name, tensor in model.state_dict().items())
    assert model.training and not run.model.training and run.images_seen() == 60
    assert run.is_finished and run.final_numbers()["final_psnr_db"] == run.evaluate()["psnr_db"]


def test_every_verb_works(run: vk.Run, images: vk.Images, tmp_path: Path) -> None:
    faces = images.part("test").pixels[:2]
    for result in (
        run.generate(2),
        run.compare(faces),
        run.interpolate("attr:glasses=0", "attr:glasses=1", steps=2),
        run.arithmetic("attr:glasses=1 - attr:glasses=0 + attr:glasses=0"),
        run.traverse(count=1),
        run.edit_sheet(faces, {"glasses": 1}),
        run.denoise_sheet(faces, 0.1),
        run.inpaint_sheet(faces, "center:4x4"),
        run.neighbors(faces, count=2),
        run.map(),
        run.score(faces, normal_images=images.part("val"), false_alarms=0.5),
        run.doctor(),
        run.save_latents(tmp_path / "codes.npz"),
        run.fit_prior(components=1),
    ):
        assert result.figure is not None or result.numbers
    assert vk.load(run.path).encode(faces).equal(run.encode(faces))


def test_an_existing_folder_is_refused_and_stays(model: LatentModel, images: vk.Images, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(UserError, match="already exists; choose another name"):
        vk.Run.create(model, RECIPE, images, tmp_path / "run")
    assert not list((tmp_path / "run").iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model, recipe: (model, "ae"), "^model: it does not fit recipe 'ae' and these images: .*build_model"),
        (lambda model, recipe: (torch.nn.Linear(2, 2), recipe), "^model .*: expected a LatentModel"),
        (lambda model, recipe: (_broken(model), recipe), "contains NaN or infinity"),
        (lambda model, recipe: (model, "vea"), "did you mean 'vae'"),
    ],
)
def test_a_model_that_does_not_fit_leaves_nothing(
    model: LatentModel, images: vk.Images, tmp_path: Path, change, message: str
) -> None:
    changed, recipe = change(model, RECIPE)
    with pytest.raises(UserError, match=message):
        vk.Run.create(changed, recipe, images, tmp_path / "new" / "run")
    assert not list(tmp_path.iterdir())


def _broken(model: LatentModel) -> LatentModel:
    broken = build_model(RECIPE, (3, 16, 16))
    next(broken.parameters()).data.fill_(torch.nan)
    return broken


def test_a_failure_on_the_way_leaves_nothing(
    model: LatentModel, images: vk.Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vaekit.runs.create.write_results", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        vk.Run.create(model, RECIPE, images, tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_it_is_not_trained_further_but_started_from(run: vk.Run, images: vk.Images, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()}
    with pytest.raises(UserError, match="without a state to resume from; give another out"):
        vk.train(images, RECIPE, run.path, images=96, quiet=True)
    after = {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()}
    assert {name: after[name] for name in before} == before
    further = vk.train(images, RECIPE, tmp_path / "further", images=48, init=run.path, quiet=True)
    assert further.config.initial == str(run.path)
