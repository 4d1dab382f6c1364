"""A folder with every kind of image file, valid and invalid, and the expected result for each.

``build(folder)`` writes it, and returns for every file the expected pixels, or a part of the reason for the failure.
The pixels come from the arrays that the files were written from, not from the code under test.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

__all__ = ["SIZE", "adam7_png", "build", "bytes_of_kinds", "deep_png", "source"]

SIZE = (24, 32)  # height, width
_ORIENTATION = 0x0112
_BROKEN = "truncated|damaged|cut off|not an image|broken|decod|ends|process|unrecognized|incomplete|unexpected|CRC|EOF"


def source(channels: int = 3, seed: int = 0, levels: int = 256) -> np.ndarray:
    """Return a picture with edges, ramps and noise, uint8 [H, W, C]."""
    height, width = SIZE
    y, x = np.mgrid[:height, :width]
    ramp = np.stack([x * 255 // (width - 1), y * 255 // (height - 1), (x + y) * 255 // (height + width - 2)], -1)
    noise = np.random.default_rng(seed).integers(0, 40, (height, width, 3))
    picture = np.clip(ramp + noise - 20, 0, 255)
    picture[4:9, 6:20] = (250, 20, 60)
    picture = picture[..., [0, 1, 2, 0][:channels]]
    return (picture * levels // 256).astype(np.uint8)


def smooth() -> np.ndarray:
    """Return a picture that JPEG preserves well."""
    height, width = SIZE
    y, x = np.mgrid[:height, :width] / max(SIZE)
    return np.stack([90 + 120 * x, 60 + 120 * y, 200 - 100 * x * y], -1).round().astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def luma(rgb: np.ndarray) -> np.ndarray:
    """Convert to gray by ITU-R 601, with PIL's fixed-point arithmetic."""
    red, green, blue = (rgb[..., i].astype(np.int64) for i in range(3))
    return ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16).astype(np.uint8)


def chunk(name: bytes, data: bytes, crc: int | None = None) -> bytes:
    crc = zlib.crc32(name + data) if crc is None else crc
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)


def png(
    lines: bytes, size: tuple[int, int], depth: int, kind: int, more: bytes = b"", interlaced: bool = False
) -> bytes:
    header = struct.pack(">IIBBBBB", size[1], size[0], depth, kind, 0, 0, interlaced)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + more
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


def deep_png(values: np.ndarray) -> bytes:
    """Encode [H, W, C] with 16 bits per channel."""
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[values.shape[2]]
    return png(b"".join(b"\0" + row.astype(">u2").tobytes() for row in values), values.shape[:2], 16, kind)


def shallow_png(values: np.ndarray, depth: int, palette: bytes = b"") -> bytes:
    """Encode [H, W] with 1, 2 or 4 bits per pixel, gray or with a palette."""
    lines = b""
    for row in values:
        bits = np.unpackbits(row[:, None], axis=1)[:, 8 - depth :].ravel()
        lines += b"\0" + np.packbits(bits).tobytes()
    return png(lines, values.shape, depth, 3 if palette else 0, chunk(b"PLTE", palette) if palette else b"")


def adam7_png(values: np.ndarray) -> bytes:
    """Encode uint8 [H, W, 3] interlaced."""
    lines = b""
    for y, x, down, right in (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ):
        for row in values[y::down, x::right]:
            lines += b"\0" + row.tobytes() if row.size else b""
    return png(lines, values.shape[:2], 8, 2, interlaced=True)


def oriented(rgb: np.ndarray, orientation: int, kind: str, **options: object) -> bytes:
    """Encode a file that shows ``rgb`` after the rotation in its EXIF data."""
    undo: dict[int, Callable[[np.ndarray], np.ndarray]] = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a[:, ::-1], -1)[:, :],
        8: lambda a: np.rot90(a, -1),
    }
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    return encoded(Image.fromarray(np.ascontiguousarray(undo[orientation](rgb))), kind, exif=exif, **options)


Kinds = dict[str, tuple[bytes, np.ndarray | str]]

RGB, GRAY = source(), source()[..., 0]
IMAGE, GRAY_IMAGE, NEGATIVE = Image.fromarray(RGB), Image.fromarray(GRAY), Image.fromarray(255 - RGB)
FEW = IMAGE.quantize(200)  # colors
FEW_SEEN = np.asarray(FEW.convert("RGB"))
ALPHA = np.where(np.indices(SIZE).sum(0) % 3 == 0, 0, 255).astype(np.uint8)
RGBA = Image.fromarray(np.dstack([RGB, ALPHA]))
CMYK = Image.fromarray(np.dstack([255 - smooth(), np.zeros(SIZE, np.uint8)]), "CMYK")
TWO = np.where(GRAY > 99, 255, 0).astype(np.uint8)
#: 16 bits per channel, and the 8 bits that are nearest.
WIDE = (RGB.astype(np.int64) * 257 + np.random.default_rng(1).integers(-128, 129, RGB.shape)).clip(0, 65535)
WIDE = WIDE.astype(np.uint32)
ROUNDED = np.rint(WIDE / 257).astype(np.uint8)
PLAIN = encoded(IMAGE, "PNG")


def on_white(shown: np.ndarray, where: np.ndarray = ALPHA == 255) -> np.ndarray:
    return np.where(where[..., None], shown, 255).astype(np.uint8)


def of_gray(shown: np.ndarray) -> np.ndarray:
    return np.repeat(shown.reshape(*SIZE, 1), 3, 2)


def seen(data: bytes) -> np.ndarray:
    """Decode a lossy file at its full size."""
    with Image.open(BytesIO(data)) as opened:
        return np.asarray(opened.convert("RGB"))


def bytes_of_kinds() -> Kinds:
    """Yield name, bytes, and the expected pixels [H, W, 3] or a pattern for the reason."""
    return {**jpegs(), **turned(), **pngs(), **moving(), **tiffs(), **plain_kinds(), **names(), **bad()}


def jpegs() -> Kinds:
    made = {
        "jpeg-baseline.jpg": encoded(IMAGE, "JPEG", quality=90),
        "jpeg-progressive.jpg": encoded(IMAGE, "JPEG", progressive=True),
        "jpeg-no-subsampling.jpg": encoded(IMAGE, "JPEG", subsampling=0),
        "jpeg-subsampling-420.jpg": encoded(IMAGE, "JPEG", subsampling=2),
        "jpeg-worst.jpg": encoded(IMAGE, "JPEG", quality=5),
        "jpeg-restarts.jpg": encoded(IMAGE, "JPEG", restart_marker_rows=1),
        "jpeg-gray.jpg": encoded(GRAY_IMAGE, "JPEG"),
    }
    data = made["jpeg-baseline.jpg"]
    made["jpeg-comment.jpeg"] = data[:2] + b"\xff\xfe\x00\x08hello!" + data[2:]
    made["jpeg-garbage-behind.jpg"] = data + b"garbage" * 50
    kinds: Kinds = {name: (data, seen(data)) for name, data in made.items()}
    exif_broken = data[:2] + b"\xff\xe1\x00\x12Exif\0\0II*\0\xff\xff\xff\xff" + data[2:]
    kinds["exif-broken.jpg"] = (exif_broken, seen(data))
    kinds["jpeg-cmyk-adobe-inverted.jpg"] = (encoded(CMYK, "JPEG", quality=100, subsampling=0), smooth())
    return kinds


def turned() -> Kinds:
    kinds: Kinds = {f"exif-{number}.png": (oriented(RGB, number, "PNG"), RGB) for number in range(1, 9)}
    photo = oriented(smooth(), 6, "JPEG", quality=100, subsampling=0)
    kinds["exif-6.jpg"] = (photo, np.rot90(seen(photo), -1))
    kinds["exif-8.webp"] = (oriented(RGB, 8, "WEBP", lossless=True), RGB)
    kinds["exif-3.tif"] = (oriented(RGB, 3, "TIFF"), RGB)
    return kinds


def pngs() -> Kinds:
    both = Image.merge("LA", (GRAY_IMAGE, Image.fromarray(ALPHA)))
    key, clear = (250, 20, 60), np.asarray(FEW) == 3
    alpha_16 = ALPHA.astype(np.uint32) * 257
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    kinds: Kinds = {
        "png-rgb.png": (PLAIN, RGB),
        "png-interlaced.png": (adam7_png(RGB), RGB),
        "png-rgba.png": (encoded(RGBA, "PNG"), on_white(RGB)),
        "png-gray.png": (encoded(GRAY_IMAGE, "PNG"), of_gray(GRAY)),
        "png-gray-alpha.png": (encoded(both, "PNG"), on_white(of_gray(GRAY))),
        "png-palette-8-bit.png": (encoded(FEW, "PNG"), FEW_SEEN),
        "png-palette-transparent.png": (encoded(FEW, "PNG", transparency=3), on_white(FEW_SEEN, ~clear)),
        "png-color-key.png": (encoded(IMAGE, "PNG", transparency=key), on_white(RGB, (key != RGB).any(-1))),
        "png-16-bit-rgb.png": (deep_png(WIDE), ROUNDED),
        "png-16-bit-gray.png": (deep_png(WIDE[..., :1]), of_gray(ROUNDED[..., 0])),
        "png-16-bit-rgba.png": (deep_png(np.dstack([WIDE, alpha_16])), on_white(ROUNDED)),
        "png-16-bit-gray-alpha.png": (
            deep_png(np.dstack([WIDE[..., 0], alpha_16])),
            on_white(of_gray(ROUNDED[..., 0])),
        ),
        "icc-srgb.png": (encoded(IMAGE, "PNG", icc_profile=srgb), RGB),
        "icc-broken.png": (encoded(IMAGE, "PNG", icc_profile=b"no profile at all"), RGB),
    }
    for depth in (1, 2, 4):
        shallow = source(1, levels=2**depth)[..., 0]
        scaled = (shallow.astype(np.uint16) * 255 // (2**depth - 1)).astype(np.uint8)
        kinds[f"png-gray-{depth}-bit.png"] = (shallow_png(shallow, depth), of_gray(scaled))
        palette = np.random.default_rng(depth).integers(0, 256, (2**depth, 3), dtype=np.uint8)
        kinds[f"png-palette-{depth}-bit.png"] = (shallow_png(shallow, depth, palette.tobytes()), palette[shallow])
    return kinds


def moving() -> Kinds:
    """Yield GIF and WebP files, still and animated, and APNG."""
    more = {"save_all": True, "append_images": [NEGATIVE]}
    lossy = encoded(IMAGE, "WEBP", quality=80)
    return {
        "apng.png": (encoded(IMAGE, "PNG", **more), RGB),
        "webp-lossless.webp": (encoded(IMAGE, "WEBP", lossless=True), RGB),
        "webp-alpha.webp": (encoded(RGBA, "WEBP", lossless=True, exact=True), on_white(RGB)),
        "webp-lossy.webp": (lossy, seen(lossy)),
        "webp-animated.webp": (encoded(IMAGE, "WEBP", lossless=True, **more), RGB),
        "gif.gif": (encoded(FEW, "GIF"), FEW_SEEN),
        "gif-animated.gif": (encoded(FEW, "GIF", save_all=True, append_images=[FEW.rotate(180)]), FEW_SEEN),
        "gif-interlaced.gif": (encoded(FEW, "GIF", interlace=1), FEW_SEEN),
    }


def tiffs() -> Kinds:
    kinds: Kinds = {
        f"tiff-{packing}.tif": (encoded(IMAGE, "TIFF", compression=packing), RGB)
        for packing in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits")
    }
    deep = Image.fromarray(WIDE[..., 0].astype(np.uint16))
    return kinds | {
        "tiff-pages.tiff": (encoded(IMAGE, "TIFF", save_all=True, append_images=[NEGATIVE]), RGB),
        "tiff-16-bit.tif": (encoded(deep, "TIFF"), of_gray(ROUNDED[..., 0])),
        "tiff-float.tif": (encoded(Image.fromarray(GRAY.astype(np.float32) / 255), "TIFF"), of_gray(GRAY)),
        "tiff-palette.tif": (encoded(FEW, "TIFF"), FEW_SEEN),
        "tiff-cmyk.tif": (encoded(CMYK, "TIFF"), smooth()),
        "tiff-1-bit.tif": (encoded(Image.fromarray(TWO).convert("1"), "TIFF"), of_gray(TWO)),
    }


def plain_kinds() -> Kinds:
    bits = b"".join(np.packbits(row == 0).tobytes() for row in TWO)
    deep = WIDE[..., 0].astype(">u2").tobytes()
    return {
        "bmp-24.bmp": (encoded(IMAGE, "BMP"), RGB),
        "bmp-palette.bmp": (encoded(FEW, "BMP"), FEW_SEEN),
        "bmp-gray.bmp": (encoded(GRAY_IMAGE, "BMP"), of_gray(GRAY)),
        "ppm.ppm": (encoded(IMAGE, "PPM"), RGB),
        "pgm.pgm": (encoded(GRAY_IMAGE, "PPM"), of_gray(GRAY)),
        "pgm-16-bit.pgm": (b"P5 32 24 65535\n" + deep, of_gray(ROUNDED[..., 0])),
        "ppm-plain.ppm": (b"P3 32 24 255\n" + b" ".join(b"%d" % value for value in RGB.ravel()), RGB),
        "pbm.pbm": (b"P4 32 24\n" + bits, of_gray(TWO)),
    }


def names() -> Kinds:
    odd = ["UPPER.PNG", "MiXeD.JpG", "wrong-ending.jpg", "wrong ending.gif", "no-ending", "odd.image-of-mine"]
    odd += ["ünïcödé-猫.png", "with spaces .png", "with\nnewline.png", "quote'\".png", "x" * 240 + ".png", "#1%.png"]
    return dict.fromkeys([*odd, os.fsdecode(b"not-utf8-\xff\xfe.png")], (PLAIN, RGB))


def bad() -> Kinds:
    bomb = chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0))
    bomb += chunk(b"IDAT", zlib.compress(b"\0" * 9999)) + chunk(b"IEND", b"")
    corrupt = bytearray(PLAIN)
    corrupt[len(PLAIN) // 2] ^= 255
    nan = Image.fromarray(np.full(SIZE, np.nan, np.float32))
    kinds: Kinds = {
        "bad-empty.jpg": (b"", "empty file"),
        "bad-text.jpg": (b"this is a text" * 9, _BROKEN),
        "bad-html.png": (b"<!DOCTYPE html><html>404</html>", _BROKEN),
        "bad-svg.png": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", _BROKEN),
        "bad-random.webp": (np.random.default_rng(2).bytes(3000), _BROKEN),
        "bad-checksum.png": (bytes(corrupt), _BROKEN),
        "bad-bomb.png": (b"\x89PNG\r\n\x1a\n" + bomb, "limit"),
        "bad-bomb.ppm": (b"P6 40000 40000 255\n" + b"\0" * 99, "limit"),
        "bad-nan.tif": (encoded(nan, "TIFF"), "not finite"),
        "bad-no-pixels.gif": (b"GIF89a\x20\0\x18\0\0\0\0;", _BROKEN),
        "bad-size-zero.png": (png(b"", (0, 0), 8, 2), _BROKEN),
    }
    whole = {"jpg": encoded(IMAGE, "JPEG"), "png": PLAIN, "gif": encoded(FEW, "GIF"), "bmp": encoded(IMAGE, "BMP")}
    whole |= {"webp": encoded(IMAGE, "WEBP", lossless=True), "ppm": encoded(IMAGE, "PPM")}
    whole["tif"] = encoded(IMAGE, "TIFF", compression="tiff_lzw")
    for ending, data in whole.items():
        kinds[f"bad-half.{ending}"] = (data[: len(data) // 2], _BROKEN)
        kinds[f"bad-header.{ending}"] = (data[:9], _BROKEN)
    return kinds


def build(folder: Path) -> dict[str, np.ndarray | str]:
    """Write the folder; return name -> pixels [H, W, 3], or a pattern for the reason, for all expected files."""
    folder.mkdir(parents=True, exist_ok=True)
    expected: dict[str, np.ndarray | str] = {}
    for name, (data, shown) in bytes_of_kinds().items():
        (folder / name).write_bytes(data)
        expected[name] = shown
    (folder / "deep").mkdir()
    (folder / "deep" / "loop").symlink_to(folder, target_is_directory=True)
    expected["deep/loop/"] = "a link to a folder that it is in"
    (folder / "linked.png").symlink_to("png-rgb.png")
    expected["linked.png"] = source()
    (folder / "bad-link.png").symlink_to("nowhere.png")
    expected["bad-link.png"] = "not found"
    (folder / "bad-circle.png").symlink_to("bad-circle.png")
    expected["bad-circle.png"] = "symbolic link that leads to itself|not found|No such"
    # none of these is an image
    (folder / "folder.png").mkdir()
    expected["folder.png/"] = "a folder, and empty"
    (folder / ".hidden.png").write_bytes(b"x")
    (folder / "notes.txt").write_text("a text")
    (folder / "Thumbs.db").write_bytes(b"\xff\xd8\xff junk")
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.png")  # whoever opens it waits for ever
        expected["pipe.png"] = "not a file"
    return expected
