"""Disentanglement: latents that are factors, mixtures or halves of factors, or noise, with known scores."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import mutual_info_score

import vaekit as vk
from vaekit.errors import UserError
from vaekit.evaluation.disentanglement import (
    binned,
    concentration,
    dci,
    disentanglement,
    factor_vae_score,
    factors_of,
    mutual_information_gap,
    mutual_information_nats,
    sap,
    unfit,
)

Cli = Callable[..., Any]
ONE_EACH = {"mig": 1, "dci_disentanglement": 1, "dci_completeness": 1, "dci_informativeness": 1, "factor_vae_score": 1}


def grid(values: int = 5, factors: int = 3, repeats: int = 8) -> dict[str, np.ndarray]:
    """Return exactly independent factors: every combination of values equally often."""
    rows = np.indices((values,) * factors).reshape(factors, -1)
    return {name: np.tile(row.astype(float), repeats) for name, row in zip("abcd", rows, strict=False)}


def uniform(count: int = 2000, factors: int = 3, seed: int = 0) -> dict[str, np.ndarray]:
    """Return continuous factors, independent except for chance."""
    return dict(zip("abcd", np.random.default_rng(seed).uniform(-1, 1, (factors, count)), strict=False))


def stacked(*columns: np.ndarray, noise: float = 0.0) -> np.ndarray:
    latents = np.stack(columns, 1)
    return latents + noise * np.random.default_rng(9).normal(size=latents.shape)


# Latents with known scores


def test_codes_that_are_discrete_factors() -> None:
    columns = grid()
    found = disentanglement(stacked(*columns.values()), columns)
    assert {name: found[name] for name in ONE_EACH} == pytest.approx(ONE_EACH, abs=1e-12)
    assert found["mig_per_factor"] == pytest.approx(dict.fromkeys("abc", 1), abs=1e-12)
    assert found["sap"] == pytest.approx(1 - 1 / 5, abs=0.06), "the second best tells one of five by chance"


def test_words_are_told_as_numbers_are() -> None:
    numbers = grid()
    words = {name: np.array(list("vwxyz"))[column.astype(int)] for name, column in numbers.items()}
    latents = stacked(*numbers.values(), noise=0.3)
    assert disentanglement(latents, words) == disentanglement(latents, numbers)


def test_codes_that_are_continuous_factors() -> None:
    columns = uniform()
    found = disentanglement(stacked(*columns.values()), columns)
    assert found["factor_vae_score"] == 1
    assert found["sap"] == pytest.approx(1, abs=0.01) and found["mig"] == pytest.approx(1, abs=0.05)
    assert min(found["dci_disentanglement"], found["dci_completeness"], found["dci_informativeness"]) > 0.97


def test_codes_that_are_sums_and_differences_of_two_factors() -> None:
    columns = uniform(3000, 2)
    a, b = columns.values()
    found = disentanglement(stacked(a + b, a - b), columns)
    for name in ("mig", "sap", "dci_disentanglement", "dci_completeness"):
        assert found[name] == pytest.approx(0, abs=0.05), name
    assert found["dci_informativeness"] > 0.9, "it is all there"


def test_codes_that_are_noise() -> None:
    columns = grid(4, 3, 30)
    latents = np.random.default_rng(3).normal(size=(len(columns["a"]), 6))
    found = disentanglement(latents, columns)
    assert found["mig"] == pytest.approx(0, abs=0.02) and found["sap"] == pytest.approx(0, abs=0.05)
    assert found["dci_disentanglement"] < 0.05 and found["dci_completeness"] < 0.05
    assert found["dci_informativeness"] == pytest.approx(1 / 4, abs=0.05)
    assert 1 / 3 <= found["factor_vae_score"] < 0.65


def test_one_factor_in_two_codes() -> None:
    """Two halves of four values: completeness 1 − log 2 / log 3 for one factor, 1 for the other."""
    a, b = np.divmod(np.tile(np.arange(16), 60), 4)
    columns = {"a": a.astype(float), "b": b.astype(float)}
    found = disentanglement(stacked(a // 2, a % 2, b), columns)
    assert found["mig_per_factor"] == pytest.approx({"a": 0, "b": 1}, abs=1e-12)
    assert found["dci_disentanglement"] == pytest.approx(1, abs=1e-9)
    assert found["dci_completeness"] == pytest.approx((1 - math.log(2) / math.log(3) + 1) / 2, abs=0.02)
    assert found["factor_vae_score"] == found["dci_informativeness"] == 1


def test_two_factors_in_one_code() -> None:
    """One latent determines both factors; the other latent is noise."""
    a, b = np.divmod(np.tile(np.arange(16), 60), 4)
    noise = np.random.default_rng(0).normal(size=len(a))
    found = disentanglement(stacked(4 * a + b, noise), {"a": a, "b": b})
    assert found["mig"] > 0.95 and found["dci_completeness"] > 0.97 and found["dci_disentanglement"] < 0.05


def test_the_gap_of_a_noisy_copy_is_the_difference_of_squared_correlations() -> None:
    """z = v + e with variances 1 and s² has R² = 1 / (1 + s²)."""
    rng = np.random.default_rng(0)
    v = rng.normal(size=20_000)
    latents = stacked(v + 0.5 * rng.normal(size=len(v)), -v + 1.0 * rng.normal(size=len(v)), rng.normal(size=len(v)))
    assert sap(latents, factors_of({"v": v}))["v"] == pytest.approx(1 / 1.25 - 1 / 2, abs=0.02)


def test_a_threshold_between_two_normals_tells_what_it_must() -> None:
    """Means 0 and 2 with deviation 1: accuracy Φ(1), whatever the fractions of both; ½ for the other latent."""
    rng = np.random.default_rng(0)
    v = (rng.random(20_000) < 0.2).astype(float)
    latents = stacked(rng.normal(size=len(v)) + 2 * v, rng.normal(size=len(v)))
    assert sap(latents, factors_of({"v": v}))["v"] == pytest.approx(0.8413 - 0.5, abs=0.03)


def test_disentanglement_is_weighted_by_the_importance_of_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """R of three latents and two factors by hand (Eastwood & Williams 2018, Sec. 2)."""
    relevance = np.array([[0.6, 0.0], [0.2, 0.2], [0.2, 0.8]])

    class Forest:
        made = 0

        def __init__(self) -> None:
            self.feature_importances_ = relevance[:, Forest.made]
            Forest.made += 1

        def fit(self, z: np.ndarray, v: np.ndarray) -> Forest:
            return self

        def predict(self, z: np.ndarray) -> np.ndarray:
            return np.zeros(len(z))

    monkeypatch.setattr("vaekit.evaluation.disentanglement._forest", lambda factor, seed: Forest())
    columns = grid(2, 2, 50)
    found = dci(np.zeros((200, 3)), factors_of(columns))
    skewed = 1 + (0.2 * math.log(0.2) + 0.8 * math.log(0.8)) / math.log(2)
    assert found["dci_disentanglement"] == pytest.approx((0.6 * 1 + 0.4 * 0 + 1.0 * skewed) / 2)
    of_a = 1 + (0.6 * math.log(0.6) + 0.4 * math.log(0.2)) / math.log(3)
    of_b = 1 + (0.2 * math.log(0.2) + 0.8 * math.log(0.8)) / math.log(3)
    assert found["dci_completeness"] == pytest.approx((of_a + of_b) / 2)
    assert found["dci_informativeness"] == 0.5, "one of two values is always told right"


# Laws


@pytest.mark.parametrize("columns", [grid(4, 2, 20), uniform(400, 2)], ids=["discrete", "continuous"])
def test_order_sign_and_scale_of_codes_change_nothing(columns: dict[str, np.ndarray]) -> None:
    a, b = columns.values()
    latents = stacked(a, a + 0.5 * b, b, a * 0, noise=0.4)
    expected = disentanglement(latents, columns)
    for changed in (latents[:, [2, 0, 3, 1]], -latents, latents * [2, 3, 0.5, 1.5] + 7):
        found = disentanglement(changed, columns)
        for name in ("mig", "sap", "factor_vae_score"):
            assert found[name] == pytest.approx(expected[name], abs=0.02), name
        for name in ("dci_disentanglement", "dci_completeness", "dci_informativeness"):
            assert found[name] == pytest.approx(expected[name], abs=0.05), name


def test_everything_follows_from_the_seed() -> None:
    columns = grid(3, 2, 30)
    latents = stacked(*columns.values(), noise=0.8)
    first = disentanglement(latents, columns, 5)
    assert first == disentanglement(torch.from_numpy(latents), columns, 5)
    other = disentanglement(latents, columns, 2**63 - 1)
    assert first["mig"] == other["mig"] and first["factor_vae_score"] != other["factor_vae_score"]


def test_information_is_that_of_sklearn_and_of_bins() -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(0, 7, 500)
    b = (a + rng.integers(0, 3, 500)) % 5
    assert mutual_information_nats(a, b) == pytest.approx(mutual_info_score(a, b), rel=1e-12)
    assert mutual_information_nats(b, a) == pytest.approx(mutual_information_nats(a, b), rel=1e-12)
    values = rng.normal(size=500)
    edges = np.histogram(values, 20)[1]
    assert (binned(values) == np.digitize(values, edges[1:-1])).all()
    assert binned(np.ones(3)).tolist() == [0, 0, 0]
    v = factors_of({"v": values}, "")["v"]
    latents = stacked(values + rng.normal(size=500), rng.normal(size=500))
    first, second = (mutual_info_score(binned(z), v.bins) for z in latents.T)
    entropy = mutual_info_score(v.bins, v.bins)
    assert mutual_information_gap(latents, {"v": v})["v"] == pytest.approx((first - second) / entropy)


def test_concentration_is_one_less_the_entropy() -> None:
    found = concentration(np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 5.0], [0.0, 0.0, 0.0], [2.0, 1.0, 1.0]]))
    last = 1 - 1.5 * math.log(2) / math.log(3)
    assert found.tolist() == pytest.approx([1 - math.log(2) / math.log(3), 1, 0, last])


def test_what_is_not_known_is_not_asked_for() -> None:
    columns = grid(4, 2, 40)
    latents = stacked(*columns.values())
    half = np.arange(len(latents)) % 3 == 0
    latents[half, 0] = np.random.default_rng(0).normal(size=half.sum())
    gaps = [{**columns, "a": np.where(half, np.nan, columns["a"])}]
    gaps += [{**columns, "a": np.where(half, "", np.char.mod("%d", columns["a"]))}]
    for each in gaps:
        factors = factors_of(each)
        assert len(factors["a"].rows) == (~half).sum()
        assert mutual_information_gap(latents, factors)["a"] > 0.95
    assert mutual_information_gap(latents, factors_of(columns))["a"] < 0.7


def test_a_code_that_hardly_varies_is_never_named() -> None:
    """A constant dimension would always vary least, whichever factor is fixed."""
    columns = uniform(1000, 2)
    a, b = columns.values()
    factors, noise = factors_of(columns), np.random.default_rng(0).normal(size=1000)
    assert factor_vae_score(stacked(a, b, 0 * a), factors) == 1
    assert factor_vae_score(stacked(a, b, 1e-3 * (a + b + 0.1 * noise)), factors) == 1
    assert factor_vae_score(stacked(a, b, a + b + 0.1 * noise), factors) == pytest.approx(1, abs=0.05)


def test_images_in_the_order_of_their_factors() -> None:
    """Every second image has only half of the values of the last factor."""
    columns = grid(4, 3, 4)
    assert disentanglement(stacked(*columns.values()), columns)["dci_informativeness"] == 1


def test_more_images_than_are_fitted_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vaekit.evaluation.disentanglement._MOST_FITTED", 200)
    columns = grid()
    found = disentanglement(stacked(*columns.values()), columns)
    assert found["dci_informativeness"] == 1 and found["dci_disentanglement"] == pytest.approx(1)


# What is no factor


def test_columns_that_are_no_factors_are_named() -> None:
    columns = {
        **grid(2, 1, 60), "same": np.ones(120), "name": np.arange(120).astype(str), "flag": np.arange(120) % 2 == 0,
        "rare": np.where(np.arange(120) < 99, 1.0 * (np.arange(120) % 2), np.nan), "age": np.arange(120),
    }  # fmt: skip
    reasons = {"same": "one value", "name": "120 values for 120 images", "rare": "known for 99 images, expected 100"}
    assert unfit(columns) == reasons
    assert {name: each.is_continuous for name, each in factors_of(columns).items()} == {
        "a": False,
        "flag": False,
        "age": True,
    }
    latents = np.random.default_rng(0).normal(size=(120, 2))
    found = disentanglement(latents, columns)
    assert found["factors_left_out"] == reasons and found["mig_per_factor"].keys() == {"a", "flag", "age"}


def test_a_factor_that_no_code_tells_of_makes_none_look_disentangled() -> None:
    """One image in 400 is too few for a forest to split."""
    rng = np.random.default_rng(0)
    columns = {"rare": np.arange(400) == 7, "many": rng.integers(0, 3, 400), "age": rng.normal(size=400)}
    found = disentanglement(rng.normal(size=(400, 3)), columns)
    assert found["dci_disentanglement"] < 0.05 and found["dci_completeness"] < 0.05


def test_what_needs_a_second_factor_is_none() -> None:
    columns = grid(4, 1, 50)
    found = disentanglement(stacked(columns["a"], columns["a"][::-1], noise=0.1), columns)
    assert {name for name, value in found.items() if value is None} == {"dci_disentanglement", "factor_vae_score"}
    assert "factors_left_out" not in found


def test_what_cannot_be_measured_is_refused() -> None:
    columns = grid(4, 1, 50)
    latents = stacked(columns["a"], columns["a"] ** 2)
    with pytest.raises(
        UserError, match="^factors: photos has no usable column .*neither labels nor attributes.*at least 100"
    ):
        factors_of({}, "photos")
    with pytest.raises(UserError, match="same: one value"):
        disentanglement(latents, {"same": np.ones(200)})
    with pytest.raises(UserError, match="^factors: 1 of 2 latent dimensions vary"):
        disentanglement(latents * [1, 0], columns)
    with pytest.raises(UserError, match="^factors: some latents are not finite"):
        disentanglement(latents * [1, np.nan], columns)


# Runs


def test_faces_have_ten_factors(portraits_vae: Path, vaekit: Cli) -> None:
    answer = vaekit("evaluate", portraits_vae, "portraits:120", "--factors", "--split", "all", "--json")
    assert answer.code == 0, answer.err
    numbers = json.loads(answer.out)
    run = vk.load(portraits_vae)
    images = vk.open_images("portraits:120", size=16)
    assert numbers["mig_per_factor"].keys() == images.attributes.keys() and len(images.attributes) == 10
    expected = disentanglement(run.encode(images), images.attributes)
    assert {name: numbers[name] for name in expected} == expected
    for name in ONE_EACH.keys() | {"sap"}:
        assert 0 <= numbers[name] <= 1, name
    assert "mig" not in run.evaluate("portraits:12")


def test_of_digits_the_label_is_the_one_factor(digits_ae: Path, vaekit: Cli) -> None:
    answer = vaekit("evaluate", digits_ae, "--factors", "--seed", 1)
    assert answer.code == 0, answer.err
    words = dict(line.split(maxsplit=1) for line in answer.out.splitlines())
    assert words["mig_per_factor"].startswith("label 0.") and words["factor_vae_score"] == "none"
    assert float(words["dci_informativeness"]) > 0.3, "latents tell digits, a tenth of which chance tells"


def test_images_without_labels_and_few_images_are_refused(portraits_vae: Path, tmp_path: Path, vaekit: Cli) -> None:
    few = vaekit("evaluate", portraits_vae, "--factors")
    assert few.code == 2 and "(glasses, male, smiling, beard, hair" in few.err and few.err.count("\n") == 1
    plain = np.random.default_rng(0).integers(0, 255, (12, 16, 16, 3), dtype=np.uint8)
    np.save(tmp_path / "plain.npy", plain)
    nothing = vaekit("evaluate", portraits_vae, tmp_path / "plain.npy", "--factors")
    assert nothing.code == 2 and "neither labels nor attributes" in nothing.err and nothing.err.count("\n") == 1
