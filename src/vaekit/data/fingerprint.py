"""Hashes that identify images, independent of their location and of the size they are decoded to.

content      sha256 of a file's bytes, or of an array row's shape and bytes
digest       sha256(name, content, label, attributes) of one image
fingerprint  sha256 of the sorted digests of a set; a folder and an archive of it have the same
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

__all__ = ["fingerprint_of", "hash_rows", "row_digests"]


def hash_rows(rows: np.ndarray) -> list[bytes]:
    """Hash each image of uint8 ``[N, C, H, W]`` to 32 bytes."""
    shape = "x".join(map(str, rows.shape[1:])).encode() + b"\n"
    return [hashlib.sha256(shape + np.ascontiguousarray(row).tobytes()).digest() for row in rows]


def row_digests(
    names: Sequence[str],
    contents: Sequence[bytes],
    labels: Sequence[str] | None,
    attributes: Mapping[str, np.ndarray],
) -> np.ndarray:
    """Hash each image with its name, label and attributes, to uint8 ``[N, 32]``."""
    out = np.empty((len(names), 32), np.uint8)
    cells = _attribute_cells(attributes, len(names))
    for index, (name, content, cell) in enumerate(zip(names, contents, cells, strict=True)):
        fields = [_utf8(name), content, _utf8(labels[index]) if labels is not None else b"", cell]
        # prefix every field with its length, so that different rows cannot join to the same bytes
        joined = b"".join(len(field).to_bytes(8, "little") + field for field in fields)
        out[index] = np.frombuffer(hashlib.sha256(joined).digest(), np.uint8)
    return out


def fingerprint_of(digests: np.ndarray) -> str:
    """Return the fingerprint of a set of images in hexadecimal; it does not depend on their order.

    >>> a = np.zeros((2, 32), np.uint8); a[1] = 1
    >>> fingerprint_of(a) == fingerprint_of(a[::-1])
    True
    """
    keys = np.ascontiguousarray(digests).view(">u8")  # sorting big-endian integers sorts the bytes
    return hashlib.sha256(digests[np.lexsort(keys.T[::-1])].data).hexdigest()


def _attribute_cells(attributes: Mapping[str, np.ndarray], count: int) -> Iterator[bytes]:
    columns = sorted(attributes)
    values = [attributes[column].tolist() for column in columns]
    for row in range(count):
        yield _utf8("\x1f".join(f"{c}\x1e{v[row]!r}" for c, v in zip(columns, values, strict=True)))


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a lone surrogate, which JSON can contain
        return text.encode("utf-8", "surrogatepass")
