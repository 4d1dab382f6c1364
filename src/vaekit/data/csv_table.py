"""Write tables as CSV files."""

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
    """Check before a long measurement that a table can be written to ``path``; raises :class:`UserError`."""
    if path.suffix.lower() != ".csv":
        raise UserError(f"{path}: tables are written as CSV; use a name that ends in .csv")
    check_place(path)


def check_place(path: Path) -> None:
    """Raise :class:`UserError` if ``path`` is a folder or its parent folder does not exist."""
    if path.is_dir() or not path.parent.is_dir():
        reason = "it is a folder" if path.is_dir() else "its folder does not exist"
        raise UserError(f"{path} cannot be written: {reason}; choose another file name")


def write_table(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write columns of equal length. Floats keep all digits, and text that looks like a formula is escaped."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(map(guarded, columns))
    table.writerows([guarded(cell) for cell in row] for row in zip(*columns.values(), strict=True))
    atomic_write_text(path, text.getvalue())
