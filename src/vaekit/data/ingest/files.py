"""A tree of named files in a folder or an archive."""

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
from vaekit.pixels.byte_ranges import Readable, Span
from vaekit.pixels.decode import IMAGE_ENDINGS
from vaekit.system.regular_files import odd_kind

__all__ = ["NOT_A_FILE", "Files", "list_folder", "list_paths", "stamp_of", "visible"]


NOT_A_FILE = ", not a file"  #: end of the reason why a pipe or device is skipped

_MOST_VISITS = 16  # to one folder through links; two links per folder would double the visits with every level


@dataclass(frozen=True)
class Files:
    """Regular files by relative name with forward slashes, sorted, without hidden files."""

    where: str  #: name of the tree in messages
    names: tuple[str, ...]
    span: Callable[[str], Readable]  #: returns the location of a file's bytes
    skipped: tuple[tuple[str, str], ...] = ()  #: (name, reason) of entries that cannot be read
    handles: tuple[int, ...] = ()  #: open file descriptors that spans refer to
    place: str = ""  #: absolute path of the tree; "" for a list of files
    #: Size and change times (ns) of N names, int64 [N, 3]. Equal stamps mean that a file need not be read again.
    stamps: Callable[[Sequence[str]], np.ndarray] = lambda names: np.full((len(names), 3), -1, np.int64)

    def read(self, name: str) -> bytes:
        """Read a file; raises OSError or ValueError if that fails."""
        return self.span(name).read()

    def open(self, name: str) -> IO[bytes]:
        """Open a file, to read its header."""
        span = self.span(name)
        if isinstance(span, Span) and span.length is None:
            return open(span.source, "rb")
        return BytesIO(span.read())

    def need(self, name: str) -> bytes:
        """Read a required file; raises :class:`UserError` if that fails."""
        try:
            return self.read(name)
        except Exception as error:  # the exception depends on the kind of archive
            raise UserError(f"{self.where}/{name} cannot be read ({error}); repair or remove it") from error


def visible(name: str) -> bool:
    """Whether no part of the path is hidden.

    >>> visible("a/b.png"), visible("a/.b.png"), visible("__MACOSX/b.png")
    (True, False, False)
    """
    return not any(step.startswith(".") or step == "__MACOSX" for step in name.split("/"))


def stamp_of(path: str | Path) -> tuple[int, int, int]:
    """Return (size, mtime, ctime), times in nanoseconds; all -1 if the file does not exist."""
    try:
        status = os.stat(path)
    except OSError:
        return -1, -1, -1
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def list_folder(folder: Path) -> Files:
    """List the files below a folder. Links are followed, but not in loops, and at most 16 times to one folder.

    Raises:
        UserError: If the folder is not readable.
    """
    names: list[str] = []
    skipped: list[tuple[str, str]] = []
    try:
        _walk(folder, names, skipped)
    except PermissionError as error:
        raise UserError(f"cannot read {folder} (permission denied); request access, or name another folder") from error
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
    """List single files in the given order, by file name, or by path if two names are equal."""
    short = [path.name for path in paths]
    names = short if len(set(short)) == len(short) else [path.as_posix() for path in paths]
    places = dict(zip(names, paths, strict=True))
    where = str(paths[0]) if len(paths) == 1 else f"the {len(paths):,} files"
    return Files(where, tuple(names), lambda name: Span(str(places[name])))


class _Place(NamedTuple):
    """A folder, identified by device and inode, and the folder it was reached from."""

    key: tuple[int, int]
    above: _Place | None

    def is_loop(self) -> bool:
        place = self.above
        while place is not None and place.key != self.key:
            place = place.above
        return place is not None


def _walk(folder: Path, names: list[str], skipped: list[tuple[str, str]]) -> None:
    """Collect the files below a folder, at any depth."""
    visits: Counter[tuple[int, int]] = Counter()
    like_images: list[str] = []  # folders
    waiting: list[tuple[str, str, _Place | None]] = [(str(folder), "", None)]
    while waiting:
        path, prefix, above = waiting.pop()
        try:
            status = os.stat(path)
            place = _Place((status.st_dev, status.st_ino), above)
            if place.is_loop():
                skipped.append((prefix, "a link to a folder that it is in"))
                continue
            visits[place.key] += 1
            if visits[place.key] > _MOST_VISITS:
                skipped.append((prefix, f"links lead to this folder more than {_MOST_VISITS} times"))
                continue
            folders = _scan(path, prefix, names, skipped)
        except OSError as error:
            if not prefix:
                raise
            skipped.append((prefix, (error.strerror or "cannot be read").lower()))
            continue
        waiting += [(below, f"{name}/", place) for below, name in reversed(folders)]
        like_images += [f"{name}/" for _, name in folders if name.lower().endswith(IMAGE_ENDINGS)]
    skipped += [(name, "a folder, and empty") for name in like_images if not _holds_any(name, names)]


def _holds_any(folder: str, names: list[str]) -> bool:
    return any(name.startswith(folder) for name in names)


def _scan(path: str, prefix: str, names: list[str], skipped: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Append the files of a folder to ``names``, pipes and devices to ``skipped``; return its subfolders."""
    folders = []
    with os.scandir(path) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            kind = _kind(entry) if visible(entry.name) else ""
            if kind == "folder":
                folders.append((entry.path, prefix + entry.name))
            elif kind == "file":
                names.append(prefix + entry.name)
            elif visible(entry.name):
                what = odd_kind(Path(entry.path).resolve()) or "something else"
                skipped.append((prefix + entry.name, what + NOT_A_FILE))
    return folders


def _kind(entry: os.DirEntry[str]) -> str:
    """Return 'folder', 'file' or ''. A broken link counts as a file, so that reading it reports the reason."""
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path)):
            return "file"
    except OSError:  # a link to itself
        return "file"
    return ""
