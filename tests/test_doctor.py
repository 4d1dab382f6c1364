"""The doctor: each rule at its threshold, the evidence on images and runs whose state is known, and what is printed."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vaekit as vk
from vaekit import checkup, recipes, report, runs
from vaekit.build import build_model, resolve
from vaekit.checkup import gain_of_second_half, quality_db
from vaekit.config import DataConfig, Engine, RunConfig
from vaekit.data import Images
from vaekit.doctor import RULES, VERDICTS, diagnose
from vaekit.errors import UserError
from vaekit.evidence import LIMITS, Evidence
from vaekit.intake import held_out
from vaekit.repeat import next_command, train_command

GOLDEN = sorted(path.parent for path in (Path(__file__).parent / "golden").glob("*/config.json"))

SOUND = Evidence(
    has_density=True, beta=1.0, latent_dim=32, learning_rate=1e-3, is_scale_fixed=False, free_bits_nats=0.0, shift=0,
    has_patience=False, images_seen=32_000, total_images=32_000, steps=1000, epochs=20.0, is_finished=True, part="val",
    train_count=500, held_out_count=500, data_mean=0.5, data_std=0.2, std_about_mean_image=0.18, distinct=1.0,
    neighbour_correlation=0.8, part_shift=0.004, part_count=500, explained=0.9, psnr_db=20.0, train_psnr_db=20.0,
    gain=0.02, rise_db=0.0, observation_std=0.1, elbo_nats=800.0, train_elbo_nats=805.0, rate_nats=40.0,
    kl_per_dim_nats=(2.0, 1.0), active_units=30, mutual_information_nats=6.2, marginal_kl_nats=33.8, sample_mean=0.5,
    sample_std=0.19, sample_shift=0.01, usual_learning_rate=1e-3,
)  # fmt: skip
AUTOENCODER = replace(
    SOUND,
    has_density=False,
    **dict.fromkeys(f.name for f in fields(Evidence) if f.default is None),  # type: ignore[arg-type]
)
AUTOENCODER = replace(AUTOENCODER, usual_learning_rate=1e-3)


@pytest.mark.parametrize("evidence", [SOUND, AUTOENCODER], ids=["vae", "autoencoder"])
def test_a_sound_training_is_healthy(evidence: Evidence) -> None:
    found = diagnose(evidence)
    assert found.verdict == "healthy" and found.remedy == "use"
    assert all(row.is_ok is not False for row in found.rows)


#: change → what it makes a sound training; with the value just on the other side of the threshold it stays healthy
SICK: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("broken data", {"std_about_mean_image": 1.99 / 255}, {"std_about_mean_image": 2.01 / 255}),
    ("broken data", {"part": "train", "train_count": 9}, {"part": "train", "train_count": 10}),
    ("broken data", {"distinct": 0.49}, {"distinct": 0.5}),
    ("broken data", {"part_shift": 0.53}, {"part_shift": 0.51}),  # 0.5 and five times 1/500 + 1/500
    ("broken data", {"part_shift": 1.02, "part_count": 10}, {"part_shift": 1.0, "part_count": 10}),
    ("broken data", {"neighbour_correlation": -0.04, "explained": 0.09}, {"neighbour_correlation": -0.06}),
    ("overfitting", {"train_psnr_db": 23.01, "psnr_db": 20.0}, {"train_psnr_db": 22.99}),
    ("overfitting", {"rise_db": 0.51, "train_psnr_db": 20.5}, {"rise_db": 0.49, "train_psnr_db": 20.5}),
    ("still improving", {"is_finished": False}, {}),
    ("still improving", {"steps": 299}, {"steps": 300}),
    ("overfitting", {"train_psnr_db": 26.1, "steps": 50}, {"train_psnr_db": 22.0}),
    ("still improving", {"train_psnr_db": 25.9, "steps": 50}, {}),
    ("still improving", {"learning_rate": 2e-4, "explained": 0.09}, {"learning_rate": 2e-4, "explained": 0.11}),
    ("collapsed", {"learning_rate": 3e-4, "explained": 0.09}, {}),
    ("still improving", {"epochs": 1.9}, {"epochs": 2.0}),
    ("still improving", {"gain": 0.041}, {"gain": 0.04}),
    ("collapsed", {"rate_nats": 0.99}, {"rate_nats": 1.0}),
    ("collapsed", {"active_units": 0}, {"active_units": 1}),
    ("collapsed", {"explained": 0.09}, {"explained": 0.1}),
    ("over-regularised", {"explained": 0.69, "beta": 5.0}, {"explained": 0.69, "beta": 3.9}),
    ("over-regularised", {"beta": 10.1}, {"beta": 9.9}),
    ("over-regularised", {"active_units": 7, "beta": 5.0}, {"active_units": 8, "beta": 5.0}),
    ("collapsed", {"rate_nats": 0.5, "epochs": 0.5}, {}),
    ("over-regularised", {"explained": 0.6, "observation_std": 0.21}, {"explained": 0.8, "observation_std": 0.21}),
]


@pytest.mark.parametrize(("verdict", "sick", "sound"), SICK)
def test_every_rule_at_its_threshold(verdict: str, sick: dict[str, Any], sound: dict[str, Any]) -> None:
    assert diagnose(replace(SOUND, **sick)).verdict == verdict
    assert diagnose(replace(SOUND, **sound)).verdict == "healthy"


def test_every_rule_is_asked_above() -> None:
    asked = {next(r for r in RULES if r.holds(replace(SOUND, **sick))) for _, sick, _ in SICK}
    assert asked == set(RULES[:-1])
    assert {rule.verdict for rule in RULES} == set(VERDICTS)


def test_what_is_wrong_with_the_images_comes_first() -> None:
    assert diagnose(replace(SOUND, distinct=0.1, train_psnr_db=40.0, is_finished=False)).verdict == "broken data"
    assert diagnose(replace(SOUND, train_psnr_db=40.0, is_finished=False)).verdict == "overfitting"


def test_without_held_out_images_nothing_is_called_overfitting() -> None:
    assert diagnose(replace(SOUND, part="train", part_shift=None, train_psnr_db=60.0)).verdict == "healthy"


def test_an_autoencoder_has_no_rows_of_a_density() -> None:
    names = " ".join(row.name for row in diagnose(AUTOENCODER).rows)
    assert "rate" not in names and "samples" not in names and "gap" in names
    assert diagnose(replace(AUTOENCODER, explained=0.02)).changes == {"learning_rate": 2.5e-4}


def test_evidence_survives_json_and_a_foreign_one_is_left_alone(tmp_path: Path) -> None:
    runs.save_evidence(tmp_path, SOUND)
    assert runs.load_evidence(tmp_path) == SOUND
    for text in ("", "[]", '{"surprise": 1}'):
        (tmp_path / "doctor.json").write_text(text)
        assert runs.load_evidence(tmp_path) is None


def test_a_decibel_is_a_decibel_whatever_the_scale() -> None:
    """A tenth of the squared error is 10 dB: in PSNR, and in nats of a normal whose scale follows the error."""
    log_density = -0.5 * np.log(np.array([0.01, 0.001]))  # per value, up to a constant
    fitted = [quality_db(-100 * float(each), 0.0, 100, False) for each in log_density]
    assert fitted[1] - fitted[0] == pytest.approx(10)
    assert quality_db(5.0, 30.0, 100, True) - quality_db(9.0, 20.0, 100, True) == 10


def test_the_gain_of_the_second_half() -> None:
    assert gain_of_second_half([(10 * i, float(i)) for i in range(1, 11)]) == 5.0
    assert gain_of_second_half([(30, 1.0)]) is None and gain_of_second_half([]) is None
    assert gain_of_second_half([(25, 1.0), (100, 4.0)]) == 2.0  # of 3 in three quarters, two thirds fall to a half
    assert gain_of_second_half([(40, 3.0), (50, 4.0), (60, 9.0), (100, 3.5)]) == -0.5


def test_what_is_called_too_few_is_what_holds_none_out() -> None:
    for count, part in ((LIMITS.fewest_images - 1, "train"), (LIMITS.fewest_images, "val")):
        images = vk.open_images(np.random.default_rng(0).integers(0, 256, (count, 8, 8, 1), np.uint8))
        assert held_out(images, recipes.get("vae"))[0] == part


def test_a_rate_too_small_is_not_called_a_collapse() -> None:
    found = diagnose(replace(SOUND, learning_rate=1e-7, explained=-1.15))
    assert (found.verdict, dict(found.changes)) == ("still improving", {"learning_rate": 1e-3})
    assert "worse than the mean image" in found.reason and "1e-07" in found.reason
    lost = diagnose(replace(SOUND, explained=-1.15))  # at the usual rate it is one
    assert lost.verdict == "collapsed" and "worse than the mean image" in lost.reason


def test_a_stopped_training_that_overfits_is_not_told_to_go_on() -> None:
    assert diagnose(replace(SOUND, train_psnr_db=60.0, steps=100, is_finished=False)).remedy == "train"


# The images


def _images(pixels: np.ndarray, parts: np.ndarray | None = None) -> Images:
    values = torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.uint8))
    chosen = np.arange(len(pixels)) % 10 == 0 if parts is None else parts == 1
    return Images(values, tuple(map(str, range(len(pixels)))), parts=chosen.astype(np.uint8))


def _examined(
    images: Images,
    lines: tuple[dict[str, Any], ...] = (),
    recipe: str = "vae",
    patience: int | None = None,
    **values: Any,
) -> Evidence:
    """Of a model that was never trained."""
    row = resolve(recipes.override(recipes.get(recipe), {"width": 8, **values}), images.shape, 100)
    data = DataConfig("digits", images.shape[1:], images.shape[0], "00", train_images=100)
    model = build_model(row, images.shape).eval()
    return checkup.examine(model, RunConfig(row.to_dict(), data, 1000, patience=patience), images, lines)


def test_noise_is_told_from_pictures() -> None:
    draws = np.random.default_rng(0)
    noise = draws.integers(0, 256, (300, 1, 8, 8))
    smooth = (draws.random((300, 1, 1, 1)) * 255).repeat(8, 2).repeat(8, 3)
    assert abs(_examined(_images(noise)).neighbour_correlation) < LIMITS.noise_correlation / 2
    assert _examined(_images(smooth)).neighbour_correlation == pytest.approx(1)
    assert diagnose(_examined(_images(noise))).verdict == "broken data"


def test_plain_images_have_no_variance_and_no_error() -> None:
    found = _examined(_images(np.full((60, 3, 8, 8), 77)))
    assert (found.std_about_mean_image, found.neighbour_correlation, found.explained, found.part_shift) == (0, 0, 0, 0)
    assert diagnose(found).verdict == "broken data" and "all but equal" in diagnose(found).reason


def test_copies_are_counted() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8)).repeat(10, 0)
    assert _examined(_images(pixels, np.arange(200) // 10 % 10 == 0)).distinct == pytest.approx(18 / 180)


@pytest.mark.parametrize("part", [1, 2])
def test_a_part_of_another_kind_is_seen_whichever_it_is(part: int) -> None:
    images = vk.open_images("digits")
    assert _examined(images).part_shift < 0.05  # type: ignore[operator]
    pixels = images.pixels.clone()
    pixels[torch.from_numpy(images.parts == part)] ^= 255
    found = diagnose(_examined(replace(images, pixels=pixels)))
    assert found.verdict == "broken data" and "not of one kind" in found.reason


def test_a_model_of_the_mean_image_explains_nothing() -> None:
    images = vk.open_images("digits")[:400]
    row = resolve(recipes.override(recipes.get("fast-ae"), {"hidden": "8"}), images.shape, 100)
    model = build_model(row, images.shape).eval()
    trained = images.pixels[torch.from_numpy(images.parts < 2)].float().mean(0) / 255
    with torch.no_grad():
        last = [m for m in model.decoder.modules() if isinstance(m, torch.nn.Linear)][-1]
        last.weight.zero_()
        last.bias.copy_(trained.clamp(1e-4, 1 - 1e-4).logit().flatten())
    config = RunConfig(row.to_dict(), DataConfig("digits", (8, 8), 1, "00"), 100)
    assert checkup.examine(model, config, images, ()).explained == pytest.approx(0, abs=1e-3)


def test_the_observation_scale_is_a_standard_deviation() -> None:
    images = vk.open_images("digits")[:60]
    fixed = {"scale": "fixed", "fixed_scale": 0.3}
    assert _examined(images, **fixed).observation_std == pytest.approx(0.3)
    logistic = _examined(images, likelihood="discretized-logistic", **fixed)
    assert logistic.observation_std == pytest.approx(0.3 * np.pi / np.sqrt(3))
    assert _examined(images, likelihood="categorical").observation_std is None


def _line(images: int, loss: float, psnr_db: float = 20.0) -> dict[str, Any]:
    numbers = {"psnr_db": psnr_db, "distortion_nats": loss, "rate_nats": 0.0}
    return {"images": images, "kind": "validation", **{f"validation_{k}": v for k, v in numbers.items()}}


def test_epochs_of_the_warm_up_are_left_out() -> None:
    lines = (_line(100, -900.0), _line(300, -30.0), _line(500, -20.0), _line(1000, -10.0))
    found = _examined(vk.open_images("digits")[:60], lines)
    assert found.rise_db == pytest.approx(20 / np.log(10) * 20 / 64)  # 20 nats in 64 values
    assert found.images_seen == 1000 and not found.is_finished


def test_the_last_batch_of_an_epoch_is_a_step_however_small() -> None:
    images = vk.open_images("digits")[:60]
    count = int((images.parts == 0).sum())
    found = _examined(images, (_line(100 * count, 0.0),), batch_size=count - 1)
    assert (found.epochs, found.steps) == (100, 200)


def test_the_gain_is_a_share_of_the_variance() -> None:
    images = vk.open_images("digits")
    found = _examined(images, (_line(500, 0.0, 10.0), _line(1000, 0.0, 13.0)))
    pixels = images.pixels.double() / 255
    train, held = (pixels[torch.from_numpy(images.parts == part)] for part in (0, 1))
    variance = float((held - train.mean(0)).square().mean())
    assert found.gain == pytest.approx((0.1 - 10**-1.3) / variance, rel=0.01)  # the mean image is that of 500 images


def test_with_patience_the_weights_are_those_of_the_best_epoch() -> None:
    images, lines = vk.open_images("digits")[:60], (_line(400, 0.0), _line(600, -9.0), _line(900, 40.0))
    assert _examined(images, lines).rise_db > 0.5  # type: ignore[operator]
    assert _examined(images, lines, patience=2).rise_db == 0


# The runs


def test_a_run_is_diagnosed_as_when_it_ended(digits_vae: Path, digits_ae: Path) -> None:
    for path in (digits_vae, digits_ae):
        before = {p.name: p.read_bytes() for p in path.iterdir() if p.is_file()}
        state = torch.random.get_rng_state()
        found = vk.load(path).doctor()
        assert torch.equal(torch.random.get_rng_state(), state)
        stored = runs.load_evidence(path)
        assert stored is not None and diagnose(stored) == found
        assert found.verdict == "still improving"  # two epochs
        assert {p.name: p.read_bytes() for p in path.iterdir() if p.is_file()} == before


@pytest.mark.parametrize("folder", GOLDEN, ids=lambda path: path.name)
def test_an_old_run_is_diagnosed_too(folder: Path) -> None:
    found = vk.load(folder).doctor()
    assert found.verdict == "still improving" and not (folder / "doctor.json").exists()


def test_a_run_that_was_interrupted_is_told_to_go_on(digits_ae: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(digits_ae, tmp_path / "run"))
    lines = [line for line in runs.read_metrics(run) if line["kind"] != "final" and line["images"] <= 1611]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    opened = vk.load(run)
    found = opened.doctor()
    assert (found.verdict, found.remedy) == ("still improving", "resume") and "1,611 of 3,222" in found.reason
    assert opened.next_command(found).endswith(f"--images 3222 --out {run}")


def test_the_command_says_the_verdict_first(digits_vae: Path, vaekit: Callable) -> None:
    answer = vaekit("doctor", digits_vae)
    assert answer.code == 0 and answer.out.startswith("still improving: ")
    assert "aggregate posterior against prior" in answer.out and "active units of" in answer.out
    assert answer.out.splitlines()[-1].startswith("  vaekit train digits --recipe vae ")
    found = json.loads(vaekit("doctor", digits_vae, "--json").out)
    assert next(iter(found)) == "verdict" and found["verdict"] == "still improving"
    assert {"name", "value", "unit", "expected", "is_ok"} == found["rows"][0].keys()
    assert found["next_command"].startswith("vaekit train digits")


def test_training_ends_with_a_line_from_the_doctor(tmp_path: Path, vaekit: Callable) -> None:
    answer = vaekit("train", "digits", "--recipe", "seed-ae", "--epochs", 1, "--out", tmp_path / "run")
    assert f"{tmp_path / 'run'}: still improving: 51 steps are a beginning" in answer.err.splitlines()[-1]


def test_images_that_have_gone_are_one_sentence(tmp_path: Path, vaekit: Callable) -> None:
    source = tmp_path / "here.npy"
    np.save(source, np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8))
    vk.train(str(source), "seed-ae", tmp_path / "run", epochs=1, quiet=True)
    moved = source.rename(tmp_path / "there.npy")
    answer = vaekit("doctor", tmp_path / "run")
    assert answer.code == 2 and answer.err.count("\n") == 1 and "here.npy" in answer.err
    assert vaekit("doctor", tmp_path / "run", "--data", moved).code == 0
    answer = vaekit("doctor", tmp_path / "run", "--data", "digits")
    assert answer.code == 2 and "does not hold the images" in answer.err and answer.err.count("\n") == 1
    answer = vaekit("doctor", tmp_path / "nowhere")
    assert answer.code == 2 and "is not a run" in answer.err


def test_weights_that_are_not_finite_are_said(digits_ae: Path) -> None:
    run = vk.load(digits_ae)
    for parameter in run.model.parameters():
        parameter.data.fill_(torch.nan)
    with pytest.raises(UserError, match="not finite.*smaller --learning-rate"):
        run.doctor()


# The next command


def _words(command: str) -> list[str]:
    words = shlex.split(command)
    assert words[0] == "vaekit"
    return words[1:]


@pytest.mark.parametrize("sick", [sick for _, sick, _ in SICK] + [{}], ids=lambda sick: ",".join(sick) or "healthy")
def test_the_next_command_is_one_that_exists(
    sick: dict[str, Any], tmp_path: Path, vaekit: Callable, digits_vae: Path
) -> None:
    config = vk.load(digits_vae).config
    out = str(tmp_path / "a 'run'")
    words = _words(next_command(config, diagnose(replace(SOUND, **sick)), "digits", out))
    if words[0] == "train":
        words.append("--dry-run")
        assert words[words.index("--out") + 1].startswith(out)
    elif words[0] == "generate":
        words[1] = str(digits_vae)
    answer = vaekit(*words)
    assert answer.code == 0, answer.err


@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        ("vae", {}),
        ("vae", {"flip": True, "shift": 1, "jitter": 0.2, "latent_dim": 5, "batch_size": 7}),
        ("vae", {"likelihood": "discretized-logistic", "settings": {"scale": "pixel", "prior": "standard-normal"}}),
        ("vae", {"binarize": "threshold", "seed": 3}),
        ("seed-vae", {"size": 16, "learning_rate": 3e-4}),
        ("seed-ae", {"settings": {"hidden": "20,10"}, "patience": 3}),
    ],
)
def test_the_command_of_a_run_trains_the_same_run(recipe: str, options: dict[str, Any], tmp_path: Path) -> None:
    from vaekit.cli import main

    first, again = tmp_path / "first", tmp_path / "again"
    run = vk.train("digits", recipe, first, images=32, quiet=True, **{"size": 8, **options})
    assert main(_words(train_command(run.config, "digits", str(again)))) == 0
    assert runs.read_config(again) == run.config


def test_a_recipe_outside_of_the_table_is_written_as_changes(tmp_path: Path) -> None:
    row = replace(resolve(recipes.get("vae"), (1, 8, 8), 100), name="mine", beta=3.0)
    data = DataConfig("array", (8, 8), 1, "00", train_images=100)
    config = RunConfig(row.to_dict(), data, 64, initial="/x/y", engine=Engine(micro_batch=4))
    command = next_command(config, diagnose(replace(SOUND, steps=1)), "array", "runs/mine/")
    assert command.startswith("vaekit train DATA --recipe vae ") and "--set beta=3.0" in command
    assert "--init /x/y --micro-batch 4 --out runs/mine-images" in command


# The report


def test_the_report_gives_the_verdict_near_the_top(digits_vae: Path) -> None:
    page = (digits_vae / "report.html").read_text("utf-8")
    card = (digits_vae / "README.md").read_text("utf-8")
    assert page.index("Verdict: still improving") < page.index("<h2>Pictures</h2>")
    assert "train-validation gap, PSNR" in page and "vaekit train digits --recipe vae" in page
    assert "judged still improving: " in card


def test_what_comes_from_outside_is_escaped_in_the_verdict(digits_vae: Path, tmp_path: Path) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    run = Path(shutil.copytree(digits_vae, tmp_path / "<b>run"))
    config = json.loads((run / "config.json").read_text())
    config["data"]["source"], config["initial"] = f"/home/someone/{hostile}", "/home/someone/first"
    (run / "config.json").write_text(json.dumps(config))
    report.write(run)
    page = (run / "report.html").read_text("utf-8")
    assert hostile not in page and "<b>" not in page and "someone" not in page
    assert "--init first" in page


def test_a_report_without_a_diagnosis_has_no_verdict(digits_vae: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(digits_vae, tmp_path / "run"))
    (run / "doctor.json").unlink()
    report.write(run)
    assert "Verdict" not in (run / "report.html").read_text("utf-8")
    assert "judged" not in (run / "README.md").read_text("utf-8")
