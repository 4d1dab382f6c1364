"""Conditions: how they are encoded and parsed, and that a model follows them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import vaekit as vk
from vaekit.config.run_config import Condition
from vaekit.data import Images
from vaekit.errors import UserError
from vaekit.model.conditioning import conditions_of, hidden_parts, matrix, parse_condition, size_of

TOLD = (
    Condition("label", ("cat", "dog")),
    Condition("age", (), 10.0, 30.0),
    Condition("hair", ("dark", "fair", "red")),
)


def images(count: int = 6) -> Images:
    return Images(
        torch.randint(256, (count, 1, 8, 8), dtype=torch.uint8),
        tuple(f"{i}.png" for i in range(count)),
        labels=torch.arange(count) % 2,
        classes=("cat", "dog"),
        attributes={
            "age": np.array([10.0, 20.0, 30.0, np.nan, 25.0, 15.0][:count]),
            "hair": np.array(["dark", "fair", "red", "dark", "blue", "fair"][:count]),
            "file": np.array([f"{i}.raw" for i in range(count)]),
            "same": np.ones(count),
        },
    )


def test_labels_and_columns_that_vary_are_told() -> None:
    found = conditions_of(images(5), np.array([True, True, True, True, False]))
    assert [each.name for each in found] == ["label", "age"]
    twice = Images(**{**vars(images()), "attributes": {"hair": np.array(["dark", "fair"] * 3)}})
    assert conditions_of(twice, np.ones(6, bool))[1] == Condition("hair", ("dark", "fair"))


def test_each_part_says_what_it_is_and_whether_it_is_known() -> None:
    assert size_of(TOLD) == 3 + 2 + 4
    expected = [
        [1, 0, 1, 0.0, 1, 1, 0, 0, 1],
        [0, 1, 1, 0.5, 1, 0, 1, 0, 1],
        [1, 0, 1, 1.0, 1, 0, 0, 1, 1],
        [0, 1, 1, 0.0, 0, 1, 0, 0, 1],  # no age
        [1, 0, 1, 0.75, 1, 0, 0, 0, 0],  # hair of a kind that was not trained on
    ]
    assert matrix(TOLD, images(5)).tolist() == expected


def test_columns_that_images_lack_are_not_known() -> None:
    bare = Images(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), ("a", "b"))
    assert not matrix(TOLD, bare).any()


def test_words_ask_for_some_parts_and_the_rest_is_not_known() -> None:
    assert parse_condition(TOLD, ["age=20", "label=dog"]).tolist() == [0, 1, 1, 0.5, 1, 0, 0, 0, 0]
    assert parse_condition(TOLD, ["hair = red"]).tolist() == [0, 0, 0, 0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("age", "expected NAME=VALUE, such as label=cat"),
        ("agge=20", "did you mean 'age'"),
        ("label=dgo", "choose from: cat, dog"),
        ("age=31", "a number from 10 to 30"),
        ("age=old", "a number from 10 to 30"),
        ("age=nan", "a number from 10 to 30"),
        ("hair=", "expected NAME=VALUE"),
    ],
)
def test_what_cannot_be_asked_is_named(word: str, message: str) -> None:
    with pytest.raises(UserError, match=f"^condition {word}.*{message}"):
        parse_condition(TOLD, [word])


def test_what_an_error_says_of_a_range_can_be_typed_back() -> None:
    told = (Condition("hair", (), 0.00095515587, 0.98911754),)
    for text in (f"{told[0].low:g}", f"{told[0].high:g}"):
        assert parse_condition(told, [f"hair={text}"])[1] == 1
    with pytest.raises(UserError, match="hair is given twice"):
        parse_condition(told, ["hair=0.5", "hair=0.6"])


def test_parts_are_hidden_whole_all_or_each() -> None:
    draws = torch.tensor([[0.05, 0.9, 0.9, 0.9], [0.5, 0.9, 0.05, 0.9], [0.5, 0.9, 0.9, 0.9]])
    assert hidden_parts(TOLD, draws).tolist() == [[0] * 9, [1, 1, 1, 0, 0, 1, 1, 1, 1], [1] * 9]
    many = hidden_parts(TOLD, torch.rand(20_000, 4, generator=torch.Generator().manual_seed(0)))
    assert many.mean(0).tolist() == pytest.approx([0.81] * 9, abs=0.02)


def squares(count: int = 240) -> Images:
    """Half of the images are bright at the top, half at the bottom, with some noise; the label says which."""
    labels = torch.arange(count) % 2
    pixels = torch.randint(40, (count, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    for row, label in enumerate(labels.tolist()):
        pixels[row, :, 4 * label : 4 * label + 4] += 200
    names = tuple(f"{i}.png" for i in range(count))
    return Images(pixels, names, labels=labels, classes=("above", "below"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> vk.Run:
    out = tmp_path_factory.mktemp("conditional") / "run"
    values = {"net": "mlp", "hidden": "64", "latent_dim": 2, "batch_size": 16}
    return vk.train(squares(), recipe="conditional-vae", out=out, epochs=60, settings=values, quiet=True)


def test_it_draws_what_it_is_asked_for(trained: vk.Run) -> None:
    for name, place in (("above", 0), ("below", 4)):
        drawn = trained.generate(24, condition=[f"label={name}"]).pixels.float()
        halves = drawn[:, 0].unflatten(1, (2, 4)).mean((2, 3))
        assert (halves[:, place // 4] > halves[:, 1 - place // 4] + 60).float().mean() > 0.9
    both = trained.generate(64).pixels.float()[:, 0].unflatten(1, (2, 4)).mean((2, 3))
    share = (both[:, 0] > both[:, 1]).float().mean()
    assert 0.1 < share < 0.9


def test_what_it_is_told_saves_rate(trained: vk.Run) -> None:
    """The latent need not encode a known label, but must encode an unknown one."""
    told = trained.evaluate(squares())
    blind = Images(**{**vars(squares()), "labels": None, "classes": ()})
    unaided = trained.evaluate(blind)
    assert told["elbo_nats"] > unaided["elbo_nats"]
    assert told["told"] == ["label"] and unaided["told"] == []


def test_a_reopened_run_knows_what_it_was_told(trained: vk.Run) -> None:
    again = vk.load(trained.path)
    assert again.config.conditions == (Condition("label", ("above", "below")),)
    asks = {"condition": ["label=above"]}
    assert torch.equal(again.generate(3, **asks).pixels, trained.generate(3, **asks).pixels)


def test_without_labels_and_columns_there_is_nothing_to_tell(tmp_path: Path) -> None:
    bare = torch.randint(256, (20, 1, 8, 8), dtype=torch.uint8)
    with pytest.raises(UserError, match="no labels .* and no attributes"):
        vk.train(bare, recipe="conditional-vae", out=tmp_path / "run", images=10, quiet=True)


def test_other_recipes_take_no_conditions(tmp_path: Path, vaekit: Callable) -> None:
    run = tmp_path / "run"
    assert vaekit("train", "digits", "--recipe", "vae", "--images", 64, "--out", run, "--set", "net=mlp").code == 0
    answer = vaekit("generate", run, "--condition", "label=3")
    assert answer.code == 2 and "train conditional-vae" in answer.err
