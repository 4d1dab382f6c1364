"""New folders that appear whole, synced, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vaekit.errors import UserError, argument
from vaekit.system.drafts import draft
from vaekit.system.files import sync_folder

__all__ = ["check_new_folder", "refuse_bytes", "whole_folder"]


def check_new_folder(out: Path) -> None:
    """Refuses a place for a new folder that is taken, or that is nowhere."""
    refuse_bytes(out)
    if out.exists() or out.is_symlink():
        raise UserError(f"{out} is there already; give another name")
    if not out.parent.is_dir():
        raise UserError(f"{out} cannot be written: there is no folder {out.parent}; make it, or give another name")


def refuse_bytes(out: Path) -> None:
    """Refuses a path that the readers of weights cannot open, before anything is computed."""
    try:
        str(out).encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{argument('out')} {out} has bytes in its name that are not UTF-8; give another name"
        ) from error


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` that takes its place, synced, when the body ends well, and goes otherwise."""
    try:
        with draft(out.parent) as around:
            folder = around / out.name
            folder.mkdir()
            yield folder
            _sync(folder)
            os.rename(folder, out)
            sync_folder(out.parent)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}; nothing was left") from error


def _sync(folder: Path) -> None:
    """Files first, then the folders that hold them."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
    for path in (*folder.rglob("*"), folder):
        if path.is_dir():
            sync_folder(path)
