"""Directions of attributes: each method on latents whose true directions are known."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vaekit.errors import UserError
from vaekit.latent.directions import METHODS, Column, Direction, columns_of, fit, fit_all, named, orthogonal
from vaekit.system.memory import resident_bytes


def made(
    count: int = 4000, noise: float = 0.0, seed: int = 0
) -> tuple[torch.Tensor, dict[str, np.ndarray], np.ndarray]:
    """Return latents z = 1 + a·A + b·B + noise, with correlated a and b; the columns, and the rows A and B."""
    rng = np.random.default_rng(seed)
    a = (rng.random(count) < 0.5).astype(float)
    b = (rng.random(count) < 0.2 + 0.6 * a).astype(float)
    rows = rng.normal(size=(2, 5))
    z = 1 + a[:, None] * rows[0] + b[:, None] * rows[1] + noise * rng.normal(size=(count, 5))
    return torch.from_numpy(z), {"a": a, "b": b}, rows


def test_adjusted_finds_the_law_where_means_mix_in_what_goes_along() -> None:
    z, columns, rows = made()
    adjusted = fit(z, columns["a"], "adjusted", columns["b"][:, None])
    np.testing.assert_allclose(adjusted.numpy(), rows[0], atol=1e-10)
    mixed = columns["b"][columns["a"] == 1].mean() - columns["b"][columns["a"] == 0].mean()
    means = fit(z, columns["a"], "means")
    np.testing.assert_allclose(means.numpy(), rows[0] + mixed * rows[1], atol=1e-10)
    np.testing.assert_allclose(fit(z, columns["a"], "adjusted").numpy(), means.numpy(), atol=1e-10)


def test_the_classifier_is_the_regularized_discriminant_and_goes_as_far_as_the_means() -> None:
    rng = np.random.default_rng(1)
    t = np.repeat([0.0, 1.0], 300)
    shape = rng.normal(size=(4, 4))
    z = rng.normal(size=(600, 4)) @ shape + t[:, None] * np.array([1.0, 2.0, 0.0, -1.0])
    found = fit(torch.from_numpy(z), t, "classifier").numpy()
    delta = z[t == 1].mean(0) - z[t == 0].mean(0)
    within = sum((z[t == k] - z[t == k].mean(0)).T @ (z[t == k] - z[t == k].mean(0)) for k in (0, 1)) / 598
    normal = np.linalg.inv(within + 0.1 * np.trace(within) / 4 * np.eye(4)) @ delta
    np.testing.assert_allclose(found / np.linalg.norm(found), normal / np.linalg.norm(normal), atol=1e-9)
    assert found @ normal == pytest.approx(delta @ normal)  # of the projection, as much as between the means


def test_the_classifier_of_few_latents_with_many_dimensions_is_the_same_discriminant() -> None:
    """(XᵀX + λ I)⁻¹ v by a system as small as there are latents (Woodbury 1950), against the inverse itself."""
    rng, t = np.random.default_rng(3), np.repeat([0.0, 1.0], 15)
    z = rng.normal(size=(30, 90)) * np.linspace(0.5, 3, 90) + t[:, None] * rng.normal(size=90)
    found = fit(torch.from_numpy(z), t, "classifier").numpy()
    delta = z[15:].mean(0) - z[:15].mean(0)
    within = sum((z[t == k] - z[t == k].mean(0)).T @ (z[t == k] - z[t == k].mean(0)) for k in (0, 1)) / 28
    normal = np.linalg.inv(within + 0.1 * np.trace(within) / 90 * np.eye(90)) @ delta
    np.testing.assert_allclose(found, normal * (normal @ delta) / (normal @ normal), atol=1e-9)


def test_a_direction_in_thousands_of_dimensions_takes_no_square_of_them() -> None:
    rng, t = torch.Generator().manual_seed(0), np.repeat([0.0, 1.0], 100)
    z = torch.randn(200, 16_384, generator=rng) + torch.from_numpy(t)[:, None].float()
    before = resident_bytes() or 0
    for method in METHODS:
        found = fit_all(z, columns_of(None, (), {"a": t}), None, method)["a"]
        assert found.accuracy == 1.0 and float(found.vector.mean()) == pytest.approx(1, abs=0.05)
    assert (resident_bytes() or 0) - before < 5e8  # all covariances: 2 GiB


@pytest.mark.parametrize("method", METHODS)
def test_strength_one_goes_from_the_mean_without_to_the_mean_with_along_the_direction(method: str) -> None:
    rng = np.random.default_rng(2)
    t = np.repeat([0.0, 1.0], 50)
    z = torch.from_numpy(rng.normal(size=(100, 3)) + 4 * t[:, None])
    d = fit(z, t, method)
    without, with_ = z[:50].mean(0), z[50:].mean(0)
    if method == "classifier":  # shorter, across the variance: only the projection on its normal counts
        assert float(d @ d) == pytest.approx(float(d @ (with_ - without)))
    else:
        torch.testing.assert_close(without + d, with_)


def test_the_sign_of_a_direction_is_towards_those_with_it() -> None:
    z, columns, _ = made(noise=0.5)
    for method in METHODS:
        d = fit(z, columns["a"], method, columns["b"][:, None])
        assert float((z[columns["a"] == 1].mean(0) - z[columns["a"] == 0].mean(0)) @ d) > 0


def test_orthogonal_directions_leave_the_others_alone() -> None:
    z, table, _ = made(noise=0.3)
    columns = columns_of(None, (), table)
    plain = fit_all(z, columns, None, "means")
    found = fit_all(z, columns, None, "means", is_orthogonal=True)
    assert abs(float(plain["a"].vector @ plain["b"].vector)) > 0.1
    assert abs(float(found["a"].vector @ plain["b"].vector)) < 1e-5
    assert found["a"].is_orthogonal and not plain["a"].is_orthogonal


def test_accuracy_is_of_images_that_nothing_was_fitted_on() -> None:
    rng = np.random.default_rng(3)
    chance = columns_of(None, (), {"coin": (rng.random(100) < 0.5).astype(float)})
    z = torch.from_numpy(rng.normal(size=(100, 80)))  # as many numbers as images: all those fitted on are told apart
    found = fit_all(z, chance, None, "classifier")["coin"]
    assert found.accuracy is not None and found.accuracy < 0.8 and found.held_out == 20
    assert found.images_with + found.images_without == 80
    z, table, _ = made(noise=0.1)
    sure = fit_all(z, columns_of(None, (), table), None)["a"]
    assert sure.accuracy == 1.0 and sure.held_out_from == "a fifth of the stored latents"
    backwards = columns_of(None, (), {"a": 1 - table["a"]})
    assert fit_all(z, columns_of(None, (), table), (z, backwards, "val"))["a"].accuracy == 0.0


def test_columns_become_directions_by_name() -> None:
    labels = np.array([0, 1, 2, 2])
    table = {
        "glasses": np.array([0.0, 1.0, np.nan, 1.0]),
        "age": np.array([1.0, 5.0, 9.0, 20.0]),
        "hair": np.array(["red", "", "black", "red"]),
        "same": np.ones(4),
        "dog": np.array([0.0, 1.0, 0.0, 1.0]),
    }
    found = columns_of(labels, ("cat", "dog", "cow"), table)
    assert list(found) == ["glasses", "age", "hair=black", "hair=red", "dog", "cat", "label:dog", "cow"]
    np.testing.assert_array_equal(found["glasses"].has, [0, 1, np.nan, 1])
    np.testing.assert_array_equal(found["age"].has, [0, 0, 1, 1])  # above the median
    np.testing.assert_array_equal(found["hair=red"].has, [1, np.nan, 0, 1])
    assert found["cow"].source == found["label:dog"].source != found["dog"].source


def test_what_the_others_determine_has_no_adjusted_direction() -> None:
    rng = np.random.default_rng(4)
    a = (rng.random(200) < 0.5).astype(float)
    columns = columns_of(None, (), {"a": a, "twin": a, "b": (rng.random(200) < 0.5).astype(float)})
    z = torch.from_numpy(rng.normal(size=(200, 3)))
    assert set(fit_all(z, columns, None)) == {"b"} and set(fit_all(z, columns, None, "means")) == {"a", "twin", "b"}
    with pytest.raises(UserError, match="^method=adjusted: .*; use means"):
        fit(z, a, "adjusted", a[:, None])
    with pytest.raises(UserError, match="did you mean 'means'"):
        fit(z, a, "mean")
    with pytest.raises(UserError, match="did you mean 'twin'"):
        named(fit_all(z, columns, None, "means"), "twim")


@given(st.integers(4, 60), st.integers(1, 6), st.integers(0, 1000), st.sampled_from(METHODS))
def test_any_latents_give_finite_directions(count: int, latents: int, seed: int, method: str) -> None:
    rng = np.random.default_rng(seed)
    has = np.arange(count) % 2.0
    columns = {"x": Column("x", has, has), "y": Column("y", 1 - (np.arange(count) % 3 == 0), np.arange(count) * 1.0)}
    z = torch.from_numpy(rng.normal(size=(count, latents)) * rng.choice([0.0, 1e-6, 1e3]))
    for direction in fit_all(z, columns, None, method, is_orthogonal=bool(seed % 2)).values():
        assert bool(direction.vector.isfinite().all())
        assert direction.accuracy is None or 0 <= direction.accuracy <= 1


def mixed(count: int, missing: bool) -> tuple[torch.Tensor, dict[str, Column]]:
    """Return latents and columns of every kind: numbers, texts, classes, a sum of two others, and noise."""
    rng = np.random.default_rng(3)
    a, b = (rng.random((2, count)) < 0.5).astype(float)
    attributes = {
        "a": a,
        "b": b,
        "both": a + b,
        "age": rng.normal(size=count),
        "hair": rng.choice(["x", "y", "z"], count),
    }
    attributes |= {f"noise{i}": (rng.random(count) < 0.5).astype(float) for i in range(4)}
    if missing:
        attributes["a"] = np.where(rng.random(count) < 0.2, np.nan, a)
    columns = columns_of(rng.integers(0, 3, count), ("p", "q", "r"), attributes)
    z = rng.normal(size=(count, 6)) + a[:, None] * rng.normal(size=6)
    return torch.from_numpy(z), columns


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("count", [300, 9])  # of nine images the columns determine one another
def test_all_columns_at_once_are_as_each_alone(count: int, missing: bool) -> None:
    z, columns = mixed(count, missing)
    found = fit_all(z, columns, (z, columns, "the same"), "adjusted")
    for name, column in columns.items():
        known = ~np.isnan(column.has)
        others = [np.nan_to_num(e.value - np.nanmean(e.value)) for e in columns.values() if e.source != column.source]
        try:
            alone = fit(z[torch.from_numpy(known)], column.has[known], "adjusted", np.stack(others, 1)[known])
        except UserError:
            assert name not in found, name
            continue
        torch.testing.assert_close(found[name].vector.double(), alone, rtol=1e-5, atol=1e-5)
    assert missing or {"a", "b"}.isdisjoint(found)
    assert count < 100 or "age" in found


def test_all_directions_at_once_are_orthogonal_as_each_alone() -> None:
    z, columns = mixed(300, False)
    columns = {name: columns[name] for name in ("a", "age", "hair=x", "hair=y", "p", "q")}
    apart = [torch.randn(6, generator=torch.Generator().manual_seed(1)).double()]
    held_out = (z, columns, "the same")
    whole, left = (fit_all(z, columns, held_out, "means", is_orthogonal, apart) for is_orthogonal in (False, True))
    for name in left:
        others = [each.vector.double() for n, each in whole.items() if columns[n].source != columns[name].source]
        wanted = orthogonal(whole[name].vector.double(), [*apart, *others])
        torch.testing.assert_close(left[name].vector.double(), wanted, rtol=1e-4, atol=1e-5)
    assert left


def test_a_thousand_columns_take_seconds() -> None:
    rng = np.random.default_rng(0)
    columns = columns_of(None, (), {f"c{i}": (rng.random(300) < 0.5).astype(float) for i in range(1000)})
    z = torch.from_numpy(rng.normal(size=(300, 16)))
    for method, is_orthogonal in (("adjusted", False), ("means", True)):
        begun = time.process_time()
        fit_all(z, columns, None, method, is_orthogonal)
        assert time.process_time() - begun < 10


@pytest.mark.parametrize(
    ("accuracy", "held_out", "doubted"),
    [(0.42, 27, True), (0.68, 27, True), (0.7, 27, False), (0.55, 100, True), (0.65, 100, False), (None, 0, False)],
)
def test_a_direction_near_chance_is_doubted(accuracy: float | None, held_out: int, doubted: bool) -> None:
    direction = Direction(torch.ones(2), "means", False, 9, 9, accuracy, held_out, "test images")
    assert bool(direction.doubt("smiling")) == doubted
