"""A run with one damaged value: every command works, or refuses it in one sentence, within seconds."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import run_faults
import torch
from run_faults import COMMANDS, NAN, READERS, Fault

from vaekit.data import BINARIZE
from vaekit.pixels.image_form import FITS, FRAMES
from vaekit.runs import folder as runs
from vaekit.system.files import load_tensors, save_tensors
from vaekit.system.schema import Choice, _constraints

_PER_FILE = 12  # faults of each file, by chance; all of them: bench/run_faults.py


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on faces of 8 px, with directions and a fitted prior."""
    run = run_faults.trained(tmp_path_factory.mktemp("faults") / "sound")
    picture = run_faults.square_picture(run)
    for name in ("edit", "fit-prior"):
        words = run_faults.command_of(name, run, tmp_path_factory.mktemp("out"), picture)
        assert run_faults.run(words) == (0, "")
    return run


@pytest.fixture
def copy(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "run"))


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_value_is_refused_or_harmless(name: str, sound: Path, tmp_path: Path) -> None:
    rng = random.Random(f"7 {name}")
    every = list(run_faults.faults(sound, [name]))
    commands = [each for each in READERS[name] if each not in ("report", "doctor") or name == "doctor.json"]
    failed = []
    for fault in rng.sample(every, _PER_FILE):
        for outcome in run_faults.attempt(fault, sound, tmp_path / "place", [rng.choice(commands)]):
            if outcome.code not in (0, 2) or (outcome.code == 2 and not outcome.said.startswith("vaekit: ")):
                failed.append((fault.what, outcome.command, outcome.code, outcome.said))
    assert failed == []


def test_the_commands_do_their_work_on_a_sound_run(sound: Path, tmp_path: Path) -> None:
    whole = Fault("config.json", "", (sound / "config.json").read_bytes)
    for outcome in run_faults.attempt(whole, sound, tmp_path / "place", [c for c in COMMANDS if c != "export"]):
        assert outcome.code == 0, (outcome.command, outcome.said)


@pytest.fixture
def config(copy: Path) -> Callable[..., None]:
    """Write a value into config.json: ``config("recipe", "width", "x")``."""

    def change(part: str | None, name: str, value: object) -> None:
        whole = json.loads((copy / "config.json").read_text())
        (whole if part is None else whole[part])[name] = value
        (copy / "config.json").write_text(json.dumps(whole))

    return change


@pytest.mark.parametrize(
    ("part", "name", "value", "message"),
    [
        ("recipe", "width", "x", "config.json has an invalid value at recipe.width: expected int or null, got str"),
        ("recipe", "depth", 10**6, "recipe.depth=1000000: must be at most 100"),
        ("recipe", "beta", NAN, "recipe.beta = nan, expected a finite number"),
        ("recipe", "hidden", [200, "x"], "invalid value at recipe.hidden[1]: expected int, got str"),
        ("recipe", "batch_size", None, "is missing recipe.batch_size"),
        ("recipe", "prior_components", 10**9, "recipe.prior_components=1000000000: must be at most 10,000"),
        ("recipe", "latent_dim", 2**20, "do not fit its config.json"),
        ("recipe", "condition_size", 3, "recipe.condition_size = 3, but its conditions need 0"),
        ("data", "size", None, "invalid value at data.size: expected array, got null"),
        ("data", "size", [8, -8], "data.size = (8, -8), expected a number from 1 to 65,536"),
        ("data", "size", [8, 8, 8], "invalid value at data.size"),
        ("data", "channels", 2, "data.channels = 2, expected one of 1, 3, 4"),
        ("data", "background", "#zzzzzz", "data.background = '#zzzzzz', expected a color such as #ffffff"),
        (None, "total_images", 0, "total_images = 0, expected a number from 1 to"),
        (None, "seed", 10**30, "seed = 1000000000000000000000000000000, expected a number from"),
        (None, "conditions", [None], "has None where a JSON object was expected"),
    ],
)
def test_a_wrong_value_of_the_configuration_is_named(
    part: str | None, name: str, value: object, message: str, config: Callable[..., None], copy: Path, vaekit: Callable
) -> None:
    config(part, name, value)
    answer = vaekit("generate", copy, "--out", copy / "x.png")
    assert answer.code == 2 and message in answer.err, answer.err


def test_choices_of_the_configuration_are_those_of_the_library() -> None:
    from vaekit.config.run_config import DataConfig

    choices = {n: b.values for n, bounds in _constraints(DataConfig).items() for b in bounds if isinstance(b, Choice)}
    assert choices == {"channels": (1, 3, 4), "fit": FITS, "frames": FRAMES, "binarize": tuple(BINARIZE)}


@pytest.mark.parametrize("command", [c for c in READERS["weights.safetensors"] if c != "train"])
def test_nothing_is_drawn_or_measured_with_weights_that_are_not_finite(
    command: str, sound: Path, tmp_path: Path
) -> None:
    tensors, facts = load_tensors(sound / "weights.safetensors")
    name = next(iter(tensors))
    tensors[name].view(-1)[0] = NAN
    save_tensors(tmp_path / "weights.safetensors", tensors, facts)
    fault = Fault("weights.safetensors", "NaN", (tmp_path / "weights.safetensors").read_bytes)
    (outcome,) = run_faults.attempt(fault, sound, tmp_path / "place", [command])
    assert outcome.code == 2 and f"{name} contains NaN or infinity; repeat the training" in outcome.said
    assert not list((tmp_path / "place").glob("*.*"))


def test_the_train_command_writes_damaged_weights_and_codes_again(copy: Path, sound: Path, tmp_path: Path) -> None:
    tensors, facts = load_tensors(copy / "weights.safetensors")
    tensors[next(iter(tensors))].view(-1)[0] = NAN
    save_tensors(copy / "weights.safetensors", tensors, facts)
    (copy / "latents.safetensors").write_bytes(b"null")
    assert run_faults.run(run_faults.command_of("train", copy, tmp_path, sound / "image.png"))[0] == 0
    for name in ("weights.safetensors", "latents.safetensors"):
        assert (copy / name).read_bytes() == (sound / name).read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t | {"latents": t["latents"].double()}, "latents is float64 [45, 4], expected float32 [N, 4]"),
        (lambda t: t | {"latents": t["latents"][:-1]}, "expected"),
        (lambda t: t | {"attribute.glasses": t["attribute.glasses"][:-1]}, "attribute.glasses is float64 [44]"),
        (lambda t: t | {"latents": t["latents"] * NAN}, "latents contains NaN or infinity"),
        (lambda t: {k: v for k, v in t.items() if k != "latents"}, "latents is missing"),
    ],
)
def test_damaged_codes_are_refused_with_the_way_to_make_them_again(
    change: Callable, message: str, copy: Path, vaekit: Callable
) -> None:
    tensors, facts = load_tensors(copy / "latents.safetensors")
    save_tensors(copy / "latents.safetensors", change(tensors), facts)
    answer = vaekit("traverse", copy, "--out", copy / "x.png")
    assert answer.code == 2 and message in answer.err and "or delete it" in answer.err, answer.err


def test_a_code_that_points_nowhere_is_refused(copy: Path, vaekit: Callable) -> None:
    tensors, facts = load_tensors(copy / "latents.safetensors")
    count = len(tensors["latents"])
    tensors["labels"] = torch.full((count,), 7)
    save_tensors(copy / "latents.safetensors", tensors, facts | {"classes": ["a", "b"]})
    answer = vaekit("arithmetic", copy, "label:a", "--out", copy / "x.png")
    assert answer.code == 2 and "labels has an index without a name" in answer.err


@pytest.mark.parametrize("line", [b"null", b"\xff", b'{"images": "x", "kind": "train"}', b"[" * 100_000])
def test_a_damaged_line_of_metrics_is_left_out_with_a_note(
    line: bytes, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = runs.read_metrics(copy)
    first, *others = (copy / "metrics.jsonl").read_bytes().splitlines()
    (copy / "metrics.jsonl").write_bytes(b"\n".join([first, line, *others, b""]))
    assert runs.read_metrics(copy) == whole
    assert "metrics.jsonl has damaged lines, which are ignored: 2" in capsys.readouterr().err


def test_a_verdict_that_cannot_be_read_is_left_out_with_a_note(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evidence = json.loads((copy / "doctor.json").read_text())
    (copy / "doctor.json").write_text(json.dumps(evidence | {"psnr_db": 1e300}))
    assert runs.load_evidence(copy) is None
    said = capsys.readouterr().err
    assert "psnr_db" in said and f"run vaekit doctor {copy} for a new one" in said


def test_damaged_directions_are_fitted_again_and_said(copy: Path, sound: Path, vaekit: Callable) -> None:
    tensors, facts = load_tensors(copy / "directions.safetensors")
    save_tensors(copy / "directions.safetensors", {k: v * NAN for k, v in tensors.items()}, facts)
    answer = vaekit("edit", copy, copy / "image.png", "--add", "glasses", "--out", copy / "x.png")
    assert answer.code == 0 and "directions.safetensors is damaged and not used" in answer.err
    assert (copy / "directions.safetensors").read_bytes() == (sound / "directions.safetensors").read_bytes()


def test_a_damaged_fitted_prior_is_not_used_and_said(copy: Path, vaekit: Callable) -> None:
    tensors, facts = load_tensors(copy / "prior.safetensors")
    save_tensors(copy / "prior.safetensors", tensors | {"factor": 0 * tensors["factor"]}, facts)
    answer = vaekit("generate", copy, "--out", copy / "x.png")
    assert answer.code == 0 and "draws latents that are not finite; fit it again" in answer.err
