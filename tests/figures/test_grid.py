"""Sheets: every pixel is at its place, files are complete, and results are deterministic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vaekit.config import table as recipes
from vaekit.data.subsets import one_per_class
from vaekit.errors import UserError
from vaekit.figures.grid import Sheet, stacked_sheet
from vaekit.model.factory import build_model
from vaekit.model.latent_model import LatentModel


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def array(sheet: Sheet) -> np.ndarray:
    return np.asarray(sheet.image())


def enlarged(image: torch.Tensor, factor: int) -> np.ndarray:
    shown = image.permute(1, 2, 0).numpy()
    return np.kron(shown, np.ones((factor, factor, 1), np.uint8)).squeeze(-1 if len(image) == 1 else ())


@pytest.fixture(scope="module")
def model() -> LatentModel:
    row = recipes.override(recipes.get("vae"), {"latent_dim": 3, "width": 8})
    return build_model(row, (1, 8, 8), seed=1).eval()


def test_every_pixel_of_a_gray_sheet() -> None:
    pixels = noise(3, 1, 28, 28)
    expected = np.full((2 + 2 * 58, 2 + 2 * 58), 255, np.uint8)
    expected[2:58, 2:58] = enlarged(pixels[0], 2)
    expected[2:58, 60:116] = enlarged(pixels[1], 2)
    expected[60:116, 2:58] = enlarged(pixels[2], 2)
    sheet = Sheet(pixels, columns=2)
    assert sheet.image().mode == "L" and len(sheet) == 3
    np.testing.assert_array_equal(array(sheet), expected)


def test_every_pixel_of_a_color_sheet() -> None:
    pixels = noise(2, 3, 70, 90)
    expected = np.full((80, 5 + 2 * 95, 3), 255, np.uint8)
    expected[5:75, 5:95] = enlarged(pixels[0], 1)
    expected[5:75, 100:190] = enlarged(pixels[1], 1)
    np.testing.assert_array_equal(array(Sheet(pixels, columns=2, gap=5)), expected)


@pytest.mark.parametrize(
    ("size", "cell"),
    [
        ((1, 1), (56, 56)),
        ((8, 8), (56, 56)),
        ((9, 9), (63, 63)),
        ((28, 28), (56, 56)),
        ((32, 32), (64, 64)),
        ((64, 64), (128, 128)),
        ((48, 64), (96, 128)),
        ((65, 65), (65, 65)),
        ((256, 256), (256, 256)),
        ((8, 512), (16, 1024)),
        ((2000, 3), (2000, 3)),
    ],
)
def test_small_images_are_enlarged_by_whole_factors(size: tuple[int, int], cell: tuple[int, int]) -> None:
    width, height = Sheet(noise(1, 1, *size), columns=9).image().size
    assert (height - 4, width - 4) == cell


def test_pairs_stand_above_each_other_and_wrap_in_blocks() -> None:
    originals, made = noise(12, 1, 8, 8), noise(12, 1, 8, 8, seed=1)
    shown = array(stacked_sheet(originals, made))
    assert shown.shape == (2 + 4 * 58 + 5 * 2, 2 + 10 * 58)
    second_block = 2 + 2 * 58 + 5 * 2  # ordinary gaps, and five more between the blocks
    for i, (column, top) in {0: (0, 2), 9: (9, 2), 10: (0, second_block), 11: (1, second_block)}.items():
        left = 2 + column * 58
        np.testing.assert_array_equal(shown[top : top + 56, left : left + 56], enlarged(originals[i], 7))
        np.testing.assert_array_equal(shown[top + 58 : top + 114, left : left + 56], enlarged(made[i], 7))
    assert (shown[second_block:, 2 + 2 * 58 :] == 255).all()
    assert (shown[2 + 2 * 58 - 2 : second_block] == 255).all()


def test_few_pairs_make_a_narrow_sheet() -> None:
    assert stacked_sheet(noise(3, 1, 28, 28), noise(3, 1, 28, 28)).image().size == (2 + 3 * 58, 2 + 2 * 58)


def test_several_rows_stand_above_each_other() -> None:
    rows = [noise(2, 1, 8, 8, seed=seed) for seed in range(3)]
    shown = array(stacked_sheet(*rows))
    for number, row in enumerate(rows):
        np.testing.assert_array_equal(shown[2 + 58 * number : 58 * (number + 1), 2:58], enlarged(row[0], 7))


def test_captions_and_row_labels_leave_the_images_alone() -> None:
    pixels = noise(4, 1, 64, 64)
    plain = array(Sheet(pixels, columns=2))
    captioned = array(Sheet(pixels, columns=2, captions=("0.0", "0.5", "a very long caption indeed", "1.0")))
    line = (captioned.shape[0] - plain.shape[0]) // 2
    assert 12 <= line <= 40 and captioned.shape[1] == plain.shape[1]
    np.testing.assert_array_equal(captioned[:130], plain[:130])
    np.testing.assert_array_equal(captioned[132 + line : 260 + line, 2:], plain[132:260, 2:])
    for column in (slice(2, 130), slice(132, 260)):
        assert captioned[131 : 131 + line, column].min() < 128  # there is ink under each cell
    labeled = array(Sheet(pixels, columns=2, row_labels=("men", "women")))
    indent = labeled.shape[1] - plain.shape[1]
    np.testing.assert_array_equal(labeled[:, indent + 2 :], plain[:, 2:])
    assert labeled[2:130, :indent].min() < 128 and labeled[132:260, :indent].min() < 128


def test_no_captions_where_nobody_could_read_them() -> None:
    pixels = noise(2, 1, 8, 512)
    np.testing.assert_array_equal(array(Sheet(pixels, 1, captions=("a", "b"))), array(Sheet(pixels, 1)))


@pytest.mark.parametrize("suffix", [".png", ".webp", ".PNG"])
def test_lossless_files_hold_the_sheet_and_are_the_same_every_time(tmp_path: Path, suffix: str) -> None:
    sheet = Sheet(noise(5, 3, 32, 32), columns=3)
    path = sheet.save(tmp_path / "new" / "folder" / f"sheet{suffix}")
    np.testing.assert_array_equal(np.asarray(Image.open(path).convert("RGB")), array(sheet))
    assert sheet.save(tmp_path / f"again{suffix}").read_bytes() == path.read_bytes()
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg"])
def test_jpeg_is_close(tmp_path: Path, suffix: str) -> None:
    ramp = torch.arange(64, dtype=torch.uint8).repeat(2, 3, 64, 1) * 3
    sheet = Sheet(ramp, columns=2)
    path = sheet.save(str(tmp_path / f"sheet{suffix}"))
    difference = np.asarray(Image.open(path)).astype(int) - array(sheet)
    assert Image.open(path).format == "JPEG" and np.abs(difference).mean() < 2


def test_files_that_cannot_be_written_are_refused_with_a_reason(tmp_path: Path) -> None:
    sheet = Sheet(noise(1, 1, 8, 8), columns=1)
    with pytest.raises(UserError, match=r"\.png, \.webp, \.jpg"):
        sheet.save(tmp_path / "deep" / "sheet.tiff")
    with pytest.raises(UserError, match=r"choose from"):
        sheet.save(tmp_path / "sheet")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot create the folder"):
        sheet.save(tmp_path / "file" / "sheet.png")
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(UserError, match=r"taken\.png"):
        sheet.save(tmp_path / "taken.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "taken.png"]


def test_notebooks_see_a_png() -> None:
    assert Sheet(noise(1, 1, 8, 8), columns=1)._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "sheet",
    [
        lambda: Sheet(torch.zeros(1, 1, 8, 8), 1),
        lambda: Sheet(noise(1, 2, 8, 8), 1),
        lambda: Sheet(noise(8, 8, 1), 1),
        lambda: Sheet(noise(0, 1, 8, 8), 1),
        lambda: Sheet(noise(2, 1, 8, 8), 0),
        lambda: Sheet(noise(2, 1, 8, 8), 2, gap=-1),
        lambda: Sheet(noise(2, 1, 8, 8), 2, captions=("one",)),
        lambda: stacked_sheet(noise(2, 1, 8, 8), noise(3, 1, 8, 8)),
        lambda: stacked_sheet(noise(2, 1, 8, 8), noise(2, 1, 8, 8), columns=0),
    ],
)
def test_what_is_no_sheet_is_refused(sheet: object) -> None:
    with pytest.raises(UserError):
        sheet()  # type: ignore[operator]


def test_one_per_class() -> None:
    labels = torch.tensor([2, 0, 2, 1, 0, 0])
    assert one_per_class(labels, 6, 3).tolist() == [1, 3, 0]
    assert one_per_class(labels, 6, 5).tolist() == [1, 3, 0, 4, 2]
    assert one_per_class(labels, 6, 10).tolist() == [1, 3, 0, 4, 2, 5]
    assert one_per_class(labels, 6, 2).tolist() == [1, 3]
    assert one_per_class(None, 6, 4).tolist() == [0, 1, 2, 3]
    assert one_per_class(None, 2, 4).tolist() == [0, 1]
    assert one_per_class(torch.empty(0, dtype=torch.int64), 0, 4).tolist() == []


@given(st.lists(st.integers(0, 4), max_size=30), st.integers(0, 12))
def test_one_per_class_goes_round(labels: list[int], n: int) -> None:
    nth = [labels[:i].count(label) for i, label in enumerate(labels)]
    expected = sorted(range(len(labels)), key=lambda i: (nth[i], labels[i]))[:n]
    assert one_per_class(torch.tensor(labels, dtype=torch.int64), len(labels), n).tolist() == expected
