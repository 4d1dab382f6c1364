"""Format and parse durations."""

from __future__ import annotations

import re

from vaekit.errors import UserError

__all__ = ["duration_text", "parse_duration"]

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_MOST_HOURS = 100_000


def duration_text(seconds: float) -> str:
    """Format a duration in seconds.

    >>> duration_text(42), duration_text(75), duration_text(7300)
    ('42s', '1m 15s', '2h 01m')
    """
    whole = round(max(0.0, seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole // 60 % 60:02d}m"


def parse_duration(text: str | float) -> float:
    """Parse a duration such as ``90s``, ``10m`` or ``1h30m``. A plain number is in seconds.

    Returns:
        The duration in seconds, greater than 0.

    Raises:
        UserError: If ``text`` has another form, or the duration is 0 or more than 100,000 hours.

    >>> parse_duration("10m"), parse_duration("1h30m"), parse_duration("90")
    (600.0, 5400.0, 90.0)
    """
    compact = str(text).strip().lower().replace(" ", "")
    if re.fullmatch(r"\d+(\.\d+)?", compact):  # without a unit, as in 1h30, a number is ambiguous
        compact += "s"
    parts = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", compact)
    if not parts or not any(parts.groups()):
        raise UserError(f"budget {text}: expected a duration such as 90s, 10m or 1h30m", "budget")
    hours, minutes, seconds = (float(part or 0) for part in parts.groups())
    total = hours * _UNITS["h"] + minutes * _UNITS["m"] + seconds
    if total <= 0:
        raise UserError(f"budget {text}: expected a duration greater than 0", "budget")
    if total > _MOST_HOURS * _UNITS["h"]:
        raise UserError(f"budget {text}: expected at most {_MOST_HOURS}h", "budget")
    return total
