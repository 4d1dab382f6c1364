"""Where the bytes of a file lie: a file of its own, or a stretch of an archive, packed or not.

A span is a few plain values, so that another process can read it too.
"""

from __future__ import annotations

import bz2
import os
import struct
import threading
import zlib
from typing import NamedTuple, Protocol

__all__ = ["LARGEST_BYTES", "Readable", "Span", "size_words"]

#: A file that is larger, packed or unpacked, is not read: no image is that large, a bomb is.
LARGEST_BYTES = 1 << 29

_LOCAL_HEADER = struct.Struct("<4s22xHH")  # of a member of a zip: its mark, and the lengths of what follows
_SEEKING = threading.Lock()


class Readable(Protocol):
    """Anything that gives the bytes of a file."""

    def read(self) -> bytes:
        """All of them; OSError or ValueError if they are not there, damaged, or too many."""


class Span(NamedTuple):
    """Bytes ``offset`` to ``offset + length`` of a file, or all of it, and how they are unpacked."""

    source: str | int  #: the path of the file, or the number of an open one
    offset: int = 0
    length: int | None = None  #: as it lies there; None: the whole file
    method: str = ""  #: "", or of a member of a zip "stored", "deflated" or "bzip2"; offset is that of its header
    size: int = 0  #: unpacked, of a member of a zip
    crc: int = 0  #: of the unpacked bytes, of a member of a zip

    def read(self) -> bytes:
        """The bytes, unpacked; OSError or ValueError if they are not there, damaged, or too many."""
        if isinstance(self.source, int):
            return self._read_from(self.source)
        with open(self.source, "rb", buffering=0) as file:
            return self._read_from(file.fileno())

    def _read_from(self, handle: int) -> bytes:
        if self.length is None:
            return _read_at(handle, 0, os.fstat(handle).st_size)
        if not self.method:
            return _read_at(handle, self.offset, self.length)
        mark, *lengths = _LOCAL_HEADER.unpack(_read_at(handle, self.offset, _LOCAL_HEADER.size))
        if mark != b"PK\x03\x04":
            raise ValueError("the archive is damaged: no file begins where its directory says")
        packed = _read_at(handle, self.offset + _LOCAL_HEADER.size + sum(lengths), self.length)
        data = _unpack(packed, self.method, self.size)
        if zlib.crc32(data) != self.crc:
            raise ValueError("the archive is damaged: a file has another checksum")
        return data


def size_words(count_bytes: int) -> str:
    """A number of bytes for the eye.

    >>> size_words(3 << 29), size_words(400)
    ('1,611 MB', '400 bytes')
    """
    return f"{count_bytes / 1e6:,.0f} MB" if count_bytes >= 1e6 else f"{count_bytes:,} bytes"


def _unpack(packed: bytes, method: str, size: int) -> bytes:
    """At most one byte more than the ``size`` that was promised is ever made."""
    if method == "stored":
        data = packed
    elif method == "deflated":
        data = zlib.decompressobj(-15).decompress(packed, size + 1)
    else:
        data = bz2.BZ2Decompressor().decompress(packed, size + 1)
    if len(data) != size:
        raise ValueError("the archive is damaged: a file unpacks to another size than its directory says")
    return data


def _read_at(handle: int, offset: int, length: int) -> bytes:
    if length > LARGEST_BYTES:
        raise ValueError(f"larger than {size_words(LARGEST_BYTES)}, the limit for one file")
    pieces: list[bytes] = []
    while length > 0:
        piece = _pread(handle, length, offset)
        if not piece:
            raise ValueError("the file ends too early")
        pieces.append(piece)
        offset, length = offset + len(piece), length - len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _pread(handle: int, length: int, offset: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(handle, length, offset)
    with _SEEKING:  # Windows
        os.lseek(handle, offset, os.SEEK_SET)
        return os.read(handle, length)
