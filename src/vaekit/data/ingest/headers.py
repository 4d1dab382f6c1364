"""Read size, format and color mode from the headers of image files, in parallel."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, TypeVar

from PIL import Image

from vaekit.data.ingest.files import Files
from vaekit.data.ingest.workers import cores
from vaekit.pixels.decode import FORMATS, stored_mode, turned_size

__all__ = ["Header", "try_header", "read_header", "read_headers"]

T = TypeVar("T")

_MODES = {
    **{"1": "black and white", "L": "gray", "LA": "gray with alpha", "La": "gray with alpha", "F": "float gray"},
    **{"I": "16-bit gray", "P": "palette", "PA": "palette", "RGBa": "RGBA", "RGBX": "RGB"},
}
_FORMATS = {"MPO": "JPEG", "WEBP": "WebP", "DIB": "BMP"}


@dataclass(frozen=True)
class Header:
    """Properties of an image file that are known without decoding its pixels."""

    size: tuple[int, int]  #: (height, width), upright
    format: str  #: 'JPEG', 'PNG', …
    mode: str  #: 'RGB', 'gray', 'palette', '16-bit gray', …


def read_header(file: IO[bytes]) -> Header:
    """Read the header of an open file; raises PIL's errors if it is not an image."""
    with Image.open(file, formats=FORMATS) as image:
        kind = image.format or "unknown"
        return Header(turned_size(image), _FORMATS.get(kind, kind), _mode(image.mode, stored_mode(image)))


def try_header(files: Files, name: str, read: Callable[[IO[bytes]], T]) -> T | None:
    """Apply ``read`` to an opened file; None if it fails."""
    try:
        with files.open(name) as file:
            return read(file)
    except Exception:  # the file is read in full later, and reported then
        return None


def read_headers(files: Files, names: Sequence[str], root: str = "") -> dict[str, Header]:
    """Read the headers of the files ``root + name``, by name; unreadable ones are left out."""
    with warnings.catch_warnings(), ThreadPoolExecutor(cores()) as pool:
        warnings.simplefilter("ignore")  # PIL warns of large images and unusual metadata
        headers = zip(names, pool.map(lambda name: try_header(files, root + name, read_header), names), strict=True)
        return {name: header for name, header in headers if header is not None}


def _mode(mode: str, raw: str) -> str:
    """Describe a PIL mode. PIL reports 16-bit color as 8-bit, so the raw mode of the file is needed too."""
    if raw == "LA;16B":
        return "16-bit gray with alpha"
    if mode == "I" and "32" in raw:
        return "32-bit gray"
    if mode.startswith("I;16"):
        return "16-bit gray"
    deep = "16-bit " if ";16" in raw and mode in ("RGB", "RGBA") else ""
    return deep + _MODES.get(mode, mode)
