"""CIFAR-10 in its binary version: records of a byte for the class and 3 x 32 x 32 for red, green and blue.

data_batch_1.bin ... train    test_batch.bin ... test    batches.meta.txt ... a class per line
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence

import numpy as np

from vaekit.data.files import Files
from vaekit.data.identity import hash_rows
from vaekit.data.rows import Rows, number_names, reshape_pixels
from vaekit.data.scratch import empty
from vaekit.errors import UserError
from vaekit.pixels.form import Form

__all__ = ["find_cifar", "read_cifar"]

_NAME = re.compile(r"(?:.*/)?(?:data_batch_(\d+)|test_batch)\.bin")
_CLASSES = "batches.meta.txt"
_SHAPE = (3, 32, 32)
_RECORD_BYTES = 1 + 3 * 32 * 32


def find_cifar(names: Sequence[str]) -> list[str]:
    """The batches among ``names``, those for training in their order, then that for testing.

    >>> find_cifar(["x/test_batch.bin", "x/data_batch_2.bin", "x/data_batch_1.bin", "x/readme.html"])
    ['x/data_batch_1.bin', 'x/data_batch_2.bin', 'x/test_batch.bin']
    """
    found = [(match, name) for name in names if (match := _NAME.fullmatch(name))]
    return [name for _, name in sorted(found, key=lambda pair: (pair[0][1] is None, int(pair[0][1] or 0), pair[1]))]


def read_cifar(files: Files, form: Form) -> Rows:
    """All batches of a tree; raises :class:`UserError` for one that is cut off or names classes that are not there."""
    batches = find_cifar(files.names)
    is_test = np.concatenate([_is_test(files, name) for name in batches])
    pixels = empty((len(is_test), form.channels or _SHAPE[0], *(form.size or _SHAPE[1:])))
    contents: list[bytes] = []
    labels: list[str] = []
    for name in batches:
        numbers, images = _read_batch(files, name)
        pixels[len(labels) : len(labels) + len(images)] = reshape_pixels(images, form)
        contents += hash_rows(images)
        labels += _named(files, name, numbers)
    tests = int(is_test.sum())
    return Rows(
        pixels=pixels,
        names=number_names(len(labels) - tests, "train/") + number_names(tests, "test/"),
        contents=contents,
        labels=labels,
        classes=[name for name in _classes(files, batches[0]) if name in set(labels)] or None,
        given=np.where(is_test, 2, 0).tolist(),
    )


def _is_test(files: Files, name: str) -> np.ndarray:
    """bool [records of the batch]"""
    return np.full(len(_read_batch(files, name)[0]), "test" in posixpath.basename(name))


def _read_batch(files: Files, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of classes uint8 [N], and pixels uint8 [N, 3, 32, 32]."""
    data = files.need(name)
    if not data or len(data) % _RECORD_BYTES:
        raise UserError(
            f"{files.where}/{name} has {len(data):,} bytes, expected a multiple of {_RECORD_BYTES:,}; fetch it again"
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, _RECORD_BYTES)
    return records[:, 0], records[:, 1:].reshape(-1, *_SHAPE)


def _named(files: Files, name: str, numbers: np.ndarray) -> list[str]:
    classes = _classes(files, name) or tuple(map(str, range(256)))
    if numbers.max() >= len(classes):
        where = f"{files.where}/{name}"
        raise UserError(f"{where} has class {numbers.max()}, {_CLASSES} only {len(classes)}; fetch it again")
    return [classes[number] for number in numbers.tolist()]


def _classes(files: Files, batch: str) -> tuple[str, ...]:
    """The names of the classes that lie beside a batch, or none."""
    path = posixpath.join(posixpath.dirname(batch), _CLASSES)
    text = files.need(path).decode("utf-8", "replace") if path in files.names else ""
    return tuple(line.strip() for line in text.splitlines() if line.strip())
