"""Folders, archives and tables, valid and invalid ones."""

from __future__ import annotations

import gzip
import io
import os
import struct
import subprocess
import tarfile
import tracemalloc
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vaekit.data import Images, open_files, open_images, summary, survey, write_folder
from vaekit.errors import UserError
from vaekit.pixels.byte_ranges import Span
from vaekit.pixels.image_form import Form


def picture(seed: int, size: tuple[int, int] = (8, 8), color: bool = False) -> Image.Image:
    shape = (*size, 3) if color else size
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def fill(folder: Path, *names: str, size: tuple[int, int] = (8, 8), color: bool = False) -> Path:
    for index, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(index, size, color).save(path)
    return folder


def numbered(folder: str, count: int) -> list[str]:
    return [f"{folder}{index:02d}.png" for index in range(count)]


def tarred(folder: Path, target: Path, prefix: str = "") -> Path:
    with tarfile.open(target, "w:gz" if target.suffix in (".gz", ".tgz") else "w") as archive:
        for path in sorted(folder.rglob("*"), reverse=True):
            archive.add(path, prefix + path.relative_to(folder).as_posix(), recursive=False)
    return target


def zipped(folder: Path, target: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for path in folder.rglob("*"):
            archive.write(path, prefix + path.relative_to(folder).as_posix())
    return target


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx(folder: Path, **parts: np.ndarray) -> Path:
    for part, array in parts.items():
        (folder / f"{part}-images-idx{array.ndim}-ubyte.gz").write_bytes(gzip.compress(idx(array), 1))
    return folder


def labels_of(images: Images) -> list[str]:
    assert images.labels is not None
    return [images.classes[label] for label in images.labels.tolist()]


def test_flat_folder(tmp_path: Path) -> None:
    images = open_images(fill(tmp_path, "b.PNG", "a.png", "c.Bmp"))
    assert images.names == ("a.png", "b.PNG", "c.Bmp")
    assert images.labels is None and images.classes == () and images.shape == (1, 8, 8)
    assert images.pixels[0, 0].tolist() == np.asarray(picture(1)).tolist()
    assert images.source == str(tmp_path.resolve())
    assert "too few to split" in images.notes[0]


def test_class_folders(tmp_path: Path) -> None:
    images = open_images(fill(tmp_path, "cat/x.png", "dog/x.png", "dog/deep/er/y.png"))
    assert images.classes == ("cat", "dog") and labels_of(images) == ["cat", "dog", "dog"]
    assert images.names[1] == "dog/deep/er/y.png"


def test_numbered_classes_are_sorted_by_value(tmp_path: Path) -> None:
    assert open_images(fill(tmp_path, "10/x.png", "9/x.png")).classes == ("9", "10")


def test_mixed_depth_has_no_labels(tmp_path: Path) -> None:
    images = open_images(fill(tmp_path, "cat/x.png", "dog/x.png", "y.png"))
    assert images.labels is None and any("no labels" in note for note in images.notes)


def test_split_folders(tmp_path: Path) -> None:
    names = ["Train/cat/1.png", "Train/dog/2.png", "validation/cat/3.png", "test/dog/4.png"]
    images = open_images(fill(tmp_path, *names))
    assert dict(zip(images.names, images.parts.tolist(), strict=True)) == dict(zip(names, [0, 0, 1, 2], strict=True))
    assert images.classes == ("cat", "dog") and labels_of(images) == ["cat", "dog", "dog", "cat"]
    assert images.part("val").names == ("validation/cat/3.png",) and images.has_splits


def test_val_is_carved_out_of_train(tmp_path: Path) -> None:
    images = open_images(fill(tmp_path, *numbered("train/", 30), *numbered("test/", 3)))
    assert images.part("test").names == tuple(numbered("test/", 3))
    assert 0 < len(images.part("val")) < 15 and not any(n.startswith("test") for n in images.part("val").names)


def test_a_class_called_train_is_a_class(tmp_path: Path) -> None:
    images = open_images(fill(tmp_path, "train/x.png", "car/x.png"))
    assert images.classes == ("car", "train") and not images.has_splits


def test_folders_beside_the_split_are_left_out_and_noted(tmp_path: Path) -> None:
    images = open_images(fill(tmp_path, "train/x.png", "test/x.png", "unlabeled/x.png"))
    assert len(images) == 2 and "1 image outside of the train, val and test folders is not used" in images.notes[0]


def test_a_wrapping_folder_is_stepped_through(tmp_path: Path) -> None:
    images = open_images(fill(tmp_path, "faces/v2/smile/x.png", "faces/v2/not/x.png"))
    assert images.names == ("not/x.png", "smile/x.png") and images.classes == ("not", "smile")


def test_hidden_files_and_mac_leftovers_are_ignored(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", ".hidden/b.png", "__MACOSX/c.png")
    (tmp_path / "._a.png").write_bytes(b"x")
    assert open_images(tmp_path).names == ("a.png",)


def test_loops_of_links_end(tmp_path: Path) -> None:
    fill(tmp_path, "cat/a.png", "dog/a.png")
    os.symlink(tmp_path, tmp_path / "cat" / "again")
    os.symlink(tmp_path / "dog", tmp_path / "dog2")
    os.symlink(tmp_path / "nowhere.png", tmp_path / "dog" / "broken.png")
    images = open_images(tmp_path)
    assert images.names == ("cat/a.png", "dog/a.png", "dog2/a.png")
    assert ("dog/broken.png", "file not found") in images.skipped


def test_folders_linked_in_diamonds_end(tmp_path: Path) -> None:
    levels = [tmp_path / f"level{number:02d}" for number in range(40)]
    for level, below in pairwise(levels):
        level.mkdir()
        for name in ("left", "right"):
            os.symlink(below, level / name)
    fill(levels[-1], "a.png")
    images = open_images(levels[0])
    assert 1 <= len(images) <= 16 and any("more than 16 times" in reason for _, reason in images.skipped)


def test_folders_may_be_as_deep_as_the_system_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(1500):
        os.mkdir("d")
        os.chdir("d")
    picture(0).save("a.png")
    os.chdir(tmp_path)
    try:
        assert len(open_images(tmp_path)) == 1
    finally:
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)


def test_folder_tar_and_zip_are_equal(tmp_path: Path) -> None:
    folder = fill(tmp_path / "faces", *numbered("cat/", 12), *numbered("dog/", 12))
    (folder / "metadata.csv").write_text("file_name,age\ncat/03.png,7\n")
    whole = open_images(folder)
    packed = [
        tarred(folder, tmp_path / "a.tar"),
        tarred(folder, tmp_path / "b.tar.gz", "./"),
        tarred(folder, tmp_path / "c.tgz"),
        zipped(folder, tmp_path / "d.ZIP"),
    ]
    for path in packed:
        other = open_images(path)
        assert other.fingerprint == whole.fingerprint, path
        assert other.names == whole.names and other.pixels.equal(whole.pixels)
        assert (other.parts == whole.parts).all() and labels_of(other) == labels_of(whole)
        assert other.attributes["age"][3] == 7
    wrapped = open_images(tarred(folder / "cat", tmp_path / "e.tar", "cats/cat/"))
    assert wrapped.names == tuple(numbered("", 12))


def test_fingerprint_is_of_content_alone(tmp_path: Path) -> None:
    images = open_images(fill(tmp_path / "one", "a.png", "b.png"))
    moved = fill(tmp_path / "two", "a.png", "b.png")
    os.utime(moved / "a.png", (0, 0))
    assert open_images(moved, size=4, channels=3).fingerprint == images.fingerprint
    picture(7).save(moved / "a.png")
    assert open_images(moved).fingerprint != images.fingerprint
    picture(0).save(moved / "a.png")
    (moved / "a.png").rename(moved / "c.png")
    assert open_images(moved).fingerprint != images.fingerprint


def test_fingerprint_of_a_selection(tmp_path: Path) -> None:
    images = open_images(fill(tmp_path, *numbered("", 12)))
    assert images[:].fingerprint == images.fingerprint
    assert images[[2, 3]].fingerprint == images[2:4].fingerprint == images[[3, 2]].fingerprint
    assert images[2:4].fingerprint != images[3:5].fingerprint
    folder = tmp_path / "two"
    fill(folder, *numbered("", 2))
    assert open_images(folder).fingerprint == images[:2].fingerprint


def test_archives_hold_regular_files_only(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    file = io.BytesIO()
    picture(0).save(file, "PNG")
    with tarfile.open(path, "w") as archive:
        for name in ("ok.png", "../outside.png", "/absolute.png"):
            member = tarfile.TarInfo(name)
            member.size = len(file.getvalue())
            archive.addfile(member, io.BytesIO(file.getvalue()))
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    images = open_images(path)
    assert images.names == ("absolute.png", "ok.png")
    assert images.skipped == (("link.png", "a link in the archive"),)


def test_damaged_archives(tmp_path: Path) -> None:
    folder = fill(tmp_path / "f", *numbered("", 20), size=(32, 32))
    for path in (
        tarred(folder, tmp_path / "a.tgz"),
        tarred(folder, tmp_path / "a.tar"),
        zipped(folder, tmp_path / "a.zip"),
    ):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(UserError, match="damaged"):
            open_images(path)
    (tmp_path / "b.zip").write_bytes(b"")
    with pytest.raises(UserError, match="damaged"):
        open_images(tmp_path / "b.zip")


def test_color_is_told_by_the_mode(tmp_path: Path) -> None:
    fill(tmp_path, *numbered("", 3))
    assert open_images(tmp_path).shape == (1, 8, 8)
    picture(9, color=True).save(tmp_path / "z.png")
    images = open_images(tmp_path)
    assert images.shape == (3, 8, 8)
    assert images.pixels[0, 0].equal(images.pixels[0, 2]) and not images.pixels[3, 0].equal(images.pixels[3, 2])
    assert open_images(tmp_path, channels=1).shape == (1, 8, 8)


def test_unequal_sizes_want_a_size(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", size=(70, 100))
    fill(tmp_path, "b.png", size=(90, 90))
    with pytest.raises(UserError, match=r"from 70x100 to 90x90.*size=64"):
        open_images(tmp_path)
    assert open_images(tmp_path, size=32).shape == (1, 32, 32)
    assert open_images(tmp_path, size="16x24").shape == (1, 16, 24)


def test_unreadable_files_are_skipped_and_named(tmp_path: Path) -> None:
    fill(tmp_path, *numbered("", 6))
    whole = open_images(tmp_path)
    (tmp_path / "01.png").write_bytes((tmp_path / "01.png").read_bytes()[:50])
    (tmp_path / "03.png").write_bytes(b"")
    (tmp_path / "04.png").write_bytes(b"hello, I am no image")
    images = open_images(tmp_path)
    assert images.names == ("00.png", "02.png", "05.png")
    assert images.pixels.equal(whole.pixels[[0, 2, 5]])
    reasons = dict(images.skipped)
    assert reasons.keys() == {"01.png", "03.png", "04.png"}
    assert reasons["03.png"] == "empty file" and "not an image" in reasons["04.png"]
    (tmp_path / "05.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"4 of the 6 images .*01.png: .*; …\)"):
        open_images(tmp_path)


def test_a_bomb_is_skipped(tmp_path: Path, monkeypatch) -> None:
    fill(tmp_path, "a.png", "b.png")
    fill(tmp_path, "bomb.png", size=(30, 30))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    images = open_images(tmp_path, size=8)
    assert len(images) == 2 and "bomb" in images.skipped[0][1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "is empty"),
        ({"a.txt": b"x", "b.npz": b"x"}, "no images among its 2 other files .*pass that file itself"),
        ({"a.jpg": b"", "b.jpg": b"\xff\xd8\xff"}, "2 of the 2 images"),
    ],
)
def test_folders_without_images(tmp_path: Path, content: dict[str, bytes], said: str) -> None:
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=said):
        open_images(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"source": "digts"}, "did you mean the built-in 'digits'"),
        ({"source": "portrait:5"}, "did you mean the built-in 'portraits'"),
        ({"source": "mnits"}, "did you mean the set 'mnist'"),
        ({"source": "nonexist"}, "there is no file or folder 'nonexist'; check the path, or use a built-in set: "),
        ({"source": "no/such/folder"}, "there is no file or folder"),
        ({"source": ""}, "there is no file or folder"),
        ({"source": "a\0b"}, "there is no file|cannot be opened"),
        ({"source": "portraits:0"}, "expected a number of portraits"),
        ({"source": "portraits:many"}, "expected a number of portraits"),
        ({"source": "digits:5"}, "without a count"),
        ({"source": "digits", "size": 0}, "expected a positive number"),
        ({"source": "digits", "size": -4}, "expected a positive number"),
        ({"source": "digits", "channels": 2}, "expected 1"),
        ({"source": "digits", "split": "tset"}, "did you mean 'test'"),
        ({"source": "digits", "size": 10_000_000}, "smaller size"),
        ({"source": []}, "is empty"),
        ({"source": ["nowhere.png"]}, "there is no file"),
        ({"source": ["digits"]}, "no file or folder 'digits'; (?!.*built-in)"),  # a set is not a file
        ({"source": 7}, "cannot read images from int"),
    ],
)
def test_mistakes(arguments: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        open_images(**arguments)


def test_misspelled_path_suggests_the_neighbor(tmp_path: Path) -> None:
    fill(tmp_path / "photos", "a.png")
    with pytest.raises(UserError, match="did you mean '.*photos'"):
        open_images(tmp_path / "photo")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match="unknown file type"):
        open_images(tmp_path / "notes.txt")


def test_permission_denied(tmp_path: Path, monkeypatch) -> None:
    fill(tmp_path, "a.png", "b.png")

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", denied)
        with pytest.raises(UserError, match="permission denied"):
            open_images(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Span, "read", denied)
        with pytest.raises(UserError, match="a.png: permission denied"):
            open_images(tmp_path, size=8, channels=1)


def test_metadata(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", "b.png", "c.png")
    (tmp_path / "metadata.csv").write_text(
        '\ufefffile_name,glasses,age,hair,empty\nb.png,yes,7,"red, long",\na.png,False,,black,\ngone.png,1,1,1,\n'
    )
    images = open_images(tmp_path)
    assert list(images.attributes) == ["glasses", "age", "hair", "empty"]
    np.testing.assert_array_equal(images.attributes["glasses"], [0, 1, np.nan])
    np.testing.assert_array_equal(images.attributes["age"], [np.nan, 7, np.nan])
    assert images.attributes["hair"].tolist() == ["black", "red, long", ""]
    assert images.attributes["empty"].tolist() == ["", "", ""]
    assert images.notes[:2] == (
        "1 row of metadata.csv matches no image, such as gone.png",
        "1 image has no row in metadata.csv, such as c.png",
    )
    assert images.select("attr:glasses=1").names == ("b.png",)
    assert images.labels is None


def test_metadata_in_split_folders(tmp_path: Path) -> None:
    fill(tmp_path, "train/a.png", "test/a.png")
    (tmp_path / "train" / "metadata.csv").write_text("file_name,age\na.png,1\n")
    (tmp_path / "test" / "metadata.csv").write_text("file_name,age\n./a.png,2\n")
    images = open_images(tmp_path)
    assert images.names == ("test/a.png", "train/a.png") and images.attributes["age"].tolist() == [2, 1]


def test_metadata_as_json_lines(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", "b.png")
    (tmp_path / "metadata.jsonl").write_text(
        '{"file_name": "b.png", "glasses": true, "age": 7.5, "hair": "red", "box": [1, 2]}\n\n'
        '{"file_name": "./a.png", "glasses": false, "age": null}\n'
    )
    images = open_images(tmp_path)
    assert images.attributes["glasses"].tolist() == [0, 1] and len(images.notes) == 1
    np.testing.assert_array_equal(images.attributes["age"], [np.nan, 7.5])
    assert images.attributes["hair"].tolist() == ["", "red"] and images.attributes["box"].tolist() == ["", "[1, 2]"]


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ("list_attr_celeba.txt", "2\nMale Smiling\n000001.png -1  1\n000002.png  1 -1\n"),
        ("list_attr_celeba.csv", "image_id,Male,Smiling\n000001.png,-1,1\n000002.png,1,-1\n"),
    ],
)
def test_the_table_of_celeba(tmp_path: Path, table: str, text: str) -> None:
    fill(tmp_path, "img_align_celeba/000001.png", "img_align_celeba/000002.png")
    (tmp_path / table).write_text(text)
    images = open_images(tmp_path)
    assert {name: column.tolist() for name, column in images.attributes.items()} == {"Male": [0, 1], "Smiling": [1, 0]}
    assert images.labels is None and len(images.notes) == 1  # too few to split
    assert images.select("attr:Smiling=1").names == ("img_align_celeba/000001.png",)


@pytest.mark.parametrize(
    ("table", "data"),
    [
        ("metadata.csv", b""),
        ("metadata.csv", b"file,age\n"),
        ("metadata.csv", b"\xff\xfe\x00x"),
        ("metadata.jsonl", b"{]\n"),
        ("metadata.jsonl", b'{"age": 1}\n'),
        ("list_attr_celeba.txt", b"1\nMale Smiling\na.png 1\n"),
    ],
)
def test_broken_tables(tmp_path: Path, table: str, data: bytes) -> None:
    fill(tmp_path, "a.png")
    (tmp_path / table).write_bytes(data)
    with pytest.raises(UserError, match=table):
        open_images(tmp_path)


def test_open_files_keeps_the_order(tmp_path: Path) -> None:
    fill(tmp_path, "b.png", "a.png", "sub/a.png")
    images = open_files([tmp_path / "b.png", tmp_path / "a.png"])
    assert images.names == ("b.png", "a.png") and images.source == "files"
    assert images.pixels[0, 0].tolist() == np.asarray(picture(0)).tolist()
    both = open_files([tmp_path / "a.png", tmp_path / "sub/a.png"], size=4, channels=3)
    assert both.shape == (3, 4, 4) and len(set(both.names)) == 2
    assert open_images(str(tmp_path / "a.png")).names == ("a.png",)
    with pytest.raises(UserError, match="is a folder"):
        open_files([tmp_path])


def test_write_and_read_again(tmp_path: Path) -> None:
    images = Images(
        torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 3, 4, 6), dtype=np.uint8)),
        ("x/1.jpg", "x/2.jpg", "y/2.jpg"),
        labels=torch.tensor([0, 1, 1]),
        classes=("cat", ".dog/wolf"),
        attributes={"age": np.array([1.0, np.nan, 0.1]), "hair": np.array(['a,"b', "", "c"])},
    )
    folder = write_folder(images, tmp_path / "new" / "out")
    again = open_images(folder)
    order = [again.names.index(name) for name in ("cat/000000.png", "_.dog_wolf/000001.png", "_.dog_wolf/000002.png")]
    assert again.pixels[order].equal(images.pixels)
    np.testing.assert_array_equal(again.attributes["age"][order], images.attributes["age"])
    assert again.attributes["hair"][order].tolist() == ['a,"b', "", "c"]
    assert (folder / "metadata.csv").read_text().startswith("file_name,age,hair\ncat/000000.png,1,")
    with pytest.raises(UserError, match="not empty"):
        write_folder(images, folder)
    with pytest.raises(UserError, match="is a file"):
        write_folder(images, folder / "metadata.csv")
    (tmp_path / "bare").mkdir()
    assert write_folder(images, tmp_path / "bare").is_dir()


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(UserError, match="No space left"):
        write_folder(open_images("digits")[:3], tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_summary(tmp_path: Path) -> None:
    fill(tmp_path, *numbered("cat/", 6), *numbered("dog/", 6))
    (tmp_path / "dog" / "bad.png").write_bytes(b"")
    rows = [f"cat/0{i}.png,{i % 2},{i},{'ab'[i % 2]}" for i in range(6)]
    (tmp_path / "metadata.csv").write_text("\n".join(["file_name,flag,age,kind", *rows]))
    found = summary(open_images(tmp_path))
    assert found["images"] == 12 and sum(found["parts"].values()) == 12 and found["shape"] == [1, 8, 8]
    assert found["labels"] == {"cat": 6, "dog": 6}
    assert found["attributes"]["flag"] == {"type": "boolean", "missing": 6, "balance": 0.5, "ones": 3}
    assert found["attributes"]["age"] == {"type": "number", "missing": 6, "mean": 2.5, "min": 0.0, "max": 5.0}
    assert found["attributes"]["kind"]["values"] == {"a": 3, "b": 3}
    assert found["skipped"] == [{"name": "dog/bad.png", "reason": "empty file"}]


def test_summary_counts_equal_pictures_and_measures_pixels() -> None:
    pixels = torch.randint(0, 256, (700, 3, 5, 4), dtype=torch.uint8)
    pixels[600], pixels[650], pixels[20] = pixels[3], pixels[3], pixels[4]
    found = summary(open_images(pixels))
    assert found["duplicates"]["images"] == 3
    assert found["duplicates"]["alike"] == [["000003", "000600", "000650"], ["000004", "000020"]]
    values = pixels.double() / 255
    np.testing.assert_allclose(found["pixels"]["mean"], values.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(found["pixels"]["std"], values.std((0, 2, 3), correction=0), rtol=1e-6)
    assert (found["pixels"]["min"], found["pixels"]["max"]) == (values.min(), values.max())


def test_survey_of_files_of_different_sizes(tmp_path: Path) -> None:
    for name, size in (("a.png", (40, 20)), ("b.png", (40, 20)), ("c.png", (30, 60))):  # width, height
        Image.new("RGB", size, (9, 8, 7)).save(tmp_path / name)
    found = survey(str(tmp_path))
    assert found["sizes"]["most_common"] == {"20x40": 2, "60x30": 1}
    assert (found["sizes"]["smallest"], found["sizes"]["largest"]) == ([20, 40], [60, 30])
    assert found["sizes"]["aspect_ratio"] == {"min": 0.5, "median": 2.0, "max": 2.0}
    assert found["shape"] == [3, 32, 32] and found["suggested"]["size"] == 32  # a crop would drop half of each
    assert any("differ in size" in note and "size=32 fit=pad" in note for note in found["notes"])
    assert survey(str(tmp_path), Form((8, 8)))["shape"] == [3, 8, 8]
    assert survey(torch.zeros(2, 1, 9, 9, dtype=torch.uint8))["sizes"] == {}


def test_idx_files_are_what_the_arrays_in_them_are(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("vaekit.data.sources.idx._BLOCK_BYTES", 500)  # of 12 images of 96 bytes three blocks
    pixels = np.random.default_rng(0).integers(0, 256, (15, 4, 8, 3), dtype=np.uint8)
    (folder := tmp_path / "idx").mkdir()
    write_idx(folder, train=pixels[:12], t10k=pixels[12:])
    for options in ({}, {"size": (2, 3)}, {"channels": 1}):
        whole, plain = open_images(folder, **options), open_images(pixels, **options)
        assert whole.pixels.equal(plain.pixels) and whole.pixels.is_contiguous()
        assert open_images(folder / "t10k-images-idx4-ubyte.gz", **options).pixels.equal(plain.pixels[12:])
        assert open_images(zipped(folder, tmp_path / "a.zip"), **options).fingerprint == whole.fingerprint
    write_idx(folder, test=pixels[:3, :, :, 0])
    with pytest.raises(UserError, match="different sizes; choose one with size"):
        open_images(folder)
    assert open_images(folder, channels=3).shape == (3, 4, 8)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((40, 40, 41), r"contains 64,000 values, but its header declares 65,600"),
        ((39, 40, 40), r"contains 64,000 values, but its header declares 62,400"),
        ((2**32 - 1, 40, 40), r"contains 64,000 values, but its header declares 6,871,947,672,000"),
        ((40, 40, 40, 7), r"contains 64,000 values, but its header declares 448,000"),
        ((0, 40, 40), r"contains 64,000 values, but its header declares 0"),
        ((1, 64000), "has 2 dimensions, expected images"),
        ((4000, 4, 2, 2), "has 2 channels, expected 1 or 3"),
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_idx_headers_that_lie(shape: tuple[int, ...], said: str, pack, tmp_path: Path) -> None:
    data = struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape) + bytes(64000)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(pack(data))
    with pytest.raises(UserError, match=said):
        open_images(tmp_path)


def test_idx_damage_behind_the_first_block(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1200, 40, 40), dtype=np.uint8)
    path = write_idx(tmp_path, train=pixels) / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    for data in (whole[:-9], whole[:-8] + bytes(8), whole + b"rest", whole[:1_500_000] + bytes(99) + whole[1_500_099:]):
        path.write_bytes(data)
        with pytest.raises(UserError, match="train-images-idx3-ubyte.gz is damaged"):
            open_images(tmp_path)


@pytest.mark.parametrize("shape", [(5, 0, 0), (0, 8, 8), (2**32 - 1, 0, 8)])
def test_idx_without_pixels(shape: tuple[int, ...], tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(struct.pack(">BBBB3I", 0, 0, 8, 3, *shape))
    with pytest.raises(UserError, match="contains no images"):
        open_images(tmp_path, size=8)


def test_idx_is_held_once(tmp_path: Path) -> None:
    write_idx(tmp_path, train=np.zeros((150, 256, 256), np.uint8), t10k=np.zeros((50, 256, 256), np.uint8))
    tracemalloc.start()
    try:
        images = open_images(tmp_path)
        assert images.pixels.nbytes < tracemalloc.get_traced_memory()[1] < images.pixels.nbytes + 5e6
    finally:
        tracemalloc.stop()
