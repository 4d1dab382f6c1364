"""From the bytes of an image file to uint8 pixels: upright, opaque, gray or RGB, at the size asked for.

16-bit values v become round(v / 257); transparency lies over white; animations give their first frame.
"""

from __future__ import annotations

import sys
from io import BytesIO
from typing import IO

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from vaekit.data.convert import bytes_from_unit

__all__ = [
    "FORMATS",
    "IMAGE_ENDINGS",
    "decode",
    "fit",
    "is_colour",
    "reason",
    "stored_mode",
    "turned_size",
    "upright_size",
]

IMAGE_ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)

#: The decoders that may be used, whatever the ending says; none of them starts another program.
FORMATS: tuple[str, ...] = tuple(
    plugin.format
    for plugin in (
        JpegImagePlugin.JpegImageFile,
        PngImagePlugin.PngImageFile,
        WebPImagePlugin.WebPImageFile,
        GifImagePlugin.GifImageFile,
        BmpImagePlugin.BmpImageFile,
        BmpImagePlugin.DibImageFile,
        TiffImagePlugin.TiffImageFile,
        PpmImagePlugin.PpmImageFile,
    )
)

_GRAY_MODES = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_GRAY_ALPHA = ("LA", "LA;16B")  # PIL opens the second as RGBA
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(data: bytes, size: tuple[int, int] | None, channels: int) -> np.ndarray:
    """The image as uint8 [H, W] if it is gray or ``channels`` is 1, else [H, W, 3].

    Arguments: data, the bytes of the file; size (height, width) to scale and crop to, None keeps the
    image's own.
    Raises whatever PIL raises for a file that cannot be read; :func:`reason` puts it into words.
    """
    if not data:
        raise ValueError("empty file")
    with Image.open(BytesIO(data), formats=FORMATS) as image:
        if size is not None and image.format in ("JPEG", "MPO"):
            # the decoder halves huge photographs by itself, down to no less than twice what is needed
            image.draft(None, (2 * max(size), 2 * max(size)))
        _check_complete(image, data)
        raw_mode = stored_mode(image)
        image.load()
        turn = _TURNS.get(_orientation(image))
        eight = _eight_bits(image, raw_mode, data)
    flat = _opaque(eight if turn is None else eight.transpose(turn))
    if channels == 1 and flat.mode != "L":
        flat = flat.convert("L")
    return np.asarray(fit(flat, size) if size else flat)


def fit(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Scales an L or RGB image to cover (height, width), antialiased, and crops the middle.

    >>> fit(Image.new("L", (30, 10), 7), (5, 5)).size
    (5, 5)
    """
    height, width = size
    if image.size == (width, height):
        return image
    scale = max(height / image.height, width / image.width)
    crop_width, crop_height = min(width / scale, image.width), min(height / scale, image.height)
    left, top = (image.width - crop_width) / 2, (image.height - crop_height) / 2
    box = (left, top, left + crop_width, top + crop_height)
    return image.resize((width, height), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)


def is_colour(file: IO[bytes]) -> bool:
    """Whether the mode has colour: RGB and its relatives, or a palette of which a colour is used."""
    with Image.open(file, formats=FORMATS) as image:
        if image.mode in ("P", "PA"):
            return _palette_has_colour(image)
        return image.mode not in _GRAY_MODES and stored_mode(image) not in _GRAY_ALPHA


def upright_size(file: IO[bytes]) -> tuple[int, int]:
    """(height, width) after EXIF rotation, from the header alone."""
    with Image.open(file, formats=FORMATS) as image:
        return turned_size(image)


def turned_size(image: Image.Image) -> tuple[int, int]:
    """(height, width) of an image that is open, after EXIF rotation; its pixels are not read."""
    # a PNG may tell its orientation after the pixels; then asking would decode it
    known = image.format != "PNG" or "exif" in image.info
    # of a TIFF, PIL gives the upright size itself
    turned = known and image.format != "TIFF" and _orientation(image) >= 5
    return (image.width, image.height) if turned else (image.height, image.width)


def reason(error: Exception) -> str:
    """Why a file could not be read, in a few words."""
    if isinstance(error, Image.DecompressionBombError):
        return "too many pixels (a decompression bomb?)"
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image, or cut off in its header"
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, FileNotFoundError):
        return "file not found"
    if "could not create decoder object" in str(error):  # what WebP says of a file that was cut off
        return "image file is truncated or damaged"
    text = str(error).strip().splitlines()
    return text[0][:120] if text else type(error).__name__


def _check_complete(image: Image.Image, data: bytes) -> None:
    # PIL shows a GIF that was cut off as if the rest were background
    if image.format == "GIF" and not data.rstrip(b"\0").endswith(b";"):
        raise ValueError("image file is truncated")


def _eight_bits(image: Image.Image, raw_mode: str, data: bytes) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray(_from_16_bits(np.asarray(image)))
    if image.mode == "I":
        return Image.fromarray(_from_16_bits(_in_range(np.asarray(image), 65535)))
    if image.mode == "F":
        return Image.fromarray(_from_floats(np.asarray(image)))
    if image.mode in ("RGB", "RGBA") and ";16" in raw_mode:
        return _deep_gray_alpha(data) if raw_mode in _GRAY_ALPHA else _deep_colour(image, data)
    return image


def _from_16_bits(values: np.ndarray) -> np.ndarray:
    # 257 = 65535 / 255; 128 makes the division round to the nearest
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _from_floats(values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise ValueError("values that are not finite")
    top = float(values.max())
    if top <= 1:
        return bytes_from_unit(_in_range(values, 1), "image")
    if top <= 255:
        return np.rint(_in_range(values, 255)).astype(np.uint8)
    return _from_16_bits(np.rint(_in_range(values, 65535)))


def _in_range(values: np.ndarray, top: int) -> np.ndarray:
    if values.min() < 0 or values.max() > top:
        raise ValueError(f"values from {values.min():g} to {values.max():g}, expected 0 to {top}")
    return values


def stored_mode(image: Image.Image) -> str:
    """How the file stores its pixels; known until they are loaded."""
    tiles = getattr(image, "tile", None) or []
    args = tiles[0][3] if tiles else ""
    return str(args[0] if isinstance(args, tuple) and args else args)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a broken note about the image must not cost the image
        return 1


def _deep_colour(image: Image.Image, data: bytes) -> Image.Image:
    """RGB(A) of 16 bits per channel: PIL keeps the high byte; read the low one too, then round."""
    other = "16B" if sys.byteorder == "little" else "16L"
    swap = {"16B": "16L", "16L": "16B", "16N": other}
    with Image.open(BytesIO(data), formats=FORMATS) as low:
        for index, tile in enumerate(low.tile):
            args = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
            raw = str(args[0])
            raw = raw[:-3] + swap[raw[-3:]]
            low.tile[index] = tile._replace(args=(raw, *args[1:]) if isinstance(tile[3], tuple) else raw)
        low.load()
        values = np.asarray(image).astype(np.uint32) * 256 + np.asarray(low)
    return Image.fromarray(_from_16_bits(values))


def _deep_gray_alpha(data: bytes) -> Image.Image:
    """Gray and alpha of 16 bits: four bytes per pixel, read as if they were four channels."""
    with Image.open(BytesIO(data), formats=FORMATS) as image:
        image.tile = [tile._replace(args="RGBA") for tile in image.tile]
        image.load()
        values = np.asarray(image).astype(np.uint32)
    return Image.fromarray(_from_16_bits(values[..., ::2] * 256 + values[..., 1::2]))


def _opaque(image: Image.Image) -> Image.Image:
    """L or RGB; what is transparent becomes white."""
    if image.mode in ("RGBa", "La"):
        image = image.convert("RGBA" if image.mode == "RGBa" else "LA")
    gray = image.mode in ("1", "L", "LA") or (image.mode in ("P", "PA") and not _palette_has_colour(image))
    target = "L" if gray else "RGB"
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode not in ("LA", "RGBA", "PA") and "transparency" not in image.info:
        return image.convert(target)
    seen = image.convert("RGBA")
    white = Image.new(target, image.size, "white")
    white.paste(seen.convert(target), mask=seen.getchannel("A"))
    return white


def _palette_has_colour(image: Image.Image) -> bool:
    palette = image.getpalette("RGB") or []
    used = (image.getchannel("P") if image.mode == "PA" else image).getcolors(256) or []
    # an index beyond the palette is shown as black
    triples = (palette[3 * index : 3 * index + 3] for _, index in used if isinstance(index, int))
    return any(len(set(triple)) > 1 for triple in triples)
