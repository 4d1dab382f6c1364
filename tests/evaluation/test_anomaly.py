"""Anomaly detection: the guarantee of the threshold, correct counts, complete maps and tables."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import vaekit as vk
from vaekit.data import to_float, write_folder
from vaekit.errors import UserError
from vaekit.evaluation.anomaly import (
    check_score,
    colored,
    heat_maps,
    normal_classes,
    scores_of,
    separation,
    threshold_of,
)
from vaekit.evaluation.metrics import measure

Cli = Callable[..., Any]


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
def test_of_further_normal_images_at_most_the_promised_fraction_is_flagged(alpha: float) -> None:
    rng = np.random.default_rng(0)
    count, trials = 39, 20_000
    draws = rng.normal(size=(trials, count + 1))
    ranked = np.sort(draws[:, :count], axis=1)
    thresholds = np.array([threshold_of(each, alpha) for each in ranked[:200]])
    place = math.ceil((count + 1) * (1 - alpha) - 1e-9) - 1
    np.testing.assert_array_equal(thresholds, ranked[:200, place])
    flagged = (draws[:, count] > ranked[:, place]).mean()
    exact = 1 - (place + 1) / (count + 1)  # with no ties, by exchangeability
    assert exact <= alpha + 1e-12 and flagged == pytest.approx(exact, abs=4 * math.sqrt(alpha / trials))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.floats(0.001, 0.999))
def test_a_threshold_is_one_of_the_scores_or_is_refused_for_want_of_images(scores: list[float], alpha: float) -> None:
    normal = np.array(scores)
    if len(normal) + 1 < 1 / alpha - 1e-6:
        with pytest.raises(UserError, match="needs at least"):
            threshold_of(normal, alpha)
    elif len(normal) + 1 > 1 / alpha + 1e-6:
        found = threshold_of(normal, alpha)
        assert found in normal
        assert (normal > found).sum() <= alpha * (len(normal) + 1)


def test_a_score_that_is_no_number_is_refused_and_an_infinite_one_is_the_strangest() -> None:
    columns = {"sse": torch.tensor([1.0, math.nan, 2.0]), "elbo_nats": torch.tensor([-1.0, -math.inf, -2.0])}
    with pytest.raises(UserError, match="^sse is NaN for 1 of 3 images"):
        scores_of(columns)
    assert scores_of({"elbo_nats": columns["elbo_nats"]})["negative_elbo_nats"].tolist() == [1.0, math.inf, 2.0]


def test_as_many_images_as_the_refusal_asks_for_are_enough() -> None:
    for alpha in (0.5, 0.2, 0.05, 0.01, 0.003):
        needed = math.ceil(1 / alpha - 1 - 1e-9)
        assert threshold_of(np.arange(needed), alpha) == needed - 1
        with pytest.raises(UserError, match=f"at least {needed:,} "):
            threshold_of(np.arange(needed - 1), alpha)
    for alpha in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(UserError, match="between 0 and 1"):
            threshold_of(np.arange(10.0), alpha)


def test_separation_counts_pairs_and_flags() -> None:
    rng = np.random.default_rng(1)
    told = rng.random(80) < 0.3
    scores = np.round(rng.normal(size=80) + told, 1)  # with ties
    found = separation(scores, told, 0.5)
    strange, usual = scores[told][:, None], scores[~told][None]
    assert found["auroc"] == pytest.approx(((strange > usual) + 0.5 * (strange == usual)).mean())
    table = found["confusion"]
    assert sum(table.values()) == 80
    assert table["anomalous_flagged"] == int((scores[told] > 0.5).sum())
    assert table["normal_flagged"] == int((scores[~told] > 0.5).sum())


def test_scores_are_turned_so_that_more_is_stranger(digits_vae: Path) -> None:
    run = vk.load(digits_vae)
    pixels = run.images("test").pixels[:40]
    noise = torch.randint(0, 256, pixels.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    usual, strange = (scores_of(measure(run.model, each).columns) for each in (pixels, noise))
    assert set(usual) == {"negative_elbo_nats", "distortion_nats", "rate_nats", "sse"}
    for name in ("negative_elbo_nats", "distortion_nats", "sse"):
        assert (
            separation(np.concatenate([usual[name], strange[name]]), np.repeat([False, True], 40), 0.0)["auroc"] > 0.99
        )
    np.testing.assert_allclose(usual["negative_elbo_nats"], usual["distortion_nats"] + usual["rate_nats"])


@pytest.mark.parametrize("trained", ["digits_vae", "portraits_vae"])
def test_a_map_sums_to_the_log_probability_of_its_image(trained: str, request: pytest.FixtureRequest) -> None:
    run = vk.load(request.getfixturevalue(trained))
    pixels = run.images("test").pixels[:3]
    maps = heat_maps(run.model, pixels)
    x = to_float(pixels)
    log_px = run.model.decode(run.model.encode(x).mean).log_prob(x)
    torch.testing.assert_close(maps.sum((1, 2)), -log_px, rtol=1e-4, atol=1e-2)


def test_a_spoilt_pixel_is_the_brightest_of_its_map(digits_vae: Path) -> None:
    run = vk.load(digits_vae)
    pixels = run.images("test").pixels[:3]
    maps = heat_maps(run.model, pixels)
    spoilt = pixels.clone()
    spoilt[0, 0, 0, 0] = 255 - spoilt[0, 0, 0, 0]
    colors = colored(heat_maps(run.model, spoilt), maps).float().sum(1)
    assert colors.shape == (3, *run.shape[1:]) and float(colors[0, 0, 0]) == float(colors[0].max())


def test_score_in_words(vaekit: Cli, digits_vae: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = vaekit("score", digits_vae, "--table", "t.csv", "--false-alarms", 0.1, "--json", "--count", 3)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["by"] == "negative_elbo_nats" and "auroc" not in found and len(found["strangest"]) == 3
    rows = list(csv.DictReader(Path("t.csv").read_text().splitlines()))
    assert len(rows) == found["images"]
    assert sum(int(row["flagged"]) for row in rows) == found["flagged"]
    highest = max(rows, key=lambda row: float(row["negative_elbo_nats"]))
    assert highest["name"] == found["strangest"][0]["name"]
    assert (tmp_path / f"{digits_vae.name}-score.png").exists()
    groups = ["--normal", "label:0", "--normal", "label:1"]
    told = json.loads(vaekit("score", digits_vae, *groups, "--false-alarms", 0.1, "--json").out)
    assert 0 <= told["auroc"] <= 1 and sum(told["confusion"].values()) == found["images"]


def test_classes_that_the_run_knows_are_normal(vaekit: Cli, digits_vae: Path, tmp_path: Path) -> None:
    digits = vk.load(digits_vae).images("test")
    for name, images in (("3", digits[:20]), ("noise", digits[20:40])):
        if name == "noise":
            pixels = torch.randint(
                0, 256, images.pixels.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
            )
            images = vk.open_images(pixels[:, 0].numpy())
        write_folder(images, tmp_path / "set" / name)
        (tmp_path / "set" / name / "metadata.csv").unlink()
    out = tmp_path / "s.png"
    done = vaekit("score", digits_vae, tmp_path / "set", "--false-alarms", 0.1, "--out", out, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["auroc"] > 0.95


def test_what_is_normal_where_nobody_says() -> None:
    assert normal_classes(["0", "1"], ["0", "1"]) == []
    assert normal_classes(["good", "hole"], ["good"]) == ["good"]
    assert check_score(None, True) == "negative_elbo_nats" and check_score(None, False) == "sse"
    with pytest.raises(UserError, match="autoencoder"):
        check_score("rate_nats", False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--by", "elbo"], "--by elbo"),
        (["--false-alarms", "0"], "between 0 and 1"),
        (["--false-alarms", "0.0001"], "needs at least 9,999"),
        (["--normal", "label:ten"], "unknown label"),
        (["--table", "t.txt"], ".csv"),
        (["--count", "0"], "--count 0"),
    ],
)
def test_a_score_that_cannot_be_given_says_why(vaekit: Cli, digits_vae: Path, words: list[str], said: str) -> None:
    done = vaekit("score", digits_vae, *words)
    assert done.code == 2 and said in done.err and "Traceback" not in done.err


def test_what_cannot_be_read_is_named(vaekit: Cli, digits_vae: Path, tmp_path: Path) -> None:
    write_folder(vk.load(digits_vae).images("test")[:4], tmp_path / "mixed")
    (tmp_path / "mixed" / "broken.png").write_text("no image")
    for words in (["score", "--out", tmp_path / "s.png"], ["reconstruct", "--out", tmp_path / "r.png"]):
        done = vaekit(words[0], digits_vae, tmp_path / "mixed", *words[1:])
        assert done.code == 0 and "broken.png" in done.err, done.err


def test_a_folder_is_scored_whole_and_the_run_s_own_data_by_its_test_part_with_a_note(
    vaekit: Cli, digits_vae: Path, tmp_path: Path
) -> None:
    """Only what is scored sets no threshold and was not trained on; a note counts the rest."""
    images, score = vk.load(digits_vae).images(), ("score", digits_vae, "--false-alarms", 0.1, "--json")
    write_folder(images[:30], tmp_path / "foreign")
    (tmp_path / "foreign" / "metadata.csv").unlink()  # has a column for the parts
    foreign = vaekit(*score, tmp_path / "foreign", "--out", tmp_path / "a.png")
    assert json.loads(foreign.out)["images"] == 30 and "part" not in foreign.err and "threshold" not in foreign.err
    own = vaekit(*score, "digits", "--out", tmp_path / "b.png")
    tested = json.loads(own.out)["images"]
    told = f"leaves {tested} of 1,797 images for the test part; --split all uses them all\n"
    assert "vaekit: the run's split of " in own.err and told in own.err
    whole = vaekit(*score, "digits", "--split", "all", "--out", tmp_path / "c.png")
    numbers, held = json.loads(whole.out), json.loads(own.out)["calibrated_on"]
    assert numbers["images"] == 1797 and numbers["threshold"] == json.loads(own.out)["threshold"]
    trained = 1797 - held - tested
    assert f"trained on {trained:,} and {held:,} set the threshold" in whole.err
    assert f"--false-alarms holds for the other {tested:,} only" in whole.err
    alone = vaekit(*score, "digits", "--split", "val", "--out", tmp_path / "d.png")
    assert alone.code == 2 and "cannot be scored alone; give --split all" in alone.err


def test_flagged_images_are_marked_and_too_plain_ones_are_named(vaekit: Cli, digits_vae: Path, tmp_path: Path) -> None:
    run = vk.load(digits_vae)
    (tmp_path / "mixed").mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)).save(tmp_path / "mixed" / "noise.png")
    easiest = run.images("train").pixels.float().mean(0)[0].round().byte().numpy()
    Image.fromarray(easiest).save(tmp_path / "mixed" / "plain.png")
    answer = vaekit("score", digits_vae, tmp_path / "mixed", "--false-alarms", 0.1, "--out", tmp_path / "s.png")
    assert answer.code == 0
    assert re.search(r"^  noise.png: -?[\d,.]+, flagged\n  plain.png: -?[\d,.]+$", answer.out, re.M)
    assert "1 image scored lower than all" in answer.err and "look at them too: plain.png" in answer.err
    one = vaekit(
        "score", digits_vae, tmp_path / "mixed", "--false-alarms", 0.9, "--count", 1, "--out", tmp_path / "t.png"
    )
    assert "flagged" in one.out
    result = run.score(tmp_path / "mixed", false_alarms=0.1)
    assert result.figure.captions == ("noise.png", "plain.png", "", "", "flagged", "")
    assert [row["flagged"] for row in result["strangest"]] == [True, False] and result["lower_than_normal"] == 1
