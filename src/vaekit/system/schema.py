"""Values from a file: decoded into a typed record, and refused with the place of the first one that does not fit.

    JSON text  →  plain values  →  a dataclass, every field of its type and within its range

A field's annotation says both: ``Annotated[int, Range(1, 512)]``. msgspec does the typing and is imported when the
first file is read, because ``vaekit --help`` reads none.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from vaekit.errors import UserError, nearest

__all__ = ["COUNT", "POSITIVE", "Choice", "Pattern", "Range", "parse", "record"]

_T = TypeVar("_T")
_DAMAGED = "the run folder is damaged"
_SHOWN = 60  # characters of a wrong value


@dataclass(frozen=True)
class Range:
    """Bounds of a number, or of each number in a tuple; both ends are included."""

    least: float | None = None
    most: float | None = None

    def fault(self, value: Any) -> str | None:
        """What was expected instead of ``value``, or None if it is within the bounds.

        >>> Range(1, 512).fault(0), Range(1, 512).fault((8, 8)), Range(0).fault(-1)
        ('a number from 1 to 512', None, 'at least 0')
        """
        for each in value if isinstance(value, tuple) else (value,):
            if (self.least is not None and each < self.least) or (self.most is not None and each > self.most):
                if self.most is None:
                    return f"at least {self.least:,}"
                return (
                    f"at most {self.most:,}" if self.least is None else f"a number from {self.least:,} to {self.most:,}"
                )
        return None


@dataclass(frozen=True)
class Choice:
    """The values that a field may have."""

    values: tuple[Any, ...]

    def fault(self, value: Any) -> str | None:
        """What was expected instead of ``value``, or None if it is one of the values."""
        return None if value in self.values else "one of " + ", ".join(map(str, self.values))


@dataclass(frozen=True)
class Pattern:
    """A regular expression that a whole string matches, and what to call it."""

    expression: str
    words: str

    def fault(self, value: str) -> str | None:
        """What was expected instead of ``value``, or None if it matches."""
        return None if re.fullmatch(self.expression, value) else self.words


COUNT = Range(0, 2**53)  #: a whole number that a float holds exactly
POSITIVE = Range(1, 2**53)


def parse(text: str | bytes, where: str) -> Any:
    """Plain values of JSON; :class:`UserError` if it is not JSON, or nested too deeply to be read."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is not valid JSON ({error}); {_DAMAGED}") from error


def record(kind: type[_T], raw: Any, where: str, prefix: str = "", remedy: str = _DAMAGED) -> _T:
    """A dataclass of plain values, whatever they are.

    Args:
        kind: the dataclass; fields may be records, or tuples of them, themselves.
        raw: what :func:`parse` returned.
        where: the file, for messages.
        prefix: the place of ``raw`` in the file, such as ``"recipe."``.
        remedy: the end of the message.

    Raises:
        UserError: for an unknown or a missing key, and for a value of another type, out of range, or not finite.
    """
    import msgspec

    _check_keys(kind, raw, where, prefix, remedy)
    try:
        found = _with_defaults(msgspec.convert(raw, kind))
    except ValueError as error:  # msgspec.ValidationError, or text that is not Unicode
        reason, _, place = str(error).partition(" - at `$")
        path = (prefix + place.rstrip("`").lstrip(".")).rstrip(".")
        raise UserError(f"{where} has a wrong value at {path or 'the top'}: {_plain(reason)}; {remedy}") from error
    for path, value, expected in _faults(found, prefix):
        shown = repr(value)
        shown = shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"
        raise UserError(f"{where} has {path} = {shown}, expected {expected}; {remedy}")
    return found


def _with_defaults(found: Any) -> Any:
    """The same record, made as Python makes it: msgspec leaves defaults to the class."""
    if isinstance(found, tuple):
        return tuple(_with_defaults(each) for each in found)
    if not dataclasses.is_dataclass(found):
        return found
    kind: Any = type(found)
    return kind(**{each.name: _with_defaults(getattr(found, each.name)) for each in dataclasses.fields(found)})


def _plain(reason: str) -> str:
    """msgspec's words without its marks.

    >>> _plain("Expected `int | null`, got `str`")
    'expected int or null, got str'
    """
    reason = reason.replace("`", "").replace(" | ", " or ")
    return reason[:1].lower() + reason[1:]


def _check_keys(kind: type, raw: Any, where: str, prefix: str, remedy: str) -> None:
    if not isinstance(raw, dict):
        raise UserError(f"{where} has {repr(raw)[:_SHOWN]} where a record was expected; {remedy}")
    fields, inner = _fields(kind)
    for key in raw:
        if key not in fields:
            place = f" in {prefix.rstrip('.')}" if prefix else ""
            raise UserError(f"{where} has the unknown key {key!r}{place}; {nearest(key, fields)}")
    missing = [prefix + name for name, is_required in fields.items() if is_required and name not in raw]
    if missing:
        raise UserError(f"{where} lacks {', '.join(missing)}; {remedy}")
    for name, (part, is_tuple) in inner.items():
        if name not in raw:
            continue
        if is_tuple and isinstance(raw[name], list):
            for i, each in enumerate(raw[name]):
                _check_keys(part, each, where, f"{prefix}{name}[{i}].", remedy)
        elif not is_tuple:
            _check_keys(part, raw[name], where, f"{prefix}{name}.", remedy)


def _faults(found: Any, prefix: str) -> Iterator[tuple[str, Any, str]]:
    """Path, value and expectation of every value that is not finite or not within its bounds."""
    kind: Any = type(found)
    for name, bounds in _bounds(kind).items():
        value, path = getattr(found, name), prefix + name
        parts = value if isinstance(value, tuple) else (value,)
        if any(isinstance(each, float) and not math.isfinite(each) for each in parts):
            yield path, value, "a finite number"
        elif value is not None:
            for each in bounds:
                if (expected := each.fault(value)) is not None:
                    yield path, value, expected
        for i, each in enumerate(parts):
            if dataclasses.is_dataclass(each):
                yield from _faults(each, f"{path}[{i}]." if isinstance(value, tuple) else f"{path}.")


@cache
def _fields(kind: type) -> tuple[dict[str, bool], dict[str, tuple[type, bool]]]:
    """Field → whether it is required; and the fields that are records, or tuples of records."""
    missing, hints = dataclasses.MISSING, typing.get_type_hints(kind)
    fields = {f.name: f.default is missing and f.default_factory is missing for f in dataclasses.fields(kind)}
    inner = {}
    for name in fields:
        hint = hints[name]
        part = next(iter(typing.get_args(hint)), None) if typing.get_origin(hint) is tuple else hint
        if isinstance(part, type) and dataclasses.is_dataclass(part):
            inner[name] = (part, part is not hint)
    return fields, inner


@cache
def _bounds(kind: type) -> dict[str, list[Any]]:
    """Field → the :class:`Range` or :class:`Choice` in its annotation."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {
        name: [each for each in getattr(hints[name], "__metadata__", ()) if hasattr(each, "fault")]
        for name in _fields(kind)[0]
    }
