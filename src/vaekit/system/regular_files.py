"""Regular files and nothing else: a run, an export and the cache may be what a stranger made.

A name in such a folder can be a link to a private file, a pipe that never ends, a device, or a file of any size.
Everything in this module looks at the name itself and never follows a link.
"""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

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

# Neither follow a link nor wait for the other end of a pipe; Windows has neither flag.
_CAREFUL = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class OddFile(OSError):
    """Something else than a regular file of a sensible size; the text says what."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(errno.EINVAL, what, str(path))

    def __str__(self) -> str:
        return str(self.strerror)


def odd_kind(path: Path) -> str | None:
    """What stands at ``path`` instead of a regular file, in words; None for a regular file, and for nothing.

    >>> odd_kind(Path("/dev/null")), odd_kind(Path("/nowhere"))
    ('a device', None)
    """
    try:
        return _kind(os.lstat(path).st_mode)
    except OSError:
        return None


def is_plain(path: Path) -> bool:
    """Whether ``path`` is a regular file and no link to one."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (OSError, ValueError):
        return False


def is_plain_folder(path: Path) -> bool:
    """Whether ``path`` is a folder and no link to one."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except (OSError, ValueError):
        return False


def check_plain(path: Path, most_bytes: int | None = None) -> None:
    """For files that a library opens by name. Raises :class:`OddFile`, or FileNotFoundError if nothing is there."""
    _check(path, os.lstat(path), most_bytes)


def open_plain(path: Path, most_bytes: int | None = None) -> BufferedReader:
    """A regular file, opened to be read; raises as :func:`check_plain` does."""
    return open(open_descriptor(path, os.O_RDONLY, most_bytes), "rb")


def read_plain(path: Path, most_bytes: int) -> bytes:
    """All bytes of a regular file; raises as :func:`check_plain` does."""
    with open_plain(path, most_bytes) as file:
        return file.read(most_bytes)


def open_descriptor(path: Path, flags: int, most_bytes: int | None = None) -> int:
    """``os.open`` for regular files alone; with ``os.O_CREAT`` a new file gets the rights that the umask leaves."""
    try:
        descriptor = os.open(path, flags | _CAREFUL, 0o666)
    except OSError as error:
        if what := odd_kind(path):  # a link, a pipe without a reader, a socket: each has an error of its own
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
        raise OddFile(path, f"{status.st_size / 1e6:,.0f} MB, the limit is {most_bytes / 1e6:,.0f} MB")


def _kind(mode: int) -> str | None:
    for test, what in (
        (stat.S_ISREG, None),
        (stat.S_ISLNK, "a link"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
    ):
        if test(mode):
            return what
    return "a device"
