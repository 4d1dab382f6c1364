"""Pictures of a run as data URIs, limited in number and size so that they fit into one file.

The run may come from a stranger, so only regular PNG files of limited size inside the run folder are used. Other files
are skipped with a note on stderr.
"""

from __future__ import annotations

import base64
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from vaekit.errors import printable
from vaekit.pixels.decode import MOST_PIXELS, reason
from vaekit.system.notes import note
from vaekit.system.regular_files import read_plain

__all__ = ["Frame", "evenly", "frames", "say_left_out", "stored_picture"]

_MOST_BYTES = 1 << 28  # per file

_MOST_FRAMES = 40
_WIDTH, _LAST_WIDTH = 1000, 1400  # pixels; the last frame is larger, because people look at it closely
_QUALITY, _LAST_QUALITY = 80, 90


@dataclass(frozen=True)
class Frame:
    """A picture: its epoch, the content of ``src``, and the width and height of the file."""

    epoch: int
    uri: str
    width: int
    height: int


def frames(files: dict[int, Path]) -> list[Frame]:
    """Convert files by epoch to frames in order: at most 40, evenly spaced, without damaged ones."""
    epochs = evenly(sorted(files), _MOST_FRAMES)
    candidates = (_frame(epoch, files[epoch], epoch == epochs[-1]) for epoch in epochs)
    return [frame for frame in candidates if frame]


def evenly(items: list[int], most: int) -> list[int]:
    """Return at most ``most`` (at least 2) of the items, evenly spaced, including the first and the last.

    >>> evenly(list(range(100)), 4)
    [0, 33, 66, 99]
    """
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def stored_picture(path: Path) -> tuple[bytes, Image.Image]:
    """Read a picture of a run: the bytes of the PNG file, and the decoded image.

    Raises:
        OSError: If it is not a regular file.
        Exception: Whatever Pillow raises if it is not a PNG file.
    """
    original = read_plain(path, _MOST_BYTES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # checked below
        image = Image.open(io.BytesIO(original), formats=("PNG",))
    if image.width * image.height > MOST_PIXELS:
        raise ValueError(f"{image.width * image.height:,} pixels; the limit is {MOST_PIXELS:,}")
    image.load()
    return original, image


def say_left_out(path: Path, error: Exception) -> None:
    """Print a note that a picture is skipped, and why."""
    why = "not a PNG file" if isinstance(error, UnidentifiedImageError) else reason(error)
    note(f"vaekit: skipping {printable(str(path))} ({why})")


def _frame(epoch: int, path: Path, is_last: bool) -> Frame | None:
    try:
        original, image = stored_picture(path)
        shown = _fitted(image, _LAST_WIDTH if is_last else _WIDTH)
        buffer = io.BytesIO()
        shown.save(buffer, "WEBP", quality=_LAST_QUALITY if is_last else _QUALITY, method=2)
    except Exception as error:  # a file from a stranger may raise anything
        say_left_out(path, error)
        return None
    # small images that were enlarged to squares compress better without loss
    kind, data = ("png", original) if len(original) <= buffer.tell() else ("webp", buffer.getvalue())
    return Frame(epoch, f"data:image/{kind};base64,{base64.b64encode(data).decode()}", *image.size)


def _fitted(image: Image.Image, width: int) -> Image.Image:
    if image.width <= width:
        return image
    return image.resize((width, round(image.height * width / image.width)), Image.Resampling.BICUBIC, reducing_gap=2.0)
