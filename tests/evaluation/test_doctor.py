"""The doctor: each rule at its threshold, the evidence on known images and runs, and the output."""

from __future__ import annotations

import itertools
import json
import shlex
import shutil
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import vaekit as vk
from vaekit.config import table as recipes
from vaekit.config.run_config import DataConfig, Engine, RunConfig
from vaekit.data import Images, to_float
from vaekit.data.subsets import held_out, is_trained_on
from vaekit.errors import UserError
from vaekit.evaluation.baselines import PrincipalComponents
from vaekit.evaluation.doctor import examine as checkup
from vaekit.evaluation.doctor import image_checks
from vaekit.evaluation.doctor.diagnosis import RULES, VERDICTS, diagnose
from vaekit.evaluation.doctor.evidence import LIMITS, Evidence
from vaekit.evaluation.doctor.examine import gain_of_second_half, quality_db
from vaekit.evaluation.doctor.next_command import next_command, train_command
from vaekit.evaluation.doctor.sample_checks import check_samples
from vaekit.model.conditioning import conditions_of, selected
from vaekit.model.factory import build_model, resolve
from vaekit.runs import folder as runs
from vaekit.runs import report

GOLDEN = sorted(path.parent for path in (Path(__file__).parents[1] / "golden").glob("*/config.json"))

SOUND = Evidence(
    has_density=True, beta=1.0, latent_dim=32, learning_rate=1e-3, is_scale_fixed=False, free_bits_nats=0.0, shift=0,
    has_patience=False, images_seen=32_000, total_images=32_000, steps=1000, epochs=20.0, is_finished=True, part="val",
    train_count=500, held_out_count=500, data_mean=0.5, data_std=0.2, std_about_mean_image=0.18, distinct=1.0,
    neighbour_correlation=0.8, part_shift=0.004, part_count=500, explained=0.9, psnr_db=20.0, train_psnr_db=20.0,
    gain=0.02, rise_db=0.0, observation_std=0.1, elbo_nats=800.0, train_elbo_nats=805.0, rate_nats=40.0,
    kl_per_dim_nats=(2.0, 1.0), active_units=30, mutual_information_nats=6.2, marginal_kl_nats=33.8, sample_mean=0.5,
    sample_std=0.19, sample_shift=0.01, sample_distance=1.5, sample_variety=0.8, usual_learning_rate=1e-3, values=1024,
    peak=0.5, leaked=0.0, linear_explained=0.8, wider_explained=0.95,
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


WEAK = {"explained": 0.49, "linear_explained": 0.3, "wider_explained": 0.76, "active_units": 32}
DIM = {"std_about_mean_image": 1.9 / 255, "data_std": 0.01, "peak": 0.05}

#: change → what it makes a sound training; with the value just on the other side of the threshold it stays healthy
SICK: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("broken data", {"std_about_mean_image": 1.99 / 255, "peak": 0.01}, {"std_about_mean_image": 2.01 / 255}),
    ("broken data", {"part": "train", "train_count": 9}, {"part": "train", "train_count": 25}),
    ("broken data", {"distinct": 0.49}, {"distinct": 0.5}),
    ("broken data", {"part_shift": 0.53}, {"part_shift": 0.51}),  # 0.5 and five times 1/500 + 1/500
    ("broken data", {"part_shift": 1.02, "part_count": 10}, {"part_shift": 1.0, "part_count": 10}),
    ("broken data", {"neighbour_correlation": -0.04, "explained": 0.05}, {"neighbour_correlation": -0.06}),
    ("broken data", {"train_count": 24, "held_out_count": 3}, {"train_count": 25, "held_out_count": 3}),
    ("broken data", {"leaked": 0.021}, {"leaked": 0.02}),
    ("broken data", DIM | {"data_std": 0.2}, DIM | {"data_std": 0.1}),  # one picture, a dim one
    ("broken data", DIM | {"neighbour_correlation": 0.04}, DIM | {"neighbour_correlation": 0.06}),  # rounding
    ("broken data", DIM | {"data_std": 0.2}, DIM | {"data_std": 0.2, "peak": 0.08}),  # sparse: a pixel stands out
    ("prior mismatch", {"sample_shift": 0.11}, {"sample_shift": 0.1}),
    ("prior mismatch", {"sample_distance": 3.4}, {"sample_distance": 3.3}),
    ("prior mismatch", {"sample_variety": 0.24}, {"sample_variety": 0.25}),
    ("underfitting", WEAK, WEAK | {"explained": 0.5}),
    ("underfitting", WEAK, WEAK | {"wider_explained": 0.75}),  # there is no more to explain
    ("underfitting", WEAK, WEAK | {"linear_explained": 0.6}),  # so many numbers could hold more
    ("underfitting", WEAK, WEAK | {"active_units": 31}),  # the latent is not full
    ("condition ignored", {"is_conditional": True, "obedience": 0.59}, {"is_conditional": True, "obedience": 0.6}),
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
    ("unused level", {"level_rates_nats": (20.0, 0.69, 3.0)}, {"level_rates_nats": (20.0, 0.71, 3.0)}),
    ("over-regularized", {"explained": 0.69, "beta": 5.0}, {"explained": 0.69, "beta": 3.9}),
    ("over-regularized", {"beta": 10.1}, {"beta": 9.9}),
    ("over-regularized", {"active_units": 7, "beta": 5.0}, {"active_units": 8, "beta": 5.0}),
    ("collapsed", {"rate_nats": 0.5, "epochs": 0.5}, {}),
    ("over-regularized", {"explained": 0.6, "observation_std": 0.21}, {"explained": 0.8, "observation_std": 0.21}),
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


def test_samples_may_show_the_opposite_of_their_condition() -> None:
    evidence = replace(SOUND, obedience=-0.01)
    assert Evidence.from_dict(evidence.to_dict()) == evidence


def test_evidence_survives_json_and_a_foreign_one_is_left_alone(tmp_path: Path) -> None:
    runs.save_evidence(tmp_path, SOUND)
    assert runs.load_evidence(tmp_path) == SOUND
    for text in ("", "[]", '{"surprise": 1}'):
        (tmp_path / "doctor.json").write_text(text)
        assert runs.load_evidence(tmp_path) is None


@pytest.mark.parametrize("number", [-1e15, -1, 0, 1, 1e15])
def test_every_evidence_that_is_accepted_is_judged(number: float) -> None:
    """Change one number at a time: a file with an extreme value is refused, or diagnosed without an error."""
    judged = 0
    for base in (SOUND, AUTOENCODER):
        for name, value in base.to_dict().items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            try:
                changed = Evidence.from_dict({**base.to_dict(), name: type(value)(number)})
            except UserError as error:
                assert name in str(error) or "PSNR" in str(error)
                continue
            judged += diagnose(changed).table() != []
    assert judged > 5


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


# What was missed, or accused without reason


def test_samples_unlike_images_are_seen_and_the_cause_is_named() -> None:
    """beta=0 with a standard normal prior: reconstructions are good, samples are not (numbers of such a run)."""
    free = replace(SOUND, beta=0.0, rate_nats=84.2, sample_shift=0.63, sample_distance=4.2, sample_variety=0.64)
    found = diagnose(free)
    assert (found.verdict, dict(found.changes)) == ("prior mismatch", {"beta": 1})
    assert "mean image is off by 0.8" in found.reason
    usual = replace(free, beta=1.0)
    assert diagnose(usual).remedy == "fit-prior"
    assert (
        diagnose(replace(usual, is_prior_fitted=True, epochs=600.0, images_seen=960_000, total_images=960_000)).remedy
        == "reconstruct"
    )
    assert diagnose(replace(usual, is_conditional=True)).changes == {"prior": "conditional-normal"}
    assert diagnose(replace(usual, is_grid=True)).remedy == "train"
    grid = diagnose(replace(usual, is_grid=True, draws_texture=True))
    assert (grid.verdict, grid.remedy, dict(grid.changes)) == ("prior mismatch", "fit-prior", {})
    assert "Samples of a latent grid are texture" in grid.advice
    grid = diagnose(replace(usual, is_grid=True, draws_texture=True, is_prior_fitted=True))
    assert grid.remedy == "reconstruct" and "smaller latent_channels" in grid.advice
    marks = [row.name for row in found.rows if row.is_ok is False]
    assert marks == [
        "samples: shift of the mean image",
        "samples: distance to the nearest image, relative to reconstructions",
    ]


def test_an_autoencoder_whose_codes_miss_its_prior_is_seen_too() -> None:
    off = replace(AUTOENCODER, sample_std=0.3, sample_shift=0.36, sample_distance=3.8, sample_variety=1.1)
    found = diagnose(off)
    assert (found.verdict, found.remedy) == ("prior mismatch", "fit-prior")
    assert any(row.name.startswith("samples") for row in found.rows)


def test_noisy_textures_are_not_called_collapsed() -> None:
    """A model that explains little, because most of the images is noise, but uses its latent."""
    textures = replace(SOUND, explained=0.08, linear_explained=0.05, wider_explained=0.09, rate_nats=6.0)
    found = diagnose(textures)
    assert found.verdict == "healthy" and all(row.is_ok is not False for row in found.rows)
    assert "PCA of the same size explains 5%" in found.reason
    assert diagnose(replace(textures, linear_explained=0.3)).verdict == "collapsed"
    assert diagnose(replace(textures, rate_nats=0.2)).verdict == "collapsed"
    noise = replace(textures, neighbour_correlation=0.01, explained=0.04)
    assert diagnose(noise).verdict == "broken data"  # of 1,024 pixels, 32 numbers explain 3 % by chance
    assert diagnose(replace(noise, explained=0.06)).verdict == "healthy"


def test_a_latent_of_one_number_is_too_small() -> None:
    found = diagnose(
        replace(SOUND, latent_dim=1, active_units=1, explained=0.26, linear_explained=0.15, wider_explained=0.84)
    )
    assert (found.verdict, dict(found.changes)) == ("underfitting", {"latent_dim": 8})
    assert "16 components explains 84%" in found.reason
    noisy = {"explained": 0.07, "linear_explained": 0.1, "wider_explained": 0.29, "values": 256, "latent_dim": 16}
    assert diagnose(replace(SOUND, **noisy, active_units=16)).verdict == "healthy"  # 64 of 256 by chance


def test_a_condition_that_is_ignored_gets_a_prior_that_knows_it() -> None:
    ignoring = replace(SOUND, is_conditional=True, obedience=0.38)
    assert dict(diagnose(ignoring).changes) == {"prior": "conditional-normal"}
    assert diagnose(replace(ignoring, has_conditional_prior=True)).remedy == "data"
    assert diagnose(replace(ignoring, obedience=None)).verdict == "healthy"  # images do not show it


def test_an_unused_level_is_named_and_gets_free_bits_and_then_a_longer_warm_up() -> None:
    """Sønderby et al. 2016, Sec. 3.1: without either, upper levels stay unused."""
    dead = replace(SOUND, level_rates_nats=(0.02, 31.0, 0.0, 8.98), rate_nats=40.0, active_units=None, kl_warmup=0.3)
    found = diagnose(dead)
    assert (found.verdict, dict(found.changes)) == ("unused level", {"free_bits_nats": 2.0})
    assert "level 1 carries 0.02 nats and level 3 carries 0.00 nats, of 40.0 nats on 4 levels" in found.reason
    marks = [row.name for row in found.rows if row.is_ok is False]
    assert marks == ["rate of level 1 of 4", "rate of level 3 of 4"]
    free = replace(dead, free_bits_nats=2.0)
    assert dict(diagnose(free).changes) == {"kl_warmup": 0.5}
    assert diagnose(replace(free, kl_warmup=0.5)).remedy == "use"
    assert diagnose(replace(dead, can_free_bits=False)).remedy == "use"  # of iwae, which takes neither
    assert diagnose(replace(dead, rate_nats=0.5)).changes == {"free_bits_nats": 2.0}  # all of it is collapsed


def test_twenty_images_are_too_few() -> None:
    """The advice used to be 2,560 epochs, then fewer, then more again."""
    twenty = replace(SOUND, train_count=16, held_out_count=2, images_seen=160, total_images=160, steps=10, epochs=10.0)
    found = diagnose(twenty)
    assert (found.verdict, found.remedy) == ("broken data", "data") and "16 training images and 2" in found.reason


# What follows from advice


def _followed(e: Evidence, remedy: str, changes: dict[str, Any]) -> Evidence:
    """Return the evidence after a command if no symptom improves."""
    if remedy == "fit-prior":
        return replace(e, is_prior_fitted=True)
    known, values = {f.name for f in fields(Evidence)}, dict(changes)
    longer = values.pop("images", e.total_images) / e.images_seen
    values |= {"has_patience": True} if values.pop("patience", None) else {}
    values |= {"is_scale_fixed": False} if values.pop("scale", None) else {}
    values |= {"has_conditional_prior": True} if values.pop("prior", None) else {}
    assert values.keys() <= known
    seen = {"images_seen": round(e.images_seen * longer), "epochs": e.epochs * longer, "steps": round(e.steps * longer)}
    return replace(e, is_finished=True, **seen | {"total_images": round(e.images_seen * longer)} | values)


_SHORT = {"steps": 6, "images_seen": 192, "total_images": 192, "epochs": 0.12}
_UNUSUAL = [
    {},
    {"beta": 30.0},
    {"beta": 0.0},
    {"learning_rate": 1e-6},
    {"learning_rate": 0.1},
    {"is_scale_fixed": True},
]
_OTHER = [{}, _SHORT, {"has_patience": True}, {"is_grid": True}, {"is_conditional": True}, {"can_free_bits": False}]


@pytest.mark.parametrize("start", [SOUND, AUTOENCODER], ids=["vae", "autoencoder"])
def test_advice_never_turns_in_a_circle(start: Evidence) -> None:
    """If nothing improves, following the advice ends, and no setting occurs twice."""
    for (_, sick, _), unusual, other in itertools.product(SICK, _UNUSUAL, _OTHER):
        e, seen = replace(start, **other | unusual | sick), []
        for _ in range(20):
            found = diagnose(e)
            if found.remedy in ("use", "data", "reconstruct"):
                break
            after = _followed(e, found.remedy, dict(found.changes))
            longer = after.total_images / e.total_images
            assert longer <= LIMITS.most_longer and after.planned_epochs <= LIMITS.most_epochs + 1
            assert after not in seen and after != e
            seen.append(e)
            e = after
        else:
            pytest.fail(f"no end: {sick} {unusual} {other}: {found.summary} {found.changes}")


def test_longer_always_keeps_the_best_epoch() -> None:
    found = diagnose(replace(SOUND, gain=0.1))
    assert dict(found.changes) == {"images": 96_000, "patience": 20}  # a third of 60 epochs
    assert dict(diagnose(replace(SOUND, gain=0.1, has_patience=True)).changes) == {"images": 96_000}
    begun = diagnose(replace(SOUND, steps=10, images_seen=320, total_images=320, epochs=0.2))
    assert dict(begun.changes) == {"images": 3_200, "patience": 5}  # not the 38,400 that make 1,200 steps


def test_what_early_stopping_ended_is_not_told_to_be_longer() -> None:
    stopped = replace(SOUND, has_patience=True, total_images=64_000, gain=0.1, steps=200, epochs=1.5)
    assert diagnose(stopped).verdict == "healthy"
    assert diagnose(replace(stopped, train_psnr_db=30.0)).remedy == "data"  # the best epoch already: more images


def test_old_evidence_is_judged_as_it_was() -> None:
    """Numbers that older runs lack are None, and no rule holds for them."""
    new = ("values", "peak", "leaked", "linear_explained", "wider_explained", "sample_distance", "sample_variety")
    old = replace(SOUND, **dict.fromkeys((*new, "obedience")))
    assert diagnose(old).verdict == "healthy"
    assert diagnose(replace(old, explained=0.09)).verdict == "collapsed"
    assert diagnose(replace(old, neighbour_correlation=0.01, explained=0.09)).verdict == "broken data"


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
    """Return the evidence on an untrained model."""
    row = resolve(recipes.override(recipes.get(recipe), {"width": 8, **values}), images.shape, 100)
    data = DataConfig("digits", images.shape[1:], images.shape[0], "00", train_images=100)
    model = build_model(row, images.shape).eval()
    return checkup.examine(model, RunConfig(row, data, 1000, patience=patience), images, lines)


def test_the_rate_of_each_level_is_in_the_evidence() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 1, 16, 16))
    found = _examined(_images(pixels), recipe="ladder-vae", posterior_mean_gain=0, kl_warmup=0.3)
    rates = found.level_rates_nats
    assert rates is not None and len(rates) == 4 and rates[0] > 0 and rates[1:] == (0, 0, 0)  # as it starts
    assert sum(rates) == pytest.approx(found.rate_nats) and found.unused_levels == [1, 2, 3, 4]
    assert found.can_free_bits and found.kl_warmup == 0.3
    assert _examined(_images(pixels)).level_rates_nats is None


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
    assert diagnose(found).verdict == "broken data" and "almost equal" in diagnose(found).reason


def test_copies_are_counted() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8)).repeat(10, 0)
    assert _examined(_images(pixels, np.arange(200) // 10 % 10 == 0)).distinct == pytest.approx(18 / 180)


@pytest.mark.parametrize("part", [1, 2])
def test_images_that_were_trained_on_are_found_in_other_parts(part: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (200, 1, 8, 8))
    parts = np.arange(200) // 50  # 100 to train on, 50 of either other part
    parts[150:] = 0
    pixels[50 * part : 50 * part + 5] = pixels[150:155]
    images = replace(_images(pixels), parts=parts.astype(np.uint8))
    found = _examined(images)
    assert found.leaked == pytest.approx(0.1) and diagnose(found).verdict == "broken data"
    assert "10% of the validation or test images" in diagnose(found).reason
    pixels[50 * part : 50 * part + 5] += 1
    clean = replace(_images(pixels), parts=images.parts)
    assert _examined(clean).leaked == 0


def test_a_share_of_the_training_images_stands_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_checks, "_MOST_IMAGES", 250)
    monkeypatch.setattr(image_checks, "_MOST_COMPARED_BYTES", 1)
    pixels = np.random.default_rng(0).integers(0, 256, (1000, 1, 8, 8))
    pixels[900:] = pixels[:100]
    parts = np.arange(1000) >= 800
    found = _examined(_images(pixels, parts.astype(int)))
    assert found.leaked == pytest.approx(0.5, abs=0.2)  # 100 of 200, looked for among 250 of 800


def test_sparse_and_dim_pictures_are_told_from_plain_ones() -> None:
    draws = np.random.default_rng(0)
    sparse = np.zeros((300, 1, 32, 32), int)
    sparse[np.arange(300), 0, draws.integers(0, 32, 300), draws.integers(0, 32, 300)] = 60
    dim = draws.integers(0, 6, (300, 1, 4, 4)).repeat(8, 2).repeat(8, 3)
    rounding = 128 + draws.integers(0, 2, (300, 1, 32, 32))
    picture = draws.integers(0, 250, (1, 1, 16, 16)) + draws.integers(0, 4, (300, 1, 4, 4)).repeat(4, 2).repeat(4, 3)
    for pixels, is_plain in ((sparse, False), (dim, False), (rounding, True), (picture, True)):
        found = _examined(_images(pixels))
        assert found.std_about_mean_image * 255 < 2 and found.is_plain is is_plain


def test_a_decoder_that_is_told_nothing_ignores_the_condition() -> None:
    """Compare a decoder that ignores its condition with one that draws the requested class."""
    images = vk.open_images("digits")
    rows = is_trained_on(images, recipes.get("conditional-vae"))
    told = conditions_of(images, rows)
    row = replace(recipes.get("conditional-vae"), net="mlp", hidden=(32,), latent_dim=4, condition_size=11)
    model = build_model(resolve(row, images.shape, 100), images.shape).eval()
    train, held = (selected(images, np.flatnonzero(images.parts == part), told) for part in (0, 1))
    pca = PrincipalComponents.of(to_float(train[:]).flatten(1))
    assert check_samples(model, to_float(train[:]), train, held, pca, told)["obedience"] == pytest.approx(0, abs=0.1)
    means = torch.stack([to_float(train[:])[train.conditions_of(slice(None))[:, c] > 0].mean(0) for c in range(10)])
    model.decode = _Drawn(means)  # type: ignore[assignment]
    assert check_samples(model, to_float(train[:]), train, held, pca, told)["obedience"] > LIMITS.least_obedience


class _Drawn:
    """A decoder that draws the mean image of the requested class."""

    def __init__(self, means: torch.Tensor) -> None:
        self.means = means

    def __call__(self, z: torch.Tensor, condition: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(picture=(condition[:, :10] @ self.means.flatten(1)).view(-1, *self.means.shape[1:]))


@pytest.mark.parametrize("part", [1, 2])
def test_a_part_of_another_kind_is_seen_whichever_it_is(part: int) -> None:
    images = vk.open_images("digits")
    assert _examined(images).part_shift < 0.05  # type: ignore[operator]
    pixels = images.pixels.clone()
    pixels[torch.from_numpy(images.parts == part)] ^= 255
    found = diagnose(_examined(replace(images, pixels=pixels)))
    assert found.verdict == "broken data" and "differ in kind" in found.reason


def test_a_model_of_the_mean_image_explains_nothing() -> None:
    images = vk.open_images("digits")[:400]
    row = resolve(recipes.override(recipes.get("fast-ae"), {"hidden": "8"}), images.shape, 100)
    model = build_model(row, images.shape).eval()
    trained = images.pixels[torch.from_numpy(images.parts < 2)].float().mean(0) / 255
    with torch.no_grad():
        last = [m for m in model.decoder.modules() if isinstance(m, torch.nn.Linear)][-1]
        last.weight.zero_()
        last.bias.copy_(trained.clamp(1e-4, 1 - 1e-4).logit().flatten())
    config = RunConfig(row, DataConfig("digits", (8, 8), 1, "00"), 100)
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
        assert stored is not None
        command = found["next_command"]
        assert found == {**asdict(diagnose(stored)), "next_command": command} and str(found).endswith(f"\n  {command}")
        assert found["verdict"] == "still improving"  # two epochs
        assert {p.name: p.read_bytes() for p in path.iterdir() if p.is_file()} == before


@pytest.mark.parametrize("folder", GOLDEN, ids=lambda path: path.name)
def test_an_old_run_is_diagnosed_too(folder: Path) -> None:
    found = vk.load(folder).doctor()
    assert found["verdict"] == "still improving" and not (folder / "doctor.json").exists()


def test_a_run_that_was_interrupted_is_told_to_go_on(digits_ae: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(digits_ae, tmp_path / "run"))
    lines = [line for line in runs.read_metrics(run) if line["kind"] != "final" and line["images"] <= 1611]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = vk.load(run).doctor()
    assert (found["verdict"], found["remedy"]) == ("still improving", "resume") and "1,611 of 3,222" in found["reason"]
    assert found["next_command"].endswith(f"--images 3222 --out {run}")


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
    assert f"{tmp_path / 'run'}: still improving: only 51 steps so far, too few" in answer.err.splitlines()[-1]


def test_images_that_have_gone_are_one_sentence(tmp_path: Path, vaekit: Callable) -> None:
    source = tmp_path / "here.npy"
    np.save(source, np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8))
    vk.train(str(source), "seed-ae", tmp_path / "run", epochs=1, quiet=True)
    moved = source.rename(tmp_path / "there.npy")
    answer = vaekit("doctor", tmp_path / "run")
    assert answer.code == 2 and answer.err.count("\n") == 1 and "here.npy" in answer.err
    assert vaekit("doctor", tmp_path / "run", "--data", moved).code == 0
    answer = vaekit("doctor", tmp_path / "run", "--data", "digits")
    assert answer.code == 2 and "does not contain the images" in answer.err and answer.err.count("\n") == 1
    answer = vaekit("doctor", tmp_path / "nowhere")
    assert answer.code == 2 and "is not a run" in answer.err


def test_weights_that_are_not_finite_are_said(digits_ae: Path) -> None:
    run = vk.load(digits_ae)
    for parameter in run.model.parameters():
        parameter.data.fill_(torch.nan)
    with pytest.raises(UserError, match="not finite.*learning rate below"):
        run.doctor()


# The next command


def _words(command: str) -> list[str]:
    words = shlex.split(command)
    assert words[0] == "vaekit"
    return words[1:]


def test_the_next_command_is_one_that_exists(tmp_path: Path, vaekit: Callable, digits_vae: Path) -> None:
    run, out = vk.load(digits_vae).config, str(tmp_path / "a 'run'")
    commands = set()
    for _, sick, _ in [*SICK, ("", {}, "")]:
        config = replace(run, recipe=replace(run.recipe, is_conditional="is_conditional" in sick))
        commands.add(next_command(config, diagnose(replace(SOUND, **sick)), "digits", out))
    assert len(commands) > 5
    for words in map(_words, sorted(commands)):
        if words[0] == "train":
            words.append("--dry-run")
            assert words[words.index("--out") + 1].startswith(out)
        elif words[0] in ("generate", "fit-prior"):
            words[1] = shutil.copytree(digits_vae, out, dirs_exist_ok=True)
        answer = vaekit(*words)
        assert answer.code == 0, (words, answer.err)


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
    config = RunConfig(row, data, 64, initial="/x/y", engine=Engine(micro_batch=4))
    command = next_command(config, diagnose(replace(SOUND, steps=1)), "array", "runs/mine/")
    assert command.startswith("vaekit train DATA --recipe vae ") and "--set beta=3.0" in command
    assert "--init /x/y --micro-batch 4 --out runs/mine-images" in command


# The report


def test_the_report_gives_the_verdict_near_the_top(digits_vae: Path) -> None:
    page = (digits_vae / "report.html").read_text("utf-8")
    card = (digits_vae / "README.md").read_text("utf-8")
    assert page.index("Verdict: still improving") < page.index("<h2>Pictures</h2>")
    assert "train-validation gap, PSNR" in page and "vaekit train digits --recipe vae" in page
    assert "doctor: still improving: " in card


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
