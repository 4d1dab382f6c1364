"""One writer per run folder: a lock that the system lets go of when its process ends, however it ends."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vaekit.errors import UserError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["LOCK", "only_one", "only_writer"]

LOCK = ".lock"  #: in the folder, while it is written; holds the number of the process
_WAIT_SECONDS = 0.05
_TAKEN = (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)


@contextmanager
def only_writer(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Holds ``folder`` for this process; :class:`UserError` if another one does.

    Where the disk knows no locks, ``say`` is told and the work goes on.
    """
    descriptor = _taken(folder, say)
    try:
        yield
    finally:
        with suppress(OSError):  # Windows deletes nothing that is open; the next writer takes the file as it is
            (folder / LOCK).unlink()
        os.close(descriptor)


@contextmanager
def only_one(path: Path, say: Callable[[], None] | None) -> Iterator[bool]:
    """Holds the lock file ``path``; while another process does, waits for it, after ``say`` was called once.

    ``say`` None: waits for nobody, and yields whether the lock is held. Where a disk knows no locks, it counts as held.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        is_ours = _try_lock(descriptor)
        if not is_ours and say is not None:
            say()
            while not _try_lock(descriptor):
                time.sleep(_WAIT_SECONDS)
            is_ours = True
        yield is_ours
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        _lock(descriptor)
    except OSError as error:
        return error.errno not in _TAKEN
    return True


def _taken(folder: Path, say: Callable[[str], None]) -> int:
    """The open lock file, once it is ours and still the one in the folder: the owner before may have removed it."""
    path = folder / LOCK
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise UserError(f"--out {folder} cannot be written: {error.strerror}; choose another folder") from error
        try:
            _lock(descriptor)
        except OSError as error:
            if error.errno in _TAKEN:
                owner = os.read(descriptor, 20).decode("ascii", "replace").strip() or "another"
                os.close(descriptor)
                raise UserError(
                    f"--out {folder} is being written by process {owner}; wait until it has ended, or choose another"
                ) from error
            say(f"{folder}: this disk knows no locks ({error.strerror}); see to it that no other process writes there")
        if _is_there(descriptor, path):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
            return descriptor
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        # of a byte behind the number, which others may then still read
        os.lseek(descriptor, 1 << 20, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_there(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
