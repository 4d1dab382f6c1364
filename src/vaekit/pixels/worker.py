"""Decode image files into rows of an array, in worker processes.

Worker processes have two advantages. Opening a small image is mostly Python code, which runs one thread at a time in
each process, and a decoder that crashes on a hostile file takes down only its worker. Workers import neither torch nor
the rest of vaekit. A worker reads one JSON line per batch, ``[[row, frame, [span ...]], ...]``, writes the pixels into
the array's file, and answers with one line that holds the result of :func:`decode_into` for each item.
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

from vaekit.pixels.bit_depth import EIGHT_BITS
from vaekit.pixels.byte_ranges import Readable, Span
from vaekit.pixels.decode import decode_noting, reason, share_large
from vaekit.pixels.image_form import Form

if sys.platform != "win32":
    import fcntl

__all__ = ["COLOR", "SIZE", "Written", "content_of", "decode_into", "main", "place"]

#: Reasons why an image does not fit into the array: it has color and the array is gray, or it has another size.
COLOR, SIZE = "it has color", "of another size"


class Written(NamedTuple):
    """Result of decoding one file; its fields can be encoded as JSON."""

    content: str  #: hash in hexadecimal; "" if the file could not be read
    why: str = ""  #: why it could not be read
    lasts: bool = True  #: whether the failure is permanent; a file that could not be reached may be available later
    peak: int = EIGHT_BITS  #: as in :class:`~vaekit.pixels.decode.Decoded`
    has_more: bool = False  #: as in :class:`~vaekit.pixels.decode.Decoded`


def decode_into(target: np.ndarray, span: Readable, frame: int, form: Form) -> Written:
    """Decode one file into ``target``, uint8 ``[C, H, W]``.

    Gray images are repeated in every channel.

    Args:
        target: Receives the pixels.
        span: The file.
        frame: Index of the frame or page.
        form: If ``form.size`` is None, only images of the target's size are accepted. If ``form.channels`` is None, a
            target of one channel accepts only gray images.
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
            return Written("", COLOR)
        place(target, image)
        return Written(content_of(data, frame).hex(), peak=peak, has_more=has_more)
    except Exception as error:  # decoders may raise anything for a hostile file, which must cost only that file
        return Written("", reason(error), not isinstance(error, MemoryError))


def place(target: np.ndarray, image: np.ndarray) -> None:
    """Write uint8 ``[H, W]`` or ``[H, W, C]`` into ``target`` ``[C, H, W]``, repeating gray in every channel."""
    target[:] = image if image.ndim == 2 else image.transpose(2, 0, 1)


def content_of(data: bytes, frame: int = 0) -> bytes:
    """Hash a file, or one of its later frames, to 32 bytes."""
    whole = hashlib.sha256(data).digest()
    return hashlib.sha256(whole + frame.to_bytes(8, "little")).digest() if frame else whole


class _FileLock:
    """A lock shared by all processes that decode into one file."""

    def __init__(self, path: str) -> None:
        self._handle = os.open(path, os.O_RDWR)

    def __enter__(self) -> None:
        fcntl.flock(self._handle, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self._handle, fcntl.LOCK_UN)


def main() -> None:
    """Answer line by line until stdin ends. The first line describes the array and the form."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C; closing stdin ends this process
    warnings.simplefilter("ignore")
    order = json.loads(sys.stdin.readline())
    handle = os.open(order["path"], os.O_RDWR)
    share_large(_FileLock(order["path"]))
    pixels = np.ndarray(order["shape"], np.uint8, buffer=mmap.mmap(handle, 0))
    form = Form(tuple(order["size"]) if order["size"] else None, *order["rest"])
    for line in sys.stdin:
        results = [decode_into(pixels[row], Span(*span), frame, form) for row, frame, span in json.loads(line)]
        sys.stdout.write(json.dumps(results) + "\n")
        sys.stdout.flush()
