"""Decoding image files into rows of an array: one file, and a process that does nothing else.

Worker processes exist because opening a small image is mostly Python, of which one process runs one thread at a time,
and because a decoder that a hostile file brings down takes only its worker along. They import neither torch nor the
rest of vaekit. A worker reads one JSON line per piece of work, ``[[row, frame, [span ...]], ...]``, writes the pixels
into the file of the array, and answers with a line of what :func:`decode_into` says of each.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import signal
import sys
import warnings
from typing import NamedTuple

import numpy as np

from vaekit.pixels.decode import decode_noting, reason, share_large
from vaekit.pixels.deep import EIGHT_BITS
from vaekit.pixels.form import Form
from vaekit.pixels.spans import Readable, Span

if sys.platform != "win32":
    import fcntl

__all__ = ["COLOUR", "SIZE", "Written", "content_of", "decode_into", "main", "place"]

#: What is said of a file that does not fit into the array: colour into a gray one, or another size.
COLOUR, SIZE = "it has colour", "of another size"


class Written(NamedTuple):
    """What came of one file; plain values, for JSON."""

    content: str  #: in hex; "" if it could not be read
    why: str = ""  #: it could not be read
    lasts: bool = True  #: whether that is so for good: a file that could not be reached may be there the next time
    peak: int = EIGHT_BITS  #: as in :class:`~vaekit.pixels.decode.Decoded`
    has_more: bool = False  #: as in :class:`~vaekit.pixels.decode.Decoded`


def decode_into(target: np.ndarray, span: Readable, frame: int, form: Form) -> Written:
    """Decodes one file into target [C, H, W].

    A file that is gray goes into every channel. ``form.size`` None: only images of the target's own size;
    ``form.channels`` None: a target of one channel takes only gray images.
    """
    try:
        data = span.read()
    except Exception as error:
        return Written("", reason(error), not isinstance(error, OSError | MemoryError))
    try:
        image, peak, has_more = decode_noting(data, form, frame)
        if image.shape[:2] != target.shape[1:]:
            return Written("", f"{SIZE} {image.shape[0]}x{image.shape[1]}")
        if image.ndim == 3 and len(target) == 1:
            return Written("", COLOUR)
        place(target, image)
        return Written(content_of(data, frame).hex(), peak=peak, has_more=has_more)
    except Exception as error:  # a hostile file may raise anything; it must cost itself only
        return Written("", reason(error), not isinstance(error, MemoryError))


def place(target: np.ndarray, image: np.ndarray) -> None:
    """Writes uint8 [H, W] or [H, W, C] into target [C, H, W]; gray goes into every channel."""
    target[:] = image if image.ndim == 2 else image.transpose(2, 0, 1)


def content_of(data: bytes, frame: int = 0) -> bytes:
    """The content of a file, or of a later frame of it: 32 bytes."""
    whole = hashlib.sha256(data).digest()
    return hashlib.sha256(whole + frame.to_bytes(8, "little")).digest() if frame else whole


class _FileLock:
    """A lock that all processes which decode into one file share."""

    def __init__(self, path: str) -> None:
        self._handle = os.open(path, os.O_RDWR)

    def __enter__(self) -> None:
        fcntl.flock(self._handle, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self._handle, fcntl.LOCK_UN)


def main() -> None:
    """Answers line by line until its input ends; the first line tells the array and the form."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks; its end ends this one
    warnings.simplefilter("ignore")
    order = json.loads(sys.stdin.readline())
    handle = os.open(order["path"], os.O_RDWR)
    share_large(_FileLock(order["path"]))
    pixels = np.ndarray(order["shape"], np.uint8, buffer=mmap.mmap(handle, 0))
    form = Form(tuple(order["size"]) if order["size"] else None, *order["rest"])
    for line in sys.stdin:
        found = [decode_into(pixels[row], Span(*span), frame, form) for row, frame, span in json.loads(line)]
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()
