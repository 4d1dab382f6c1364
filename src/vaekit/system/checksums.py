"""XXH3 checksums (64 bits) that detect damaged files when they are read.

A sealed file is a safetensors file that stores a checksum of itself, header included, at the start of its metadata. The
checksum is computed with sixteen zeros in its own place. The metadata key of sealed files differs by several bits from
the key of files without a checksum, so a single flipped bit cannot turn one kind into the other.
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
    """A file differs from what was written."""


def sum_of(data: Any) -> int:
    """Return the checksum of a buffer."""
    return xxhash.xxh3_64_intdigest(data)


def row_sums(rows: np.ndarray) -> np.ndarray:
    """Return the checksum of each row of a contiguous array, as uint64 ``[N]``."""
    return np.fromiter((sum_of(row) for row in rows), np.uint64, len(rows))


def metadata_of(facts: dict[str, Any]) -> dict[str, str]:
    """Encode JSON facts as the metadata of a safetensors file that will be sealed.

    There is a single key because the order of several keys is not stable, and equal contents must give equal bytes.
    """
    return {_KEY: _ZEROS.decode() + json.dumps(facts, sort_keys=True)}


def facts_in(metadata: dict[str, str] | None) -> dict[str, Any]:
    """Decode the facts in the metadata of a sealed or unsealed file."""
    metadata = metadata or {}
    text = metadata[_KEY][len(_ZEROS) :] if _KEY in metadata else metadata.get(_KEY_WITHOUT, "{}")
    facts = json.loads(text)
    if not isinstance(facts, dict):
        raise ValueError("its metadata is not a JSON object")
    return facts


def seal(path: Path) -> None:
    """Write the checksum into a file that was saved with :func:`metadata_of`."""
    with open(path, "rb+") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            offset = _checksum_offset(data)
            assert offset is not None, "the file was saved with metadata_of"
            checksum = _compute(data, offset)
        file.seek(offset)
        file.write(checksum)


def is_sealed(path: Path) -> bool:
    """Whether a file stores a checksum, correct or not."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _checksum_offset(data) is not None


def check(path: Path) -> None:
    """Compare a sealed file with its checksum. A file without a checksum passes.

    Raises:
        Damaged: If the file is empty, its header is malformed or its checksum does not match.
    """
    with open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_size:
            raise Damaged("the file is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            offset = _checksum_offset(data)
            if offset is not None and data[offset : offset + len(_ZEROS)] != _compute(data, offset):
                raise Damaged("the file is damaged: its checksum does not match")


def _checksum_offset(data: mmap.mmap) -> int | None:
    """Return the byte offset of the checksum, or None for a file that was written without one."""
    end = 8 + int.from_bytes(data[:8], "little")
    start = data.find(_START, 8, min(end, len(data)))
    if start >= 0:
        return start + len(_START)
    try:
        metadata = json.loads(data[8 : min(end, len(data))]).get("__metadata__")
    except (ValueError, AttributeError) as error:
        raise Damaged("the file is damaged: its header cannot be read") from error
    if metadata is not None and set(metadata) != {_KEY_WITHOUT}:
        raise Damaged("the file is damaged: its header was not written by vaekit")
    return None


def _compute(data: mmap.mmap, offset: int) -> bytes:
    digest = xxhash.xxh3_64()
    with memoryview(data) as view, view[:offset] as before, view[offset + len(_ZEROS) :] as after:
        for part in (before, _ZEROS, after):
            digest.update(part)
    return digest.hexdigest().encode()
