"""Datasets of the hub, with the real ``datasets`` library but without the network."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vaekit as vk
from vaekit.data import Form, open_images, peek
from vaekit.errors import UserError

datasets = pytest.importorskip("datasets", reason="the extra hub is not installed")


def encoded(seed: int, kind: str = "PNG", size: tuple[int, int] = (8, 8)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


def small(count: int, start: int = 0, **columns: tuple[object, list]) -> object:
    """A datasets.Dataset of images, and of columns (feature, values)."""
    images = [{"bytes": encoded(start + i), "path": None} for i in range(count)]
    features = datasets.Features({"image": datasets.Image(), **{name: kind for name, (kind, _) in columns.items()}})
    return datasets.Dataset.from_dict({"image": images, **{n: values for n, (_, values) in columns.items()}}, features)


def opened(dataset: object, size: tuple[int, int] | None = None) -> vk.data.Images:
    from vaekit.data.sources.hub import rows_of

    form = Form.of(size)
    return rows_of(dataset, "hf://a/b", form).images("hf://a/b", 0, form)


def test_hub_columns_become_labels_and_attributes() -> None:
    value, names = datasets.Value, datasets.ClassLabel(names=["dog", "cat", "none"])
    images = opened(
        small(
            12,
            kind=(names, [1, 0] * 6),
            age=(value("float32"), [1.5, None] * 6),
            eyes=(value("bool"), [True, False] * 6),
            word=(value("string"), ["a", "b", None] * 4),
            story=(value("string"), ["x" * 300] * 12),
            box=(datasets.Sequence(value("int64")), [[1, 2]] * 12),
        )
    )
    assert images.classes == ("dog", "cat") and images.labels.tolist() == [1, 0] * 6
    assert list(images.attributes) == ["age", "eyes", "word"]
    np.testing.assert_array_equal(images.attributes["age"], [1.5, np.nan] * 6)
    assert images.attributes["eyes"].tolist() == [1, 0] * 6 and images.attributes["word"][2] == ""
    assert any("columns not used" in note and "box, story" in note for note in images.notes)
    assert not images.has_splits and len(images.part("test")) > 0


def test_a_column_split_names_parts_where_its_words_do() -> None:
    images = opened(small(3, split=(datasets.ClassLabel(names=["train", "test", "val"]), [0, 1, 2])))
    assert images.parts.tolist() == [0, 2, 1] and images.labels is None and not images.attributes
    images = opened(small(2, split=(datasets.Value("string"), ["dev", "train"])))
    assert list(images.attributes) == ["split"] and any("contains 'dev'" in note for note in images.notes)


def test_hub_splits_become_parts(tmp_path: Path) -> None:
    number = datasets.Value("int64")
    paths = {}
    for start, (name, count) in enumerate({"train": 15, "validation": 3, "test": 4, "extra": 2}.items()):
        paths[name] = str(tmp_path / f"{name}.parquet")
        small(count, 100 * start, label=(number, [i % 2 for i in range(count)])).to_parquet(paths[name])
    images = opened(datasets.load_dataset("parquet", data_files=paths, cache_dir=str(tmp_path / "cache")))
    assert np.bincount(images.parts).tolist() == [15, 3, 4] and images.classes == ("0", "1")
    assert images.names[15] == "validation/000000" and any("extra" in note for note in images.notes)
    pixels = np.asarray(Image.open(io.BytesIO(encoded(200)))).transpose(2, 0, 1)
    assert (images.pixels[18].numpy() == pixels).all()


def test_hub_rows_are_as_files_in_a_folder_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"bytes": encoded(i, kind), "path": None} for i, kind in enumerate(["PNG", "JPEG", "WEBP", "BMP", "GIF"])]
    fetched = tmp_path / "hub" / "datasets--a--b" / "x.png"
    fetched.parent.mkdir(parents=True)
    fetched.write_bytes(encoded(7))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    rows += [{"bytes": None, "path": str(fetched)}, {"bytes": None, "path": "/dev/zero"}, None]
    rows += [{"bytes": b"%!PS-Adobe-3.0 EPSF-3.0", "path": None}]
    label = [None, *range(8)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    images = opened(datasets.Dataset.from_dict({"image": rows, "label": label}, features))
    assert images.names == tuple(f"{i:06d}" for i in range(6)) and len(images.skipped) == 3
    assert images.labels is None and any("no labels: 1 of 6" in note for note in images.notes)
    for index, row in enumerate(rows[:5]):
        (tmp_path / "folder").mkdir(exist_ok=True)
        (tmp_path / "folder" / f"{index}.png").write_bytes(row["bytes"])
    assert open_images(tmp_path / "folder").pixels.equal(images.pixels[:5])


def test_hub_rows_that_name_a_private_picture_do_not_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "private.png").write_bytes(encoded(7))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    paths = [tmp_path / "private.png", tmp_path / "hub" / ".." / "private.png"]
    rows = [{"bytes": encoded(index), "path": None} for index in range(3)]
    rows += [{"bytes": None, "path": str(path)} for path in paths]
    images = opened(datasets.Dataset.from_dict({"image": rows}, datasets.Features({"image": datasets.Image()})))
    assert len(images) == 3 and all("not part of the set" in why for _, why in images.skipped)
    assert len(images.skipped) == 2


def test_hub_mistakes() -> None:
    with pytest.raises(UserError, match=r"no image column \(it has a\)"):
        opened(datasets.Dataset.from_dict({"a": [1]}))
    with pytest.raises(UserError, match="contains no images"):
        opened(small(0))
    other = datasets.Dataset.from_dict(
        {"image": [{"bytes": encoded(1, size=(9, 8)), "path": None}]}, datasets.Features({"image": datasets.Image()})
    )
    both = datasets.concatenate_datasets([small(3), other])
    with pytest.raises(UserError, match="in hf://a/b differ in size"):
        opened(both)
    assert opened(both, (8, 8)).shape == (3, 8, 8)
    for name in ("hf://", "hf://a/b:", "hf://../b", "hf://a/b/c"):
        with pytest.raises(UserError, match="expected hf://OWNER/NAME"):
            open_images(name)
    with pytest.raises(UserError, match="a local folder"):
        open_images("hf://imagefolder")


def test_hub_is_opened_by_name_and_peeked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked = []

    def load(name: str, split: str | None) -> object:
        asked.append((name, split))
        return small(12) if split else datasets.DatasetDict(train=small(12), test=small(4, 50))

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert open_images("hf://a/b").source == "hf://a/b" and open_images("hf://a/b:train[:9]").source.endswith("[:9]")
    assert asked == [("a/b", None), ("a/b", "train[:9]")]
    assert capsys.readouterr().err.startswith("hf://a/b: opening from https://")
    sample, count, train, _ = peek("hf://a/b", Form((4, 4)))
    assert sample.shape == (3, 4, 4) and count == 16 and train < 12


def test_hub_without_network_is_one_sentence(tmp_path: Path) -> None:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    environment |= {"PYTHONPATH": str(Path(vk.__file__).parents[1])}
    words = [sys.executable, "-m", "vaekit", "data", "hf://nobody/nothing:train"]
    done = subprocess.run(
        words, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    first, last = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "") and "opening from" in first
    assert last.startswith("vaekit: hf://nobody/nothing:train cannot be opened (")
    assert "check the name and the network" in last and "pass their folder" in last


def test_hub_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install 'vaekit\[hub\]'"):
        open_images("hf://a/b")
