"""Download files with known size and SHA-256.

The bytes go into a draft folder and are counted and hashed on the way. The file is synced and renamed only if both size
and checksum match. Data beyond the known size is never stored.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from vaekit.errors import UserError
from vaekit.system.drafts import draft
from vaekit.system.locks import wait_for_turn
from vaekit.system.notes import note

__all__ = ["Download", "fetch", "is_whole"]

_BLOCK_BYTES = 1 << 18
_TIMEOUT_SECONDS = 30.0  # without data
_SECONDS_BETWEEN_LINES = 15.0


@dataclass(frozen=True)
class Download:
    """A file with known content, and its URLs in order of preference."""

    name: str
    size_bytes: int
    sha256: str
    urls: tuple[str, ...]


class _Failed(Exception):
    """A URL did not deliver the file; the text says why."""


def fetch(title: str, files: Sequence[Download], folder: Path, otherwise: str) -> None:
    """Download the missing or damaged ``files`` into ``folder``, announcing network use on stderr.

    Args:
        title: Name of the files together, for messages.
        files: Files to download.
        folder: Destination.
        otherwise: Remedy if the download fails, for the message.

    Raises:
        UserError: If a file cannot be downloaded from any URL, does not match, or cannot be written.
    """
    if all(is_whole(folder / file.name, file) for file in files):
        return
    with _written_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with wait_for_turn(folder, lambda text: note(f"{title}: {text}")):
        missing = [file for file in files if not is_whole(folder / file.name, file)]
        size_bytes = sum(file.size_bytes for file in missing)
        if missing:
            place = missing[0].urls[0].rpartition("/")[0]
            # network use is always announced, even if the rest is quiet
            note(f"{title}: downloading {size_bytes / 1e6:,.1f} MB from {place}/ into {folder}")
        for file in missing:
            _fetch_one(title, file, folder, otherwise)


def is_whole(path: Path, file: Download) -> bool:
    """Whether the file exists with the expected size and checksum."""
    try:
        if path.stat().st_size != file.size_bytes:
            return False
        with path.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest() == file.sha256
    except OSError:
        return False


def _fetch_one(title: str, file: Download, folder: Path, otherwise: str) -> None:
    reasons: list[str] = []
    for url in file.urls:
        if reasons:
            note(f"{title}: {file.name}: {reasons[-1]}; trying {url}")
        try:
            with _replacing(folder / file.name) as write:
                for block in _checked(title, file, url):
                    write(block)
            return
        except _Failed as failed:
            reasons.append(f"{urlsplit(url).netloc}: {failed}")
    raise UserError(f"{title}: cannot download {file.name} ({'; '.join(reasons)}); {otherwise}")


def _checked(title: str, file: Download, url: str) -> Iterator[bytes]:
    """Yield the blocks of a file as they arrive; raises before the end if size or checksum are wrong."""
    digest, done_bytes, reported = hashlib.sha256(), 0, time.monotonic()
    for block in _blocks(url, file.size_bytes):
        digest.update(block)
        done_bytes += len(block)
        if time.monotonic() - reported > _SECONDS_BETWEEN_LINES:
            reported = time.monotonic()
            note(f"{title}: {done_bytes / 1e6:,.1f} of {file.size_bytes / 1e6:,.1f} MB of {file.name}")
        yield block
    if done_bytes != file.size_bytes:
        raise _Failed(f"it ended after {done_bytes:,} of {file.size_bytes:,} bytes")
    if digest.hexdigest() != file.sha256:
        raise _Failed("its SHA-256 differs from the expected one, so it is damaged or another file")


def _blocks(url: str, size_bytes: int) -> Iterator[bytes]:
    """Yield at most ``size_bytes`` of the response."""
    request = urllib.request.Request(url, headers={"User-Agent": "vaekit"})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:
            declared = answer.headers.get("Content-Length")
            if declared is not None and declared.strip() != str(size_bytes):
                raise _Failed(f"it has {declared[:20]} bytes, expected {size_bytes:,}")
            left_bytes = size_bytes
            while left_bytes and (block := answer.read(min(_BLOCK_BYTES, left_bytes))):
                left_bytes -= len(block)
                yield block
            if not left_bytes and answer.read(1):
                raise _Failed(f"it has more than the {size_bytes:,} bytes expected")
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _Failed(_reason(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(inner, TimeoutError):
        return "timeout"
    text = getattr(inner, "strerror", None) or str(inner) or type(inner).__name__
    return str(text).strip().splitlines()[0][:120]


@contextmanager
def _replacing(path: Path) -> Iterator[Callable[[bytes], None]]:
    """Yield a function that writes to a temporary file, which replaces ``path`` if the body succeeds."""
    path.with_name(f".{path.name}.part").unlink(missing_ok=True)  # left by an earlier version of vaekit
    with ExitStack() as stack:
        with _written_errors(path):
            temporary = stack.enter_context(draft(path.parent)) / path.name
            file = temporary.open("wb", buffering=0)
        with file:

            def write(block: bytes) -> None:
                with _written_errors(path):
                    file.write(block)

            yield write
            with _written_errors(path):
                os.fsync(file.fileno())
        with _written_errors(path):
            os.replace(temporary, path)


@contextmanager
def _written_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        problem = f"cannot write {path} ({error.strerror or error}); "
        raise UserError(problem + "set VAEKIT_CACHE to a folder with enough space") from error
