"""One writer per folder: a lock that the system lets go of when its process ends, however it ends."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vaekit.errors import UserError, argument
from vaekit.system.regular_files import OddFile, open_descriptor

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["LOCK", "only_writer", "wait_for_turn"]

LOCK = ".lock"  #: in the folder, while it is written; holds the number of the process
_TAKEN = (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)
_SECONDS_BETWEEN_TRIES = 0.2


@contextmanager
def only_writer(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Holds ``folder`` for this process; :class:`UserError` if another one does.

    Where the disk knows no locks, ``say`` is told and the work goes on.
    """

    def refuse(owner: str) -> None:
        raise UserError(
            f"{argument('out')} {folder} is being written by process {owner}; wait until it has ended, or choose "
            "another"
        )

    with _held(folder, say, refuse, f"{argument('out')} {folder} cannot be written: {{}}; choose another folder"):
        yield


@contextmanager
def wait_for_turn(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Holds a folder of the cache for this process, once no other one does; ``say`` is told of the wait."""
    told: set[str] = set()

    def wait(owner: str) -> None:
        if not told:
            told.add(owner)
            say(f"waiting for process {owner}, which writes {folder}")
        time.sleep(_SECONDS_BETWEEN_TRIES)

    with _held(folder, say, wait, f"{folder} cannot be written: {{}}; set VAEKIT_CACHE to another folder"):
        yield


@contextmanager
def _held(folder: Path, say: Callable[[str], None], busy: Callable[[str], None], denied: str) -> Iterator[None]:
    descriptor = _taken(folder, say, busy, denied)
    try:
        yield
    finally:
        with suppress(OSError):  # Windows deletes nothing that is open; the next writer takes the file as it is
            (folder / LOCK).unlink()
        os.close(descriptor)


def _taken(folder: Path, say: Callable[[str], None], busy: Callable[[str], None], denied: str) -> int:
    """The open lock file, once it is ours and still the one in the folder: the owner before may have removed it.

    Where another process has it, ``busy`` is called with its number, then it is tried again.
    """
    path = folder / LOCK
    while True:
        try:
            descriptor = open_descriptor(path, os.O_RDWR | os.O_CREAT)  # the folder may be a stranger's
        except OddFile as error:
            raise UserError(f"{path} is {error} where a lock is kept; remove it") from error
        except OSError as error:
            raise UserError(denied.format(error.strerror)) from error
        try:
            _lock(descriptor)
        except OSError as error:
            if error.errno in _TAKEN:
                owner = os.read(descriptor, 20).decode("ascii", "replace").strip() or "another"
                os.close(descriptor)
                busy(owner)
                continue
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
