"""Bytes, floats, sizes and groups."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vaekit.data import match_group, parse_size, to_float, to_uint8
from vaekit.errors import UserError


def test_all_256_values_survive() -> None:
    values = torch.arange(256, dtype=torch.uint8)
    assert to_float(values).dtype == torch.float32
    assert to_uint8(to_float(values)).equal(values)
    assert to_float(values)[[0, 255]].tolist() == [0.0, 1.0]


def test_floats_are_clamped_and_rounded() -> None:
    assert to_uint8(torch.tensor([-1.0, 0.4999 / 255, 0.5001 / 255, 2.0])).tolist() == [0, 0, 1, 255]
    with pytest.raises(TypeError):
        to_float(torch.zeros(2))


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_sizes(height: int, width: int) -> None:
    assert parse_size(f"{height}x{width}") == parse_size((height, width)) == (height, width)
    assert parse_size(height) == parse_size(str(height)) == (height, height)


@pytest.mark.parametrize(
    "value", [0, -4, "0", "-4", "64x0", "x", "", "64x", "6 4", 1.5, True, None, (1, 2, 3), (0, 5), "64x64x3"]
)
def test_no_sizes(value: object) -> None:
    with pytest.raises(UserError, match="expected a positive number of pixels"):
        parse_size(value)


@given(st.text())
def test_any_text_is_a_size_or_a_clear_error(text: str) -> None:
    with contextlib.suppress(UserError):
        assert min(parse_size(text)) >= 1


LABELS = np.array([0, 1, 1, 0])
CLASSES = ("cat", "sea lion")
ATTRIBUTES = {
    "glasses": np.array([1.0, 0.0, np.nan, 1.0]),
    "male": np.array([1.0, 1.0, 0.0, 0.0]),
    "hair": np.array(["red", "", "black", "red"]),
    "pose": np.linspace(-1, 1, 40)[:4],
}


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("label:cat", [0, 3]),
        ("label:sea lion", [1, 2]),
        ("label:'sea lion'", [1, 2]),
        ("attr:glasses=1", [0, 3]),
        ("attr:glasses=yes, male=false", [3]),
        ("attr:glasses=0", [1]),
        ("attr:hair=red,male=1.0", [0]),
    ],
)
def test_groups(query: str, rows: list[int]) -> None:
    assert np.flatnonzero(match_group(query, LABELS, CLASSES, ATTRIBUTES)).tolist() == rows


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("label:cta", "did you mean 'cat'"),
        ("attr:glases=1", "did you mean 'glasses'"),
        ("attr:glasses=7", "choose from: 0, 1"),
        ("attr:hair=rad", "did you mean 'red'"),
        ("attr:glasses=0,male=0", "no image belongs"),
        ("attr:glasses", "cannot parse the group"),
        ("attr:", "cannot parse the group"),
        ("glasses=1", "expected label:CLASS"),
        ("", "expected label:CLASS"),
    ],
)
def test_unknown_groups(query: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        match_group(query, LABELS, CLASSES, ATTRIBUTES)


def test_groups_without_labels_or_attributes() -> None:
    with pytest.raises(UserError, match="these images have no"):
        match_group("label:cat", None, (), {})
    with pytest.raises(UserError, match="these images have no"):
        match_group("attr:a=1", None, (), {})


@given(st.text())
def test_any_query_is_a_group_or_a_clear_error(query: str) -> None:
    with contextlib.suppress(UserError):
        assert match_group(query, LABELS, CLASSES, ATTRIBUTES).any()
