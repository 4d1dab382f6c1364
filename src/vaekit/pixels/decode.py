"""Decode the bytes of an image file: upright, sRGB, gray or RGB(A), in the requested form.

Files with more than 8 bits are scaled by a fixed range (:mod:`vaekit.pixels.bit_depth`). Transparent pixels show the
background, unless an alpha channel is requested.
"""

from __future__ import annotations

import errno
import threading
from contextlib import AbstractContextManager, nullcontext
from io import BytesIO
from typing import IO, Any, NamedTuple

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from vaekit.pixels.bit_depth import EIGHT_BITS, eight_bits, is_deep_gray_alpha
from vaekit.pixels.color_profiles import to_srgb
from vaekit.pixels.image_form import Form, fit
from vaekit.pixels.jpeg import decode_plain_jpeg

__all__ = [
    *("FORMATS", "IMAGE_ENDINGS", "MOST_FRAMES", "MOST_PIXELS", "Decoded", "count_frames", "decode", "decode_noting"),
    *("formed", "is_color", "reason", "stored_mode", "turned_size", "upright", "upright_size"),
]

IMAGE_ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)

#: Decoders that may be used, whatever the file extension. None of them runs another program.
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

MOST_PIXELS = 1 << 27  #: per image (11,585 squared); larger ones are treated as decompression bombs
MOST_FRAMES = 1_000  #: per file, because finding a frame means decoding those before it

#: Larger images are decoded one at a time, so that memory does not grow with the number of cores.
_LARGE_PIXELS = 1 << 24
_large: AbstractContextManager[Any] = threading.Lock()

_GRAY_MODES = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")
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


class Decoded(NamedTuple):
    """One decoded image, and properties of its file that the pixels do not show."""

    pixels: np.ndarray  #: uint8 [H, W], [H, W, 3] or [H, W, 4]
    peak: int = EIGHT_BITS  #: largest value of a file with more than 8 bits, on the scale 0 to 65535
    has_more: bool = False  #: whether the file has more frames or pages


def decode(data: bytes, form: Form, frame: int = 0) -> np.ndarray:
    """Decode an image. It is gray if the image is gray or the form has 1 channel.

    Args:
        data: Bytes of the file.
        form: Requested form. A size of None keeps the image's own. With channels None or 3, gray images stay gray.
        frame: Index of the frame or page.

    Returns:
        uint8 ``[H, W]``, ``[H, W, 3]`` or ``[H, W, 4]``.

    Raises:
        Exception: Whatever PIL raises for an unreadable file; :func:`reason` describes it.
    """
    return decode_noting(data, form, frame).pixels


def decode_noting(data: bytes, form: Form, frame: int = 0) -> Decoded:
    """Decode an image as :func:`decode` does, and report properties of its file."""
    if not data:
        raise ValueError("empty file")
    # let the decoder reduce huge photographs, to no less than twice the requested size
    least = 2 * max(form.size) if form.size else 0
    plain = None if frame else decode_plain_jpeg(data, least, _LARGE_PIXELS)
    if plain is not None:
        is_done = form.channels in (None, 3) or (form.channels == 1 and plain.ndim == 2)
        if is_done and form.size in (None, plain.shape[:2]):
            return Decoded(plain)
        return Decoded(np.asarray(formed(Image.fromarray(plain), form)))
    with Image.open(BytesIO(data), formats=FORMATS) as image:
        if least and image.format in ("JPEG", "MPO"):
            image.draft(None, (least, least))
        _check_size(image)
        _check_complete(image, data)
        with _large if image.width * image.height > _LARGE_PIXELS else nullcontext():
            has_more = frame == 0 and _has_second_frame(image)
            image.seek(frame)
            _check_size(image)  # pages may differ in size
            turned, peak = upright(image, data, frame)
            return Decoded(np.asarray(formed(turned, form)), peak, has_more)


def upright(image: Image.Image, data: bytes = b"", frame: int = 0) -> tuple[Image.Image, int]:
    """Load an image, rotate it as its EXIF data says, and convert it to 8 bits.

    Args:
        image: An image opened by PIL. If it is not loaded yet, the bit depth of its file counts, else that of its mode.
        data: Bytes of its file, if known. PIL drops the low byte of 16-bit color, which is then read from here.
        frame: Index of the frame that it shows.

    Returns:
        The image, and its peak as in :class:`Decoded`.
    """
    raw_mode = stored_mode(image)
    image.load()
    turn = _TURNS.get(_orientation(image))
    eight, peak = eight_bits(image, raw_mode, lambda: _reopened(data, frame) if data else None)
    return (eight if turn is None else eight.transpose(turn)), peak


def count_frames(file: IO[bytes]) -> int:
    """Count the frames of an animation or the pages of a TIFF."""
    with Image.open(file, formats=FORMATS) as image:
        return int(getattr(image, "n_frames", 1)) if image.format != "MPO" else 1  # MPO holds previews


def formed(image: Image.Image, form: Form) -> Image.Image:
    """Convert an 8-bit image of any mode to L, RGB or RGBA in the requested form; gray stays L without alpha."""
    if image.mode in ("RGBa", "La"):
        image = image.convert("RGBA" if image.mode == "RGBa" else "LA")
    profile = image.info.get("icc_profile")
    if image.mode in ("P", "PA") and _is_gray(image):  # before a profile turns it into color
        image = image.convert("LA" if _has_alpha(image) else "L")
    image = to_srgb(image, profile)
    if form.channels == 4:
        return fit(_with_alpha(image, form.background), form)
    flat = _opaque(image, form)
    if form.channels == 1 and flat.mode != "L":
        flat = flat.convert("L")
    if form.channels != 1 and form.fit == "pad" and not form.has_gray_background and flat.mode == "L":
        flat = flat.convert("RGB")
    return fit(flat, form)


def _reopened(data: bytes, frame: int) -> Image.Image:
    image = Image.open(BytesIO(data), formats=FORMATS)
    image.seek(frame)
    return image


def _has_second_frame(image: Image.Image) -> bool:
    try:
        return image.format != "MPO" and bool(getattr(image, "is_animated", False))  # MPO holds previews
    except Exception:  # a damaged second frame must not cost the first
        return False


def _check_size(image: Image.Image) -> None:
    if image.width * image.height > MOST_PIXELS:
        raise ValueError(f"{image.width * image.height:,} pixels; the limit is {MOST_PIXELS:,} (a decompression bomb?)")


def share_large(lock: AbstractContextManager[Any]) -> None:
    """Set the lock that large images are decoded under, such as one shared between processes."""
    global _large
    _large = lock


def is_color(file: IO[bytes]) -> bool:
    """Whether the image has color, by its mode or by the palette entries that it uses."""
    with Image.open(file, formats=FORMATS) as image:
        if image.mode in ("P", "PA"):
            return image.width * image.height <= _LARGE_PIXELS and _palette_has_color(image)
        return image.mode not in _GRAY_MODES and not is_deep_gray_alpha(stored_mode(image))


def upright_size(file: IO[bytes]) -> tuple[int, int]:
    """Return (height, width) after EXIF rotation, reading only the header."""
    with Image.open(file, formats=FORMATS) as image:
        return turned_size(image)


def turned_size(image: Image.Image) -> tuple[int, int]:
    """Return (height, width) of an opened image after EXIF rotation, without reading its pixels."""
    # a PNG may store its orientation after the pixels; asking for it would decode them
    known = image.format != "PNG" or "exif" in image.info
    # for TIFF, PIL already returns the upright size
    turned = known and image.format != "TIFF" and _orientation(image) >= 5
    return (image.width, image.height) if turned else (image.height, image.width)


def reason(error: Exception) -> str:
    """Describe briefly why a file could not be read."""
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {MOST_PIXELS:,} pixels, the limit (a decompression bomb?)"
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, UnidentifiedImageError):
        return "not an image, or truncated in its header"
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, FileNotFoundError):
        return "file not found"
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return "a symbolic link that leads to itself"
    if "could not create decoder object" in str(error):  # WebP's message for a truncated file
        return "image file is truncated or damaged"
    text = str(error).strip().splitlines()
    return text[0][:120] if text else type(error).__name__


def _check_complete(image: Image.Image, data: bytes) -> None:
    # PIL fills the missing part of a truncated GIF with background
    if image.format == "GIF" and not data.rstrip(b"\0").endswith(b";"):
        raise ValueError("image file is truncated")


def stored_mode(image: Image.Image) -> str:
    """Return how the file stores its pixels; available until they are loaded."""
    tiles = getattr(image, "tile", None) or []
    args = tiles[0][3] if tiles else ""
    return str(args[0] if isinstance(args, tuple) and args else args)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # broken metadata must not cost the image
        return 1


def _opaque(image: Image.Image, form: Form) -> Image.Image:
    """Convert to L or RGB, with the background behind transparent pixels."""
    target = "L" if _is_gray(image) else "RGB"
    if not _has_alpha(image):
        return image if image.mode == target else image.convert(target)
    rgba = image.convert("RGBA")
    canvas = Image.new(target if form.has_gray_background else "RGB", image.size, form.background)
    canvas.paste(rgba.convert(canvas.mode), mask=rgba.getchannel("A"))
    return canvas


def _with_alpha(image: Image.Image, background: str) -> Image.Image:
    """Convert to RGBA; fully transparent pixels get the background color, whatever color the file stores for them."""
    rgba = image.convert("RGBA")
    alpha = rgba.getchannel("A")
    canvas = Image.new("RGB", image.size, background)
    canvas.paste(rgba.convert("RGB"), mask=alpha.point([0] + [255] * 255))
    canvas.putalpha(alpha)
    return canvas


def _is_gray(image: Image.Image) -> bool:
    return image.mode in ("1", "L", "LA") or (image.mode in ("P", "PA") and not _palette_has_color(image))


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("LA", "RGBA", "PA") or "transparency" in image.info


def _palette_has_color(image: Image.Image) -> bool:
    palette = image.getpalette("RGB") or []
    used = (image.getchannel("P") if image.mode == "PA" else image).getcolors(256) or []
    # an index beyond the palette is drawn as black

    triples = (palette[3 * index : 3 * index + 3] for _, index in used if isinstance(index, int))
    return any(len(set(triple)) > 1 for triple in triples)
