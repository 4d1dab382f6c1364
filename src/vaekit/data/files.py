"""A tree of named files, whether it lies in a folder or in an archive: names, and how to read one."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

from vaekit.errors import UserError

__all__ = ["Files", "list_folder", "list_paths", "visible"]


@dataclass(frozen=True)
class Files:
    """Regular files under relative names with forward slashes, sorted, hidden ones left out."""

    where: str  #: how messages name the tree
    names: tuple[str, ...]
    read: Callable[[str], bytes]  #: all bytes of a file
    open: Callable[[str], IO[bytes]]  #: the file, to read its header alone
    skipped: tuple[tuple[str, str], ...] = ()  #: (name, reason) of what cannot be read at all

    def need(self, name: str) -> bytes:
        """All bytes of a file that nothing works without; :class:`UserError` if it cannot be read."""
        try:
            return self.read(name)
        except Exception as error:  # a folder and each kind of archive have their own
            raise UserError(f"{self.where}/{name} cannot be read ({error}); mend it or take it away") from error

    @staticmethod
    def read_whole(where: str, read: Callable[[str], bytes], names: list[str], skipped: list[tuple[str, str]]) -> Files:
        """Files for which reading the header means reading the whole."""
        return Files(where, tuple(sorted(names)), read, lambda name: BytesIO(read(name)), tuple(skipped))


def visible(name: str) -> bool:
    """Whether no step of the path is hidden.

    >>> visible("a/b.png"), visible("a/.b.png"), visible("__MACOSX/b.png")
    (True, False, False)
    """
    return not any(step.startswith(".") or step == "__MACOSX" for step in name.split("/"))


def list_folder(folder: Path) -> Files:
    """The files under a folder; links are followed, but in no loops. :class:`UserError` if denied."""
    names: list[str] = []
    skipped: list[tuple[str, str]] = []
    try:
        _walk(folder, "", (), names, skipped)
    except PermissionError as error:
        raise UserError(f"{folder} may not be read (permission denied); ask for access or name another") from error
    return Files(
        where=str(folder),
        names=tuple(sorted(names)),
        read=lambda name: (folder / name).read_bytes(),
        open=lambda name: (folder / name).open("rb"),
        skipped=tuple(skipped),
    )


def list_paths(paths: list[Path]) -> Files:
    """Single files in the order given, under their own names, or their paths where two names are equal."""
    short = [path.name for path in paths]
    names = short if len(set(short)) == len(short) else [path.as_posix() for path in paths]
    places = dict(zip(names, paths, strict=True))
    where = str(paths[0]) if len(paths) == 1 else f"the {len(paths)} files"
    return Files(where, tuple(names), lambda name: places[name].read_bytes(), lambda name: places[name].open("rb"))


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
            if entry.is_dir():
                try:
                    _walk(Path(entry.path), name + "/", (*above, here), names, skipped)
                except PermissionError:
                    skipped.append((name + "/", "permission denied"))
            elif entry.is_file() or not os.path.exists(entry.path):
                # a broken link is listed too, so that reading it names the reason
                names.append(name)
