"""IDX, the format of MNIST: 00 00 08 D, D big-endian 32-bit lengths, then the bytes; often inside gzip."""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vaekit.data.files import Files
from vaekit.data.identity import hash_rows
from vaekit.data.load import join
from vaekit.data.rows import Rows, number_names, reshape_pixels
from vaekit.errors import UserError

__all__ = ["find_idx", "is_idx", "parse_idx", "read_idx", "read_idx_file"]

_NAME = re.compile(r"^(?:.*[/_-])?(train|t10k|test)[-_](images|labels)[-_.]idx\d[-_.]ubyte(\.gz)?$", re.IGNORECASE)
_PARTS = {"train": 0, "t10k": 2, "test": 2}


def is_idx(name: str) -> bool:
    """Whether the name is that of an IDX file, as in MNIST.

    >>> is_idx("t10k-images-idx3-ubyte.gz"), is_idx("cat.png")
    (True, False)
    """
    return bool(re.search(r"idx\d[-_.]ubyte(\.gz)?$|\.idx\d?(\.gz)?$", name, re.IGNORECASE))


def find_idx(names: Sequence[str]) -> list[str]:
    """The files of images among ``names`` that are called as in MNIST, training first."""
    found = [(match, name) for name in names if (match := _NAME.match(name)) and match[2].lower() == "images"]
    return [name for _, name in sorted(found, key=lambda pair: (_PARTS[pair[0][1].lower()], pair[1]))]


def read_idx(files: Files, size: tuple[int, int] | None, channels: int | None) -> Rows:
    """All MNIST-style files of a tree; names tell the parts; labels count if every image file has them."""
    image_names = find_idx(files.names)
    parts, labels = [], []
    for name in image_names:
        parts.append(_load(files, name, dimensions=(3, 4)))
        beside = _labels_name(name, files.names)
        labels.append(_load(files, beside, dimensions=(1,)) if beside else None)
    return _rows(files.where, image_names, parts, labels, size, channels)


def read_idx_file(path: Path, size: tuple[int, int] | None, channels: int | None) -> Rows:
    """One IDX file of images, with its labels if they lie beside it."""
    files = list_folder_flat(path)
    images = _load(files, path.name, dimensions=(3, 4))
    beside = _labels_name(path.name, files.names)
    labels = _load(files, beside, dimensions=(1,)) if beside else None
    return _rows(str(path), [path.name], [images], [labels], size, channels)


def list_folder_flat(path: Path) -> Files:
    """The file and what lies beside it, without looking into folders."""
    folder = path.parent
    names = tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_file()))
    return Files(str(folder), names, lambda name: (folder / name).read_bytes(), lambda name: (folder / name).open("rb"))


def parse_idx(data: bytes, where: str) -> np.ndarray:
    """The uint8 array in an IDX file, gzipped or not.

    Raises :class:`UserError` if it does not begin as one, holds other than bytes, or is too short.

    >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 2, 5, 6]), "x").tolist()
    [5, 6]
    """
    try:
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{where} is damaged ({error}); fetch it again") from error
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise UserError(f"{where} is no IDX file of bytes: it begins with {data[:4].hex(' ')}, expected 00 00 08")
    start = 4 + 4 * data[3]
    if data[3] == 0 or len(data) < start:
        raise UserError(f"{where} ends within its header; fetch it again")
    shape = struct.unpack(f">{data[3]}I", data[4:start])
    expected = int(np.prod(shape, dtype=object))
    if len(data) - start != expected:
        raise UserError(f"{where} holds {len(data) - start} values, its header says {expected}; fetch it again")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _load(files: Files, name: str, dimensions: tuple[int, ...]) -> np.ndarray:
    where = f"{files.where}/{name}"
    array = parse_idx(files.need(name), where)
    if array.ndim not in dimensions:
        kind = "images (3 dimensions)" if 3 in dimensions else "labels (1 dimension)"
        raise UserError(f"{where} has {array.ndim} dimensions, expected {kind}; name the file of the images")
    if array.ndim == 4:
        if array.shape[3] not in (1, 3):
            raise UserError(f"{where} has {array.shape[3]} channels, expected 1 or 3")
        return np.moveaxis(array, 3, 1)
    return array[:, None] if 3 in dimensions else array


def _labels_name(name: str, names: Sequence[str]) -> str | None:
    pattern = re.sub(r"idx\d", "idx1", name.replace("images", "labels"))
    choices = {pattern, pattern.removesuffix(".gz"), pattern + ".gz"} - {name}
    return next((choice for choice in sorted(choices) if choice in names), None)


def _rows(
    where: str,
    image_names: Sequence[str],
    arrays: list[np.ndarray],
    labels: list[np.ndarray | None],
    size: tuple[int, int] | None,
    channels: int | None,
) -> Rows:
    names: list[str] = []
    given: list[int] = []
    contents: list[bytes] = []
    for name, array, numbers in zip(image_names, arrays, labels, strict=True):
        match = _NAME.match(name)
        part = _PARTS[match[1].lower()] if match else -1
        if numbers is not None and len(numbers) != len(array):
            raise UserError(f"{where}: {name} has {len(array)} images but {len(numbers)} labels; fetch them again")
        names += number_names(len(array), {0: "train/", 2: "test/"}.get(part, ""))
        given += [part] * len(array)
        contents += hash_rows(array)
    if not names:
        raise UserError(f"{where} holds no images; name another source")
    texts = [str(v) for numbers in labels if numbers is not None for v in numbers.tolist()]
    return Rows(
        pixels=_join([reshape_pixels(array, size, channels) for array in arrays], where),
        names=names,
        contents=contents,
        labels=texts if len(texts) == len(names) else None,
        given=given,
    )


def _join(arrays: list[np.ndarray], where: str) -> np.ndarray:
    if len({array.shape[1:] for array in arrays}) > 1:
        raise UserError(f"the files in {where} hold images of different sizes; give one with --size")
    return join(arrays)
