"""Hidden draft folders for files that are being written. A draft left behind by a killed process is removed later.

A process locks its draft folder for as long as it lives, so a draft without a lock is a leftover of some command. Where
folders cannot be locked (Windows, some network file systems), leftovers are removed after a day.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vaekit.system.regular_files import is_plain_folder

if sys.platform != "win32":
    import fcntl

__all__ = ["clear_drafts", "draft", "is_draft"]

_PREFIX = ".vaekit-draft-"
_TAKEN = (errno.EWOULDBLOCK, errno.EACCES)
_OLD_SECONDS = 86_400.0  # one day


@contextmanager
def draft(parent: Path) -> Iterator[Path]:
    """Yield a new folder in ``parent``, on the same disk, which is removed afterwards.

    Leftovers in ``parent`` are removed first.

    Raises:
        OSError: If ``parent`` is not writable.
    """
    clear_drafts(parent)
    folder, lock = _create(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def is_draft(path: Path) -> bool:
    """Whether a path has the name of a draft folder.

    >>> is_draft(Path("runs/.vaekit-draft-x1y2z3ab")), is_draft(Path("runs/photos"))
    (True, False)
    """
    return path.name.startswith(_PREFIX)


def clear_drafts(parent: Path) -> None:
    """Remove the drafts in ``parent`` whose process has ended."""
    with suppress(OSError), os.scandir(parent) as entries:
        for path in [Path(entry.path) for entry in entries if entry.name.startswith(_PREFIX)]:
            with suppress(OSError):
                _remove_leftover(path)


def _create(parent: Path) -> tuple[Path, int | None]:
    """Create a draft and lock it; the lock is None where folders cannot be locked."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        try:
            lock = _locked(folder)
        except FileNotFoundError:  # another process removed the folder as a leftover before we locked it
            continue
        except OSError as error:
            if error.errno in _TAKEN:
                continue
            return folder, None  # this file system cannot lock folders
        if lock is None or is_plain_folder(folder):
            return folder, lock
        os.close(lock)


def _remove_leftover(folder: Path) -> None:
    """Remove a draft that no process holds; raises OSError if it is held. Drafts of other users are kept."""
    status = os.lstat(folder)
    if not is_plain_folder(folder) or (hasattr(os, "getuid") and status.st_uid != os.getuid()):
        return
    try:
        lock = _locked(folder)
    except OSError as error:
        if error.errno in _TAKEN:
            raise
        lock = None
    try:
        if lock is not None or time.time() - status.st_mtime > _OLD_SECONDS:
            shutil.rmtree(folder)
    finally:
        if lock is not None:
            os.close(lock)


def _locked(folder: Path) -> int | None:
    """Open and lock a folder for this process; None where folders cannot be opened."""
    if sys.platform == "win32":
        return None
    descriptor = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
