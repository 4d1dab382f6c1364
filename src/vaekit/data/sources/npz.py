"""Read arrays of a .npz file, checking what each declares before decompressing it.

Only requested arrays are decompressed, block by block, into memory or, if large, into a mapped file. Pickled objects
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
from vaekit.pixels.byte_ranges import LARGEST_BYTES
from vaekit.system.number_text import size_text

__all__ = ["Npz"]

_BLOCK_BYTES = 1 << 22
_MOST_TIMES = 500  # highest plausible compression: deflate shrinks zeros to 1/1032, masks of sprites to 1/120


class _Head(NamedTuple):
    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class Npz:
    """An open .npz file."""

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
        """Return the name of the only array that can be images; raises :class:`UserError` if it is not unique."""
        candidates = []
        for name in self.names:
            with self._zip.open(self._members[name]) as file:
                try:
                    head = _head(file)
                except ValueError:  # not an array
                    continue
            if may_be_images(head.shape, head.dtype.kind):
                candidates.append(name)
        if len(candidates) == 1:
            return candidates[0]
        several = f", of which {' and '.join(candidates)} may be images" if candidates else ""
        raise UserError(
            f"{self._path} contains {', '.join(self.names) or 'nothing'}{several}; expected an array named images "
            "(and labels), or x_train, y_train, x_test and y_test"
        )

    def read(self, name: str) -> np.ndarray:
        """Read an array.

        Raises:
            UserError: If the array is not what it declares, or too large.
            ValueError: If it is damaged.
        """
        info = self._members[name]
        with self._zip.open(info) as file:
            head = _head(file)
            if head.dtype.hasobject:
                raise UserError(
                    f"{self._path}: {name} contains Python objects, which are never read; save it as numbers"
                )
            size_bytes = head.size_bytes
            if size_bytes != info.file_size - file.tell():
                raise UserError(f"{self._path}: {name} has another size than it declares; save it again with numpy")
            if size_bytes > max(LARGEST_BYTES, _MOST_TIMES * info.compress_size):
                raise UserError(
                    f"{self._path}: {name} unpacks from {size_text(info.compress_size)} to {size_text(size_bytes)}, "
                    "more than is plausible (a decompression bomb?); if it is correct, save it with numpy.savez"
                )
            return _unpacked(file, head)


def _unpacked(file: IO[bytes], head: _Head) -> np.ndarray:
    flat = empty((head.size_bytes,))
    for start in range(0, len(flat), _BLOCK_BYTES):
        block = file.read(min(_BLOCK_BYTES, len(flat) - start))
        flat[start : start + len(block)] = np.frombuffer(block, np.uint8)
        if len(block) < min(_BLOCK_BYTES, len(flat) - start):
            raise ValueError("the file is truncated")
    values = flat.view(head.dtype)
    return values.reshape(head.shape[::-1]).T if head.is_fortran else values.reshape(head.shape)


def _head(file: IO[bytes]) -> _Head:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return _Head(*read(file))
