"""Augmentation compared with slow references, and its laws in training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import vaekit as vk
from vaekit.api import plan
from vaekit.config.run_config import DataConfig, Engine, RunConfig
from vaekit.config.table import get, override
from vaekit.data import to_float
from vaekit.data.portraits.portraits import draw
from vaekit.errors import UserError
from vaekit.model.factory import resolve
from vaekit.system.distributed import ALONE, Team
from vaekit.system.rng import AUGMENTATION, CORRUPTION, MASKS, NOISE, ORDER, SAMPLES, VERB_NOISE, stream
from vaekit.training.augment import DRAWS, augment
from vaekit.training.batches import corrupt
from vaekit.training.model_trainer import ModelTrainer
from vaekit.training.starting import start_at_mean

PIXELS = torch.from_numpy(draw(11, 16)).movedim(-1, 1).contiguous()
ALL: dict[str, Any] = {"flip": True, "shift": 2, "jitter": 0.3}
ALMOST_ONE = 1 - 2**-24  # the largest draw there is


def images_and_draws(shape: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(shape, generator=generator, dtype=torch.float64)
    return x, torch.rand(shape[0], DRAWS, generator=generator)


def factors_to_draws(brightness: float = 1, contrast: float = 1, saturation: float = 1, jitter: float = 0.5) -> Tensor:
    """Return the draws ``[1, 6]`` that give these factors."""
    return torch.tensor([[0.9, 0.5, 0.5, *(((f - 1) / jitter + 1) / 2 for f in (brightness, contrast, saturation))]])


def reference(image: np.ndarray, u: list[float], flip: bool, shift: int, jitter: float) -> np.ndarray:
    """Augment one image ``[C, H, W]`` pixel by pixel."""
    if flip and u[0] < 0.5:
        image = image[:, :, ::-1]
    channels, height, width = image.shape
    down, right = (int(np.floor(v * (2 * shift + 1))) - shift for v in u[1:3])
    padded = np.pad(image, ((0, 0), (shift, shift), (shift, shift)), mode="edge")
    image = padded[:, shift - down :, shift - right :][:, :height, :width].copy()
    if not jitter:
        return image
    b, c, s = (1 - jitter + 2 * jitter * v for v in u[3:])
    places = [(i, j) for i in range(height) for j in range(width)]
    luma = {(i, j): _luma(image[:, i, j]) for i, j in places}
    mean = sum(luma.values()) / len(places)
    for i, j in places:
        for k in range(min(channels, 3)):
            gray = luma[i, j]
            value = s * image[k, i, j] + (1 - s) * gray
            value = c * value + (1 - c) * mean
            image[k, i, j] = min(1.0, max(0.0, b * value))
    return image


def _luma(pixel: np.ndarray) -> float:
    return float(pixel[0] if len(pixel) == 1 else (299 * pixel[0] + 587 * pixel[1] + 114 * pixel[2]) / 1000)


SHAPES = st.tuples(st.integers(1, 4), st.sampled_from([1, 3, 4]), st.integers(1, 7), st.integers(1, 9))


@given(shape=SHAPES, flip=st.booleans(), shift=st.integers(0, 8), jitter=st.floats(0, 0.99), seed=st.integers(0, 99))
def test_it_is_its_definition_for_every_shape(
    shape: tuple[int, ...], flip: bool, shift: int, jitter: float, seed: int
) -> None:
    x, draws = images_and_draws(shape, seed)
    before, shift = x.clone(), min(shift, min(shape[2:]) - 1)
    got = augment(x, draws, flip, shift, jitter)
    assert torch.equal(x, before) and got.dtype == x.dtype
    expected = np.stack([reference(*pair, flip, shift, jitter) for pair in zip(x.numpy(), draws.tolist(), strict=True)])
    np.testing.assert_allclose(got.numpy(), expected, rtol=0, atol=1e-6 if jitter else 0)
    in_floats = augment(x.float(), draws, flip, shift, jitter)
    assert float(in_floats.min()) >= 0 and float(in_floats.max()) <= 1
    torch.testing.assert_close(in_floats, got.float(), rtol=0, atol=1e-6)


def test_flipped_twice_is_as_it_was_and_about_half_are_flipped() -> None:
    x, draws = images_and_draws((2000, 1, 2, 3))
    once = augment(x, draws, flip=True)
    assert torch.equal(augment(once, draws, flip=True), x)
    is_flipped = (once != x).flatten(1).any(1)
    assert torch.equal(once[is_flipped], x[is_flipped].flip(-1)) and torch.equal(once[~is_flipped], x[~is_flipped])
    assert 0.47 < float(is_flipped.double().mean()) < 0.53


def test_every_shift_is_as_likely_as_any_other_and_none_is_further() -> None:
    x = torch.zeros(9000, 1, 9, 9)
    x[:, :, 4, 4] = 1
    draws = images_and_draws((9000, 1, 1, 1))[1]
    draws[0, 1:3], draws[1, 1:3] = 0, ALMOST_ONE
    where = augment(x, draws, shift=1).flatten(1).argmax(1)
    places, counts = where.unique(return_counts=True)
    assert places.tolist() == [9 * i + j for i in (3, 4, 5) for j in (3, 4, 5)]
    assert int(counts.min()) > 850 and int(counts.max()) < 1150
    assert where[:2].tolist() == [9 * 3 + 3, 9 * 5 + 5]


def test_what_is_drawn_for_one_kind_does_not_depend_on_the_others() -> None:
    x, draws = images_and_draws((50, 3, 6, 6))
    in_turn = augment(augment(augment(x, draws, flip=True), draws, shift=2), draws, jitter=0.3)
    assert torch.equal(augment(x, draws, **ALL), in_turn)
    assert augment(x, draws) is x


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("factor", [0.6, 1.0, 1.4])
def test_each_color_factor_does_what_its_name_says(factor: float, channels: int) -> None:
    x = 0.35 + 0.3 * images_and_draws((1, channels, 5, 7))[0]  # nothing will be clamped

    def change(**factors: float) -> Tensor:
        return augment(x, factors_to_draws(**factors), jitter=0.5)

    def luma(image: Tensor) -> Tensor:
        return torch.tensor(np.apply_along_axis(_luma, 1, image.numpy()))

    close: Callable[..., None] = lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=1e-6)  # noqa: E731
    close(change(brightness=factor), x * factor)
    contrasted = change(contrast=factor)
    close(luma(contrasted).mean(), luma(x).mean())
    close(luma(contrasted).std(), luma(x).std() * factor)
    saturated = change(saturation=factor)
    close(luma(saturated), luma(x))
    close(saturated.std(1, correction=0), x.std(1, correction=0) * (factor if channels == 3 else 1))


def test_blends_are_those_of_pillow_up_to_its_rounding() -> None:
    from PIL import Image, ImageEnhance

    pixels = (0.3 + 0.4 * images_and_draws((1, 3, 8, 9))[0]).mul(255).round()
    picture = Image.fromarray(pixels[0].movedim(0, -1).numpy().astype(np.uint8))
    for name, factor in (("Brightness", 1.3), ("Contrast", 0.7), ("Color", 1.4), ("Color", 0.6), ("Contrast", 1.2)):
        theirs = np.asarray(getattr(ImageEnhance, name)(picture).enhance(factor)).astype(float)
        mine = factors_to_draws(**{name.lower() if name != "Color" else "saturation": factor})
        got = augment(pixels / 255, mine, jitter=0.5)[0].movedim(0, -1).numpy() * 255
        assert np.abs(got - theirs).max() < 1.5, name


def test_opacity_moves_and_has_no_color() -> None:
    x, draws = images_and_draws((20, 4, 6, 5))
    got = augment(x, draws, **ALL)
    assert torch.equal(got[:, 3:], augment(x[:, 3:], draws, flip=True, shift=2))
    assert torch.equal(got[:, :3], augment(x[:, :3], draws, **ALL))


# In a training


def trainer_of(
    name: str, team: Team = ALONE, engine: Engine | None = None, seed: int = 0, **values: Any
) -> ModelTrainer:
    values = {"width": 8, "latent_dim": 4, "batch_size": 4, **values}
    row = resolve(override(get(name), values), (3, 16, 16), len(PIXELS))
    data = DataConfig("array", (16, 16), 3, "00", images=len(PIXELS), train_images=len(PIXELS))
    config = RunConfig(row, data, 100 * len(PIXELS), seed, engine=engine or Engine())
    return ModelTrainer(config, PIXELS, torch.device("cpu"), team)


def stepped(trainer: ModelTrainer, steps: int = 4) -> dict[str, Tensor]:
    for _ in range(steps):
        trainer.step()
    return trainer.state()[0]


def assert_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def test_its_stream_meets_no_other() -> None:
    purposes = (NOISE, ORDER, CORRUPTION, SAMPLES, VERB_NOISE, MASKS, AUGMENTATION)
    places = [(seed, step) for seed in (*range(20), 2**57 - 1) for step in range(50)]
    assert len({stream(seed, p, step).initial_seed() for p in purposes for seed, step in places}) == 7 * len(places)


@pytest.mark.parametrize("name", ["vae", "seed-ae"])
def test_images_differ_by_step_and_by_seed_alone(name: str) -> None:
    first, other = trainer_of(name, batch_size=11, **ALL), trainer_of(name, batch_size=11, seed=1, **ALL)

    def shown(trainer: ModelTrainer) -> Tensor:
        index = trainer.next_index()
        x = trainer._inputs(index)[0].x
        draws = torch.rand(11, DRAWS, generator=stream(trainer.config.seed, AUGMENTATION, trainer.steps))
        assert torch.equal(x, augment(to_float(PIXELS[index]), draws, **ALL))
        return x[index.argsort()]

    seen = [shown(first), shown(first), shown(other)]
    first.step()
    seen.append(shown(first))
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2]) and not torch.equal(seen[0], seen[3])


@pytest.mark.parametrize("name", ["vae", "seed-ae", "denoising-ae"])
def test_no_strength_is_no_augmentation_and_any_is_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = stepped(trainer_of(name))
    for kind, value in ALL.items():
        changed = stepped(trainer_of(name, **{kind: value}))
        assert any(not torch.equal(plain[key], tensor) for key, tensor in changed.items())
    monkeypatch.setattr("vaekit.training.batches.augment", None)  # it is not even called
    assert_equal(plain, stepped(trainer_of(name, flip=False, shift=0, jitter=0.0)))


def test_denoising_adds_its_noise_to_the_augmented_image_which_is_the_target() -> None:
    trainer = trainer_of("denoising-ae", batch_size=11, **ALL)
    index = trainer.next_index()
    batch, _, _ = trainer._inputs(index)
    draws = torch.rand(11, DRAWS, generator=stream(0, AUGMENTATION, 0))
    assert batch.target is not None
    assert torch.equal(batch.target, augment(to_float(PIXELS[index]), draws, **ALL))
    assert torch.equal(batch.x, corrupt(batch.target, 11, trainer.row.noise_std, 0, 0))


@pytest.mark.parametrize("name", ["vae", "denoising-ae"])
def test_shares_of_a_team_are_the_batch_of_one_process(name: str) -> None:
    whole = trainer_of(name, batch_size=11, **ALL)
    batch = whole._inputs(whole.next_index())[0]
    members = [trainer_of(name, Team(rank, 3), batch_size=11, **ALL) for rank in range(3)]
    shares = [member._inputs(member.next_index())[0] for member in members]
    torch.testing.assert_close(torch.cat([share.x for share in shares]), batch.x, rtol=0, atol=1e-6)
    if batch.target is not None:
        targets = torch.cat([share.target for share in shares if share.target is not None])
        torch.testing.assert_close(targets, batch.target, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["vae", "denoising-ae"])
def test_pieces_of_a_batch_are_the_whole_to_rounding(name: str) -> None:
    whole, pieces = (trainer_of(name, engine=Engine(micro_batch=size), **ALL) for size in (None, 3))
    first, second = whole.step(), pieces.step()
    torch.testing.assert_close(second.loss, first.loss, rtol=1e-5, atol=1e-3)
    for a, b in zip(whole.parameters, pieces.parameters, strict=True):
        torch.testing.assert_close(b.grad, a.grad, rtol=1e-3, atol=1e-3)


def test_the_first_picture_of_a_decoder_is_the_mean_of_images_as_they_are() -> None:
    plain, changed = trainer_of("fast-ae"), trainer_of("fast-ae", **ALL)
    for trainer in (plain, changed):
        start_at_mean(trainer)
    assert_equal(plain.state()[0], changed.state()[0])


@pytest.mark.parametrize(("recipe", "data"), [("seed-ae", "digits"), ("seed-vae", "portraits:24")])
def test_an_extended_run_ends_with_the_bytes_of_one_at_once(recipe: str, data: str, tmp_path: Path) -> None:
    def train(name: str, epochs: int, **more: Any) -> vk.Run:
        size = 16 if recipe == "seed-vae" else None
        return vk.train(data, recipe, tmp_path / name, size=size, epochs=epochs, quiet=True, **more)

    train("whole", 2, **ALL)
    train("parts", 1, **ALL)
    with pytest.raises(UserError, match="its jitter is 0.3, not 0.2; give another out"):
        train("parts", 2, **ALL | {"jitter": 0.2})
    with pytest.raises(UserError, match="its flip is True, not False; give another out"):
        train("parts", 2)
    run = train("parts", 2, **ALL)
    for name in ("state.safetensors", "weights.safetensors", "latents.safetensors"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert {key: value for key, value in run.config.recipe.to_dict().items() if key in ALL} == ALL
    fresh = vk.load(tmp_path / "parts").evaluate()
    assert fresh == run.evaluate(), "and what the verbs see is never changed"


def test_a_run_that_names_none_of_it_has_none() -> None:
    stored = json.loads(RunConfig(get("vae"), DataConfig("digits", (8, 8), 1, "00"), 10).to_json())
    for key in ALL:
        del stored["recipe"][key]
    assert RunConfig.from_json(json.dumps(stored)).recipe == get("vae")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shift": -1}, "shift=-1: must not be negative"),
        ({"shift": 8}, "shift=8: must be smaller than a side of the images, which are 8x8; give fewer pixels"),
        ({"shift": 1.5}, "shift 1.5: expected a whole number"),
        ({"jitter": -0.1}, "jitter=-0.1: must be between 0 and 1"),
        ({"jitter": 1}, "jitter=1: must be below 1, because an image could turn black"),
        ({"jitter": float("nan")}, "jitter=nan: must be a finite number"),
        ({"flip": "perhaps"}, "flip 'perhaps': expected True or False"),
        ({"jitter": 0.1, "settings": {"likelihood": "bernoulli"}}, "jitter makes pixels gray.*leave it out"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        plan("digits", "vae", tmp_path / "run", epochs=1, **values)


def test_flags_set_the_values_of_the_recipe(vaekit: Callable, tmp_path: Path) -> None:
    words = ("train", "digits", "--out", tmp_path / "run", "--dry-run", "--json", "--set", "width=8")
    flags = ("--flip", "--shift", 1, "--jitter", 0.2)
    settings = ("--set", "flip=true", "--set", "shift=1", "--set", "jitter=0.2")
    for given_as in (flags, settings):
        planned = json.loads(vaekit(*words, *given_as).out)["config"]["recipe"]
        assert (planned["flip"], planned["shift"], planned["jitter"]) == (True, 1, 0.2)
    planned = json.loads(vaekit(*words).out)["config"]["recipe"]
    assert (planned["flip"], planned["shift"], planned["jitter"]) == (False, 0, 0.0)
