"""Lock a folder for one writer. The system releases the lock when the process ends, however it ends."""

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

LOCK = ".lock"  #: file name in the folder while it is locked; contains the process id
_TAKEN = (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)
_SECONDS_BETWEEN_TRIES = 0.2


@contextmanager
def only_writer(folder: Path, say: Callable[[str], None], is_out: bool = True) -> Iterator[None]:
    """Lock ``folder`` for this process.

    Args:
        folder: Folder to be written.
        say: Receives a warning if the file system does not support locks; the body then runs without one.
        is_out: Whether the user chose the folder with the argument ``out``; otherwise it is a run to work on.

    Raises:
        UserError: If another process holds the lock, or the folder cannot be written.
    """
    prefix, remedy = (f"{argument('out')} ", "choose another folder") if is_out else ("", "copy the run")

    def refuse(owner: str) -> None:
        raise UserError(f"{prefix}{folder} is being written by process {owner}; wait until it ends, or {remedy}")

    with _held(folder, say, refuse, prefix, remedy):
        yield


@contextmanager
def wait_for_turn(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Lock a cache folder, waiting for another process to release it; ``say`` receives a note about the wait."""
    has_reported = False

    def wait(owner: str) -> None:
        nonlocal has_reported
        if not has_reported:
            has_reported = True
            say(f"waiting for process {owner}, which is writing {folder}")
        time.sleep(_SECONDS_BETWEEN_TRIES)

    with _held(folder, say, wait, "", "set VAEKIT_CACHE to another folder"):
        yield


@contextmanager
def _held(
    folder: Path, say: Callable[[str], None], busy: Callable[[str], None], prefix: str, remedy: str
) -> Iterator[None]:
    """Hold the lock. The error for a folder that cannot be written begins with ``prefix`` and ends with ``remedy``."""
    try:
        descriptor = _acquired(folder, say, busy)
    except OSError as error:
        raise UserError(f"{prefix}{folder} cannot be written: {error.strerror}; {remedy}") from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows does not delete open files; the next writer reuses the file
            (folder / LOCK).unlink()
        os.close(descriptor)


def _acquired(folder: Path, say: Callable[[str], None], busy: Callable[[str], None]) -> int:
    """Return the locked descriptor of the lock file.

    The previous owner may remove the file before we lock it, so the descriptor must still belong to the file in the
    folder. While another process holds the lock, ``busy`` is called with its process id before each new attempt.
    """
    path = folder / LOCK
    while True:
        try:
            descriptor = open_descriptor(path, os.O_RDWR | os.O_CREAT)  # refuses links: the folder may be a stranger's
        except OddFile as error:
            raise UserError(f"cannot lock {folder}: {path} is {error}; remove it") from error
        try:
            _lock(descriptor)
        except OSError as error:
            if error.errno in _TAKEN:
                owner = os.read(descriptor, 20).decode("ascii", "replace").strip() or "another"
                os.close(descriptor)
                busy(owner)
                continue
            say(
                f"{folder}: this file system does not support locks ({error.strerror}); make sure that no other "
                "process writes there"
            )
        if _is_there(descriptor, path):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
            return descriptor
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        # lock a byte beyond the process id, so that other processes can still read it
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
