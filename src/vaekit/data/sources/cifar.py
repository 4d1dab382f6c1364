"""Read the binary version of CIFAR-10: records of one byte for the class and 3 x 32 x 32 for red, green and blue.

data_batch_1.bin ... train    test_batch.bin ... test    batches.meta.txt ... a class per line
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence

import numpy as np

from vaekit.data.fingerprint import hash_rows
from vaekit.data.ingest.files import Files
from vaekit.data.ingest.loader import join
from vaekit.data.sources.rows import Rows, number_names, reshape_pixels
from vaekit.data.unused_files import unused
from vaekit.errors import UserError
from vaekit.pixels.image_form import Form

__all__ = ["find_cifar", "read_cifar"]

_NAME = re.compile(r"(?:.*/)?(?:data_batch_(\d+)|test_batch)\.bin")
_CLASSES = "batches.meta.txt"
_SHAPE = (3, 32, 32)
_RECORD_BYTES = 1 + 3 * 32 * 32


def find_cifar(names: Sequence[str]) -> list[str]:
    """Return the batches among ``names``, training batches in order, then the test batch.

    >>> find_cifar(["x/test_batch.bin", "x/data_batch_2.bin", "x/data_batch_1.bin", "x/readme.html"])
    ['x/data_batch_1.bin', 'x/data_batch_2.bin', 'x/test_batch.bin']
    """
    matches = [(match, name) for name in names if (match := _NAME.fullmatch(name))]
    return [name for _, name in sorted(matches, key=lambda pair: (pair[0][1] is None, int(pair[0][1] or 0), pair[1]))]


def read_cifar(files: Files, form: Form) -> Rows:
    """Read all batches of a tree; raises :class:`UserError` if one is truncated or has an unknown class."""
    batches = find_cifar(files.names)
    shaped: list[np.ndarray] = []
    contents: list[bytes] = []
    labels: list[str] = []
    tests = 0
    for name in batches:
        numbers, images = _read_batch(files, name)
        shaped.append(reshape_pixels(images, form))
        contents += hash_rows(images)
        labels += _named(files, name, numbers)
        tests += len(images) * ("test" in posixpath.basename(name))
    return Rows(
        pixels=join(shaped),
        names=number_names(len(labels) - tests, "train/") + number_names(tests, "test/"),
        contents=contents,
        labels=labels,
        classes=[name for name in _classes(files, batches[0]) if name in set(labels)] or None,
        given=[0] * (len(labels) - tests) + [2] * tests,
        notes=unused(name for name in files.names if name not in batches and posixpath.basename(name) != _CLASSES),
        sizes=[_SHAPE[1:]],
    )


def _read_batch(files: Files, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return class numbers, uint8 ``[N]``, and pixels, uint8 ``[N, 3, 32, 32]``."""
    data = files.need(name)
    if not data or len(data) % _RECORD_BYTES:
        raise UserError(
            f"{files.where}/{name} has {len(data):,} bytes, expected a multiple of {_RECORD_BYTES:,}; download it again"
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, _RECORD_BYTES)
    return records[:, 0], records[:, 1:].reshape(-1, *_SHAPE)


def _named(files: Files, name: str, numbers: np.ndarray) -> list[str]:
    classes = _classes(files, name) or tuple(map(str, range(256)))
    if numbers.max() >= len(classes):
        where = f"{files.where}/{name}"
        raise UserError(
            f"{where} has class {numbers.max()}, but {_CLASSES} has only {len(classes)} classes; download it again"
        )
    return [classes[number] for number in numbers.tolist()]


def _classes(files: Files, batch: str) -> tuple[str, ...]:
    """Return the class names from the file next to a batch; empty if there is none."""
    path = posixpath.join(posixpath.dirname(batch), _CLASSES)
    text = files.need(path).decode("utf-8", "replace") if path in files.names else ""
    return tuple(line.strip() for line in text.splitlines() if line.strip())
