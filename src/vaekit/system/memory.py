"""Memory of this process and of this machine, as reported by the system."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["peak_resident_bytes", "physical_bytes", "resident_bytes"]

_STATUS = Path("/proc/self/status")


def physical_bytes() -> int | None:
    """Return the memory of this machine in bytes, or None where the system does not report it (Windows).

    >>> total = physical_bytes()
    >>> total is None or total > 2**20
    True
    """
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def peak_resident_bytes() -> int | None:
    """Return the peak resident memory in bytes, including mapped files, or None where it is not reported (Windows)."""
    if _STATUS.exists():  # on Linux, ru_maxrss starts at the peak of the parent process
        return resident_bytes("VmHWM")
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def resident_bytes(kind: str = "VmRSS") -> int | None:
    """Return the current resident memory in bytes, or None outside of Linux.

    Args:
        kind: ``VmRSS`` for all memory, ``RssAnon`` without mapped files, ``VmHWM`` for the peak.

    >>> anonymous, total = resident_bytes("RssAnon"), resident_bytes()
    >>> anonymous is None or 0 < anonymous < total
    True
    """
    lines = _STATUS.read_text().splitlines() if _STATUS.exists() else []
    values = [line.split()[1] for line in lines if line.startswith(f"{kind}:")]
    return int(values[0]) * 1024 if values else None
