"""Memory that one step frees is what the next one needs: it is kept, instead of being handed to the system and back."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["freed_memory_is_kept"]

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of glibc's mallopt (malloc.h)
_NEVER, _DEFAULT_TRIM, _DEFAULT_MAPS = 2**31 - 1, 128 * 1024, 65536


@contextmanager
def freed_memory_is_kept() -> Iterator[None]:
    """While the body runs, the C library reuses what is freed; left alone it gives large blocks back at once.

    A step of the default ``vae`` then asks for 25 MB of fresh pages, which the system fills with zeros one by one. What
    is kept is given back at the end. That is for glibc; elsewhere only Python's collector is told to leave alone what
    was there before, a million objects of the libraries that it would walk through now and then.
    """
    gc.freeze()
    try:
        with _large_blocks_kept():
            yield
    finally:
        gc.unfreeze()


@contextmanager
def _large_blocks_kept() -> Iterator[None]:
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
        library.mallopt(_TRIM_THRESHOLD, _DEFAULT_TRIM)
        library.malloc_trim(0)
