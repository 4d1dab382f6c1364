"""Tables of attributes that lie beside images, one row per image.

    metadata.csv, metadata.jsonl     the imagefolder convention: file_name is relative to the table
    list_attr_celeba.txt, .csv       as CelebA comes: -1 for no and 1 for yes, files named without their folder
    list_eval_partition.txt, .csv    CelebA's parts: 0, 1 and 2

The column ``split`` names the part of each image: train, val, valid, validation or test.
Every other column is an attribute: numbers if all its values are numbers or true/false/yes/no, else text.
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

from vaekit.data.groups import WORDS
from vaekit.data.splits import PARTS, SPLIT
from vaekit.errors import UserError

__all__ = ["TABLE", "Cells", "as_column", "as_text", "guarded", "is_table", "join_tables", "read_table", "split_words"]

#: The table that is written.
TABLE = "metadata.csv"

_CELEBA = ("list_attr_celeba.txt", "list_attr_celeba.csv")
_PARTITIONS = ("list_eval_partition.txt", "list_eval_partition.csv")
_WITHOUT_FOLDERS = (*_CELEBA, *_PARTITIONS)
_TABLES = (TABLE, "metadata.jsonl", *_WITHOUT_FOLDERS)
_KEYS = ("file_name", "image_id")  # the second is CelebA's

_SEPARATORS = ";\t|"  # that tables come with, beside the comma

Cells = dict[str, dict[str, str]]  #: file_name -> {column: text}


def is_table(name: str) -> bool:
    """Whether a file's name is that of a table.

    >>> is_table("train/Metadata.csv"), is_table("notes.csv")
    (True, False)
    """
    return _kind(name) in _TABLES


def read_table(data: bytes, where: str) -> Cells:
    """file_name -> {column: text}; ``where`` ends with the table's name, which tells its form.

    Raises :class:`UserError` for a table that cannot be read or does not name files.
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
    """Attributes of the images ``names``, and notes about rows that fit no file and files without a row.

    Arguments: tables maps the path of each table ('metadata.csv' or 'train/metadata.csv') to its rows. Of two that
    tell the same of an image, the one in the deeper folder counts, in one folder the later by name; an empty cell says
    nothing.

    >>> join_tables(["a.png", "b.png"], {"metadata.csv": {"a.png": {"age": "7"}, "b.png": {"age": ""}, "c.png": {}}})
    ({'age': array([ 7., nan])}, ['1 row of metadata.csv names no image that was read, such as c.png'])
    """
    rows = _merged(names, tables)
    columns = list(dict.fromkeys(column for cells in rows.values() for column in cells if not _is_split(column)))
    attributes = {column: as_column([rows.get(name, {}).get(column, "") for name in names]) for column in columns}
    return attributes, _notes(names, rows, " and ".join(sorted({_kind(path) for path in tables})))


def split_words(names: Sequence[str], tables: Mapping[str, Cells]) -> list[str] | None:
    """What the column ``split`` says of each image, '' for nothing; None if no table has that column.

    >>> split_words(["a.png", "b.png"], {"metadata.csv": {"a.png": {"split": "test"}}})
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
    """The rows of all tables by the names of images."""
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
    lost, bare = sorted(rows.keys() - set(names)), [name for name in names if name not in rows]
    notes = []
    if lost:
        one = f"1 row of {tables} names no image that was read"
        notes.append(f"{one if len(lost) == 1 else f'{len(lost)} rows of {tables} name no image that was read'}")
        notes[-1] += f", such as {lost[0]}"
    if tables and bare:
        notes.append(f"{len(bare)} image{' has' if len(bare) == 1 else 's have'} no row in {tables}, such as {bare[0]}")
    return notes


def _kind(path: str) -> str:
    return posixpath.basename(path).lower()


def _by_last_part(names: Sequence[str], folder: str) -> dict[str, list[str]]:
    """The images in ``folder`` by their names without folders."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        if not folder or name.startswith(folder + "/"):
            found[posixpath.basename(name)].append(name)
    return found


def _csv_lines(text: str, where: str) -> Iterator[dict[str, str]]:
    header = [column.strip() for column in next(csv.reader(io.StringIO(text, newline="")), [])]
    keys = _KEYS if _kind(where) in _WITHOUT_FOLDERS else _KEYS[:1]
    if not set(keys) & set(header):
        line = text.partition("\n")[0]  # whole, for a name in it may hold a comma
        names = {mark: {name.strip(' "\r') for name in line.split(mark)} for mark in _SEPARATORS}
        separator = next((mark for mark in _SEPARATORS if set(keys) & names[mark] and mark in line), None)
        if separator is not None:
            raise UserError(f"{where} separates its columns by {separator!r}; save it with commas between the columns")
        has = ", ".join(header) or "nothing"
        raise UserError(f"{where} has no column {keys[-1]} (it has {has}); name the column of the files so")
    for row in csv.DictReader(io.StringIO(text, newline="")):
        if any(row.get(None, ())):
            raise UserError(
                f"{where}: the row of {row.get(keys[0]) or row.get(keys[-1])} has more cells than the first line has "
                'names; put texts that contain commas in "quotes"'
            )
        given = {
            (key or "").strip(): (value or "").strip() for key, value in row.items() if isinstance(value, str | None)
        }
        yield {unguarded(key): unguarded(value) for key, value in given.items() if key}


def _json_lines(text: str, where: str) -> Iterator[dict[str, str]]:
    for number, line in enumerate(text.split("\n"), 1):  # other ends of lines may stand within a text
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where}, line {number} is not JSON ({error}); write one object per line") from error
        if not isinstance(row, dict) or not isinstance(row.get(_KEYS[0]), str):
            raise UserError(f"{where}, line {number} does not name its {_KEYS[0]}; expected an object that does")
        yield {key: as_text(value) for key, value in row.items()}


def as_text(value: object) -> str:
    """A value of a row as a table writes it.

    >>> as_text(None), as_text(True), as_text("a b")
    ('', 'true', 'a b')
    """
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value)


def guarded(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: a text that begins as one gets an apostrophe; numbers stay.

    >>> guarded("=1+1"), guarded("-1"), guarded(-1)
    ("'=1+1", '-1', -1)
    """
    return f"'{cell}" if isinstance(cell, str) and _is_formula(cell.lstrip("'")) else cell


def unguarded(cell: str) -> str:
    """The inverse of :func:`guarded`.

    >>> unguarded(guarded("=1+1")), unguarded(guarded("'=x")), unguarded("'tis")
    ('=1+1', "'=x", "'tis")
    """
    return cell[1:] if cell.startswith("'") and _is_formula(cell.lstrip("'")) else cell


def _is_formula(text: str) -> bool:
    return text.startswith(("=", "+", "-", "@", "\t", "\r")) and _number(text) is None


def _celeba_lines(text: str, where: str) -> Iterator[dict[str, str]]:
    """The number of images, the names of the attributes, then a line for each image."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    if lines and len(lines[0]) == 1:
        lines = lines[1:]
    columns = lines[0] if lines else []
    for number, cells in enumerate(lines[1:], 1):
        if len(cells) != len(columns) + 1:
            raise UserError(
                f"{where}, row {number} has {len(cells)} entries; expected a file and {len(columns)} attributes"
            )
        yield {**dict(zip(columns, cells[1:], strict=True)), _KEYS[0]: cells[0]}


def _partition_lines(text: str, where: str) -> Iterator[dict[str, str]]:
    """A file and the number of its part in each line."""
    for number, cells in enumerate((line.split() for line in text.splitlines() if line.strip()), 1):
        if len(cells) != 2:
            raise UserError(f"{where}, row {number} has {len(cells)} entries; expected a file and 0, 1 or 2")
        yield {_KEYS[0]: cells[0], "partition": cells[1]}


def _part(number: str) -> str:
    return PARTS[int(number)] if number in ("0", "1", "2") else number


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
