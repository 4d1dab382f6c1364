"""Sources that need no network: ``digits`` (real, 8x8 pixels) and ``portraits`` (drawn by vaekit)."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from vaekit.data.fingerprint import hash_rows
from vaekit.data.ingest.mapped import empty
from vaekit.data.sources.rows import Rows, number_names, reshape_pixels
from vaekit.errors import UserError
from vaekit.pixels.image_form import Form

__all__ = ["builtin_names", "is_builtin", "portraits_count", "read_builtin"]

_PORTRAITS = 8000
_PORTRAIT_SIZE = (64, 64)
_CHUNK = 64
_DRAWING = 3  # increment when the drawings change, so that old runs notice


def builtin_names() -> tuple[str, ...]:
    """Return the names of the built-in sets.

    >>> builtin_names()
    ('digits', 'portraits')
    """
    return ("digits", "portraits")


def is_builtin(source: str) -> bool:
    """Whether ``source`` is a built-in set, with or without a count as in 'portraits:500'."""
    return source.split(":")[0] in builtin_names()


def read_builtin(source: str, form: Form) -> Rows:
    """Read a built-in set; raises :class:`UserError` if its count is invalid."""
    if source.startswith("portraits"):
        return _portraits(portraits_count(source), form)
    if ":" in source:
        raise UserError(f"{source!r}: digits always has 1,797 images; write digits without a count")
    return _digits(form)


def portraits_count(source: str) -> int:
    """Return the number of portraits that ``source`` asks for; raises :class:`UserError` if it is invalid.

    >>> portraits_count("portraits"), portraits_count("portraits:500")
    (8000, 500)
    """
    _, colon, count = source.partition(":")
    if colon and not (count.isascii() and count.isdigit() and 0 < int(count) <= 10_000_000):
        raise UserError(f"{source!r}: expected a number of portraits from 1 to 10,000,000, such as portraits:500")
    return int(count) if colon else _PORTRAITS


def _digits(form: Form) -> Rows:
    from sklearn.datasets import load_digits  # importing takes two seconds

    data = load_digits()
    # 0..16 to 0..255; only v = 8 is halfway between two bytes, and becomes 128
    pixels = np.rint(data.images * 255 / 16).astype(np.uint8)[:, None]
    return Rows(
        pixels=reshape_pixels(pixels, form),
        names=number_names(len(pixels)),
        contents=hash_rows(pixels),
        labels=[str(label) for label in data.target],
        sizes=[pixels.shape[2:]],
    )


def _portraits(count: int, form: Form) -> Rows:
    from vaekit.data.portraits import portraits

    table = {name: np.asarray(column) for name, column in portraits.table(count, seed=0).items()}
    size, channels = form.size or _PORTRAIT_SIZE, form.channels or 3
    pixels = empty((count, channels, *size))

    def draw(start: int) -> None:
        drawn = portraits.draw(min(_CHUNK, count - start), size, seed=0, start=start)
        pixels[start : start + len(drawn)] = reshape_pixels(drawn.transpose(0, 3, 1, 2), Form(None, channels))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(draw, range(0, count, _CHUNK)))
    return Rows(
        pixels=pixels,
        names=[f"{index:06d}.png" for index in range(count)],
        contents=_contents(table, count),
        attributes={name: _column(column) for name, column in table.items()},
    )


def _contents(table: dict[str, np.ndarray], count: int) -> list[bytes]:
    # identify a portrait by its attributes, because its pixels depend on the size
    columns = {name: column.tolist() for name, column in table.items()}
    rows = ([index, {name: column[index] for name, column in columns.items()}] for index in range(count))
    return [hashlib.sha256(json.dumps(["portrait", _DRAWING, *row], sort_keys=True).encode()).digest() for row in rows]


def _column(column: np.ndarray) -> np.ndarray:
    return column.astype(np.float64) if column.dtype.kind in "fiub" else column.astype(np.str_)
