"""Open regular files only, because a stranger may have made the run, export or cache.

A name in such a folder may be a symbolic link to a private file, a pipe that never ends, a device, or a file of any
size. The functions of this module inspect the name itself and never follow a link.
"""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

from vaekit.system.number_text import size_text

__all__ = [
    "OddFile",
    "check_plain",
    "is_plain",
    "is_plain_folder",
    "odd_kind",
    "open_descriptor",
    "open_plain",
    "read_plain",
]

# Do not follow links and do not block on pipes. Windows has neither flag.
_CAREFUL = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class OddFile(OSError):
    """Not a regular file, or one that is too large; the text says which."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(errno.EINVAL, what, str(path))

    def __str__(self) -> str:
        return str(self.strerror)


def odd_kind(path: Path) -> str | None:
    """Describe what is at ``path`` if it is not a regular file; None for a regular file or a missing path.

    >>> odd_kind(Path("/dev/null")), odd_kind(Path("/nowhere"))
    ('a device', None)
    """
    try:
        return _kind(os.lstat(path).st_mode)
    except OSError:
        return None


def is_plain(path: Path) -> bool:
    """Whether ``path`` is a regular file, not a link to one."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (OSError, ValueError):
        return False


def is_plain_folder(path: Path) -> bool:
    """Whether ``path`` is a folder, not a link to one."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except (OSError, ValueError):
        return False


def check_plain(path: Path, most_bytes: int | None = None) -> None:
    """Check a file that a library will open by name.

    Raises:
        OddFile: If it is not a regular file, or larger than ``most_bytes``.
        FileNotFoundError: If it does not exist.
    """
    _check(path, os.lstat(path), most_bytes)


def open_plain(path: Path, most_bytes: int | None = None) -> BufferedReader:
    """Open a regular file for reading; raises as :func:`check_plain` does."""
    return open(open_descriptor(path, os.O_RDONLY, most_bytes), "rb")


def read_plain(path: Path, most_bytes: int) -> bytes:
    """Read all bytes of a regular file; raises as :func:`check_plain` does."""
    with open_plain(path, most_bytes) as file:
        return file.read(most_bytes)


def open_descriptor(path: Path, flags: int, most_bytes: int | None = None) -> int:
    """Call ``os.open`` for a regular file; with ``os.O_CREAT``, the umask sets the permissions of a new file."""
    try:
        descriptor = os.open(path, flags | _CAREFUL, 0o666)
    except OSError as error:
        if what := odd_kind(path):  # links, pipes without a reader and sockets each fail with a different error
            raise OddFile(path, what) from error
        raise
    try:
        _check(path, os.fstat(descriptor), most_bytes)
    except OddFile:
        os.close(descriptor)
        raise
    return descriptor


def _check(path: Path, status: os.stat_result, most_bytes: int | None) -> None:
    if what := _kind(status.st_mode):
        raise OddFile(path, what)
    if most_bytes is not None and status.st_size > most_bytes:
        raise OddFile(path, f"{size_text(status.st_size)} (the limit is {size_text(most_bytes)})")


def _kind(mode: int) -> str | None:
    for test, what in (
        (stat.S_ISREG, None),
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
    ):
        if test(mode):
            return what
    return "a device"
