"""Numbers that belong to images, in torch Datasets and arrays, become numeric attributes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

import vaekit as vk
from vaekit.data.portraits.portraits import draw
from vaekit.errors import UserError

PIXELS = torch.from_numpy(draw(24, 8)).movedim(-1, 1).contiguous()


class Measured(Dataset):  # type: ignore[type-arg]
    """Images with any targets; ``names`` become attributes of the dataset."""

    def __init__(self, targets: Sequence[Any], **names: Any) -> None:
        self.targets = targets
        vars(self).update(names)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, Any]:
        return PIXELS[index], self.targets[index]


@pytest.mark.parametrize(
    "target",
    [float, np.float32, torch.tensor, lambda age: torch.tensor([age], dtype=torch.bfloat16), lambda age: np.array(age)],
)
def test_floats_are_an_attribute(target: Any) -> None:
    images = vk.open_images(Measured([target(0.5 * i) for i in range(4)]))
    assert images.labels is None and not any("label" in note for note in images.notes)
    assert images.attributes["attribute_0"].dtype == np.float64
    assert images.attributes["attribute_0"].tolist() == [0, 0.5, 1, 1.5]


def test_one_float_makes_numbers_of_all_and_a_missing_one_is_unknown() -> None:
    column = vk.open_images(Measured([1, 2.5, None, 3])).attributes["attribute_0"]
    np.testing.assert_equal(column, [1, 2.5, np.nan, 3])


def test_whole_numbers_and_texts_stay_labels() -> None:
    assert vk.open_images(Measured([0, 2, 1])).classes == ("0", "1", "2")
    assert vk.open_images(Measured([0, 1], classes=["cat", "dog"])).classes == ("cat", "dog")
    assert vk.open_images(Measured([0, "x"])).classes == ("0", "x")
    assert vk.open_images(Measured([True, False])).attributes == {}


@pytest.mark.parametrize("name", ["attribute_names", "attr_names", "target_names"])
def test_vectors_are_attributes_by_the_names_of_the_data_set(name: str) -> None:
    targets = [torch.tensor([i, i % 2]) for i in range(4)]  # of whole numbers, as those of CelebA
    images = vk.open_images(Measured(targets, **{name: ["age", "glasses", ""]}))
    assert {key: column.tolist() for key, column in images.attributes.items()} == {
        "age": [0, 1, 2, 3],
        "glasses": [0, 1, 0, 1],
    }
    assert list(vk.open_images(Measured([[0.5, 1], (2, 3)])).attributes) == ["attribute_0", "attribute_1"]
    for names in (["age"], ["age", "age"], None, "ab"):
        assert list(vk.open_images(Measured(targets, **{name: names})).attributes) == ["attribute_0", "attribute_1"]


def test_a_vector_too_long_for_attributes_is_said() -> None:
    images = vk.open_images(Measured([torch.zeros(1001)] * 2))
    assert not images.attributes and any("with 1,001 values" in note for note in images.notes)


def test_arrays_beside_images_are_attributes_too(tmp_path: Path) -> None:
    pixels = PIXELS.numpy()
    np.savez(tmp_path / "a.npz", images=pixels[:4], labels=np.array([0.5, 1, np.nan, 2], np.float32))
    np.testing.assert_equal(vk.open_images(tmp_path / "a.npz").attributes["attribute_0"], [0.5, 1, np.nan, 2])
    table = np.arange(8).reshape(4, 2)
    parts = {"x_train": pixels[:3], "y_train": table[:3], "x_test": pixels[3:4], "y_test": table[3:]}
    np.savez(tmp_path / "b.npz", **parts, attribute_names=np.array(["age", "height"]))
    images = vk.open_images(tmp_path / "b.npz")
    assert images.attributes["height"].tolist() == [1, 3, 5, 7] and not images.notes[1:]
    np.savez(tmp_path / "c.npz", x_train=pixels[:3], y_train=table[:3] / 2, x_test=pixels[3:4])
    images = vk.open_images(tmp_path / "c.npz")
    assert not images.attributes and any("no attributes: some image arrays" in note for note in images.notes)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros(3), "4 images but attributes for 3"),
        (np.zeros((4, 1001)), "1,001 numbers per image; expected at most 1,000"),
        (np.zeros(4, complex), "labels of type complex128; expected whole numbers, strings or floats"),
    ],
)
def test_arrays_that_are_no_targets_are_refused(tmp_path: Path, values: np.ndarray, message: str) -> None:
    np.savez(tmp_path / "a.npz", images=PIXELS[:4].numpy(), labels=values)
    with pytest.raises(UserError, match=message):
        vk.open_images(tmp_path / "a.npz")


def test_a_run_keeps_attributes_as_numbers(tmp_path: Path) -> None:
    ages = torch.linspace(20, 80, 24)
    images = vk.open_images(TensorDataset(PIXELS, ages))
    run = vk.train(images, "conditional-vae", tmp_path / "run", images=48, settings={"width": 4}, quiet=True)
    (condition,) = run.config.conditions
    assert (condition.name, condition.values) == ("attribute_0", ()) and 20 <= condition.low < condition.high <= 80
    stored = run.stored()[0]["attribute.attribute_0"]
    assert stored.dtype == torch.float64 and set(stored.tolist()) <= set(ages.double().tolist())
    assert set(run.directions()) == {"attribute_0"}
    older = run.generate(2, condition={"attribute_0": condition.high})
    assert not torch.equal(older.pixels, run.generate(2, condition={"attribute_0": condition.low}).pixels)
    with pytest.raises(UserError, match="expected a number from"):
        run.generate(2, condition=["attribute_0=200"])
