"""metadata.csv: a table of attributes, one row per image, in the imagefolder convention.

The column file_name is relative to the table; each other column is an attribute, numeric if all its values
are numbers or true/false/yes/no, else text.
"""

from __future__ import annotations

import csv
import io
import posixpath
from collections.abc import Sequence

import numpy as np

from vaekit.data.groups import WORDS
from vaekit.errors import UserError

__all__ = ["as_column", "join_tables", "read_table"]

_KEY = "file_name"


def read_table(data: bytes, where: str) -> dict[str, dict[str, str]]:
    """file_name -> {column: text}. Raises :class:`UserError` if there is no column file_name."""
    try:
        rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))
        header = next(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{where} cannot be read as a table ({error}); save it as CSV in UTF-8") from error
    header = [column.strip() for column in header]
    if _KEY not in header:
        has = ", ".join(header) or "nothing"
        raise UserError(f"{where} has no column {_KEY} (it has {has}); name the column of the files so")
    table = {}
    for row in rows:
        clean = {
            (key or "").strip(): (value or "").strip() for key, value in row.items() if isinstance(value, str | None)
        }
        name = posixpath.normpath(clean.pop(_KEY, "").replace("\\", "/"))
        table[name] = {key: value for key, value in clean.items() if key}
    return table


def join_tables(
    names: Sequence[str], tables: dict[str, dict[str, dict[str, str]]]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Attributes of the images ``names``, and notes about rows that fit no file.

    Arguments: tables maps the folder of each table ('' or 'train') to its rows.

    >>> join_tables(["a.png", "b.png"], {"": {"a.png": {"age": "7"}, "c.png": {"age": "8"}}})
    ({'age': array([ 7., nan])}, ['1 row of metadata.csv names no image that is there'])
    """
    rows: dict[str, dict[str, str]] = {}
    for folder in sorted(tables, key=lambda folder: folder.count("/") + bool(folder)):
        for name, cells in tables[folder].items():
            rows.setdefault(posixpath.normpath(posixpath.join(folder, name)), {}).update(cells)
    columns = list(dict.fromkeys(column for cells in rows.values() for column in cells))
    attributes = {column: as_column([rows.get(name, {}).get(column, "") for name in names]) for column in columns}
    lost = len(rows.keys() - set(names))
    if not lost:
        return attributes, []
    said = (
        "1 row of metadata.csv names no image that is"
        if lost == 1
        else f"{lost} rows of metadata.csv name no images that are"
    )
    return attributes, [said + " there"]


def as_column(values: Sequence[str]) -> np.ndarray:
    """Texts as float64 if all that are there are numbers (missing: NaN), else as text (missing: '').

    >>> as_column(["1", "", "yes"])
    array([ 1., nan,  1.])
    """
    numbers = [_number(value) for value in values]
    if any(values) and None not in numbers:
        return np.array(numbers, dtype=np.float64)
    return np.array(values, dtype=np.str_) if values else np.zeros(0)


def _number(value: str) -> float | None:
    if not value:
        return float("nan")
    try:
        return WORDS.get(value.lower(), None) if value.lower() in WORDS else float(value)
    except ValueError:
        return None
