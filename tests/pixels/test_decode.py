"""Decoded files have exact pixel values."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from encoded import deep_png, deep_tiff, saved
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vaekit.pixels.decode import decode, is_color, reason, upright_size
from vaekit.pixels.image_form import Form, fit

VALUES_16 = np.array([0, 128, 129, 255, 256, 257, 385, 386, 32767, 32768, 65406, 65407, 65535], np.uint32)
VALUES_8 = np.rint(VALUES_16 / 257).astype(np.uint8)


def test_16_bit_gray_is_rounded_not_cut() -> None:
    image = Image.fromarray(VALUES_16.astype(np.uint16)[None])
    for kind in ("PNG", "TIFF"):
        assert decode(saved(image, kind), Form(None, 1))[0].tolist() == VALUES_8.tolist()


def test_mode_i_is_16_bits_in_32() -> None:
    data = saved(Image.fromarray(VALUES_16.astype(np.int32)[None]), "TIFF")
    assert decode(data, Form(None, 1))[0].tolist() == VALUES_8.tolist()
    with pytest.raises(ValueError, match="expected 0 to 65535"):
        decode(saved(Image.fromarray(np.array([[70000]], np.int32)), "TIFF"), Form(None, 1))


def test_16_bit_pgm() -> None:
    data = b"P5 13 1 65535\n" + VALUES_16.astype(">u2").tobytes()
    assert decode(data, Form(None, 1))[0].tolist() == VALUES_8.tolist()


@pytest.mark.parametrize("make", [deep_png, deep_tiff])
def test_16_bit_color_is_rounded_not_cut(make) -> None:
    values = np.stack([VALUES_16, VALUES_16[::-1], np.roll(VALUES_16, 3)], axis=-1)[None]
    expected = np.rint(values / 257).astype(np.uint8)
    data = make(values)
    assert decode(data, Form(None, 3)).tolist() == expected.tolist()
    assert is_color(BytesIO(data))


def test_16_bit_with_alpha() -> None:
    opaque = np.full_like(VALUES_16, 65535)
    gray = deep_png(np.stack([VALUES_16, opaque], axis=-1)[None])
    assert decode(gray, Form(None, 1))[0].tolist() == VALUES_8.tolist()
    assert not is_color(BytesIO(gray))
    color = deep_png(np.stack([VALUES_16, VALUES_16, VALUES_16, 0 * opaque], axis=-1)[None])
    assert (decode(color, Form(None, 3)) == 255).all()


def test_floats() -> None:
    def of(*values: float) -> list[int]:
        return decode(saved(Image.fromarray(np.array([values], np.float32)), "TIFF"), Form(None, 1))[0].tolist()

    assert of(0, 0.2, 1) == [0, 51, 255]
    assert of(0, 1.001) == [0, 255]  # an error of arithmetic, below half a level
    for top in (1.01, 200, 65535):
        with pytest.raises(ValueError, match=f"values from 0 to {top}, expected 0 to 1"):
            of(0, top)
    with pytest.raises(ValueError, match="finite"):
        of(float("nan"), 1)
    with pytest.raises(ValueError, match="expected 0 to"):
        of(-0.5, 1)


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_alpha_lies_over_white(red: int, gray: int, alpha: int) -> None:
    seen = decode(saved(Image.new("RGBA", (1, 1), (red, gray, 0, alpha)), "PNG"), Form(None, 3))[0, 0]
    exact = [(v * alpha + 255 * (255 - alpha)) / 255 for v in (red, gray, 0)]
    assert np.abs(seen - np.array(exact)).max() <= 0.5
    seen_gray = decode(saved(Image.new("LA", (1, 1), (gray, alpha)), "PNG"), Form(None, 1))
    assert abs(int(seen_gray[0, 0]) - exact[1]) <= 0.5


def palette_image(*colors: tuple[int, int, int]) -> Image.Image:
    image = Image.new("P", (len(colors), 1))
    image.putpalette([v for color in colors for v in color])
    image.putdata(range(len(colors)))
    return image


def test_palette() -> None:
    image = palette_image((10, 20, 30), (200, 100, 0), (1, 1, 1))
    for kind in ("PNG", "GIF", "BMP", "TIFF"):
        data = saved(image, kind)
        assert decode(data, Form(None, 3))[0].tolist() == [[10, 20, 30], [200, 100, 0], [1, 1, 1]], kind
        assert is_color(BytesIO(data))


def test_palette_with_transparency() -> None:
    image = palette_image((10, 20, 30), (200, 100, 0))
    for data in (saved(image, "PNG", transparency=0), saved(image, "GIF", transparency=0)):
        assert decode(data, Form(None, 3))[0].tolist() == [[255, 255, 255], [200, 100, 0]]
    half = decode(saved(image, "PNG", transparency=bytes([128, 255])), Form(None, 3))[0, 0]
    assert half.tolist() == [round((v * 128 + 255 * 127) / 255) for v in (10, 20, 30)]


def test_gray_palette_is_gray() -> None:
    data = saved(palette_image((10, 10, 10), (200, 200, 200)), "PNG")
    assert not is_color(BytesIO(data))
    assert decode(data, Form(None, 3))[0].tolist() == [10, 200]


def test_transparent_color_key() -> None:
    image = Image.new("RGB", (2, 1), (5, 6, 7))
    image.putpixel((1, 0), (9, 9, 9))
    assert decode(saved(image, "PNG", transparency=(5, 6, 7)), Form(None, 3))[0].tolist() == [[255] * 3, [9] * 3]


def test_cmyk() -> None:
    image = Image.new("CMYK", (4, 1))
    for x, ink in enumerate([(0, 0, 0, 0), (255, 0, 0, 0), (0, 0, 0, 255), (0, 51, 0, 51)]):
        image.putpixel((x, 0), ink)
    expected = [[255, 255, 255], [0, 255, 255], [0, 0, 0], [204, 163, 204]]
    assert decode(saved(image, "TIFF"), Form(None, 3))[0].tolist() == expected
    flat = Image.new("CMYK", (16, 16), (0, 51, 0, 51))
    assert np.abs(decode(saved(flat, "JPEG", quality=95), Form(None, 3)).astype(int) - [204, 163, 204]).max() <= 3


def test_color_to_gray_is_itu_601() -> None:
    data = saved(Image.new("RGB", (1, 1), (200, 100, 50)), "PNG")
    assert decode(data, Form(None, 1)).tolist() == [[round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)]]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_exif_rotation(orientation: int, kind: str) -> None:
    upright = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    # what the camera stored, so that turning it as told gives the upright picture
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    large = np.kron(stored, np.ones((16, 16), np.uint8))  # blocks, so that JPEG keeps the values
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100}}.get(kind, {})
    data = saved(Image.fromarray(large), kind, exif=exif.tobytes(), **options)
    seen = decode(data, Form(None, 1))[8::16, 8::16].astype(int)
    assert seen.shape == (2, 3)
    assert np.abs(seen - upright).max() <= 1
    assert upright_size(BytesIO(data)) == (32, 48)


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("L", (4, 4), value) for value in (10, 200)]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert (decode(data, Form(None, 1)) == 10).all(), kind


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9])
@pytest.mark.filterwarnings("ignore")
def test_truncated_files_are_refused(kind: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    data = saved(Image.fromarray(noise), kind)
    assert decode(data, Form(None, 3)).shape == (40, 50, 3)
    with pytest.raises(Exception) as caught:  # noqa: B017
        decode(data[: int(len(data) * share)], Form(None, 3))
    assert reason(caught.value)


def test_decompression_bomb_is_a_reason(monkeypatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(Image.DecompressionBombError) as caught:
        decode(saved(Image.new("L", (30, 30)), "PNG"), Form(None, 1))
    assert "bomb" in reason(caught.value)


def test_fit_crops_the_middle() -> None:
    columns = np.repeat(np.arange(30, dtype=np.uint8), 1)[None].repeat(10, 0)
    assert np.asarray(fit(Image.fromarray(columns), Form((10, 10)))).tolist() == columns[:, 10:20].tolist()
    assert np.asarray(fit(Image.fromarray(columns.T.copy()), Form((10, 10)))).tolist() == columns.T[10:20].tolist()


def test_fit_covers_non_square_sizes() -> None:
    ramp = np.linspace(0, 255, 64).round().astype(np.uint8)[None].repeat(64, 0)
    seen = np.asarray(fit(Image.fromarray(ramp), Form((16, 8))))
    assert seen.shape == (16, 8)
    # height decides the scale (1/4); the middle half of the width is seen
    assert np.abs(seen[8].astype(float) - ramp[0, 16:48].reshape(8, 4).mean(1)).max() < 1.5


def test_fit_is_antialiased() -> None:
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    inside = np.asarray(fit(Image.fromarray(board), Form((16, 16))))[2:-2, 2:-2]
    assert np.abs(inside.astype(float) - 127.5).max() < 3


def test_large_jpeg_is_reduced_like_any_other() -> None:
    ramp = np.linspace(0, 255, 1024).round().astype(np.uint8)[None].repeat(512, 0)
    seen = decode(saved(Image.fromarray(ramp), "JPEG", quality=95), Form((16, 16), 1))
    exact = ramp[0, 256:768].reshape(16, 32).mean(1)
    assert np.abs(seen[8].astype(float) - exact).max() < 2
