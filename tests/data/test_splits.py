"""The split depends only on content and seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaekit.data.splits import assign_parts, check_split, uniforms
from vaekit.errors import UserError

CONTENTS = st.lists(st.binary(max_size=8), min_size=10, max_size=60)


def contents(count: int, start: int = 0) -> list[bytes]:
    return [b"image %d" % index for index in range(start, start + count)]


def free(count: int) -> np.ndarray:
    return np.full(count, -1, np.int8)


def parts_of(items: list[bytes], seed: int = 0) -> np.ndarray:
    return assign_parts(uniforms(items, seed), free(len(items)))[0]


def test_shares_are_a_tenth_each() -> None:
    shares = np.bincount(parts_of(contents(20000)), minlength=3) / 20000
    assert np.abs(shares - [0.8, 0.1, 0.1]).max() < 0.01


def test_known_values_stay() -> None:
    # runs that were trained on a split must find the same one after an upgrade
    assert uniforms([b"a", b"b"], 0).round(6).tolist() == [0.046148, 0.87418]


def test_the_seed_changes_the_split() -> None:
    assert (parts_of(contents(1000), 0) != parts_of(contents(1000), 1)).mean() > 0.2


@given(CONTENTS, st.integers(0, 5), st.randoms(use_true_random=False))
def test_the_order_does_not_matter(items: list[bytes], seed: int, random) -> None:
    order = list(range(len(items)))
    random.shuffle(order)
    shuffled = parts_of([items[index] for index in order], seed)
    assert shuffled.tolist() == parts_of(items, seed)[order].tolist()


@given(st.sets(st.binary(max_size=8), max_size=50), st.integers(0, 5))
def test_adding_images_moves_nobody(more: set[bytes], seed: int) -> None:
    # 400 images leave no part empty, so that nothing had to be moved in
    some = contents(400)
    assert (parts_of(some + sorted(more), seed)[:400] == parts_of(some, seed)).all()


@given(CONTENTS)
def test_duplicates_go_together(items: list[bytes]) -> None:
    parts = parts_of(items + items)
    assert (parts[: len(items)] == parts[len(items) :]).all()


@given(st.integers(10, 40), st.integers(0, 1000))
def test_from_ten_on_no_part_is_empty(count: int, start: int) -> None:
    assert (np.bincount(parts_of(contents(count, start)), minlength=3) > 0).all()


def test_an_empty_part_takes_the_nearest_hash() -> None:
    u = np.array([0.5, 0.6, 0.25, 0.3, 0.9, 0.7, 0.8, 0.95, 0.4, 0.45])
    assert assign_parts(u, free(10))[0].tolist() == [0, 0, 1, 2, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("count", range(1, 10))
def test_fewer_than_ten_are_all_train(count: int) -> None:
    parts, notes = assign_parts(uniforms(contents(count)), free(count))
    assert not parts.any() and "too few to split" in notes[0]


def test_all_alike_are_all_train() -> None:
    parts, notes = assign_parts(uniforms([b"same"] * 20), free(20))
    assert len(set(parts.tolist())) == 1 and "equal" in notes[0]


def test_given_parts_stay_and_the_missing_one_is_carved_out_of_train() -> None:
    u = uniforms(contents(1000))
    named = np.array([0] * 800 + [2] * 200, np.int8)
    parts, notes = assign_parts(u, named)
    assert (parts[800:] == 2).all() and not notes
    assert (parts[:800] == np.where(u[:800] < 0.1, 1, 0)).all()
    complete = np.array([0, 1, 2] * 10, np.int8)
    assert (assign_parts(u[:30], complete)[0] == complete).all()


def test_a_source_of_test_images_alone_stays_so() -> None:
    parts, notes = assign_parts(uniforms(contents(20)), np.full(20, 2, np.int8))
    assert (parts == 2).all() and notes == []


def test_unknown_split() -> None:
    with pytest.raises(UserError, match="did you mean 'train'"):
        check_split("trian")
