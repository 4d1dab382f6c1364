"""The pictures of a run as data URIs, few and small enough for one file."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

__all__ = ["Frame", "evenly", "frames"]

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


def _frame(epoch: int, path: Path, is_last: bool) -> Frame | None:
    try:
        original = path.read_bytes()
        image = Image.open(io.BytesIO(original))
        image.load()
    except OSError:
        return None
    width, height = image.size
    shown = _fitted(image, _LAST_WIDTH if is_last else _WIDTH)
    buffer = io.BytesIO()
    shown.save(buffer, "WEBP", quality=_LAST_QUALITY if is_last else _QUALITY, method=2)
    # Small images enlarged to squares are smaller, and exact, as they are.
    kind, data = ("png", original) if len(original) <= buffer.tell() else ("webp", buffer.getvalue())
    return Frame(epoch, f"data:image/{kind};base64,{base64.b64encode(data).decode()}", width, height)


def _fitted(image: Image.Image, width: int) -> Image.Image:
    if image.width <= width:
        return image
    return image.resize((width, round(image.height * width / image.width)), Image.Resampling.BICUBIC, reducing_gap=2.0)
