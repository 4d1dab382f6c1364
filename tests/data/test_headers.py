"""Formats and color modes from headers."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from encoded import deep_png, deep_tiff, saved
from PIL import Image

from vaekit.data import survey
from vaekit.data.ingest.headers import read_header

GRAY = Image.new("L", (6, 4), 9)
DEEP = np.full((4, 6, 3), 300, np.uint32)


@pytest.mark.parametrize(
    ("data", "kind", "mode"),
    [
        (saved(GRAY, "PNG"), "PNG", "gray"),
        (saved(GRAY, "JPEG"), "JPEG", "gray"),
        (saved(GRAY.convert("RGB"), "WEBP"), "WebP", "RGB"),
        (saved(GRAY.convert("RGB"), "BMP"), "BMP", "RGB"),
        (saved(GRAY.convert("1"), "PNG"), "PNG", "black and white"),
        (saved(GRAY.convert("LA"), "PNG"), "PNG", "gray with alpha"),
        (saved(GRAY.convert("RGBA"), "PNG"), "PNG", "RGBA"),
        (saved(GRAY.convert("RGB").quantize(4), "GIF"), "GIF", "palette"),
        (saved(GRAY.convert("CMYK"), "JPEG"), "JPEG", "CMYK"),
        (saved(Image.fromarray(DEEP[..., 0].astype(np.uint16)), "PNG"), "PNG", "16-bit gray"),
        (saved(Image.fromarray(DEEP[..., 0].astype(np.int32)), "TIFF"), "TIFF", "32-bit gray"),
        (saved(Image.fromarray(DEEP[..., 0].astype(np.float32)), "TIFF"), "TIFF", "float gray"),
        (b"P5 6 4 65535\n" + bytes(48), "PPM", "16-bit gray"),
        (deep_png(DEEP), "PNG", "16-bit RGB"),
        (deep_png(DEEP[..., :2]), "PNG", "16-bit gray with alpha"),
        (deep_png(DEEP[..., [0, 1, 2, 0]]), "PNG", "16-bit RGBA"),
        (deep_tiff(DEEP), "TIFF", "16-bit RGB"),
    ],
)
def test_formats_and_modes(data: bytes, kind: str, mode: str) -> None:
    header = read_header(io.BytesIO(data))
    assert (header.size, header.format, header.mode) == ((4, 6), kind, mode)


def test_the_survey_counts_them(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for name in ("a.png", "b.png", "c.jpg"):
        GRAY.save(tmp_path / "set" / name)
    GRAY.convert("RGB").save(tmp_path / "set" / "d.png")
    (tmp_path / "set" / "e.png").write_bytes(b"no image")
    (tmp_path / "set" / "notes.txt").write_text("no image either")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in (tmp_path / "set").iterdir():
            archive.write(path, path.name)
    for source in (tmp_path / "set", tmp_path / "set.zip"):
        found = survey(source)
        assert list(found["formats"].items()) == [("PNG", 3), ("JPEG", 1)]
        assert list(found["modes"].items()) == [("gray", 3), ("RGB", 1)]
    assert survey("digits")["formats"] == {} == survey("digits")["modes"]


def test_a_single_image_has_a_size(tmp_path: Path) -> None:
    GRAY.save(path := tmp_path / "a.png")
    found = survey(str(path))
    assert found["sizes"]["most_common"] == {"4x6": 1} and found["formats"] == {"PNG": 1}
    assert found["source"] == str(path.resolve()) and found["images"] == 1


@pytest.mark.parametrize(
    ("sides", "size", "reason"),
    [
        ([(28, 28)], 28, "the size of the images"),
        ([(20, 30)], 20, "center crop"),
        ([(4, 4)], 8, "at least 8 pixels per side"),
        ([(300, 400)], 256, "take long"),
        ([(300, 400), (100, 90)], 64, "all sides are at least 90"),
    ],
)
def test_the_suggested_size_has_a_reason(tmp_path: Path, sides: list, size: int, reason: str) -> None:
    for number, side in enumerate(sides):
        Image.new("L", side).save(tmp_path / f"{number}.png")
    suggested = survey(tmp_path)["suggested"]
    assert (suggested["size"], suggested["recipe"]) == (size, "vae") and reason in suggested["reason"]
