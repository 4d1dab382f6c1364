"""Values with more than 8 bits: one range for all files, whatever they contain, and notes about unused range."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

import vaekit as vk
from vaekit.data import open_images, peek
from vaekit.data.ingest import workers as ingest
from vaekit.data.ranges import dark_notes
from vaekit.errors import UserError
from vaekit.pixels.decode import decode, decode_noting
from vaekit.pixels.image_form import AS_IT_IS


def save(folder: Path, name: str, values: np.ndarray, **options: object) -> Path:
    folder.mkdir(exist_ok=True)
    Image.fromarray(values).save(folder / name, **options)
    return folder / name


def ramp(top: float, kind: type = np.float32) -> np.ndarray:
    return np.linspace(0, top, 64).reshape(8, 8).astype(kind)


def test_float_files_have_one_range_and_others_are_refused_by_name(tmp_path: Path) -> None:
    """Equal values give equal pixels: files with maxima 1.01 and 1 are not scaled differently."""
    save(tmp_path / "a", "one.tif", ramp(1))
    save(tmp_path / "a", "half.tif", ramp(0.5))
    images = open_images(tmp_path / "a")
    assert images.pixels.amax((1, 2, 3)).tolist() == [128, 255]
    save(tmp_path / "a", "over.tif", ramp(1.01))
    for index in range(4):
        save(tmp_path / "a", f"{index}.tif", ramp(1))  # one of many is not skipped: the range is a choice
    with pytest.raises(UserError, match=r"1 of the 7 .*over.tif: values from 0 to 1.01, expected 0 to 1.*same number"):
        open_images(tmp_path / "a")
    with pytest.raises(UserError, match="over.tif has values .* from 0 to 1.01"):
        open_images([tmp_path / "a" / "over.tif"])
    save(tmp_path / "b", "bright.tif", ramp(300))
    save(tmp_path / "b", "dark.tif", ramp(200))
    with pytest.raises(UserError, match=r"2 of the 2 .*bright.tif.*dark.tif"):
        open_images(tmp_path / "b")


@pytest.mark.parametrize("through_cache", [False, True])
def test_how_much_of_16_bits_is_used_is_said(tmp_path: Path, monkeypatch, through_cache: bool) -> None:
    if through_cache:
        monkeypatch.setenv("VAEKIT_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("vaekit.data.ingest.loader._FEWEST_CACHED", 1)
        monkeypatch.setattr(ingest, "_FEWEST_FOR_WORKERS", 1)
    for index in range(3):
        save(tmp_path / "scans", f"{index}.png", ramp(4095 - index, np.uint16))
    save(tmp_path / "scans", "plain.png", np.full((8, 8), 255, np.uint8))
    for _ in range(2):  # the second time from the cache
        images = open_images(tmp_path / "scans")
        assert images.pixels[:3].unique().tolist() == list(range(17))
        said = "use 6.2 % of their range, which leaves 17 of 256 gray levels; to use all of them, multiply all values"
        assert [said in note for note in images.notes if "range" in note] == [True]
    save(tmp_path / "scans", "bright.png", ramp(65535, np.uint16))
    assert not [note for note in open_images(tmp_path / "scans").notes if "range" in note]


def test_less_than_a_hundredth_of_the_range_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "dim", "a.png", ramp(600, np.uint16))
    save(tmp_path / "dim", "b.tif", ramp(0.005))
    with pytest.raises(UserError, match=r"only 0.92 % of their range .* such as 109, and save them again"):
        open_images(tmp_path / "dim")
    assert len(peek(tmp_path / "dim")[0]) == 2  # a sample may happen to be dark
    save(tmp_path / "black", "a.png", np.zeros((8, 8), np.uint16))
    assert open_images(tmp_path / "black").pixels.max() == 0  # black in every range


@pytest.mark.parametrize("is_deep", [True, False])
def test_arrays_and_lists_of_images_are_judged_as_files_are(is_deep: bool) -> None:
    """Floats, and 16-bit images opened by PIL: a note for 17 levels, an error below 1 %."""

    def given(share: float) -> list[object]:
        if is_deep:
            return [Image.fromarray(ramp(65535 * share, np.uint16))] * 5
        return [ramp(1) * share] * 5

    for source in [given(0.0625)] if is_deep else [given(0.0625), np.stack(given(0.0625))]:
        (said,) = [note for note in open_images(source).notes if "range" in note]
        assert "6.2 % of their range, which leaves 17 of 256" in said
    assert not [note for note in open_images(given(0.9)).notes if "range" in note]
    with pytest.raises(UserError, match="the dataset use only 0.5 % of their range"):
        open_images(given(0.005))


def test_a_dark_image_is_scaled_as_in_the_set_that_a_run_was_trained_on(
    tmp_path: Path, digits_vae: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = vk.load(digits_vae)
    for index in range(3):
        save(tmp_path / "scans", f"{index}.png", ramp(65535 if index else 600, np.uint16))
    save(tmp_path / "scans", "3.tif", ramp(0.005))
    expected = open_images(tmp_path / "scans").pixels
    for index, name in enumerate(["0.png", "1.png", "2.png", "3.tif"]):
        path = tmp_path / "scans" / name
        for source in (path, [path], Image.open(path), [Image.open(path)]):
            capsys.readouterr()
            assert run.pixels(source).equal(expected[index : index + 1])
            assert ("% of their range; they are scaled as in training" in capsys.readouterr().err) == (index in (0, 3))
    assert run.pixels(np.full((1, 8, 8), 0.004)).unique().tolist() == [1]


def test_tiffs_that_declare_another_range() -> None:
    """The header of a TIFF may say that 0 is white, or that values have 12 bits."""
    for values, white in ((ramp(65535, np.uint16), 255), (ramp(1), 255)):
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        file = BytesIO()
        Image.fromarray(values).save(file, "TIFF", tiffinfo=tags)
        upright = decode(file.getvalue(), AS_IT_IS)
        data = bytearray(file.getvalue())
        at = data.index(b"\x06\x01\x03\x00\x01\x00\x00\x00")  # PhotometricInterpretation, one short
        data[at + 8] = 0
        assert (decode(bytes(data), AS_IT_IS) == white - upright).all()
    packed = bytearray(file.getvalue())
    file = BytesIO()
    Image.fromarray(np.zeros((1, 2), np.uint16)).save(file, "TIFF")
    packed = bytearray(file.getvalue())
    packed[packed.index(b"\x02\x01\x03\x00\x01\x00\x00\x00") + 8] = 12
    at = packed.index(b"\x11\x01") + 8
    start = int.from_bytes(packed[at : at + 4], "little")
    packed[start : start + 3] = bytes([0xFF, 0xF8, 0x00])  # 4095 and 2048
    image, peak, _ = decode_noting(bytes(packed), AS_IT_IS)
    assert image.tolist() == [[255, 128]] and peak == 65535


@pytest.mark.parametrize("kind", ["tif", "gif", "webp", "png"])
def test_further_pages_are_said_to_be_left_aside(tmp_path: Path, kind: str) -> None:
    pages = [Image.new("L", (4, 4), value) for value in (10, 200, 30)]
    pages[0].save(tmp_path / f"pages.{kind}", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / f"single.{kind}")
    said = f"1 file has more than one frame or page, such as pages.{kind}; only the first is used"
    assert [note for note in open_images(tmp_path).notes if said in note and "give frames=all" in note]
    every = open_images(tmp_path, frames="all")
    assert len(every) == 4 and not [note for note in every.notes if said in note]


def test_bytes_of_0_and_1_are_said_to_be_black() -> None:
    mask = (np.arange(5 * 64).reshape(5, 8, 8) % 2).astype(np.uint8)
    assert any("the largest value of all images is 1 of 255" in note for note in open_images(mask).notes)
    assert dark_notes(np.zeros((2, 1, 4, 4), np.uint8)) == []
    mask[4, 7, 7] = 2
    assert not any("the largest value" in note for note in open_images(mask).notes)


def test_only_files_that_can_be_opened_are_advised(tmp_path: Path) -> None:
    (tmp_path / "0.nii.gz").write_bytes(b"x")
    with pytest.raises(UserError) as error:
        open_images(tmp_path)
    assert "pass that file itself" not in str(error.value)
    np.save(tmp_path / "1.npy", ramp(1))
    with pytest.raises(UserError, match=r"to open 1.npy, pass that file itself"):
        open_images(tmp_path)


def test_a_picture_in_a_data_set_is_judged_as_its_file_is(tmp_path: Path) -> None:
    for values in (ramp(1.5), ramp(70000, np.int32)):
        with pytest.raises(UserError) as of_file:
            open_images(save(tmp_path / "files", "a.tif", values))
        with pytest.raises(UserError) as of_item:
            open_images([(Image.fromarray(values), 0)])
        assert str(of_file.value).partition(" has ")[2] == str(of_item.value).partition(" has ")[2] != ""
    images = open_images([Image.fromarray(ramp(4095, np.uint16)), Image.fromarray(ramp(2000, np.uint16))])
    assert any("6.2 % of their range, which leaves 17 of 256" in note for note in images.notes)
