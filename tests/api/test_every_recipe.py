"""Every recipe and every verb: it trains, resumes exactly, and each verb works or is refused by name."""

from __future__ import annotations

import hashlib
import json
import math
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from kinds import one_of_each

import vaekit as vk
from vaekit.config.capabilities import NEEDS, serves
from vaekit.config.table import RECIPES
from vaekit.errors import Interrupted, UserError
from vaekit.explorer.site import check_page, publish
from vaekit.export.bundle import verify
from vaekit.model.objectives import Terms
from vaekit.training.model_trainer import ModelTrainer

IMAGES = 96
CASES = [*((name, "portraits:120") for name in RECIPES), *((name, "digits") for name in one_of_each("net", "latent"))]


def small(name: str) -> dict[str, object]:
    row = RECIPES[name]
    net = {"width": 8} if row.net in ("resnet", "ladder", "grid") else {}
    codes = {"code_count": 16, "code_levels": "4,4"} if row.latent == "codes" else {}
    return {**net, **codes, **({"prior_components": 8} if row.prior == "vamp" else {}), "batch_size": 16}


def train(name: str, data: str, out: Path, images: int = IMAGES) -> vk.Run:
    size = 32 if data.startswith("portraits") else 16 if RECIPES[name].net == "seed-conv" else None
    return vk.train(data, recipe=name, out=out, size=size, images=images, settings=small(name), quiet=True)


def digest(run: Path) -> str:
    names = ("weights.safetensors", "state.safetensors", "latents.safetensors")
    return hashlib.sha256(b"".join((run / name).read_bytes() for name in names)).hexdigest()


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{case[1].partition(':')[0]}")
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> vk.Run:
    name, data = request.param
    return train(name, data, tmp_path_factory.mktemp(name) / "run")


def does(run: vk.Run, verb: str, act: Callable[[], object]) -> object:
    """Return the verb's result, or check that it is refused by name if the table says so."""
    name = run.config.recipe.name
    if serves(verb, run.model):
        return act()
    with pytest.raises(UserError, match=f"{verb.replace('-', '_')}: recipe '{name}' .* train [a-z]"):
        act()
    return None


def test_it_measures(run: vk.Run) -> None:
    numbers = run.evaluate()
    assert math.isfinite(numbers["psnr_db"]) and math.isfinite(numbers["distortion_nats"])
    assert (numbers["elbo_nats"] is None) != RECIPES[run.config.recipe.name].has_bound
    assert run.doctor()["verdict"]


def test_it_draws_reconstructs_and_cleans(run: vk.Run) -> None:
    shape = run.shape
    drawn = does(run, "generate", lambda: run.generate(3))
    assert drawn is None or tuple(drawn.pixels.shape) == (3, *shape)
    assert drawn is None or torch.equal(run.generate(1).pixels, drawn.pixels[:1])
    if drawn is not None:
        does(run, "temperature", lambda: run.generate(3, temperature=0.7))
    some = run.images("test").pixels[:2]
    assert tuple(run.reconstruct(some).pixels.shape) == (2, *shape)
    assert run.denoise(some / 255).shape == some.shape


def test_it_works_on_codes(run: vk.Run, tmp_path: Path) -> None:
    images = run.images("test")
    one, two = (images[i].pixels for i in range(2))
    name = f"{'attr' if images.attributes else 'label'}:{next(iter(images.attributes), None) or images.classes[0]}"
    group = f"{name}=1" if images.attributes else name
    hidden = torch.zeros(1, 1, *run.shape[1:], dtype=torch.bool)
    hidden[..., :4, :4] = True
    does(run, "interpolate", lambda: run.interpolate(group, group, steps=3))
    does(run, "arithmetic", lambda: run.arithmetic(f"{group} + {group} - {group}"))
    does(run, "neighbors", lambda: run.neighbors(one, count=2))
    does(run, "inpaint", lambda: run.inpaint(one / 255, hidden))
    does(run, "traverse", lambda: run.traverse(count=2, steps=3))
    does(run, "encode", lambda: run.save_latents(tmp_path / "codes.npz"))
    does(run, "codes", lambda: run.codes(one))
    does(run, "map", lambda: run.map())
    does(run, "score", lambda: run.score(images.pixels, normal_images=run.images("val").pixels, false_alarms=0.2))
    does(run, "edit", lambda: run.edit(two, {next(iter(run.directions())): 1}))
    does(run, "levels", lambda: run.reconstruct(two, levels=True))
    if serves("edit", run.model):
        does(run, "levels", lambda: run.interpolate(group, group, steps=3, levels=2))
        does(run, "keep-detail", lambda: run.traverse(two, count=2, steps=3, keep_detail=True))


def test_it_goes_on_exactly_where_it_was(run: vk.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After Ctrl-C in the third step, the same command gives the same bytes as an uninterrupted training."""
    step = ModelTrainer.step

    def interrupted(trainer: ModelTrainer, **more: bool) -> Terms:
        if trainer.steps == 2:
            signal.raise_signal(signal.SIGINT)
        return step(trainer, **more)

    name, data = run.config.recipe.name, run.config.data.source
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(ModelTrainer, "step", interrupted)
        train(name, data, tmp_path / "again")
    assert not (tmp_path / "again" / "latents.safetensors").exists()
    assert digest(train(name, data, tmp_path / "again").path) == digest(run.path)


@pytest.mark.skipif(not (Path(vk.__file__).parent / "page").is_dir(), reason="the page is not built (make page)")
def test_it_is_shipped_and_shown(run: vk.Run, tmp_path: Path) -> None:
    if not run.config.data.source.startswith("portraits"):
        return
    check_page()
    publish(run, tmp_path / "site", 10)
    assert verify(tmp_path / "site" / "model")["files"] >= 5
    facts = json.loads((tmp_path / "site" / "model" / "model.json").read_text())
    assert (facts["prior"] is not None) == (run.model.prior is not None and run.model.latent != "codes")


def test_the_table_of_verbs_is_whole() -> None:
    asked = {"generate", "reconstruct", "denoise", "evaluate", "doctor", "interpolate", "arithmetic", "neighbors"}
    asked |= {"inpaint", "traverse", "encode", "map", "score", "edit", "export", "explore"}
    asked |= {"temperature", "levels", "keep-detail", "codes"}
    assert asked | {"fit-prior", "factors", "tiles"} == set(NEEDS)
