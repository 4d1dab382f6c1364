"""The configuration of a run is read back exactly, or refused."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaekit.config.run_config import FORMAT_VERSION, DataConfig, RunConfig
from vaekit.config.table import RECIPES
from vaekit.errors import UserError

DATA = DataConfig("/photos", (48, 64), 3, "ab" * 32, 1, 100, 80, ("no", "yes"), ("glasses",))
CONFIG = RunConfig(RECIPES["seed-ae"], DATA, 800, 7, "runs/old", 60.0, notes=("few images",))

_words = st.lists(st.text(max_size=8), max_size=3).map(tuple)
_data = st.builds(
    DataConfig,
    source=st.text(),
    size=st.tuples(st.integers(1, 512), st.integers(1, 512)),
    channels=st.sampled_from([1, 3]),
    fingerprint=st.text(),
    split_seed=st.integers(0, 2**63 - 1),
    images=st.integers(0, 2**53),
    train_images=st.integers(0, 2**53),
    classes=_words,
    attributes=_words,
)


def changed(**values: Any) -> str:
    return json.dumps({**dataclasses.asdict(CONFIG), **values})


@given(
    name=st.sampled_from(sorted(RECIPES)),
    data=_data,
    total=st.integers(1, 2**53),
    seed=st.integers(-(2**63), 2**63 - 1),
    initial=st.none() | st.text(),
    budget=st.none() | st.floats(0, 1e9),
    notes=_words,
)
def test_a_configuration_survives_its_file(
    name: str,
    data: DataConfig,
    total: int,
    seed: int,
    initial: str | None,
    budget: float | None,
    notes: tuple[str, ...],
) -> None:
    config = RunConfig(RECIPES[name], data, total, seed, initial, budget, notes=notes)
    again = RunConfig.from_json(config.to_json())
    assert again == config and again.to_json() == config.to_json()
    assert again.recipe == RECIPES[name]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (changed(sede=3), "unknown key 'sede'; did you mean 'seed'"),
        (
            changed(data={**dataclasses.asdict(DATA), "chanels": 3}),
            "unknown key 'chanels' in data; did you mean 'channels'",
        ),
        (
            changed(format_version=FORMAT_VERSION + 1),
            f"format_version {FORMAT_VERSION + 1}, .*upgrade vaekit",
        ),
        (changed(format_version="1"), "format_version"),
        (changed(data={"source": "x"}), "is missing data.size, data.channels, data.fingerprint"),
        (changed(data=None), "expected object, got null"),
        (changed(data=3), "a JSON object was expected"),
        (changed(data=[]), "a JSON object was expected"),
        (json.dumps({"format_version": FORMAT_VERSION}), "is missing recipe, data, total_images"),
        (
            json.dumps({"format_version": FORMAT_VERSION, "data": dataclasses.asdict(DATA)}),
            "is missing recipe, total",
        ),
        ("{", "is not valid JSON at line 1, column 2; restore it from a copy"),
        ("[]", "not the configuration of a run"),
        ("{}", "not the configuration of a run: it has no format_version"),
        ("3", "not the configuration of a run"),
        ('"text"', "not the configuration of a run"),
        ("", "is empty; restore it from a copy"),
    ],
)
def test_what_is_half_understood_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        RunConfig.from_json(text, "here/config.json")
    assert "here/config.json" in str(caught.value)


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        CONFIG.seed = 3  # type: ignore[misc]
