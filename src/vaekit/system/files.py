"""Write files atomically, and read tensors without unpickling."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vaekit.errors import UserError
from vaekit.system import checksums as sums
from vaekit.system.drafts import draft
from vaekit.system.regular_files import OddFile, check_plain, open_plain

__all__ = [
    "atomic_write_bytes",
    "atomic_write_text",
    "disk_errors",
    "file_digest",
    "load_facts",
    "load_tensors",
    "opened",
    "readable",
    "replacing",
    "save_tensors",
    "sync_folder",
]


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically.

    Raises:
        UserError: If the disk is full or not writable. No partial file is left behind.
    """
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(data)


def atomic_write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with :func:`atomic_write_bytes`; characters that UTF-8 cannot encode are escaped."""
    atomic_write_bytes(path, text.encode("utf-8", "backslashreplace"))


def save_tensors(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Atomically write named tensors and a few JSON facts as one sealed safetensors file."""
    contiguous = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    with replacing(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode  # follows the user's umask, whereas safetensors creates private files
        save_file(contiguous, temporary, sums.metadata_of(facts))
        sums.seal(temporary)
        temporary.chmod(mode)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`save_tensors` wrote; raises :class:`UserError` if the file is missing or damaged."""
    with opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, sums.facts_in(file.metadata())  # noqa: SIM118


def load_facts(path: Path) -> dict[str, Any]:
    """Read the facts that :func:`save_tensors` wrote, without the tensors."""
    with opened(path) as file:
        return sums.facts_in(file.metadata())


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a safetensors file after verifying its checksum."""
    with readable(path):
        sums.check(path)
        with safe_open(path, framework="pt") as file:
            yield file


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn errors that occur while a file of a run is read into :class:`UserError`."""
    try:
        check_plain(path)
        yield
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; repeat the training to create it") from error
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({_reason(error)}); repeat the training to write it again") from error


def _reason(error: Exception) -> str:
    """Describe briefly why a file could not be read."""
    if isinstance(error, SafetensorError | UnicodeDecodeError | RecursionError):
        return "it is damaged"
    return (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)


def file_digest(path: Path) -> str | None:
    """Return the SHA-256 of a file in hexadecimal, or None if it does not exist."""
    if not os.path.lexists(path):
        return None
    with readable(path), open_plain(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path; if the body succeeds, that file is synced and replaces ``path``."""
    path = Path(path)
    with disk_errors(path), draft(path.parent) as folder:
        temporary = folder / path.name
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn errors that occur while ``path`` is written into :class:`UserError` with a remedy."""
    try:
        yield
    except OddFile as error:
        raise UserError(f"cannot write {path}: it is {error}; remove it first") from error
    except (OSError, SafetensorError) as error:
        number = getattr(error, "errno", None) or _system_error(str(error))
        if number is None:
            raise
        raise UserError(f"cannot write {path}: {_DISK_REASONS.get(number) or os.strerror(number)}") from error


def _system_error(text: str) -> int | None:
    """Parse the errno from a message of safetensors, which has no ``errno`` attribute: ``... (os error 28)``."""
    match = re.search(r"os error (\d+)", text)
    return int(match[1]) if match else None


def sync_folder(folder: Path) -> None:
    """Sync a folder, so that renames in it survive a power failure."""
    if os.name != "posix":  # Windows cannot open folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_DISK_REASONS = {
    errno.ENOSPC: "no space left on the disk; free some space and repeat the command",
    errno.EDQUOT: "your disk quota is used up; free some space and repeat the command",
    errno.EFBIG: "the file is larger than the disk or your account (ulimit -f) allows; choose another location",
    errno.EACCES: "permission denied; choose another location",
    errno.EPERM: "permission denied; choose another location",
    errno.EROFS: "the disk is read-only; choose another location",
    errno.EISDIR: "it is a folder; choose another name",
    errno.ENOTDIR: "part of the path is a file; choose another location",
}
