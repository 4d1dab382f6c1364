"""Create a folder atomically: it appears complete and synced to disk, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vaekit.errors import UserError, argument
from vaekit.system.drafts import draft
from vaekit.system.files import sync_folder

__all__ = ["check_new_folder", "refuse_bytes", "whole_folder"]


def check_new_folder(out: Path) -> None:
    """Check that a new folder can be created at ``out``.

    Raises:
        UserError: If ``out`` exists, a parent is no folder, or its name is not valid UTF-8.
    """
    refuse_bytes(out)
    if out.exists() or out.is_symlink():
        raise UserError(f"{out} already exists; choose another name")
    parent = next(each for each in out.absolute().parents if each.exists())
    if not parent.is_dir():
        raise UserError(f"cannot write {out}: {parent} is not a folder; choose another name")


def refuse_bytes(out: Path) -> None:
    """Refuse a path that is not valid UTF-8, which the libraries that read weights cannot open."""
    try:
        str(out).encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{argument('out')} {out} contains bytes that are not UTF-8; choose another name") from error


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Yield a draft folder that is renamed to ``out`` if the body succeeds and removed if it fails.

    Parents of ``out`` that do not exist are created, and removed too if the body fails.
    """
    try:
        with _parents(out), draft(out.parent) as around:
            folder = around / out.name
            folder.mkdir()
            yield folder
            _sync(folder)
            os.rename(folder, out)
            sync_folder(out.parent)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}; no files were left behind") from error


@contextmanager
def _parents(out: Path) -> Iterator[None]:
    """Create the missing parents of ``out``, and remove them if the body fails."""
    missing = [each for each in out.absolute().parents if not each.exists()]
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):  # another process may have put something there
            for each in missing:
                each.rmdir()
        raise


def _sync(folder: Path) -> None:
    """Sync the files first, then the folders that contain them."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
    for path in (*folder.rglob("*"), folder):
        if path.is_dir():
            sync_folder(path)
