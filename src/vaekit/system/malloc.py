"""Keep freed memory in the process, because the next training step needs it again."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["freed_memory_is_kept"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # of glibc's mallopt (malloc.h)
_NEVER = 2**31 - 1
_DEFAULT_MAPS = 65536
_LARGEST_THRESHOLD = 32 << 20  # upper limit of glibc's dynamic threshold, which any call of mallopt disables for good


@contextmanager
def freed_memory_is_kept() -> Iterator[None]:
    """Make the C library reuse freed memory during the body instead of returning large blocks to the system.

    Otherwise each step of the default ``vae`` requests 25 MB of new pages, which the system fills with zeros. At the
    end the memory is returned, and the thresholds are set to the values that glibc reaches by itself in a process that
    frees large blocks. Without glibc nothing changes.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is None or not hasattr(library, "mallopt"):
        yield
        return
    library.mallopt(_MMAP_MAX, 0)
    library.mallopt(_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        library.mallopt(_MMAP_MAX, _DEFAULT_MAPS)
        library.mallopt(_MMAP_THRESHOLD, _LARGEST_THRESHOLD)
        library.mallopt(_TRIM_THRESHOLD, 2 * _LARGEST_THRESHOLD)
        library.malloc_trim(0)
