"""The column ``split`` determines the parts, and unused files beside images are reported."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vaekit.config.run_config import DataConfig
from vaekit.data import open_images, peek, write_folder
from vaekit.data.sources.metadata import read_table
from vaekit.errors import UserError

WORDS = ["train"] * 8 + ["Val", "valid", "validation"] + ["test", "TEST", " test "]


def pictures(folder: Path, count: int = len(WORDS), prefix: str = "") -> list[str]:
    """Write gray images of 8 x 8 pixels; returns their names."""
    names = [f"{prefix}{index:02d}.png" for index in range(count)]
    for index, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(index).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return names


def table(folder: Path, names: list[str], words: list[str], column: str = "split") -> None:
    rows = [f"{name},{index},{word}" for index, (name, word) in enumerate(zip(names, words, strict=True))]
    (folder / "metadata.csv").write_text("\n".join([f"file_name,age,{column}", *rows]))


@pytest.fixture
def divided(tmp_path: Path) -> Path:
    folder = tmp_path / "divided"
    table(folder, pictures(folder), WORDS)
    return folder


def test_a_column_names_the_parts(divided: Path) -> None:
    images = open_images(divided)
    assert images.parts.tolist() == [0] * 8 + [1] * 3 + [2] * 3 and images.has_splits
    assert list(images.attributes) == ["age"] and images.notes == ()
    with tarfile.open(divided.parent / "packed.tar", "w") as archive:
        archive.add(divided, "packed")
    assert open_images(divided.parent / "packed.tar").fingerprint == images.fingerprint
    table(divided, list(images.names), [*WORDS[:-1], "val"])
    changed = open_images(divided)
    assert changed.fingerprint != images.fingerprint and len(changed.part("test")) == 2
    assert peek(str(divided))[1:3] == (14, 8)


def test_the_column_decides_training_evaluation_and_a_run_opened_later(divided: Path, vaekit: Callable) -> None:
    run = divided.parent / "run"
    answer = vaekit("train", divided, "--recipe", "seed-ae", "--epochs", 1, "--set", "latent_dim=2", "--out", run)
    assert answer.code == 0, answer.err
    stored = json.loads((run / "config.json").read_text())["data"]
    assert stored["images"] == 14 and stored["attributes"] == ["age"]
    found = {
        part: json.loads(vaekit("evaluate", run, "--split", part, "--json").out)["images"]
        for part in ("train", "val", "test")
    }
    assert found == {"train": 8, "val": 3, "test": 3}
    assert json.loads(vaekit("data", divided, "--json").out)["parts"] == found
    table(divided, [f"{i:02d}.png" for i in range(14)], ["test"] * 14)
    answer = vaekit("evaluate", run, "--split", "test")
    assert answer.code == 2 and "have changed since" in answer.err


def test_an_older_run_that_took_the_column_as_an_attribute_says_so() -> None:
    config = DataConfig("x", (8, 8), 1, "00", attributes=("age", "Split"))
    assert "divided by their column 'split' now" in config.how_changed


def test_other_words_are_refused_by_name(divided: Path) -> None:
    table(divided, pictures(divided), [*WORDS[:-1], "holdout"])
    with pytest.raises(UserError, match=r"'split' of .*metadata.csv contains 'holdout'; expected train, val, valid"):
        open_images(divided)


def test_the_column_counts_more_than_the_folder_and_empty_cells_count_as_train(tmp_path: Path) -> None:
    names = pictures(tmp_path, 4, "train/") + pictures(tmp_path, 4, "test/")
    table(tmp_path, [*names, "gone.png"], ["train", "val", "", "", "test", "test", "", "train", "test"])
    images = open_images(tmp_path)
    assert dict(zip(images.names, images.parts.tolist(), strict=True)) == dict(
        zip(names, [0, 1, 0, 0, 2, 2, 2, 0], strict=True)
    )
    assert "for 2 images the column split and the folder name differ; the column decides" in images.notes
    flat = tmp_path / "flat"
    table(flat, pictures(flat, 3), ["train", "", "test"])
    assert "the column split is empty for 1 image; they are used for training" in open_images(flat).notes


def test_a_folder_that_was_written_keeps_its_parts(divided: Path, tmp_path: Path) -> None:
    images = open_images(divided)
    again = open_images(write_folder(images, tmp_path / "again"))
    assert again.parts.tolist() == images.parts.tolist()
    alone = write_folder(open_images("digits")[:3], tmp_path / "alone")
    assert "split" not in (alone / "metadata.csv").read_text()


@pytest.mark.parametrize("ending", ["txt", "csv"])
def test_the_parts_of_celeba(tmp_path: Path, ending: str) -> None:
    names = pictures(tmp_path / "img_align_celeba", 3)
    mark, head = (" ", "") if ending == "txt" else (",", "image_id,partition\n")
    rows = "".join(f"{name}{mark}{part}\n" for part, name in enumerate(names))
    (tmp_path / f"list_eval_partition.{ending}").write_text(head + rows)
    images = open_images(tmp_path)
    assert images.parts.tolist() == [0, 1, 2] and not images.attributes


def test_an_array_of_parts_by_any_name(tmp_path: Path) -> None:
    pixels = np.zeros((2, 8, 8), np.uint8)
    np.savez(tmp_path / "a.npz", x_train=pixels, x_validation=pixels, age=np.zeros(4))
    images = open_images(tmp_path / "a.npz")
    assert images.parts.tolist() == [0, 0, 1, 1] and "arrays not used: age" in images.notes


def test_files_that_are_not_used_are_named_once(tmp_path: Path, vaekit: Callable) -> None:
    pictures(tmp_path, 12)
    for name in ("train.txt", "val.txt", "labels.csv", "README.md", "LICENSE", "boxes/a.xml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    for index in range(1000):
        (tmp_path / f"{index}.json").touch()
    notes = open_images(tmp_path).notes
    assert len(notes) == 1 and notes[0].startswith(
        "not used: 1,000 .json files such as 0.json, labels.csv, train.txt, val.txt and 1 more; labels come from"
    )
    assert notes[0] in vaekit("data", tmp_path).out
    answer = vaekit("train", tmp_path, "--recipe", "seed-ae", "--epochs", 1, "--out", tmp_path.parent / "run")
    assert answer.err.count("not used: ") == 1


def test_pipes_loops_and_empty_folders_are_named(tmp_path: Path, vaekit: Callable) -> None:
    pictures(tmp_path, 12)
    first = next(tmp_path.glob("*.png"))
    for name in ("empty.jpg", "full.png"):
        (tmp_path / name).mkdir()
    shutil.copy(first, tmp_path / "full.png" / "inside.png")
    for name in ("pipe.jpg", "pipe"):
        os.mkfifo(tmp_path / name)
    for name, target in (("loop", "."), ("self.png", "self.png")):
        (tmp_path / name).symlink_to(target)
    assert dict(open_images(tmp_path).skipped) == {
        "pipe.jpg": "a named pipe, not a file",
        "pipe": "a named pipe, not a file",
        "empty.jpg/": "a folder, and empty",
        "loop/": "a link to a folder that it is in",
        "self.png": "a symbolic link that leads to itself",
    }
    answer = vaekit("data", tmp_path)
    assert answer.code == 0 and all(name in answer.out for name in ("pipe.jpg: a named pipe", "loop/: a link"))


def test_a_table_with_other_separators_is_refused_with_the_reason() -> None:
    for mark, said in ((";", "';'"), ("\t", r"'\\t'")):
        for header in (("file_name", "age"), ("file_name", "height, m"), ('"file_name"', '"age"')):
            with pytest.raises(UserError, match=f"separates its columns by {said}; save it with commas"):
                read_table(mark.join(header).encode(), "metadata.csv")
    with pytest.raises(UserError, match="the row of a.png has more cells than the header"):
        read_table(b"file_name,hair\na.png,long, red\n", "metadata.csv")


def test_labels_of_a_data_set_that_are_none_are_said() -> None:
    pixels = torch.zeros(1, 8, 8, dtype=torch.uint8)
    for labels, said in (
        ([1j, 2j], "that of item 0 is of type complex; expected a number, a string or a vector of numbers"),
        ([1, torch.zeros(3, 2)], "that of item 1 is of type torch.float32 with 6 values"),
        ([1, torch.zeros(3)], "that of item 0 is a whole number; that of item 1 is a vector of 3 numbers"),
        ([torch.zeros(2), torch.zeros(3)], "that of item 0 is a vector of 2 numbers; that of item 1 is a vector of 3"),
        (["a", 0.5], "that of item 0 is a string; that of item 1 is a decimal number"),
        ([1, None], "1 of 2 items have none"),
    ):
        images = open_images([(pixels, label) for label in labels])
        assert images.labels is None and any(said in note for note in images.notes), images.notes
    notes = open_images([(pixels, 1, "a caption")]).notes
    assert "items have up to 3 values; only the first two, image and label, are used" in notes
