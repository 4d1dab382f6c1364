"""Files that are written whole or not at all, and tensors that are read without unpickling."""

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
    """Writes a file whole or not at all; a full disk is a :class:`UserError` and leaves nothing behind."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(data)


def atomic_write_text(path: Path, text: str) -> None:
    """:func:`atomic_write_bytes` of UTF-8 text; what UTF-8 cannot hold is written out."""
    atomic_write_bytes(path, text.encode("utf-8", "backslashreplace"))


def save_tensors(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Writes named tensors and a few JSON facts as one safetensors file, atomically."""
    contiguous = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    with replacing(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode  # what the user's umask gives; the writer alone would keep the file private
        save_file(contiguous, temporary, sums.metadata_of(facts))
        sums.seal(temporary)
        temporary.chmod(mode)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The inverse of :func:`save_tensors`; a damaged file is a :class:`UserError`."""
    with opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, sums.facts_in(file.metadata())  # noqa: SIM118


def load_facts(path: Path) -> dict[str, Any]:
    """The facts that :func:`save_tensors` wrote, without the tensors."""
    with opened(path) as file:
        return sums.facts_in(file.metadata())


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A safetensors file of ours whose checksum has been compared."""
    with readable(path):
        sums.check(path)
        with safe_open(path, framework="pt") as file:
            yield file


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """What is wrong with a file as a :class:`UserError`."""
    try:
        check_plain(path)
        yield
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; the run was not trained far enough, repeat its train command") from error
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}); repeat the train command to write it again") from error


def file_digest(path: Path) -> str | None:
    """The SHA-256 of a file, if it is there."""
    if not os.path.lexists(path):
        return None
    with readable(path), open_plain(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path in a draft folder; when the body ends well the file is synced and takes the place of ``path``."""
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
    try:
        yield
    except OddFile as error:
        raise UserError(f"cannot write {path}: it is {error}; remove it") from error
    except (OSError, SafetensorError) as error:
        number = getattr(error, "errno", None) or _system_error(str(error))
        if number is None:
            raise
        raise UserError(f"cannot write {path}: {_DISK_REASONS.get(number) or os.strerror(number)}") from error


def _system_error(text: str) -> int | None:
    """The number in a message of the tensor writer, which has no ``errno``: ``... (os error 28)``."""
    found = re.search(r"os error (\d+)", text)
    return int(found[1]) if found else None


def sync_folder(folder: Path) -> None:
    """Makes renamings in a folder last."""
    if os.name != "posix":  # Windows cannot open a folder to sync it
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_DISK_REASONS = {
    errno.ENOSPC: "no space left on the disk; free some and repeat the command",
    errno.EDQUOT: "your disk quota is used up; free some space and repeat the command",
    errno.EFBIG: "the file is larger than the disk or your account (ulimit -f) allows; choose another place",
    errno.EACCES: "permission denied; choose another place",
    errno.EPERM: "permission denied; choose another place",
    errno.EROFS: "the disk is read-only; choose another place",
    errno.EISDIR: "a folder of that name stands there; choose another name",
    errno.ENOTDIR: "part of that path is a file; choose another place",
}
