"""Decode JSON into typed records, reporting the location of the first invalid value.

    JSON text  →  plain values  →  a dataclass whose fields have the right types and ranges

A field's annotation states both: ``Annotated[int, Range(1, 512)]``. msgspec checks the types. It is imported when the
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

__all__ = [
    "COUNT",
    "POSITIVE",
    "Choice",
    "JsonValue",
    "Pattern",
    "Range",
    "fault_of",
    "json_fault",
    "parse",
    "record",
]

#: What JSON text decodes to.
JsonValue = str | int | float | bool | list["JsonValue"] | dict[str, "JsonValue"] | None

_T = TypeVar("_T")
_DAMAGED = "the run folder is damaged"
_SHOWN = 60  # characters of a wrong value


@dataclass(frozen=True)
class Range:
    """Inclusive bounds of a number, or of each number in a tuple."""

    least: float | None = None
    most: float | None = None

    def fault(self, value: Any) -> str | None:
        """Describe what was expected if ``value`` is out of bounds, else None.

        >>> Range(1, 512).fault(0), Range(1, 512).fault((8, 8)), Range(0).fault(-1)
        ('a number from 1 to 512', None, 'at least 0')
        """
        for number in value if isinstance(value, tuple) else (value,):
            if (self.least is not None and number < self.least) or (self.most is not None and number > self.most):
                if self.most is None:
                    return f"at least {self.least:,}"
                return (
                    f"at most {self.most:,}" if self.least is None else f"a number from {self.least:,} to {self.most:,}"
                )
        return None


@dataclass(frozen=True)
class Choice:
    """The values that a field may take."""

    values: tuple[Any, ...]

    def fault(self, value: Any) -> str | None:
        """Describe what was expected if ``value`` is not one of the values, else None."""
        return None if value in self.values else "one of " + ", ".join(map(str, self.values))


@dataclass(frozen=True)
class Pattern:
    """A regular expression that must match the whole string, and a description of it."""

    expression: str
    description: str

    def fault(self, value: str) -> str | None:
        """Describe what was expected if ``value`` does not match, else None."""
        return None if re.fullmatch(self.expression, value) else self.description


COUNT = Range(0, 2**53)  #: integers that a float represents exactly
POSITIVE = Range(1, 2**53)


def parse(text: str | bytes, where: str, remedy: str = _DAMAGED) -> Any:
    """Decode JSON into plain values; raises :class:`UserError` if it is invalid or nested too deeply."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} {json_fault(error)}; {remedy}") from error


def json_fault(error: Exception) -> str:
    """Return the predicate of a message about JSON text that :func:`json.loads` refuses.

    >>> json_fault(json.JSONDecodeError("Expecting value", "[1,]", 3))
    'is not valid JSON at line 1, column 4'
    """
    if isinstance(error, UnicodeDecodeError):
        return "is not UTF-8 text"
    if isinstance(error, json.JSONDecodeError):
        is_empty = not error.doc.strip()
        return "is empty" if is_empty else f"is not valid JSON at line {error.lineno}, column {error.colno}"
    return "is nested too deeply" if isinstance(error, RecursionError) else "is not valid JSON"


def record(kind: type[_T], raw: Any, where: str, prefix: str = "", remedy: str = _DAMAGED) -> _T:
    """Build a dataclass from plain values.

    Args:
        kind: The dataclass. Its fields may be dataclasses, or tuples or dicts of them.
        raw: What :func:`parse` returned.
        where: The file, for messages.
        prefix: Location of ``raw`` in the file, such as ``"recipe."``.
        remedy: End of the message.

    Returns:
        The record, with the defaults of the dataclass for missing keys.

    Raises:
        UserError: If a key is unknown or missing, or a value has the wrong type, is out of range or not finite.
    """
    import msgspec

    _check_keys(kind, raw, where, prefix, remedy)
    try:
        result: _T = _with_defaults(msgspec.convert(raw, kind))
    except ValueError as error:  # msgspec.ValidationError, or text that is not Unicode
        reason, _, place = str(error).partition(" - at `$")
        path = (prefix + place.rstrip("`").lstrip(".")).rstrip(".")
        raise UserError(
            f"{where} has an invalid value at {path or 'the top level'}: {_plain(reason)}; {remedy}"
        ) from error
    for path, value, expected in _faults(result, prefix):
        shown = repr(value)
        shown = shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"
        raise UserError(f"{where} has {path} = {shown}, expected {expected}; {remedy}")
    return result


def _with_defaults(value: Any) -> Any:
    """Rebuild a record with its constructor, because msgspec does not validate or convert defaults."""
    if isinstance(value, tuple):
        return tuple(_with_defaults(item) for item in value)
    if isinstance(value, dict):
        return {key: _with_defaults(item) for key, item in value.items()}
    if not dataclasses.is_dataclass(value):
        return value
    kind: Any = type(value)
    return kind(**{field.name: _with_defaults(getattr(value, field.name)) for field in dataclasses.fields(value)})


def fault_of(kind: type, name: str, value: Any) -> str | None:
    """Describe what was expected of a field of a dataclass if ``value`` is out of its bounds, else None."""
    return next(filter(None, (constraint.fault(value) for constraint in _constraints(kind)[name])), None)


def _plain(reason: str) -> str:
    """Reword a message of msgspec.

    >>> _plain("Expected `int | null`, got `str`")
    'expected int or null, got str'
    """
    reason = reason.replace("`", "").replace(" | ", " or ")
    return reason[:1].lower() + reason[1:]


def _check_keys(kind: type, raw: Any, where: str, prefix: str, remedy: str) -> None:
    if not isinstance(raw, dict):
        raise UserError(f"{where} has {repr(raw)[:_SHOWN]} where a JSON object was expected; {remedy}")
    fields, inner = _fields(kind)
    for key in raw:
        if key not in fields:
            place = f" in {prefix.rstrip('.')}" if prefix else ""
            raise UserError(f"{where} has the unknown key {key!r}{place}; {nearest(key, fields)}")
    missing = [prefix + name for name, is_required in fields.items() if is_required and name not in raw]
    if missing:
        raise UserError(f"{where} is missing {', '.join(missing)}; {remedy}")
    for name, (part, container) in inner.items():
        for place, item in _records(raw.get(name), container):
            _check_keys(part, item, where, f"{prefix}{name}{place}.", remedy)


def _records(value: Any, container: type | None) -> Iterator[tuple[str, Any]]:
    """Yield location and value of each record in a field; a container of the wrong type is left to msgspec."""
    if container is tuple:
        yield from ((f"[{i}]", item) for i, item in enumerate(value if isinstance(value, list) else ()))
    elif container is dict:
        yield from ((f".{key}", item) for key, item in (value if isinstance(value, dict) else {}).items())
    elif value is not None:
        yield "", value


def _faults(instance: Any, prefix: str) -> Iterator[tuple[str, Any, str]]:
    """Yield path, value and expectation of every value that is not finite or out of bounds."""
    kind: Any = type(instance)
    for name, constraints in _constraints(kind).items():
        value, path, is_finite = getattr(instance, name), prefix + name, True
        for place, part in _leaves(value, path):
            if dataclasses.is_dataclass(part):
                yield from _faults(part, f"{place}.")
            elif isinstance(part, float) and not math.isfinite(part):
                is_finite = False
                yield place, part, "a finite number"
        if value is not None and is_finite:
            expectations = (constraint.fault(value) for constraint in constraints)
            yield from ((path, value, expected) for expected in expectations if expected is not None)


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield location and value of what tuples and dicts hold, or of the value itself."""
    if isinstance(value, tuple):
        for i, item in enumerate(value):
            yield from _leaves(item, f"{path}[{i}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}")
    else:
        yield path, value


@cache
def _fields(kind: type) -> tuple[dict[str, bool], dict[str, tuple[type, type | None]]]:
    """Return whether each field is required, and for fields that hold records, what :func:`_part_of` returns."""
    missing, hints = dataclasses.MISSING, typing.get_type_hints(kind)
    fields = {f.name: f.default is missing and f.default_factory is missing for f in dataclasses.fields(kind)}
    inner = {name: part for name in fields if (part := _part_of(hints[name])) is not None}
    return fields, inner


def _part_of(hint: Any) -> tuple[type, type | None] | None:
    """Return the dataclass in an annotation and its container, which is tuple, dict or None."""
    origin = typing.get_origin(hint)
    inside = [each for each in typing.get_args(hint) if isinstance(each, type) and dataclasses.is_dataclass(each)]
    part = hint if origin is None else next(iter(inside), None)
    if not isinstance(part, type) or not dataclasses.is_dataclass(part):
        return None
    return part, origin if origin in (tuple, dict) else None


@cache
def _constraints(kind: type) -> dict[str, list[Any]]:
    """Return the constraints in the annotation of each field, such as :class:`Range` or :class:`Choice`."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {
        name: [item for item in getattr(hints[name], "__metadata__", ()) if hasattr(item, "fault")]
        for name in _fields(kind)[0]
    }
