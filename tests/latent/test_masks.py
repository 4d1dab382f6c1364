"""Masks: what each form hides, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from vaekit.errors import UserError, argument
from vaekit.latent.masks import parse_mask, random_rectangle, rectangle


def edges(mask: torch.Tensor) -> list[int]:
    """Top, left, height and width of the one rectangle that is hidden."""
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    top, left, height, width = int(rows[0]), int(columns[0]), len(rows), len(columns)
    assert mask.sum() == height * width == mask[top : top + height, left : left + width].sum()
    return [top, left, height, width]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("center:14x14", [7, 7, 14, 14]),
        ("center:4", [12, 12, 4, 4]),
        ("center:5x28", [11, 0, 5, 28]),
        ("box:3,7,14x10", [3, 7, 14, 10]),
        ("box: 0, 27, 28 x 1", [0, 27, 28, 1]),
    ],
)
def test_a_fixed_rectangle(text: str, expected: list[int]) -> None:
    mask = parse_mask(text, 28, 28, count=3)
    assert mask.shape == (3, 1, 28, 28) and mask.dtype == torch.bool
    assert [edges(m[0]) for m in mask] == [expected] * 3


def test_random_squares_depend_on_seed_and_position_alone_and_reach_everywhere() -> None:
    many = parse_mask("random:6x3", 8, 8, count=200, seed=5)
    assert torch.equal(many[:7], random_rectangle(7, 8, 8, (6, 3), seed=5))
    assert not torch.equal(many, parse_mask("random:6x3", 8, 8, count=200, seed=6))
    found = [edges(m[0]) for m in many]
    assert {tuple(f[2:]) for f in found} == {(6, 3)}
    assert {f[0] for f in found} == set(range(3)) and {f[1] for f in found} == set(range(6))


def test_a_mask_image_hides_where_it_is_white_and_is_fitted_as_the_images_are(tmp_path: Path) -> None:
    pixels = np.zeros((20, 40), np.uint8)
    pixels[:10, 10:20] = 255  # the crop to a square keeps columns 10 to 30
    Image.fromarray(pixels).save(tmp_path / "hole.png")
    mask = parse_mask(str(tmp_path / "hole.png"), 10, 10, count=2)
    assert mask.shape == (2, 1, 10, 10) and edges(mask[0, 0]) == edges(mask[1, 0]) == [0, 0, 5, 5]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("center:", "cannot be parsed"),
        ("center:3,4,5x5", "cannot be parsed"),
        ("box:5x5", "cannot be parsed"),
        ("random:-3", "cannot be parsed"),
        ("random:0x4", "hides nothing"),
        ("random:29x2", "does not fit"),
        ("center:" + "9" * 5000, "cannot be parsed"),
        ("box:20,20,10x2", "at row 20, column 20 does not fit"),
        ("center:28", "hides the whole image"),
        ("no-such-file.png", "is not a file"),
        (".", "is not a file"),
        ("a\0b", "is not a file"),
    ],
)
def test_mistakes(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        parse_mask(text, 28, 28, count=1)
    assert caught.value.text.startswith(argument("mask"))


@pytest.mark.parametrize(("value", "said"), [(0, "hides nothing"), (255, "hides the whole image")])
def test_a_mask_image_of_one_color_is_refused(tmp_path: Path, value: int, said: str) -> None:
    Image.new("L", (5, 5), value).save(tmp_path / "flat.png")
    with pytest.raises(UserError, match=said):
        parse_mask(str(tmp_path / "flat.png"), 5, 5, count=1)


def test_a_mask_that_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "note.png").write_text("not an image")
    with pytest.raises(UserError, match="cannot be read"):
        parse_mask(str(tmp_path / "note.png"), 5, 5, count=1)


def test_a_mask_has_the_limits_of_an_image(tmp_path: Path) -> None:
    with open(tmp_path / "huge.png", "wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(UserError, match="larger than 537 MB, the limit"):
        parse_mask(str(tmp_path / "huge.png"), 5, 5, count=1)


def test_a_random_square_goes_with_the_key_of_its_image() -> None:
    keys = [7, 2**63 + 5, 3]
    masks = parse_mask("random:2", 8, 8, count=3, keys=keys)
    assert masks[[2, 1, 0]].equal(parse_mask("random:2", 8, 8, count=3, keys=keys[::-1]))
    assert masks[1:2].equal(parse_mask("random:2", 8, 8, count=1, keys=keys[1:2]))


def test_rectangle() -> None:
    assert rectangle(2, 2, (1, 1), (1, 0)).int().tolist() == [[[[0, 0], [1, 0]]]]


@given(st.text())
@example("x" * 300)  # longer than a file may be called
def test_any_text_gives_a_mask_or_a_user_error(text: str) -> None:
    for prefix in ("", "box:", "center:", "random:"):
        try:
            mask = parse_mask(prefix + text, 9, 7, count=1)
        except UserError:
            continue
        assert mask.shape == (1, 1, 9, 7) and mask.any() and not mask.all()


def test_a_mask_of_another_size_is_resized_with_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = np.zeros((20, 20), np.uint8)
    pixels[:10, :10] = 255
    Image.fromarray(pixels).save(tmp_path / "large.png")
    name = str(tmp_path / "large.png")
    assert edges(parse_mask(name, 10, 10, count=1)[0, 0]) == [0, 0, 5, 5]
    said = capsys.readouterr().err
    assert said == f"vaekit: mask {name!r} has 20x20 pixels, and is cropped and resized to the 10x10 of the images\n"
    parse_mask(name, 20, 20, count=1)
    assert capsys.readouterr().err == ""
