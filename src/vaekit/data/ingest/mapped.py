"""Room for pixels: memory or, where they would take too much of it, a file that is mapped into memory.

A mapped file lies in the cache folder, has no name there (on Windows: the system removes it when it is closed), and so
is gone when the process ends, however that comes about. The system moves its pages to the disk and back as it needs.
"""

from __future__ import annotations

import errno
import functools
import math
import mmap
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from vaekit.errors import UserError

__all__ = ["cache_folder", "copy", "empty", "is_large", "is_mapped", "make_room", "mapped_limit_bytes", "pack"]

_LIMIT = "VAEKIT_MAPPED_ABOVE_BYTES"
_FRACTION = 16  # the set, a copy of a part of it, the model and the rest of the machine all have to fit
_UNKNOWN_BYTES = 8 << 30  # taken for the memory of a machine that does not tell


def empty(shape: tuple[int, ...]) -> np.ndarray:
    """An uint8 array whose values are yet to be written, in a mapped file if larger than the limit.

    Raises :class:`UserError` if neither the memory nor the disk has room for it.
    """
    size_bytes = math.prod(shape)
    if size_bytes > mapped_limit_bytes():
        return np.ndarray(shape, np.uint8, buffer=_map_new_file(size_bytes))
    try:
        return np.empty(shape, np.uint8)
    except (MemoryError, ValueError) as error:
        raise UserError(f"the images need {_gigabytes(size_bytes)} of memory; give a smaller --size") from error


def copy(pixels: np.ndarray) -> np.ndarray:
    """The same pixels in an array of their own, contiguous and writable."""
    out = empty(pixels.shape)
    np.copyto(out, pixels)
    return out


def pack(pixels: np.ndarray) -> np.ndarray:
    """The array itself if each image lies in one piece, else a copy where that is so.

    >>> images = np.zeros((2, 4, 4, 3), np.uint8)
    >>> pack(images) is images, pack(np.moveaxis(images, 3, 1)).flags.c_contiguous
    (True, True)
    """
    # torch takes no negative strides
    in_pieces = len(pixels) and not (pixels[0].flags.c_contiguous and pixels.strides[0] >= 0)
    return copy(pixels) if in_pieces else pixels


def is_mapped(array: np.ndarray) -> bool:
    """Whether the array, or what it is a view of, lies in a mapped file, ours or one that numpy opened."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    return isinstance(owner, mmap.mmap)


def is_large(array: np.ndarray) -> bool:
    """Whether the array lies in a mapped file and may not fit into memory."""
    return is_mapped(array) and array.nbytes > mapped_limit_bytes()


def mapped_limit_bytes() -> int:
    """Arrays above this size are mapped: a sixteenth of the memory, or ``$VAEKIT_MAPPED_ABOVE_BYTES``."""
    asked = os.environ.get(_LIMIT)
    if not asked:
        return _memory_bytes() // _FRACTION
    if not (asked.isascii() and asked.isdigit()):
        raise UserError(f"{_LIMIT} is {asked!r}; expected a number of bytes, as in 1000000000")
    return int(asked)


def cache_folder() -> Path:
    """``$VAEKIT_CACHE``, else ``$XDG_CACHE_HOME/vaekit``, else ``~/.cache/vaekit``; it need not exist yet."""
    own, shared = os.environ.get("VAEKIT_CACHE"), os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(own or Path(shared or "~/.cache", "vaekit")).expanduser()
    except RuntimeError as error:
        raise UserError("there is no home folder to keep large images in; set VAEKIT_CACHE to a folder") from error


def make_room(handle: int, size_bytes: int, folder: Path) -> None:
    """Gives an open file in ``folder`` its full size; OSError where the disk has no room for it."""
    status = os.fstat(handle)
    missing = size_bytes - getattr(status, "st_blocks", 0) * 512
    if shutil.disk_usage(folder).free < missing:
        # asked first: reserving would fill the disk for a moment, to the harm of others, before it fails
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    _reserve(handle, size_bytes)


def _map_new_file(size_bytes: int) -> mmap.mmap:
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            make_room(file.fileno(), size_bytes, folder)
            return mmap.mmap(file.fileno(), size_bytes)
    except OSError as error:
        raise UserError(_no_room(folder, size_bytes, error)) from error


def _reserve(handle: int, size_bytes: int) -> None:
    """Takes the room now: where a hole in a mapped file finds the disk full later, the process is killed (SIGBUS)."""
    os.ftruncate(handle, size_bytes)
    reserve = getattr(os, "posix_fallocate", None)  # not on macOS and Windows
    try:
        if reserve:
            reserve(handle, 0, size_bytes)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):  # not every disk can
            raise


def _no_room(folder: Path, size_bytes: int, error: OSError) -> str:
    said = f"the images need {_gigabytes(size_bytes)} in a file in {folder} ({error.strerror or error}); "
    if error.errno == errno.ENOMEM:
        return said + "allow more address space (ulimit -v), or give a smaller --size"
    return said + "set VAEKIT_CACHE to a folder with that much room, or give a smaller --size"


def _gigabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:,.1f} GB"


@functools.cache
def _memory_bytes() -> int:
    """What this process may use: the memory of the machine, or less if it is held to less."""
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        machine = _UNKNOWN_BYTES
    return min([machine, *_group_limits(), *_address_limits()])


def _group_limits(own: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """The limits that Linux (cgroup v2) sets for the group of this process and for the groups around it."""
    groups = [line[len("0::/") :] for line in _text(own).splitlines() if line.startswith("0::/")]
    folders = [folder for group in groups for folder in (root / group, *(root / group).parents)]
    texts = [_text(folder / "memory.max").strip() for folder in folders]
    return [int(text) for text in texts if text.isdigit()]  # else it says max


def _address_limits() -> list[int]:
    try:
        import resource
    except ImportError:  # Windows
        return []
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return [] if soft == resource.RLIM_INFINITY else [soft]


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
