"""The result of a verb: it unpacks, reads like a dict, prints, saves, and is shown in a notebook."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

import vaekit as vk
from vaekit.errors import UserError
from vaekit.figures.grid import Sheet

SHEET = Sheet(torch.arange(2 * 64, dtype=torch.uint8).view(2, 1, 8, 8), 2)
BOTH = vk.Result(SHEET, {"psnr_db": 21.5, "infinite": float("inf"), "part": "a <b>"})


def test_it_unpacks_into_figure_and_numbers() -> None:
    figure, numbers = BOTH
    assert figure is SHEET is BOTH[0] and numbers is BOTH.numbers is BOTH[1]
    assert BOTH.pixels is SHEET.pixels and len(BOTH) == 2 and len(vk.Result(numbers={"a": 1})) == 1


def test_it_reads_like_the_dict_of_its_numbers() -> None:
    assert dict(BOTH) == {**BOTH} == BOTH.numbers and "psnr_db" in BOTH and BOTH["psnr_db"] == 21.5
    assert list(BOTH.items()) == list(zip(BOTH.keys(), BOTH.values(), strict=True))
    assert (BOTH.get("psnr_db"), BOTH.get("other"), BOTH.get("other", 3)) == (21.5, None, 3)
    with pytest.raises(KeyError, match="other"):
        BOTH["other"]


def test_equal_numbers_and_pixels_are_equal() -> None:
    same = vk.Result(Sheet(SHEET.pixels.clone(), 2), dict(BOTH))
    assert same == BOTH and BOTH.numbers != BOTH and vk.Result(None, BOTH.numbers) != BOTH
    assert vk.Result(numbers={"a": 1}) == {"a": 1} != vk.Result(numbers={"a": 2})
    assert vk.Result(Sheet(SHEET.pixels.flip(0), 2), BOTH.numbers) != BOTH


def test_it_prints_the_figure_and_a_line_for_each_number() -> None:
    lines = ["Sheet(2 images of 1×8×8 in 2 columns)", "psnr_db   21.50", "infinite  inf", "part      a <b>"]
    assert str(BOTH).splitlines() == repr(BOTH).splitlines() == lines
    assert str(vk.Result(numbers={"a": 1}, text="in words\n  as they are")) == "in words\n  as they are"
    assert str(vk.Result(SHEET)) == lines[0]


def test_a_notebook_shows_the_figure_above_the_numbers() -> None:
    html, png = BOTH._repr_html_(), BOTH._repr_png_()
    assert png is not None and html.index("data:image/png;base64,") < html.index("<pre>psnr_db")
    assert "a &lt;b&gt;" in html and Image.open(io.BytesIO(png)).size == SHEET.image().size
    assert vk.Result(SHEET)._repr_html_().endswith('">'), "no empty box for numbers"
    numbers = vk.Result(numbers={"a": 1})
    assert numbers._repr_png_() is None and numbers._repr_html_() == "<pre>a  1</pre>"


def test_the_ending_says_what_is_saved(tmp_path: Path) -> None:
    result = vk.Result(SHEET, BOTH.numbers, {"name": ["a", "=b"], "score": [0.1, 2.0]})
    assert result.save(tmp_path / "new" / "sheet.png") == tmp_path / "new" / "sheet.png"
    assert Image.open(tmp_path / "new" / "sheet.png").size == result.image().size
    saved = json.loads(result.save(tmp_path / "numbers.json").read_text())
    assert saved == {"psnr_db": 21.5, "infinite": None, "part": "a <b>"}
    rows = list(csv.reader(result.save(tmp_path / "table.csv").read_text().splitlines()))
    assert rows == [["name", "score"], ["a", "0.1"], ["'=b", "2.0"]]


@pytest.mark.parametrize("name", ["sheet.png", "numbers.json", "table.csv"])
def test_saving_replaces_a_file_as_in_pillow(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("old")
    vk.Result(SHEET, BOTH.numbers, {"name": ["a"]}).save(tmp_path / name)
    assert (tmp_path / name).read_bytes() != b"old" and [path.name for path in tmp_path.iterdir()] == [name]
    assert "Replaces a file that exists." in (vk.Result.save.__doc__ or "") and "Replaces" in (Sheet.save.__doc__ or "")


@pytest.mark.parametrize(
    ("result", "name", "message"),
    [
        (vk.Result(numbers={"a": 1}), "x.png", "has no figure; save its numbers as .json"),
        (BOTH, "x.csv", "has no table of images"),
        (BOTH, "x.txt", "has an unsupported extension"),
        (BOTH, "no/x.json", "its folder does not exist"),
    ],
)
def test_what_cannot_be_saved_is_refused(tmp_path: Path, result: vk.Result, name: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        result.save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_numbers_without_a_figure_have_no_pixels() -> None:
    for read in (lambda: vk.Result().pixels, lambda: vk.Result().image()):
        with pytest.raises(UserError, match="this result has no figure"):
            read()


def test_every_verb_gives_a_result(portraits_vae: Path, tmp_path: Path) -> None:
    run = vk.load(portraits_vae)
    faces = run.images("test").pixels[:2]
    drawn = [
        run.generate(2),
        run.reconstruct(faces),
        run.compare(faces),
        run.decode(run.encode(faces)),
        run.interpolate("attr:glasses=0", "attr:glasses=1"),
        run.arithmetic("attr:glasses=1"),
    ]
    both = [
        run.traverse(count=1),
        run.edit(faces, {"glasses": 1}),
        run.edit_sheet(faces, {"glasses": 1}),
        run.denoise_sheet(faces, 0.1),
        run.inpaint_sheet(faces, "center:4x4"),
        run.neighbors(faces, count=2),
        run.map(),
        run.score(faces, false_alarms=0.5),
    ]
    measured = [run.evaluate(), run.doctor(), run.save_latents(tmp_path / "codes.npz")]
    assert {type(result) for result in (*drawn, *both, *measured)} == {vk.Result}
    assert all(result.figure is not None and not result.numbers for result in drawn)
    assert all(result.figure is not None and result.numbers for result in both)
    assert all(result.figure is None and result.numbers for result in measured)


def test_old_names_still_work(portraits_vae: Path, tmp_path: Path) -> None:
    run = vk.load(portraits_vae)
    face = run.images("test").pixels[:1]
    assert run.neighbours(face, count=2) == run.neighbors(face, count=2)
    assert run.save_codes(tmp_path / "old.npz", face) == run.save_latents(tmp_path / "old.npz", face)


def test_measured_images_have_a_line_each_in_the_table(portraits_vae: Path, tmp_path: Path) -> None:
    run = vk.load(portraits_vae)
    for verb in (run.evaluate, lambda **options: run.score(false_alarms=0.5, **options)):
        option = "per_image" if verb == run.evaluate else "table"
        found = verb(**{option: tmp_path / "asked.csv"})
        assert found.save(tmp_path / "saved.csv").read_bytes() == (tmp_path / "asked.csv").read_bytes()
        assert len(found.table["name"]) == found["images"]


def test_a_mask_may_be_a_text_or_an_array(digits_vae: Path) -> None:
    run = vk.load(digits_vae)
    pixels = run.images("test").pixels[:3]
    hidden = torch.zeros(8, 8, dtype=torch.bool)
    hidden[2:6, 2:6] = True
    expected = run.inpaint_sheet(pixels, "center:4x4")
    assert run.inpaint_sheet(pixels, hidden) == run.inpaint_sheet(pixels, hidden.expand(3, 1, 8, 8).numpy()) == expected
    with pytest.raises(UserError, match=r"^mask has shape \(3, 8, 8\); expected \[3, 1, 8, 8\] or \[8, 8\]"):
        run.inpaint_sheet(pixels, hidden.expand(3, 8, 8))
