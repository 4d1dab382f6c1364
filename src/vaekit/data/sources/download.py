"""Files from the network, each whole and as known or not there at all.

size and SHA-256 are known beforehand: bytes go into a draft folder, are counted and hashed on the way, and only what is
as long as it should be and has the right sum is synced and renamed. No byte beyond the known size is kept.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
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
_TIMEOUT_SECONDS = 30.0  # of silence, not of the whole
_SECONDS_BETWEEN_LINES = 15.0


@dataclass(frozen=True)
class Download:
    """A file whose content is known, and where it can be had; the first address that gives it counts."""

    name: str
    size_bytes: int
    sha256: str
    urls: tuple[str, ...]


class _Failed(Exception):
    """One address did not give the file; the text says why."""


def fetch(title: str, files: Sequence[Download], folder: Path, otherwise: str) -> None:
    """Sees to it that all ``files`` lie whole in ``folder``; says on stderr what it fetches before it asks the network.

    Arguments: title, what the files are together; otherwise, what to do where they cannot be had.
    Raises :class:`UserError` if a file can be had nowhere, is not as it should be, or cannot be written.
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
            # what uses the network is said however quiet the rest is
            note(f"{title}: fetching {size_bytes / 1e6:,.1f} MB from {place}/ into {folder}")
        for file in missing:
            _fetch_one(title, file, folder, otherwise)


def is_whole(path: Path, file: Download) -> bool:
    """Whether the file is there, with the length and the sum that it should have."""
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
    raise UserError(f"{title}: {file.name} could not be fetched ({'; '.join(reasons)}); {otherwise}")


def _checked(title: str, file: Download, url: str) -> Iterator[bytes]:
    """The blocks of a file as they come; raises before the end if they are not what they should be."""
    digest, done_bytes, said = hashlib.sha256(), 0, time.monotonic()
    for block in _blocks(url, file.size_bytes):
        digest.update(block)
        done_bytes += len(block)
        if time.monotonic() - said > _SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            note(f"{title}: {done_bytes / 1e6:,.1f} of {file.size_bytes / 1e6:,.1f} MB of {file.name}")
        yield block
    if done_bytes != file.size_bytes:
        raise _Failed(f"it ended after {done_bytes:,} of {file.size_bytes:,} bytes")
    if digest.hexdigest() != file.sha256:
        raise _Failed("its SHA-256 is not the one that is known, so it is damaged or another file")


def _blocks(url: str, size_bytes: int) -> Iterator[bytes]:
    """At most ``size_bytes`` of what an address gives."""
    request = urllib.request.Request(url, headers={"User-Agent": "vaekit"})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:
            told = answer.headers.get("Content-Length")
            if told is not None and told.strip() != str(size_bytes):
                raise _Failed(f"it has {told[:20]} bytes, expected {size_bytes:,}")
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
        return "no answer in time"
    text = getattr(inner, "strerror", None) or str(inner) or type(inner).__name__
    return str(text).strip().splitlines()[0][:120]


@contextmanager
def _replacing(path: Path) -> Iterator:
    """A function that writes to a temporary file, which takes the place of ``path`` when the body ends well."""
    path.with_name(f".{path.name}.part").unlink(missing_ok=True)  # what a killed process of an earlier version left
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
        said = f"cannot write {path} ({error.strerror or error}); "
        raise UserError(said + "set VAEKIT_CACHE to a folder where there is room") from error
