"""A .npz file, array by array: what it declares is checked before anything is unpacked.

Only arrays that are asked for are unpacked, block by block, into memory or, where large, a mapped file. Pickled objects
are never read.
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from vaekit.data.ingest.mapped import empty
from vaekit.data.sources.axes import may_be_images
from vaekit.errors import UserError
from vaekit.pixels.spans import LARGEST_BYTES, size_words

__all__ = ["Npz"]

_BLOCK_BYTES = 1 << 22
_MOST_TIMES = 500  # how far images shrink at most: deflate makes 1/1032 of zeros, masks of sprites 1/120


class _Head(NamedTuple):
    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class Npz:
    """A .npz file that is open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._zip = zipfile.ZipFile(path)
        self._members = {info.filename.removesuffix(".npy"): info for info in self._zip.infolist()}
        self.names = tuple(self._members)

    def __enter__(self) -> Npz:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def only_images(self) -> str:
        """The name of the one array that can be images; :class:`UserError` if there is none, or a choice."""
        found = []
        for name in self.names:
            with self._zip.open(self._members[name]) as file:
                try:
                    head = _head(file)
                except ValueError:  # not an array
                    continue
            if may_be_images(head.shape, head.dtype.kind):
                found.append(name)
        if len(found) == 1:
            return found[0]
        several = f", of which {' and '.join(found)} may be images" if found else ""
        raise UserError(
            f"{self._path} holds {', '.join(self.names) or 'nothing'}{several}; expected an array named images "
            "(and labels), or x_train, y_train, x_test and y_test"
        )

    def read(self, name: str) -> np.ndarray:
        """An array, unpacked; :class:`UserError` if it is not what it declares, ValueError if it is damaged."""
        info = self._members[name]
        with self._zip.open(info) as file:
            head = _head(file)
            if head.dtype.hasobject:
                raise UserError(f"{self._path}: {name} holds Python objects, which are never read; save it as numbers")
            size_bytes = head.size_bytes
            if size_bytes != info.file_size - file.tell():
                raise UserError(f"{self._path}: {name} is of another size than it declares; save it again with numpy")
            if size_bytes > max(LARGEST_BYTES, _MOST_TIMES * info.compress_size):
                raise UserError(
                    f"{self._path}: {name} unpacks from {size_words(info.compress_size)} to {size_words(size_bytes)}, "
                    "more than images do (a decompression bomb?); if it is right, save it with numpy.savez"
                )
            return _unpacked(file, head)


def _unpacked(file: IO[bytes], head: _Head) -> np.ndarray:
    flat = empty((head.size_bytes,))
    for start in range(0, len(flat), _BLOCK_BYTES):
        block = file.read(min(_BLOCK_BYTES, len(flat) - start))
        flat[start : start + len(block)] = np.frombuffer(block, np.uint8)
        if len(block) < min(_BLOCK_BYTES, len(flat) - start):
            raise ValueError("the file ends too early")
    values = flat.view(head.dtype)
    return values.reshape(head.shape[::-1]).T if head.is_fortran else values.reshape(head.shape)


def _head(file: IO[bytes]) -> _Head:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return _Head(*read(file))
