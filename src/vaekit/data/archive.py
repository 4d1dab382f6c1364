"""Archives as trees of files: nothing is ever unpacked to the disk, and only regular files are looked at."""

from __future__ import annotations

import lzma
import posixpath
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vaekit.data.files import Files, visible
from vaekit.errors import UserError

__all__ = ["ARCHIVE_ENDINGS", "list_archive"]

ARCHIVE_ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

#: A member that unpacks to more is not read: no image is that large, a bomb is.
_LARGEST_BYTES = 1 << 29

_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError)


def list_archive(path: Path) -> Files:
    """The regular files of a .zip or .tar[.gz|.bz2|.xz]. Raises :class:`UserError` if the archive is damaged.

    A zip is read member by member when asked; a tar is read once, from front to back, and its files are
    kept packed as they are until decoded.
    """
    with _named(path):
        if zipfile.is_zipfile(path):
            return _list_zip(path)
        return _list_tar(path)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise UserError(f"{path} may not be read (permission denied); ask for access or name another") from error
    except _BROKEN as error:
        raise UserError(
            f"{path} is damaged or no archive ({error}); expected .zip, .tar or .tar.gz; fetch it again"
        ) from error


def _list_zip(path: Path) -> Files:
    archive = zipfile.ZipFile(path)
    members: dict[str, zipfile.ZipInfo] = {}
    skipped = []
    for info in archive.infolist():
        name = _clean(info.filename)
        mode = info.external_attr >> 16
        if name is None or info.is_dir():
            continue
        if (stat.S_IFMT(mode) and not stat.S_ISREG(mode)) or info.file_size > _LARGEST_BYTES:
            skipped.append((name, "a link in the archive" if stat.S_ISLNK(mode) else "not a file of sensible size"))
            continue
        members[name] = info
    return Files.read_whole(str(path), lambda name: archive.read(members[name]), list(members), skipped)


def _list_tar(path: Path) -> Files:
    contents: dict[str, bytes] = {}
    skipped = []
    with tarfile.open(path, "r:*") as archive:
        for member in archive:
            name = _clean(member.name)
            archive.members = []  # type: ignore[attr-defined]  # else it keeps a record of every member
            if name is None or member.isdir():
                continue
            file = archive.extractfile(member) if member.isreg() and member.size <= _LARGEST_BYTES else None
            if file is None:
                skipped.append((name, "a link in the archive" if member.issym() or member.islnk() else "not a file"))
                continue
            contents[name] = _read_all(file.read(), member.size)
    return Files.read_whole(str(path), contents.__getitem__, list(contents), skipped)


def _read_all(data: bytes, size: int) -> bytes:
    if len(data) < size:
        raise EOFError("it ends in the middle of a file")
    return data


def _clean(name: str) -> str | None:
    """The name without './' and the like; None for what is hidden or points outside."""
    name = posixpath.normpath(name.replace("\\", "/")).lstrip("/")
    return name if name not in ("", ".") and visible(name) else None
