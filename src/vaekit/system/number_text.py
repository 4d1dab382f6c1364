"""Format numbers and nested values as lines of text, and as plain JSON.

Each name gets a line. A value with several parts (an attribute with its counts, a group of equal images) gets a line
per part below its name, at most twelve. Longer lists of numbers are shown as minimum, median and maximum.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import Any

from vaekit.errors import printable

__all__ = ["plain", "size_text", "text_lines"]

_MOST_ROWS = 12


def text_lines(values: Mapping[str, Any], more: str = "") -> list[str]:
    """Return the lines that show ``values``: numbers, text, and lists and mappings of them.

    Args:
        values: Values by name. A mean and its ``NAME_error`` share a line.
        more: Where to find values that are left out, such as ``"see --json"``.

    >>> for line in text_lines({"images": 1797, "psnr_db": 21.5, "psnr_db_error": 0.25}): print(line)
    images   1,797
    psnr_db  21.50 ± 0.25
    """
    values, hint = _with_errors(values), f" ({more})" if more else ""
    width = max((len(name) for name in values), default=0)
    lines = []
    for name, value in values.items():
        head, rows = _laid_out(value, hint)
        lines.append(f"{name:<{width}}  {head}".rstrip())
        lines += [f"  {row}" for row in rows[:_MOST_ROWS]]
        if len(rows) > _MOST_ROWS:
            lines.append(f"  and {len(rows) - _MOST_ROWS:,} more{hint}")
    return lines


def plain(value: Any) -> Any:
    """Convert a value for JSON: infinity (the PSNR of a perfect copy) and NaN become None.

    >>> plain({"psnr_db": float("inf"), "sizes": (1, 2)})
    {'psnr_db': None, 'sizes': [1, 2]}
    """
    if isinstance(value, Mapping):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def size_text(size_bytes: int) -> str:
    """Format a number of bytes.

    >>> size_text(400), size_text(813_700_000), size_text(3 << 29)
    ('400 bytes', '814 MB', '1.6 GB')
    """
    if size_bytes < 1e6:
        return f"{size_bytes:,} bytes"
    return f"{size_bytes / 1e6:,.0f} MB" if size_bytes < 1e9 else f"{size_bytes / 1e9:,.1f} GB"


def _with_errors(values: Mapping[str, Any]) -> dict[str, Any]:
    """Format a mean and its ``NAME_error`` as one text; errors of lists are left out."""
    errors = {name: values[f"{name}_error"] for name in values if values.get(f"{name}_error") is not None}
    beside = {f"{name}_error" for name in values}
    return {
        name: f"{_readable(value)} ± {_readable(errors[name])}"
        if name in errors and not isinstance(value, list)
        else value
        for name, value in values.items()
        if name not in beside
    }


def _laid_out(value: Any, hint: str) -> tuple[str, list[str]]:
    """Return the text beside the name, and the lines below it."""
    if isinstance(value, Mapping):
        groups = [key for key, v in value.items() if _is_table(v)]
        if groups:
            rest = {key: v for key, v in value.items() if key not in groups}
            return _readable(rest) if rest else "", [_readable(row) for key in groups for row in value[key]]
        if any(isinstance(v, Mapping) for v in value.values()):
            return "", [f"{printable(str(name))}: {_readable(v)}" for name, v in value.items()]
    if isinstance(value, list) and any(isinstance(v, Mapping) for v in value):
        return "", [": ".join(map(_readable, v.values())) if isinstance(v, Mapping) else _readable(v) for v in value]
    if isinstance(value, list) and len(value) > _MOST_ROWS and all(isinstance(v, float) for v in value):
        least, middle, most = (_readable(each) for each in (min(value), statistics.median(value), max(value)))
        return f"{least} to {most}, median {middle}, of {len(value):,}{hint}", []
    if isinstance(value, list) and any(map(_is_phrase, value)):
        return "", [_readable(v) for v in value]
    return _readable(value), []


def _is_table(value: Any) -> bool:
    """Whether a value is a list of groups, or an empty list, for which nothing is shown."""
    return isinstance(value, list) and all(isinstance(row, list) for row in value)


def _is_phrase(value: Any) -> bool:
    return isinstance(value, str) and " " in value


def _readable(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1 else f"{value:,.2f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{printable(str(k))}{':' * _is_phrase(v)} {_readable(v)}" for k, v in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(_readable(v) for v in value) or "none"
    return "none" if value is None else printable(str(value))
