"""Checksums of what lies on a disk, so that damage is noticed where it is read (XXH3, 64 bits).

A sealed file is a safetensors file whose facts begin with the checksum of the whole file, header included, taken with
sixteen zeros in the place of the checksum itself. Its metadata key differs from that of files without a checksum in
more than one bit, so no flipped bit makes one look like the other.
"""

from __future__ import annotations

import json
import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

__all__ = ["Damaged", "check", "facts_in", "is_sealed", "metadata_of", "row_sums", "seal", "sum_of"]

_KEY, _KEY_WITHOUT = "sealed-vaekit", "vaekit"
_START = f'"{_KEY}":"'.encode()
_ZEROS = b"0" * 16


class Damaged(ValueError):
    """A file is not what was written."""


def sum_of(data: Any) -> int:
    """The checksum of a buffer."""
    return xxhash.xxh3_64_intdigest(data)


def row_sums(rows: np.ndarray) -> np.ndarray:
    """The checksum of each row of a contiguous array, uint64 ``[N]``."""
    return np.fromiter((sum_of(row) for row in rows), np.uint64, len(rows))


def metadata_of(facts: dict[str, Any]) -> dict[str, str]:
    """JSON facts as the metadata of a safetensors file that is then sealed.

    There is one key: the order of several is not stable, and equal files must be equal bytes.
    """
    return {_KEY: _ZEROS.decode() + json.dumps(facts, sort_keys=True)}


def facts_in(metadata: dict[str, str] | None) -> dict[str, Any]:
    """The facts of a file, sealed or not."""
    metadata = metadata or {}
    text = metadata[_KEY][len(_ZEROS) :] if _KEY in metadata else metadata.get(_KEY_WITHOUT, "{}")
    facts = json.loads(text)
    if not isinstance(facts, dict):
        raise ValueError("its metadata is not a record")
    return facts


def seal(path: Path) -> None:
    """Writes the checksum of a file that was saved with :func:`metadata_of` into it."""
    with open(path, "rb+") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            place = _place(data)
            assert place is not None, "the file was saved with metadata_of"
            found = _sum_around(data, place)
        file.seek(place)
        file.write(found)


def is_sealed(path: Path) -> bool:
    """Whether a file has a checksum; it need not be the right one."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _place(data) is not None


def check(path: Path) -> None:
    """Raises :class:`Damaged` if a sealed file is not what was written; a file without a checksum passes."""
    with open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_size:
            raise Damaged("the file is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            place = _place(data)
            if place is not None and data[place : place + len(_ZEROS)] != _sum_around(data, place):
                raise Damaged("its checksum does not match, the file is damaged")


def _place(data: mmap.mmap) -> int | None:
    """Where the checksum stands; None in a file that was written without one."""
    end = 8 + int.from_bytes(data[:8], "little")
    found = data.find(_START, 8, min(end, len(data)))
    if found >= 0:
        return found + len(_START)
    try:
        metadata = json.loads(data[8 : min(end, len(data))]).get("__metadata__")
    except (ValueError, AttributeError) as error:
        raise Damaged("its header cannot be read, the file is damaged") from error
    if metadata is not None and set(metadata) != {_KEY_WITHOUT}:
        raise Damaged("its header is not one that vaekit writes, the file is damaged")
    return None


def _sum_around(data: mmap.mmap, place: int) -> bytes:
    digest = xxhash.xxh3_64()
    with memoryview(data) as view, view[:place] as before, view[place + len(_ZEROS) :] as after:
        for part in (before, _ZEROS, after):
            digest.update(part)
    return digest.hexdigest().encode()
