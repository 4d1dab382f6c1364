"""What a command found, as one JSON object or as lines for the eye.

A line per name; what is itself several things (an attribute with its counts, a file with its reason, a group of equal
pictures) has a line each below its name, at most twelve of them; of more numbers than that the ends and the median.
"""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Mapping
from typing import Any

from vaekit.errors import printable
from vaekit.evaluation.doctor.diagnosis import Diagnosis

__all__ = ["say", "say_diagnosis"]

_MOST_ROWS = 12


def say(values: Mapping[str, Any], as_json: bool = False) -> None:
    """Prints plain values (numbers, text, lists and mappings of them).

    >>> say({"images": 1797, "alike": {"images": 1, "alike": [["a.png", "b.png"]]}})
    images  1,797
    alike   images 1
      a.png, b.png
    >>> say({"psnr_db": float("inf")}, as_json=True)
    {"psnr_db": null}
    """
    if as_json:
        print(json.dumps(_plain(values), allow_nan=False))
        return
    values = _with_errors(values)
    width = max((len(name) for name in values), default=0)
    for name, value in values.items():
        head, rows = _laid_out(value)
        print(f"{name:<{width}}  {head}".rstrip())
        for row in rows[:_MOST_ROWS]:
            print(f"  {row}")
        if len(rows) > _MOST_ROWS:
            print(f"  and {len(rows) - _MOST_ROWS:,} more (see --json)")


def say_diagnosis(diagnosis: Diagnosis, command: str, as_json: bool = False) -> None:
    """Prints the verdict first, then what it rests on, then what to do."""
    if as_json:
        say({**dataclasses.asdict(diagnosis), "next_command": command}, True)
        return
    lines = [diagnosis.words, "", *diagnosis.table(), "", diagnosis.advice, f"  {command}"]
    print("\n".join(map(printable, lines)))


def _with_errors(values: Mapping[str, Any]) -> dict[str, Any]:
    """A mean and its ``NAME_error`` on one line; the errors of a list are in the JSON alone."""
    errors = {name: values[f"{name}_error"] for name in values if values.get(f"{name}_error") is not None}
    beside = {f"{name}_error" for name in values}
    return {
        name: f"{_readable(value)} ± {_readable(errors[name])}"
        if name in errors and not isinstance(value, list)
        else value
        for name, value in values.items()
        if name not in beside
    }


def _laid_out(value: Any) -> tuple[str, list[str]]:
    """What stands beside the name, and the lines below it."""
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
        return f"{least} to {most}, median {middle}, of {len(value):,} (see --json)", []
    if isinstance(value, list) and any(map(_is_phrase, value)):
        return "", [_readable(v) for v in value]
    return _readable(value), []


def _is_table(value: Any) -> bool:
    """Whether it is a list of groups; an empty list may be one, and says nothing."""
    return isinstance(value, list) and all(isinstance(row, list) for row in value)


def _is_phrase(value: Any) -> bool:
    return isinstance(value, str) and " " in value


def _plain(value: Any) -> Any:
    """JSON knows no infinity (the PSNR of a perfect copy) and no NaN: null."""
    if isinstance(value, Mapping):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


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
