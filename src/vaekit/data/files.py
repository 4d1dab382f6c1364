"""A tree of named files, whether it lies in a folder or in an archive: names, and how to read one."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np

from vaekit.errors import UserError
from vaekit.pixels.spans import Readable, Span

__all__ = ["Files", "list_folder", "list_paths", "stamp_of", "visible"]


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
    """The files under a folder; links are followed, but in no loops. :class:`UserError` if denied."""
    names: list[str] = []
    skipped: list[tuple[str, str]] = []
    try:
        _walk(folder, "", (), names, skipped)
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


def _walk(
    folder: Path,
    prefix: str,
    above: tuple[tuple[int, int], ...],
    names: list[str],
    skipped: list[tuple[str, str]],
) -> None:
    status = folder.stat()
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            name = prefix + entry.name
            if not visible(entry.name):
                continue
            kind = _kind(entry)
            if kind == "folder":
                try:
                    _walk(Path(entry.path), name + "/", (*above, here), names, skipped)
                except OSError as error:
                    skipped.append((name + "/", (error.strerror or "cannot be read").lower()))
            elif kind == "file":
                names.append(name)


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
