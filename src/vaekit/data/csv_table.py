"""A table as a CSV file: a line per row, columns by name."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vaekit.data import guarded
from vaekit.errors import UserError
from vaekit.system.files import atomic_write_text

__all__ = ["check_place", "check_table", "write_table"]


def check_table(path: Path) -> None:
    """Refuses a file that could not be written, before a long measurement."""
    if path.suffix.lower() != ".csv":
        raise UserError(f"{path}: a table is written as .csv; give a name that ends so")
    check_place(path)


def check_place(path: Path) -> None:
    """Refuses the name of a file that is a folder, or whose folder is missing."""
    if path.is_dir() or not path.parent.is_dir():
        reason = "it is a folder" if path.is_dir() else "its folder is missing"
        raise UserError(f"{path} cannot be written: {reason}; give another file name")


def write_table(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Writes columns of one length; floats with all their digits, texts that no spreadsheet takes for formulas."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(map(guarded, columns))
    table.writerows([guarded(cell) for cell in row] for row in zip(*columns.values(), strict=True))
    atomic_write_text(path, text.getvalue())
