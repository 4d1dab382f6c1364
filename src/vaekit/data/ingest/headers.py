"""What the headers of image files say: size, format and colour mode, read in parallel, each file once."""

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

__all__ = ["Header", "look_into", "read_header", "read_headers"]

T = TypeVar("T")

_MODES = {
    **{"1": "black and white", "L": "gray", "LA": "gray with alpha", "La": "gray with alpha", "F": "float gray"},
    **{"I": "16-bit gray", "P": "palette", "PA": "palette", "RGBa": "RGBA", "RGBX": "RGB"},
}
_FORMATS = {"MPO": "JPEG", "WEBP": "WebP", "DIB": "BMP"}


@dataclass(frozen=True)
class Header:
    """One file, before its pixels are read."""

    size: tuple[int, int]  #: (height, width), upright
    format: str  #: 'JPEG', 'PNG', …
    mode: str  #: 'RGB', 'gray', 'palette', '16-bit gray', …


def read_header(file: IO[bytes]) -> Header:
    """The header of an open file; raises what PIL raises where there is none."""
    with Image.open(file, formats=FORMATS) as image:
        kind = image.format or "unknown"
        return Header(turned_size(image), _FORMATS.get(kind, kind), _mode(image.mode, stored_mode(image)))


def look_into(files: Files, name: str, look: Callable[[IO[bytes]], T]) -> T | None:
    """What ``look`` finds in the header of a file; None if it has none."""
    try:
        with files.open(name) as file:
            return look(file)
    except Exception:  # the same file will be read in full, and named with its reason, later
        return None


def read_headers(files: Files, names: Sequence[str], root: str = "") -> dict[str, Header]:
    """By name, the headers of those files ``root + name`` that have one."""
    with warnings.catch_warnings(), ThreadPoolExecutor(cores()) as pool:
        warnings.simplefilter("ignore")  # PIL warns of large images and odd notes
        found = zip(names, pool.map(lambda name: look_into(files, root + name, read_header), names), strict=True)
        return {name: header for name, header in found if header is not None}


def _mode(mode: str, raw: str) -> str:
    """A mode of PIL in words. PIL opens colour of 16 bits as if it had 8; how the file stores it tells."""
    if raw == "LA;16B":
        return "16-bit gray with alpha"
    if mode == "I" and "32" in raw:
        return "32-bit gray"
    if mode.startswith("I;16"):
        return "16-bit gray"
    deep = "16-bit " if ";16" in raw and mode in ("RGB", "RGBA") else ""
    return deep + _MODES.get(mode, mode)
