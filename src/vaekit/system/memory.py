"""How much memory this process holds, as the system counts it, and how much there is."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["peak_resident_bytes", "physical_bytes", "resident_bytes"]

_STATUS = Path("/proc/self/status")


def physical_bytes() -> int | None:
    """The memory of this machine; None where the system does not say (Windows).

    >>> whole = physical_bytes()
    >>> whole is None or whole > 2**20
    True
    """
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def peak_resident_bytes() -> int | None:
    """The most memory that was resident at once, files that are mapped included; None where nobody counts."""
    if _STATUS.exists():  # where what is asked for below is no less than the parent held when it started this process
        return resident_bytes("VmHWM")
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def resident_bytes(kind: str = "VmRSS") -> int | None:
    """What is resident now: VmRSS in all, RssAnon without mapped files; None where nobody says (Linux does).

    >>> anonymous, whole = resident_bytes("RssAnon"), resident_bytes()
    >>> anonymous is None or 0 < anonymous < whole
    True
    """
    lines = _STATUS.read_text().splitlines() if _STATUS.exists() else []
    found = [line.split()[1] for line in lines if line.startswith(f"{kind}:")]
    return int(found[0]) * 1024 if found else None
