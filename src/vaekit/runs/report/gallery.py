"""The pictures of a run as data URIs, few and small enough for one file.

A run may be a stranger's, so a picture is a regular PNG file of a limited size inside the run folder. Everything else
is left out, with a line on stderr that names it.
"""

from __future__ import annotations

import base64
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from vaekit.errors import printable
from vaekit.pixels.decode import MOST_PIXELS, reason
from vaekit.system.notes import note
from vaekit.system.regular_files import read_plain

__all__ = ["Frame", "evenly", "frames", "say_left_out", "stored_picture"]

_MOST_BYTES = 1 << 28  # of one file

_MOST_FRAMES = 40
_WIDTH, _LAST_WIDTH = 1000, 1400  # pixels: the last frame is the one that people look at closely
_QUALITY, _LAST_QUALITY = 80, 90


@dataclass(frozen=True)
class Frame:
    """One picture: when it was taken, and what to put into ``src``. Width and height are the file's."""

    epoch: int
    uri: str
    width: int
    height: int


def frames(files: dict[int, Path]) -> list[Frame]:
    """Epoch → file, as frames in order: at most 40, evenly spaced, without damaged ones."""
    epochs = evenly(sorted(files), _MOST_FRAMES)
    found = (_frame(epoch, files[epoch], epoch == epochs[-1]) for epoch in epochs)
    return [frame for frame in found if frame]


def evenly(items: list[int], most: int) -> list[int]:
    """At most ``most`` (at least 2) of the items, evenly spaced, first and last included.

    >>> evenly(list(range(100)), 4)
    [0, 33, 66, 99]
    """
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def stored_picture(path: Path) -> tuple[bytes, Image.Image]:
    """A picture that a run keeps: the bytes of the PNG file, and the picture, decoded.

    Raises OSError for what is no regular file, and whatever Pillow raises for what is no PNG.
    """
    original = read_plain(path, _MOST_BYTES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit is ours
        image = Image.open(io.BytesIO(original), formats=("PNG",))
    if image.width * image.height > MOST_PIXELS:
        raise ValueError(f"{image.width * image.height:,} pixels, the limit is {MOST_PIXELS:,}")
    image.load()
    return original, image


def say_left_out(path: Path, error: Exception) -> None:
    """Says on stderr that a picture is not shown, and why."""
    why = "not a PNG file" if isinstance(error, Image.UnidentifiedImageError) else reason(error)
    note(f"vaekit: {printable(str(path))} is left out ({why})")


def _frame(epoch: int, path: Path, is_last: bool) -> Frame | None:
    try:
        original, image = stored_picture(path)
        shown = _fitted(image, _LAST_WIDTH if is_last else _WIDTH)
        buffer = io.BytesIO()
        shown.save(buffer, "WEBP", quality=_LAST_QUALITY if is_last else _QUALITY, method=2)
    except Exception as error:  # whatever a file of another making brings up
        say_left_out(path, error)
        return None
    # Small images enlarged to squares are smaller, and exact, as they are.
    kind, data = ("png", original) if len(original) <= buffer.tell() else ("webp", buffer.getvalue())
    return Frame(epoch, f"data:image/{kind};base64,{base64.b64encode(data).decode()}", *image.size)


def _fitted(image: Image.Image, width: int) -> Image.Image:
    if image.width <= width:
        return image
    return image.resize((width, round(image.height * width / image.width)), Image.Resampling.BICUBIC, reducing_gap=2.0)
