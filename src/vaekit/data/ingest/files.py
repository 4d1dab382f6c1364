"""A tree of named files, whether it lies in a folder or in an archive: names, and how to read one."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from vaekit.errors import UserError
from vaekit.pixels.spans import Readable, Span

__all__ = ["Files", "list_folder", "list_paths", "stamp_of", "visible"]


_MOST_VISITS = 16  # of one folder, through links: two in each folder would double with every level


@dataclass(frozen=True)
class Files:
    """Regular files under relative names with forward slashes, sorted, hidden ones left out."""

    where: str  #: how messages name the tree
    names: tuple[str, ...]
    span: Callable[[str], Readable]  #: where the bytes of a file lie
    skipped: tuple[tuple[str, str], ...] = ()  #: (name, reason) of what cannot be read at all
    handles: tuple[int, ...] = ()  #: open files that spans name by number
    place: str = ""  #: the absolute path of the tree; "" if it is none, but a list of files
    #: int64 [N, 3] for N names: size, and times of change in nanoseconds. Who finds the same again need not read again.
    stamps: Callable[[Sequence[str]], np.ndarray] = lambda names: np.full((len(names), 3), -1, np.int64)

    def read(self, name: str) -> bytes:
        """All bytes of a file; OSError or ValueError if it cannot be read."""
        return self.span(name).read()

    def open(self, name: str) -> IO[bytes]:
        """The file, to read its header alone."""
        span = self.span(name)
        if isinstance(span, Span) and span.length is None:
            return open(span.source, "rb")
        return BytesIO(span.read())

    def need(self, name: str) -> bytes:
        """All bytes of a file that nothing works without; :class:`UserError` if it cannot be read."""
        try:
            return self.read(name)
        except Exception as error:  # a folder and each kind of archive have their own
            raise UserError(f"{self.where}/{name} cannot be read ({error}); mend it or take it away") from error


def visible(name: str) -> bool:
    """Whether no step of the path is hidden.

    >>> visible("a/b.png"), visible("a/.b.png"), visible("__MACOSX/b.png")
    (True, False, False)
    """
    return not any(step.startswith(".") or step == "__MACOSX" for step in name.split("/"))


def stamp_of(path: str | Path) -> tuple[int, int, int]:
    """(size, time of last change of the bytes, of anything, in nanoseconds); -1 if there is no such file."""
    try:
        status = os.stat(path)
    except OSError:
        return -1, -1, -1
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def list_folder(folder: Path) -> Files:
    """The files under a folder; links are followed, but in no loops, and to no folder more than sixteen times.

    Raises :class:`UserError` if the folder may not be read.
    """
    names: list[str] = []
    skipped: list[tuple[str, str]] = []
    try:
        _walk(folder, names, skipped)
    except PermissionError as error:
        raise UserError(f"{folder} may not be read (permission denied); ask for access or name another") from error
    root = f"{folder.resolve()}{os.sep}"
    return Files(
        where=str(folder),
        names=tuple(sorted(names)),
        span=lambda name: Span(root + name),
        skipped=tuple(skipped),
        place=root,
        stamps=lambda names: np.array([stamp_of(root + name) for name in names], np.int64).reshape(-1, 3),
    )


def list_paths(paths: list[Path]) -> Files:
    """Single files in the order given, under their own names, or their paths where two names are equal."""
    short = [path.name for path in paths]
    names = short if len(set(short)) == len(short) else [path.as_posix() for path in paths]
    places = dict(zip(names, paths, strict=True))
    where = str(paths[0]) if len(paths) == 1 else f"the {len(paths)} files"
    return Files(where, tuple(names), lambda name: Span(str(places[name])))


class _Place(NamedTuple):
    """A folder, by device and number, and the one that it was found in."""

    key: tuple[int, int]
    above: _Place | None

    def is_loop(self) -> bool:
        place = self.above
        while place is not None and place.key != self.key:
            place = place.above
        return place is not None


def _walk(folder: Path, names: list[str], skipped: list[tuple[str, str]]) -> None:
    """Finds the files below a folder, however deep it is."""
    visits: Counter[tuple[int, int]] = Counter()
    waiting: list[tuple[str, str, _Place | None]] = [(str(folder), "", None)]
    while waiting:
        path, prefix, above = waiting.pop()
        try:
            status = os.stat(path)
            place = _Place((status.st_dev, status.st_ino), above)
            if place.is_loop():
                continue
            visits[place.key] += 1
            if visits[place.key] > _MOST_VISITS:
                skipped.append((prefix, f"links lead to this folder more than {_MOST_VISITS} times"))
                continue
            folders = _look(path, prefix, names)
        except OSError as error:
            if not prefix:
                raise
            skipped.append((prefix, (error.strerror or "cannot be read").lower()))
            continue
        waiting += [(below, f"{name}/", place) for below, name in reversed(folders)]


def _look(path: str, prefix: str, names: list[str]) -> list[tuple[str, str]]:
    """Adds the files of a folder to ``names``; returns paths and names of the folders in it."""
    folders = []
    with os.scandir(path) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            kind = _kind(entry) if visible(entry.name) else ""
            if kind == "folder":
                folders.append((entry.path, prefix + entry.name))
            elif kind == "file":
                names.append(prefix + entry.name)
    return folders


def _kind(entry: os.DirEntry[str]) -> str:
    """'folder', 'file' or neither; a broken link is a file, so that reading it names the reason."""
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path)):
            return "file"
    except OSError:  # a link that leads to itself
        return "file"
    return ""
