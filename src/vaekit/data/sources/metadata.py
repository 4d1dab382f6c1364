"""Read tables of image attributes, one row per image.

    metadata.csv, metadata.jsonl     the imagefolder convention: file_name is relative to the table
    list_attr_celeba.txt, .csv       CelebA's attributes: -1 for no, 1 for yes, and file names without folders
    list_eval_partition.txt, .csv    CelebA's parts: 0, 1 and 2

The column ``split`` assigns images to parts: train, val, valid, validation or test. Every other column is an attribute:
a number if all its values are numbers or true/false/yes/no, else text.
"""

from __future__ import annotations

import csv
import io
import json
import posixpath
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from vaekit.data.groups import TRUTH_VALUES
from vaekit.data.splits import PARTS, SPLIT
from vaekit.errors import UserError

__all__ = [
    *("TABLE", "Cells", "as_column", "as_text", "guarded", "is_table", "join_tables", "read_table", "split_entries"),
]

#: Name of the table that vaekit writes.
TABLE = "metadata.csv"

_CELEBA = ("list_attr_celeba.txt", "list_attr_celeba.csv")
_PARTITIONS = ("list_eval_partition.txt", "list_eval_partition.csv")
_WITHOUT_FOLDERS = (*_CELEBA, *_PARTITIONS)
_TABLES = (TABLE, "metadata.jsonl", *_WITHOUT_FOLDERS)
_KEYS = ("file_name", "image_id")  # the second is CelebA's

_SEPARATORS = ";\t|"  # used by tables that are not separated by commas

Cells = dict[str, dict[str, str]]  #: file_name -> {column: text}


def is_table(name: str) -> bool:
    """Whether a file name is that of a table.

    >>> is_table("train/Metadata.csv"), is_table("notes.csv")
    (True, False)
    """
    return _kind(name) in _TABLES


def read_table(data: bytes, where: str) -> Cells:
    """Parse a table into {file_name: {column: text}}.

    Args:
        data: Bytes of the file.
        where: Path of the table. Its name determines the format.

    Raises:
        UserError: If the table cannot be read, or does not name files.
    """
    try:
        text = data.decode("utf-8-sig")
        if _kind(where).endswith(".jsonl"):
            cells = list(_json_lines(text, where))
        elif _kind(where).endswith(".txt"):
            cells = list((_partition_lines if _kind(where) in _PARTITIONS else _celeba_lines)(text, where))
        else:
            cells = list(_csv_lines(text, where))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{where} cannot be read as a table ({error}); save it in UTF-8") from error
    rows: Cells = {}
    for row in cells:
        key = next((row.pop(key) for key in _KEYS if key in row), "")
        if _kind(where) in _CELEBA:
            row = {name: "0" if value == "-1" else value for name, value in row.items()}
        if _kind(where) in _PARTITIONS:
            row = {SPLIT: _part(row.get("partition", ""))}
        rows[posixpath.normpath(key.replace("\\", "/"))] = row
    return rows


def join_tables(names: Sequence[str], tables: Mapping[str, Cells]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Join tables with the images ``names``.

    If two tables have the same column for an image, the one in the deeper folder takes precedence, and in one folder
    the later by name. Empty cells are ignored.

    Args:
        names: Names of the images.
        tables: Rows of each table by its path, such as 'metadata.csv' or 'train/metadata.csv'.

    Returns:
        Attributes by column, and notes about rows without an image and images without a row.

    >>> join_tables(["a.png", "b.png"], {"metadata.csv": {"a.png": {"age": "7"}, "b.png": {"age": ""}, "c.png": {}}})
    ({'age': array([ 7., nan])}, ['1 row of metadata.csv matches no image, such as c.png'])
    """
    rows = _merged(names, tables)
    columns = list(dict.fromkeys(column for cells in rows.values() for column in cells if not _is_split(column)))
    attributes = {column: as_column([rows.get(name, {}).get(column, "") for name in names]) for column in columns}
    return attributes, _notes(names, rows, " and ".join(sorted({_kind(path) for path in tables})))


def split_entries(names: Sequence[str], tables: Mapping[str, Cells]) -> list[str] | None:
    """Return the entry of the ``split`` column for each image, or None if no table has that column.

    >>> split_entries(["a.png", "b.png"], {"metadata.csv": {"a.png": {"split": "test"}}})
    ['test', '']
    """
    rows = _merged(names, tables)
    column = {name: next((text for key, text in cells.items() if _is_split(key)), None) for name, cells in rows.items()}
    if all(text is None for text in column.values()):
        return None
    return [column.get(name) or "" for name in names]


def _is_split(column: str) -> bool:
    return column.lower() == SPLIT


def _merged(names: Sequence[str], tables: Mapping[str, Cells]) -> Cells:
    """Merge the rows of all tables by image name."""
    rows: Cells = {}
    for path in sorted(tables, key=lambda path: (path.count("/"), path)):
        folder = posixpath.dirname(path)
        bare = _by_last_part(names, folder) if _kind(path) in _WITHOUT_FOLDERS else {}
        for name, cells in tables[path].items():
            for image in bare.get(name, [posixpath.normpath(posixpath.join(folder, name))]):
                known = rows.setdefault(image, {})
                known.update({column: cell for column, cell in cells.items() if cell or column not in known})
    return rows


def _notes(names: Sequence[str], rows: Cells, tables: str) -> list[str]:
    unmatched, bare = sorted(rows.keys() - set(names)), [name for name in names if name not in rows]
    notes = []
    if unmatched:
        one = f"1 row of {tables} matches no image"
        notes.append(f"{one if len(unmatched) == 1 else f'{len(unmatched)} rows of {tables} match no image'}")
        notes[-1] += f", such as {unmatched[0]}"
    if tables and bare:
        notes.append(f"{len(bare)} image{' has' if len(bare) == 1 else 's have'} no row in {tables}, such as {bare[0]}")
    return notes


def _kind(path: str) -> str:
    return posixpath.basename(path).lower()


def _by_last_part(names: Sequence[str], folder: str) -> dict[str, list[str]]:
    """Return the images in ``folder`` by file name without folders."""
    images: dict[str, list[str]] = defaultdict(list)
    for name in names:
        if not folder or name.startswith(folder + "/"):
            images[posixpath.basename(name)].append(name)
    return images


def _csv_lines(text: str, where: str) -> Iterator[dict[str, str]]:
    header = [column.strip() for column in next(csv.reader(io.StringIO(text, newline="")), [])]
    keys = _KEYS if _kind(where) in _WITHOUT_FOLDERS else _KEYS[:1]
    if not set(keys) & set(header):
        line = text.partition("\n")[0]  # the raw line, because the parsed header may be split at a comma in a name
        names = {mark: {name.strip(' "\r') for name in line.split(mark)} for mark in _SEPARATORS}
        separator = next((mark for mark in _SEPARATORS if set(keys) & names[mark] and mark in line), None)
        if separator is not None:
            raise UserError(f"{where} separates its columns by {separator!r}; save it with commas")
        has = ", ".join(header) or "nothing"
        raise UserError(f"{where} has no column {keys[-1]} (it has {has}); give the column of file names this name")
    for row in csv.DictReader(io.StringIO(text, newline="")):
        if any(row.get(None, ())):
            raise UserError(
                f"{where}: the row of {row.get(keys[0]) or row.get(keys[-1])} has more cells than the header; "
                'put text that contains commas in "quotes"'
            )
        given = {
            (key or "").strip(): (value or "").strip() for key, value in row.items() if isinstance(value, str | None)
        }
        yield {unguarded(key): unguarded(value) for key, value in given.items() if key}


def _json_lines(text: str, where: str) -> Iterator[dict[str, str]]:
    for number, line in enumerate(text.split("\n"), 1):  # splitlines would also split at separators within strings
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where}, line {number} is not JSON ({error}); write one object per line") from error
        if not isinstance(row, dict) or not isinstance(row.get(_KEYS[0]), str):
            raise UserError(f"{where}, line {number} has no {_KEYS[0]}; expected an object with that key")
        yield {key: as_text(value) for key, value in row.items()}


def as_text(value: object) -> str:
    """Format a value as a table cell.

    >>> as_text(None), as_text(True), as_text("a b")
    ('', 'true', 'a b')
    """
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value)


def guarded(cell: Any) -> Any:
    """Escape text that a spreadsheet would treat as a formula, with an apostrophe; numbers are unchanged.

    >>> guarded("=1+1"), guarded("-1"), guarded(-1)
    ("'=1+1", '-1', -1)
    """
    return f"'{cell}" if isinstance(cell, str) and _is_formula(cell.lstrip("'")) else cell


def unguarded(cell: str) -> str:
    """Invert :func:`guarded`.

    >>> unguarded(guarded("=1+1")), unguarded(guarded("'=x")), unguarded("'tis")
    ('=1+1', "'=x", "'tis")
    """
    return cell[1:] if cell.startswith("'") and _is_formula(cell.lstrip("'")) else cell


def _is_formula(text: str) -> bool:
    return text.startswith(("=", "+", "-", "@", "\t", "\r")) and _number(text) is None


def _celeba_lines(text: str, where: str) -> Iterator[dict[str, str]]:
    """Parse the number of images, the names of the attributes, then a line for each image."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    if lines and len(lines[0]) == 1:
        lines = lines[1:]
    columns = lines[0] if lines else []
    for number, cells in enumerate(lines[1:], 1):
        if len(cells) != len(columns) + 1:
            raise UserError(
                f"{where}, row {number} has {len(cells)} entries; expected a file name and {len(columns)} attributes"
            )
        yield {**dict(zip(columns, cells[1:], strict=True)), _KEYS[0]: cells[0]}


def _partition_lines(text: str, where: str) -> Iterator[dict[str, str]]:
    """Parse a file name and the number of its part in each line."""
    for number, cells in enumerate((line.split() for line in text.splitlines() if line.strip()), 1):
        if len(cells) != 2:
            raise UserError(f"{where}, row {number} has {len(cells)} entries; expected a file name and 0, 1 or 2")
        yield {_KEYS[0]: cells[0], "partition": cells[1]}


def _part(number: str) -> str:
    return PARTS[int(number)] if number in ("0", "1", "2") else number


def as_column(values: Sequence[str]) -> np.ndarray:
    """Convert texts to float64 if all are numbers or missing (NaN), else to strings (missing: '').

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
        return TRUTH_VALUES.get(value.lower(), None) if value.lower() in TRUTH_VALUES else float(value)
    except ValueError:
        return None
