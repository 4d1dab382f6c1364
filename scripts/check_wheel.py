"""Checks the wheel in a folder: ``python scripts/check_wheel.py dist``."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

__all__ = ["check"]

_LARGEST_BYTES = 10_000_000
_NEEDED = ("vaekit/py.typed", "vaekit/page/index.html", "vaekit/page/runtime/ort-wasm-simd-threaded.wasm")


def check(folder: Path) -> str:
    """Return name and size of the only wheel; exits with a message if it is incomplete or too large."""
    wheels = sorted(folder.glob("*.whl"))
    if len(wheels) != 1:
        sys.exit(f"{folder}: expected one wheel, found {len(wheels)}")
    wheel, size = wheels[0], wheels[0].stat().st_size
    with zipfile.ZipFile(wheel) as archive:
        missing = sorted(set(_NEEDED) - set(archive.namelist()))
    if missing:
        sys.exit(f"{wheel}: lacks {', '.join(missing)}; run 'make web' and build it again")
    if size > _LARGEST_BYTES:
        sys.exit(f"{wheel}: {size:,} bytes, expected at most {_LARGEST_BYTES:,}")
    return f"{wheel}: {size / 1e6:.1f} MB"


if __name__ == "__main__":
    print(check(Path(sys.argv[1])))
