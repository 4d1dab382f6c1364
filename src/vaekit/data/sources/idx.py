"""Read IDX, the format of MNIST: 00 00 08 D, D big-endian 32-bit lengths, then the bytes; often gzipped.

Images are decompressed block by block into the final array, so that there is never a second copy.
"""

from __future__ import annotations

import gzip
import math
import os
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np

from vaekit.data.fingerprint import hash_rows
from vaekit.data.ingest.files import Files
from vaekit.data.ingest.mapped import empty
from vaekit.data.sources.rows import Rows, number_names, reshape_pixels
from vaekit.data.unused_files import unused
from vaekit.errors import UserError, argument, counted
from vaekit.pixels.byte_ranges import Span
from vaekit.pixels.image_form import Form

__all__ = ["find_idx", "is_idx", "parse_idx", "read_idx", "read_idx_file"]

_NAME = re.compile(r"^(?:.*[/_-])?(train|t10k|test)[-_](images|labels)[-_.]idx\d[-_.]ubyte(\.gz)?$", re.IGNORECASE)
_PARTS = {"train": 0, "t10k": 2, "test": 2}
_PREFIXES = {0: "train/", 2: "test/"}

_BLOCK_BYTES = 1 << 20
_GZIP = b"\x1f\x8b"
_MOST_PACKED = 1032  # most bytes that deflate can produce from one: 258 from two bits


def is_idx(name: str) -> bool:
    """Whether the name is that of an IDX file, as in MNIST.

    >>> is_idx("t10k-images-idx3-ubyte.gz"), is_idx("cat.png")
    (True, False)
    """
    return bool(re.search(r"idx\d[-_.]ubyte(\.gz)?$|\.idx\d?(\.gz)?$", name, re.IGNORECASE))


def find_idx(names: Sequence[str]) -> list[str]:
    """Return the image files among ``names`` with MNIST's naming, training first; x is preferred to x.gz."""
    all_names = set(names)
    unique = (name for name in names if name[:-3] not in all_names or not name.lower().endswith(".gz"))
    matches = [(match, name) for name in unique if (match := _NAME.match(name)) and match[2].lower() == "images"]
    return [name for _, name in sorted(matches, key=lambda pair: (_PARTS[pair[0][1].lower()], pair[1]))]


def read_idx(files: Files, form: Form) -> Rows:
    """Read all MNIST-style files of a tree. Labels are used if every image file has them."""
    images = find_idx(files.names)
    rows = _read(files, images, files.where, form)
    labels = {_labels_name(name, files.names) for name in images} if rows.labels is not None else set()
    rows.notes = (*rows.notes, *unused(set(files.names) - set(images) - labels))
    return rows


def read_idx_file(path: Path, form: Form) -> Rows:
    """Read one IDX file of images, with its labels if they are in the same folder."""
    return _read(list_folder_flat(path), [path.name], str(path), form)


def list_folder_flat(path: Path) -> Files:
    """List the folder of a file without its subfolders."""
    folder = path.parent
    names = tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_file()))
    return Files(str(folder), names, lambda name: Span(str(folder / name)))


def parse_idx(data: bytes, where: str) -> np.ndarray:
    """Parse an IDX file, gzipped or not, into a uint8 array.

    Raises:
        UserError: If it is not an IDX file of bytes, or truncated.

    >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 2, 5, 6]), "x").tolist()
    [5, 6]
    """
    with _unpacked(BytesIO(data), where) as (file, shape):
        values = file.read()
    _require_length(len(values), shape, where)
    return np.frombuffer(values, np.uint8).reshape(shape)


def _read(files: Files, image_names: Sequence[str], where: str, form: Form) -> Rows:
    pixels, sizes = _prepare(files, image_names, where, form)
    names: list[str] = []
    given: list[int] = []
    contents: list[bytes] = []
    labels: list[str] = []
    for name in image_names:
        contents += _read_images(files, name, pixels[len(names) :], form)
        count = len(contents) - len(names)
        labels += _read_labels(files, name, count, where)
        part = _part(name)
        names += number_names(count, _PREFIXES.get(part, ""))
        given += [part] * count
    has_labels = len(labels) == len(names)
    notes = []
    if labels and not has_labels:
        notes.append("no labels: some files of images have a file of labels and some do not")
    return Rows(pixels, names, contents, labels if has_labels else None, given=given, notes=notes, sizes=sizes)


def _prepare(
    files: Files, image_names: Sequence[str], where: str, form: Form
) -> tuple[np.ndarray, list[tuple[int, ...]]]:
    """Allocate the array for all images, and return it with (height, width) of the images in each file."""
    try:
        shapes = [_image_shape(files, name) for name in image_names]
        return _allocate(shapes, where, form), [shape[2:] for shape in shapes]
    except UserError:
        for name in image_names:  # report a wrong length rather than a header that is wrong because of damage
            with _opened(files, name) as (file, shape):
                _require_length(_count(file), shape, f"{files.where}/{name}")
        raise


def _image_shape(files: Files, name: str) -> tuple[int, int, int, int]:
    """Read (count, channels, height, width) from the header."""
    where = f"{files.where}/{name}"
    with _opened(files, name) as (_, shape):
        _refuse_dimensions(shape, (3, 4), where)
        count, height, width, channels = (*shape, 1)[:4]
    if channels not in (1, 3):
        raise UserError(f"{where} has {channels} channels, expected 1 or 3")
    return count, channels, height, width


def _allocate(shapes: list[tuple[int, int, int, int]], where: str, form: Form) -> np.ndarray:
    """Allocate the array for all images, in the requested size and channels."""
    if not shapes or not all(math.prod(shape[1:]) for shape in shapes) or not sum(shape[0] for shape in shapes):
        raise UserError(f"{where} contains no images; use another source")
    shapes_out = {(form.channels or shape[1], form.size or shape[2:]) for shape in shapes}
    if len(shapes_out) > 1:
        raise UserError(f"the files in {where} contain images of different sizes; choose one with {argument('size')}")
    channels, size = shapes_out.pop()
    return empty((sum(shape[0] for shape in shapes), channels, *size))


def _read_images(files: Files, name: str, target: np.ndarray, form: Form) -> list[bytes]:
    """Write the images into the first rows of ``target`` and return their content hashes."""
    contents: list[bytes] = []
    with _opened(files, name) as (file, shape):
        for block in _blocks(file, shape, f"{files.where}/{name}"):
            pixels = np.moveaxis(block.reshape((*block.shape, 1)[:4]), 3, 1)
            target[len(contents) : len(contents) + len(block)] = reshape_pixels(pixels, form)
            contents += hash_rows(pixels)
    return contents


def _read_labels(files: Files, image_name: str, count: int, where: str) -> list[str]:
    """Return the labels from the file next to the images, or an empty list."""
    name = _labels_name(image_name, files.names)
    if name is None:
        return []
    numbers = parse_idx(files.need(name), f"{files.where}/{name}")
    _refuse_dimensions(numbers.shape, (1,), f"{files.where}/{name}")
    if len(numbers) != count:
        raise UserError(
            f"{where}: {image_name} has {counted(count, 'image')} but {counted(len(numbers), 'label')}; download "
            "them again"
        )
    texts = [str(value) for value in range(256)]  # share the strings, because str makes a new one each time
    return [texts[number] for number in numbers.tolist()]


def _labels_name(name: str, names: Sequence[str]) -> str | None:
    pattern = re.sub(r"idx\d", "idx1", name.replace("images", "labels"))
    choices = {pattern, pattern.removesuffix(".gz"), pattern + ".gz"} - {name}
    return next((choice for choice in sorted(choices) if choice in names), None)


def _part(name: str) -> int:
    match = _NAME.match(name)
    return _PARTS[match[1].lower()] if match else -1


def _refuse_dimensions(shape: Sequence[int], dimensions: tuple[int, ...], where: str) -> None:
    if len(shape) not in dimensions:
        kind = "images (3 dimensions)" if 3 in dimensions else "labels (1 dimension)"
        raise UserError(f"{where} has {counted(len(shape), 'dimension')}, expected {kind}; pass the file of images")


def _opened(files: Files, name: str) -> AbstractContextManager[tuple[IO[bytes], tuple[int, ...]]]:
    where = f"{files.where}/{name}"
    try:
        return _unpacked(files.open(name), where)
    except Exception as error:  # the exception depends on the kind of archive
        raise UserError(_unreadable(where, error)) from error


@contextmanager
def _unpacked(file: IO[bytes], where: str) -> Iterator[tuple[IO[bytes], tuple[int, ...]]]:
    """Yield the decompressed stream after the header, and the shape that the header declares.

    Raises:
        UserError: If reading fails, or the header declares more than the file can contain.
    """
    try:
        with file:
            most_bytes = file.seek(0, os.SEEK_END)
            file.seek(0)
            is_packed = file.read(2) == _GZIP
            file.seek(0)
            values: IO[bytes] = gzip.GzipFile(fileobj=file) if is_packed else file  # type: ignore[assignment]
            shape = _read_shape(values, where)
            if math.prod(shape) > most_bytes * (_MOST_PACKED if is_packed else 1):
                _require_length(_count(values), shape, where)
            yield values, shape
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{where} is damaged ({error}); download it again") from error
    except OSError as error:
        raise UserError(_unreadable(where, error)) from error


def _read_shape(file: IO[bytes], where: str) -> tuple[int, ...]:
    start = file.read(4)
    is_idx = len(start) == 4 and start[:3] == b"\0\0\x08"
    lengths = file.read(4 * start[3]) if is_idx else b""
    if is_idx and 0 < 4 * start[3] == len(lengths):
        return struct.unpack(f">{start[3]}I", lengths)
    _count(file)  # reading to the end raises an error if the file is damaged
    if not is_idx:
        raise UserError(f"{where} is not an IDX file of bytes: it begins with {start.hex(' ')}, expected 00 00 08")
    raise UserError(f"{where} is truncated within its header; download it again")


def _blocks(file: IO[bytes], shape: tuple[int, ...], where: str) -> Iterator[np.ndarray]:
    """Yield the rows, about a megabyte at a time; raises :class:`UserError` if the file is too short or too long."""
    row_bytes = math.prod(shape[1:])
    step = max(1, _BLOCK_BYTES // row_bytes)
    for start in range(0, shape[0], step):
        rows = min(step, shape[0] - start)
        data = file.read(rows * row_bytes)
        if len(data) < rows * row_bytes:
            _require_length(start * row_bytes + len(data), shape, where)
        yield np.frombuffer(data, np.uint8).reshape(rows, *shape[1:])
    _require_length(math.prod(shape) + _count(file), shape, where)


def _count(file: IO[bytes]) -> int:
    """Count the remaining bytes."""
    return sum(map(len, iter(lambda: file.read(_BLOCK_BYTES), b"")))


def _require_length(length: int, shape: tuple[int, ...], where: str) -> None:
    if length != math.prod(shape):
        raise UserError(
            f"{where} contains {counted(length, 'value')}, but its header declares {math.prod(shape):,}; download it "
            "again"
        )


def _unreadable(where: str, error: Exception) -> str:
    return f"{where} cannot be read ({error}); repair or remove it"
