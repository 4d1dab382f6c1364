"""Allocate pixel arrays in memory, or in a memory-mapped file if they would use too much memory.

A mapped file is in the cache folder without a name (on Windows it is deleted when closed), so it vanishes when the
process ends for any reason. The system moves its pages between memory and disk as needed.
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

from vaekit.errors import UserError, argument
from vaekit.system.number_text import size_text

__all__ = ["cache_folder", "copy", "empty", "is_large", "is_mapped", "make_room", "mapped_limit_bytes", "pack"]

_LIMIT = "VAEKIT_MAPPED_ABOVE_BYTES"
_FRACTION = 16  # the set, a copy of part of it, the model and other programs must all fit
_UNKNOWN_BYTES = 8 << 30  # assumed if the system does not report its memory


def empty(shape: tuple[int, ...]) -> np.ndarray:
    """Allocate an uninitialized uint8 array, in a mapped file if it exceeds :func:`mapped_limit_bytes`.

    Raises:
        UserError: If neither memory nor disk has enough space.
    """
    size_bytes = math.prod(shape)
    if size_bytes > mapped_limit_bytes():
        return np.ndarray(shape, np.uint8, buffer=_map_new_file(size_bytes))
    try:
        return np.empty(shape, np.uint8)
    except (MemoryError, ValueError) as error:
        raise UserError(
            f"the images need {size_text(size_bytes)} of memory; use a smaller {argument('size')}"
        ) from error


def copy(pixels: np.ndarray) -> np.ndarray:
    """Copy pixels into a new contiguous array."""
    out = empty(pixels.shape)
    np.copyto(out, pixels)
    return out


def pack(pixels: np.ndarray) -> np.ndarray:
    """Return the array itself if each image is contiguous, else a contiguous copy.

    >>> images = np.zeros((2, 4, 4, 3), np.uint8)
    >>> pack(images) is images, pack(np.moveaxis(images, 3, 1)).flags.c_contiguous
    (True, True)
    """
    # torch does not support negative strides
    is_strided = len(pixels) and not (pixels[0].flags.c_contiguous and pixels.strides[0] >= 0)
    return copy(pixels) if is_strided else pixels


def is_mapped(array: np.ndarray) -> bool:
    """Whether an array, or the array it is a view of, is in a memory-mapped file (of vaekit or numpy)."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    return isinstance(owner, mmap.mmap)


def is_large(array: np.ndarray) -> bool:
    """Whether an array is in a mapped file and may not fit into memory."""
    return is_mapped(array) and array.nbytes > mapped_limit_bytes()


def mapped_limit_bytes() -> int:
    """Return the size above which arrays are mapped: 1/16 of the memory, or ``$VAEKIT_MAPPED_ABOVE_BYTES``."""
    limit = os.environ.get(_LIMIT)
    if not limit:
        return _memory_bytes() // _FRACTION
    if not (limit.isascii() and limit.isdigit()):
        raise UserError(f"{_LIMIT} is {limit!r}; expected a number of bytes such as 1000000000")
    return int(limit)


def cache_folder() -> Path:
    """Return ``$VAEKIT_CACHE``, else ``$XDG_CACHE_HOME/vaekit``, else ``~/.cache/vaekit``; it may not exist yet."""
    own, shared = os.environ.get("VAEKIT_CACHE"), os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(own or Path(shared or "~/.cache", "vaekit")).expanduser()
    except RuntimeError as error:
        raise UserError("there is no home folder for the cache; set VAEKIT_CACHE to a folder") from error


def make_room(handle: int, size_bytes: int, folder: Path) -> None:
    """Reserve disk space for an open file in ``folder``; raises OSError if there is not enough."""
    status = os.fstat(handle)
    missing = size_bytes - getattr(status, "st_blocks", 0) * 512
    if shutil.disk_usage(folder).free < missing:
        # check first, because reserving would fill the disk before it fails
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
    """Reserve the space now. Writing to a hole of a mapped file on a full disk would kill the process (SIGBUS)."""
    os.ftruncate(handle, size_bytes)
    reserve = getattr(os, "posix_fallocate", None)  # missing on macOS and Windows
    try:
        if reserve:
            reserve(handle, 0, size_bytes)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):  # not supported by this file system
            raise


def _no_room(folder: Path, size_bytes: int, error: OSError) -> str:
    problem = f"the images need {size_text(size_bytes)} in a file in {folder} ({error.strerror or error}); "
    if error.errno == errno.ENOMEM:
        return problem + f"allow more address space (ulimit -v), or use a smaller {argument('size')}"
    return problem + f"set VAEKIT_CACHE to a folder with enough space, or use a smaller {argument('size')}"


@functools.cache
def _memory_bytes() -> int:
    """Return the memory that this process may use: that of the machine, or its limit if lower."""
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        machine = _UNKNOWN_BYTES
    return min([machine, *_group_limits(), *_address_limits()])


def _group_limits(own: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """Return the memory limits of the process's cgroup and its parents (Linux, cgroup v2)."""
    groups = [line[len("0::/") :] for line in _text(own).splitlines() if line.startswith("0::/")]
    folders = [folder for group in groups for folder in (root / group, *(root / group).parents)]
    texts = [_text(folder / "memory.max").strip() for folder in folders]
    return [int(text) for text in texts if text.isdigit()]  # "max" means no limit


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
