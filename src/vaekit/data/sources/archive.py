"""Read archives as trees of files. Nothing is extracted under its own name, and only regular files are read.

A compressed tar is decompressed once, into an unnamed file in the cache folder, because its members cannot be read
individually.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import posixpath
import stat
import tarfile
import tempfile
import weakref
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from vaekit.data.ingest.files import Files, stamp_of, visible
from vaekit.data.ingest.mapped import cache_folder
from vaekit.errors import UserError
from vaekit.pixels.byte_ranges import LARGEST_BYTES, Span
from vaekit.system.number_text import size_text

__all__ = ["ARCHIVE_ENDINGS", "list_archive"]

ARCHIVE_ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

_METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated", zipfile.ZIP_BZIP2: "bzip2"}
_PACKED: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_BROKEN = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(EOFError, OSError, ValueError, RuntimeError),
)

# An archive that expands to more than this is a bomb: images hardly compress.
_MOST_TIMES = 100
_ALWAYS_ALLOWED_BYTES = 1 << 30
_LARGEST_HEADER_BYTES = 1 << 24
_MOST_FILES = 20_000_000
_PIECE_BYTES = 1 << 20


def list_archive(path: Path) -> Files:
    """List the regular files of a .zip or .tar[.gz|.bz2|.xz] archive.

    Raises:
        UserError: If the archive is damaged, or expands to more than 100 times its size plus 1 GB.
    """
    stamp = stamp_of(path)  # taken first, so that the content may be newer than the stamp but never older
    with _archive_errors(path):
        spans, skipped = _zip_spans(path) if _is_zip(path) else _tar_spans(path)
    return Files(
        where=str(path),
        names=tuple(sorted(spans)),
        span=spans.__getitem__,
        skipped=tuple(skipped),
        handles=tuple({span.source for span in spans.values() if isinstance(span.source, int)}),
        place=str(path.resolve()),
        stamps=lambda names: np.tile(np.array(stamp, np.int64), (len(names), 1)),
    )


@contextmanager
def _archive_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except PermissionError as error:
        raise UserError(f"cannot read {path} (permission denied); request access, or name another file") from error
    except _BROKEN as error:
        raise UserError(
            f"{path} is damaged or not an archive ({error}); expected .zip, .tar or .tar.gz; download it again"
        ) from error


def _is_zip(path: Path) -> bool:
    """Decide by the first bytes, because a tar that ends with a zip file looks like a zip file from its end."""
    with path.open("rb") as file:
        start = file.read(512)
    return start.startswith(b"PK") or (start[257:262] != b"ustar" and zipfile.is_zipfile(path))


def _zip_spans(path: Path) -> tuple[dict[str, Span], list[tuple[str, str]]]:
    spans: dict[str, Span] = {}
    skipped = []
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    _refuse_bomb(path, sum(member.file_size for member in members), len(members))
    if sum(member.compress_size for member in members) > path.stat().st_size:
        raise zipfile.BadZipFile("its files overlap")
    where = str(path.resolve())
    for member in members:
        name = _clean(member.filename)
        if name is None or member.is_dir():
            continue
        why = _unreadable(member)
        if why:
            skipped.append((name, why))
            continue
        method = _METHODS[member.compress_type]
        spans[name] = Span(where, member.header_offset, member.compress_size, method, member.file_size, member.CRC)
    return spans, skipped


def _unreadable(member: zipfile.ZipInfo) -> str | None:
    mode = member.external_attr >> 16
    if stat.S_IFMT(mode) and not stat.S_ISREG(mode):
        return "a link in the archive" if stat.S_ISLNK(mode) else "not a file"
    if member.file_size > LARGEST_BYTES:
        return f"unpacks to {size_text(member.file_size)}; the limit for one file is {size_text(LARGEST_BYTES)}"
    if member.flag_bits & 1:
        return "protected by a password"
    if member.compress_type not in _METHODS:
        return f"compressed by method {member.compress_type}; only stored, deflate and bzip2 are supported"
    return None


def _tar_spans(path: Path) -> tuple[dict[str, Span], list[tuple[str, str]]]:
    with path.open("rb") as start:
        magic = start.read(6)
    unpack = next((unpack for mark, unpack in _PACKED.items() if magic.startswith(mark)), None)
    spool = _spool(path) if unpack else None
    spans = _Spans()
    if spool is not None:
        weakref.finalize(spans, spool.close)
    skipped = []
    size = path.stat().st_size
    where = str(path.resolve())
    with unpack(path, "rb") if unpack else path.open("rb") as raw:
        file = _Bounded(raw)
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for count, member in enumerate(archive):
                name = _clean(member.name)
                archive.members = []  # type: ignore[attr-defined]  # otherwise it keeps a record of every member
                _refuse_bomb(path, member.offset_data + member.size if unpack else 0, count)
                if name is None or member.isdir():
                    continue
                if not member.isreg() or member.issparse() or member.size > LARGEST_BYTES:
                    skipped.append((name, _skip_reason(member)))
                elif spool is None:
                    if member.offset_data + member.size > size:
                        raise EOFError("it ends in the middle of a file")
                    spans[name] = Span(where, member.offset_data, member.size)
                else:
                    spans[name] = _copy(file, member, spool)
    if spool is not None:
        with _space_errors():
            spool.flush()
    return spans, skipped


@contextmanager
def _space_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"not enough space to unpack the archive in {cache_folder()} ({error.strerror or error}); "
            "set VAEKIT_CACHE to a folder with more space"
        ) from error


class _Spans(dict[str, Span]):
    """Spans by name. The decompressed copy of an archive is closed when its spans are no longer used."""


class _Bounded(io.RawIOBase):
    """A file that refuses large reads, because tarfile reads a header in full, whatever length it declares."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        """Read at most 16 MB."""
        if not 0 <= size <= _LARGEST_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of more than {size_text(_LARGEST_HEADER_BYTES)}")
        return bytes(self._file.read(size))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Seek in the underlying file."""
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        """Return the position in the underlying file."""
        return int(self._file.tell())


def _skip_reason(member: tarfile.TarInfo) -> str:
    if member.issym() or member.islnk():
        return "a link in the archive"
    if member.isreg() and member.size > LARGEST_BYTES:
        return f"unpacks to {size_text(member.size)}; the limit for one file is {size_text(LARGEST_BYTES)}"
    return "not a file"


def _spool(path: Path) -> IO[bytes]:
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # closed with its spans
    except OSError as error:
        raise UserError(
            f"{path} must be unpacked into {folder} ({error.strerror or error}); set VAEKIT_CACHE to another folder"
        ) from error


def _copy(file: _Bounded, member: tarfile.TarInfo, spool: IO[bytes]) -> Span:
    """Append the bytes of a member to the decompressed copy."""
    offset, left = spool.tell(), member.size
    file.seek(member.offset_data)
    while left:
        piece = file.read(min(left, _PIECE_BYTES))
        if not piece:
            raise EOFError("it ends in the middle of a file")
        with _space_errors():
            spool.write(piece)
        left -= len(piece)
    return Span(spool.fileno(), offset, member.size)


def _refuse_bomb(path: Path, unpacked_bytes: int, count: int) -> None:
    most = _MOST_TIMES * path.stat().st_size + _ALWAYS_ALLOWED_BYTES
    if unpacked_bytes > most:
        raise UserError(
            f"{path} unpacks to more than {size_text(most)} (the limit: {_MOST_TIMES} times its size plus 1 GB); "
            "if this is correct, unpack it yourself and pass the folder"
        )
    if count > _MOST_FILES:
        raise UserError(f"{path} contains more than {_MOST_FILES:,} files, the limit; split it")


def _clean(name: str) -> str | None:
    """Normalize a member name; None if it is hidden or points outside of the archive."""
    name = posixpath.normpath(name.replace("\\", "/")).lstrip("/")
    return name if name not in ("", ".") and visible(name) else None
