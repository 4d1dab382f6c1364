"""From the bytes of an image file to uint8 pixels: upright, sRGB, gray or RGB(A), in the form asked for.

Files with more than 8 bits are scaled by a fixed range (:mod:`vaekit.pixels.deep`). What is transparent lies over the
background, unless alpha is asked for.
"""

from __future__ import annotations

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
    WebPImagePlugin,
)

from vaekit.pixels.colour import to_srgb
from vaekit.pixels.deep import EIGHT_BITS, eight_bits, is_deep_gray_alpha
from vaekit.pixels.form import Form, fit
from vaekit.pixels.jpeg import decode_plain_jpeg

__all__ = [
    *("FORMATS", "IMAGE_ENDINGS", "MOST_FRAMES", "MOST_PIXELS", "Decoded", "count_frames", "decode", "decode_noting"),
    *("formed", "is_colour", "reason", "stored_mode", "turned_size", "upright", "upright_size"),
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

MOST_PIXELS = 1 << 27  #: of one image: 11,585 squared; one that says it has more is taken for a bomb
MOST_FRAMES = 1_000  #: of one file: each is found by decoding those before it

#: Images above this size are decoded one at a time, so that the memory for them does not grow with the cores.
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
    """One picture, and what its file says of it that the pixels do not show."""

    pixels: np.ndarray  #: uint8 [H, W], [H, W, 3] or [H, W, 4]
    peak: int = EIGHT_BITS  #: the largest value, on the scale 0..65535, of a file with more than 8 bits
    has_more: bool = False  #: whether more frames or pages follow the first


def decode(data: bytes, form: Form, frame: int = 0) -> np.ndarray:
    """The image as uint8 [H, W], [H, W, 3] or [H, W, 4]: gray if it is gray or the form has 1 channel.

    Args:
        data: The bytes of the file.
        form: Its size None keeps the image's own; its channels None or 3 give gray for gray images too.
        frame: Of an animation or a file of several pages.

    Raises whatever PIL raises for a file that cannot be read; :func:`reason` puts it into words.
    """
    return decode_noting(data, form, frame).pixels


def decode_noting(data: bytes, form: Form, frame: int = 0) -> Decoded:
    """:func:`decode`, with what a user should know about the file."""
    if not data:
        raise ValueError("empty file")
    # the decoder reduces huge photographs by itself, down to no less than twice what is needed
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
            _check_size(image)  # pages may differ
            turned, peak = upright(image, data, frame)
            return Decoded(np.asarray(formed(turned, form)), peak, has_more)


def upright(image: Image.Image, data: bytes = b"", frame: int = 0) -> tuple[Image.Image, int]:
    """An image that PIL opened, loaded, turned as its EXIF says, with 8 bits per channel; and its peak.

    Args:
        image: Where its file is not loaded yet, the file's own depth counts, else that of PIL's mode.
        data: The bytes of its file, if known: PIL drops the low byte of 16-bit color, which is then read again.
        frame: The frame it shows.
    """
    raw_mode = stored_mode(image)
    image.load()
    turn = _TURNS.get(_orientation(image))
    eight, peak = eight_bits(image, raw_mode, lambda: _reopened(data, frame) if data else None)
    return (eight if turn is None else eight.transpose(turn)), peak


def count_frames(file: IO[bytes]) -> int:
    """How many pictures are in a file: frames of an animation, pages of a TIFF."""
    with Image.open(file, formats=FORMATS) as image:
        return int(getattr(image, "n_frames", 1)) if image.format != "MPO" else 1  # a preview is no frame


def formed(image: Image.Image, form: Form) -> Image.Image:
    """An 8-bit image of any mode as L, RGB or RGBA, in the form asked for; gray stays L unless alpha is wanted."""
    if image.mode in ("RGBa", "La"):
        image = image.convert("RGBA" if image.mode == "RGBa" else "LA")
    profile = image.info.get("icc_profile")
    if image.mode in ("P", "PA") and _is_gray(image):  # before a profile makes colours of it
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
        return image.format != "MPO" and bool(getattr(image, "is_animated", False))  # a preview is no frame
    except Exception:  # a second frame that is damaged must not cost the first
        return False


def _check_size(image: Image.Image) -> None:
    if image.width * image.height > MOST_PIXELS:
        raise ValueError(f"{image.width * image.height:,} pixels, the limit is {MOST_PIXELS:,} (a decompression bomb?)")


def share_large(lock: AbstractContextManager[Any]) -> None:
    """Lets ``lock`` see to it that one large image is decoded at a time, in whatever it is shared between."""
    global _large
    _large = lock


def is_colour(file: IO[bytes]) -> bool:
    """Whether the mode has colour: RGB and its relatives, or a palette of which a colour is used."""
    with Image.open(file, formats=FORMATS) as image:
        if image.mode in ("P", "PA"):
            return image.width * image.height <= _LARGE_PIXELS and _palette_has_colour(image)
        return image.mode not in _GRAY_MODES and not is_deep_gray_alpha(stored_mode(image))


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
        return f"more than {MOST_PIXELS:,} pixels, the limit (a decompression bomb?)"
    if isinstance(error, MemoryError):
        return "it needs more memory than there is"
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


def _opaque(image: Image.Image, form: Form) -> Image.Image:
    """L or RGB; what is transparent shows the background."""
    target = "L" if _is_gray(image) else "RGB"
    if not _has_alpha(image):
        return image if image.mode == target else image.convert(target)
    seen = image.convert("RGBA")
    canvas = Image.new(target if form.has_gray_background else "RGB", image.size, form.background)
    canvas.paste(seen.convert(canvas.mode), mask=seen.getchannel("A"))
    return canvas


def _with_alpha(image: Image.Image, background: str) -> Image.Image:
    """RGBA; what cannot be seen has the background's colour, whatever the file says of it."""
    seen = image.convert("RGBA")
    alpha = seen.getchannel("A")
    canvas = Image.new("RGB", image.size, background)
    canvas.paste(seen.convert("RGB"), mask=alpha.point([0] + [255] * 255))
    canvas.putalpha(alpha)
    return canvas


def _is_gray(image: Image.Image) -> bool:
    return image.mode in ("1", "L", "LA") or (image.mode in ("P", "PA") and not _palette_has_colour(image))


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("LA", "RGBA", "PA") or "transparency" in image.info


def _palette_has_colour(image: Image.Image) -> bool:
    palette = image.getpalette("RGB") or []
    used = (image.getchannel("P") if image.mode == "PA" else image).getcolors(256) or []
    # an index beyond the palette is shown as black
    triples = (palette[3 * index : 3 * index + 3] for _, index in used if isinstance(index, int))
    return any(len(set(triple)) > 1 for triple in triples)
