"""The location of a file's bytes: a file of its own, or a byte range of an archive, compressed or not.

A span consists of plain values, so that it can be sent to another process.
"""

from __future__ import annotations

import bz2
import os
import struct
import threading
import zlib
from typing import NamedTuple, Protocol

from vaekit.system.number_text import size_text

__all__ = ["LARGEST_BYTES", "Readable", "Span"]

#: Larger files, compressed or uncompressed, are not read: no image is that large, but decompression bombs are.
LARGEST_BYTES = 1 << 29

_LOCAL_HEADER = struct.Struct("<4s22xHH")  # of a zip member: signature, and lengths of the name and the extra field
_SEEKING = threading.Lock()


class Readable(Protocol):
    """Anything that returns the bytes of a file."""

    def read(self) -> bytes:
        """Return all bytes; raises OSError or ValueError if they are missing, damaged or too many."""


class Span(NamedTuple):
    """A whole file, or the bytes ``offset`` to ``offset + length`` of one, and how to decompress them."""

    source: str | int  #: path or descriptor of the file
    offset: int = 0  #: for a zip member, that of its local header
    length: int | None = None  #: number of stored bytes; None for the whole file
    method: str = ""  #: for a zip member "stored", "deflated" or "bzip2", else ""
    size: int = 0  #: uncompressed size of a zip member
    crc: int = 0  #: CRC-32 of the uncompressed bytes of a zip member

    def read(self) -> bytes:
        """Return the uncompressed bytes; raises OSError or ValueError if they are missing, damaged or too many."""
        if isinstance(self.source, int):
            return self._read_from(self.source)
        with open(self.source, "rb", buffering=0) as file:
            return self._read_from(file.fileno())

    def _read_from(self, handle: int) -> bytes:
        if self.length is None:
            return _read_at(handle, 0, os.fstat(handle).st_size)
        if not self.method:
            return _read_at(handle, self.offset, self.length)
        signature, *lengths = _LOCAL_HEADER.unpack(_read_at(handle, self.offset, _LOCAL_HEADER.size))
        if signature != b"PK\x03\x04":
            raise ValueError("the archive is damaged: its directory points to a place where no file begins")
        packed = _read_at(handle, self.offset + _LOCAL_HEADER.size + sum(lengths), self.length)
        data = _unpack(packed, self.method, self.size)
        if zlib.crc32(data) != self.crc:
            raise ValueError("the archive is damaged: the checksum of a file does not match")
        return data


def _unpack(packed: bytes, method: str, size: int) -> bytes:
    """Decompress to at most ``size + 1`` bytes, whatever the data expands to."""
    if method == "stored":
        data = packed
    elif method == "deflated":
        data = zlib.decompressobj(-15).decompress(packed, size + 1)
    else:
        data = bz2.BZ2Decompressor().decompress(packed, size + 1)
    if len(data) != size:
        raise ValueError("the archive is damaged: a file does not have the size that its directory states")
    return data


def _read_at(handle: int, offset: int, length: int) -> bytes:
    if length > LARGEST_BYTES:
        raise ValueError(f"larger than {size_text(LARGEST_BYTES)}, the limit for one file")
    pieces: list[bytes] = []
    while length > 0:
        piece = _pread(handle, length, offset)
        if not piece:
            raise ValueError("the file is truncated")
        pieces.append(piece)
        offset, length = offset + len(piece), length - len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _pread(handle: int, length: int, offset: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(handle, length, offset)
    with _SEEKING:  # Windows
        os.lseek(handle, offset, os.SEEK_SET)
        return os.read(handle, length)
