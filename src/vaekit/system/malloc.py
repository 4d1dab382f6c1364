"""Memory that one step frees is what the next one needs: it is kept, instead of being handed to the system and back."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["freed_memory_is_kept"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # of glibc's mallopt (malloc.h)
_NEVER = 2**31 - 1
_DEFAULT_MAPS = 65536
_LARGEST_THRESHOLD = 32 << 20  # where glibc's own rule ends, which any call of mallopt ends for good


@contextmanager
def freed_memory_is_kept() -> Iterator[None]:
    """While the body runs, the C library reuses what is freed; left alone it gives large blocks back at once.

    A step of the default ``vae`` then asks for 25 MB of fresh pages, which the system fills with zeros one by one. At
    the end what was kept is given back, and the thresholds are those that glibc comes to by itself in a process that
    frees large blocks. Only for glibc; elsewhere nothing is changed.
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
