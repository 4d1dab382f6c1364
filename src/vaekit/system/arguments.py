"""Check the arguments of public functions against their annotations.

    @checked
    def generate(self, count: int = 18, seed: int = 0) -> Sheet: ...

``count`` may be 18, 18.0 or ``np.int64(18)`` and arrives as an int. 2.5, True, "18" or an array raises a
:class:`UserError` that names the parameter. Ranges are checked where the values are used. Images and latents are
annotated ``Any`` or ``Tensor`` and converted by :mod:`vaekit.data.number_inputs`.
"""

from __future__ import annotations

import dataclasses
import errno
import functools
import inspect
import math
import numbers
import os
import reprlib
import types
import typing
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from vaekit.errors import UserError

__all__ = ["checked", "checked_fields", "field_values", "record_text", "shown"]

_Checked = TypeVar("_Checked", bound=Callable[..., Any])
_Record = TypeVar("_Record")

_INTEGER_LIMIT = 2**63
_SHOWN_CHARACTERS = 80
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = _SHOWN_CHARACTERS
_REPR.maxlevel, _REPR.maxlist, _REPR.maxtuple, _REPR.maxdict = 2, 4, 4, 4
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.EACCES)  # reported by the functions that use the path


def checked(target: _Checked) -> _Checked:
    """Decorate a function, or every public method of a class, to check and convert its arguments.

    >>> @checked
    ... def draw(count: int) -> int:
    ...     return count
    >>> draw(3.0)
    3
    >>> draw(2.5)
    Traceback (most recent call last):
    vaekit.errors.UserError: count 2.5: expected a whole number
    """
    if not isinstance(target, type):
        return typing.cast(_Checked, _checked_function(target))
    for name, member in list(vars(target).items()):
        if not name.startswith("_") and isinstance(member, types.FunctionType):
            setattr(target, name, _checked_function(member))
    return target


def shown(value: Any) -> str:
    """Format a value for a message: short, on one line, arrays by shape and other objects by type.

    >>> shown("three"), shown([1, 2]), shown(object())
    ("'three'", '[1, 2]', '(object)')
    """
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        shape = ", ".join(map(str, value.shape)) if isinstance(value.shape, tuple) else "…"
        return f"({type(value).__name__} of {value.dtype} [{shape}])"
    if not isinstance(value, str | bytes | int | float | list | tuple | dict | types.NoneType):
        return f"({type(value).__name__})"
    return " ".join(_REPR.repr(value).split())


def checked_fields(record: _Record) -> _Record:
    """Return a dataclass whose fields are checked and converted as :func:`checked` does with arguments."""
    before, after = vars(record), field_values(record)
    is_same = all(value is before[name] for name, value in after.items())
    return record if is_same else dataclasses.replace(record, **after)  # type: ignore[type-var]


def field_values(record: object) -> dict[str, Any]:
    """Convert the fields of a dataclass to their annotated types; raises :class:`UserError` if one does not fit."""
    fields, record_type = vars(record), typing.cast(Hashable, type(record))
    return {name: _converted(name, fields[name], kind) for name, kind in _kinds_of(record_type).items()}


def record_text(record: Any) -> str:
    """Format a dataclass with :func:`shown` for each field, so that no tensor is printed."""
    fields = (f"{field.name}={shown(getattr(record, field.name))}" for field in dataclasses.fields(record))
    return f"{type(record).__name__}({', '.join(fields)})"


@functools.cache
def _kinds_of(record_type: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(record_type)
    return {each.name: hints[each.name] for each in dataclasses.fields(record_type)}


def _checked_function(function: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(function)

    @functools.cache
    def kinds() -> dict[str, Any]:
        hints = typing.get_type_hints(function)
        variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        single = [name for name, p in signature.parameters.items() if p.kind not in variadic]
        return {name: hints[name] for name in single if name in hints}

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:
            return function(*args, **kwargs)  # raises Python's own message about missing or unknown arguments
        for name, kind in kinds().items():
            if name in bound.arguments:
                bound.arguments[name] = _converted(name, bound.arguments[name], kind)
        return function(*bound.args, **bound.kwargs)

    return call


class _WrongKind(Exception):
    """The value has another type; the text says what was expected."""


def _converted(name: str, value: Any, kind: Any) -> Any:
    kinds = typing.get_args(kind) if typing.get_origin(kind) in (types.UnionType, typing.Union) else (kind,)
    if value is None and types.NoneType in kinds:
        return None
    expected = []
    for option in kinds:
        if option is types.NoneType or (option is str and Path in kinds):
            continue
        try:
            return _as_kind(value, option)
        except _WrongKind as wrong:
            expected.append(str(wrong))
    raise UserError(f"{name} {shown(value)}: expected {' or '.join(expected)}", name)


def _as_kind(value: Any, kind: Any) -> Any:
    """Convert a value to an annotated type; raises :class:`_WrongKind`."""
    origin = typing.get_origin(kind) or kind
    if origin in _PLAIN:
        return _PLAIN[origin](value)
    if origin is typing.Literal:
        return _one_of(value, typing.get_args(kind))
    if origin is Sequence and typing.get_args(kind) == (str,):
        return _strings(value)
    if origin is Sequence and typing.get_args(kind) == (float,):
        return _numbers(value)
    if origin is tuple:
        return _tuple(value, typing.get_args(kind)[0])
    if origin in (Mapping, dict):
        return _mapping(value, typing.get_args(kind)[1])
    if origin is Callable:
        return _function(value)
    if origin is Any or not isinstance(origin, type) or origin.__name__ in _CONVERTED_ELSEWHERE:
        return value
    if not isinstance(value, origin):
        raise _WrongKind(f"{'an' if origin.__name__[0] in 'AEIOU' else 'a'} {origin.__name__}")
    return value


_CONVERTED_ELSEWHERE = ("Tensor", "ndarray")


def _tuple(value: Any, kind: Any) -> tuple[Any, ...]:
    if not isinstance(value, tuple | list):
        raise _WrongKind("a tuple")
    return tuple(_as_kind(item, kind) for item in value)


def _function(value: Any) -> Any:
    if not callable(value):
        raise _WrongKind("a function")
    return value


def _scalar(value: Any) -> Any:
    """Return the number in a zero-dimensional array or tensor; other values are unchanged."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        try:
            return value.item()
        except (RuntimeError, NotImplementedError):  # tensors on the meta device hold no data
            return value
    return value


def _whole(value: Any) -> int:
    scalar = _scalar(value)
    if isinstance(scalar, numbers.Real) and not isinstance(scalar, numbers.Integral) and float(scalar).is_integer():
        scalar = int(float(scalar))
    if isinstance(scalar, bool) or not isinstance(scalar, numbers.Integral):
        raise _WrongKind("a whole number")
    if not -_INTEGER_LIMIT < int(scalar) < _INTEGER_LIMIT:
        raise _WrongKind("a whole number below 2^63")
    return int(scalar)


def _number(value: Any) -> float:
    scalar = _scalar(value)
    if isinstance(scalar, bool) or not isinstance(scalar, numbers.Real):
        raise _WrongKind("a number")
    try:
        return float(scalar)
    except OverflowError as error:
        raise _WrongKind("a number that a float can hold") from error


def _switch(value: Any) -> bool:
    scalar = _scalar(value)
    if not isinstance(scalar, bool | int) or scalar not in (0, 1):
        raise _WrongKind("True or False")
    return bool(scalar)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _WrongKind("a string")
    return str(value)


def _one_of(value: Any, choices: tuple[Any, ...]) -> Any:
    if not isinstance(value, str) or value not in choices:
        raise _WrongKind(" or ".join(map(repr, choices)))
    return value


def _path(value: Any) -> str | Path:
    if not isinstance(value, str | os.PathLike) or value == "":
        raise _WrongKind("a path")
    try:
        path = Path(value)
        path.stat()
    except TypeError as error:  # bytes
        raise _WrongKind("a path") from error
    except ValueError as error:  # NUL bytes or lone surrogates
        raise _WrongKind(f"a path that the system can open ({error})") from error
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise _WrongKind(f"a path that the system can open ({(error.strerror or str(error)).lower()})") from error
    return value if isinstance(value, str) else path


def _strings(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Mapping | bytes) or not hasattr(value, "__iter__"):
        raise _WrongKind("a list of strings")
    try:
        items = tuple(value)
    except TypeError as error:  # a zero-dimensional array
        raise _WrongKind("a list of strings") from error
    if not all(isinstance(item, str) for item in items):
        raise _WrongKind("a list of strings")
    return tuple(map(str, items))


def _numbers(value: Any) -> tuple[float, ...]:
    if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__len__") or not hasattr(value, "__iter__"):
        raise _WrongKind("a list of numbers")
    try:
        return tuple(_number(item) for item in value)
    except (_WrongKind, TypeError) as wrong:  # a zero-dimensional array has a length only in name
        raise _WrongKind("a list of numbers") from wrong


def _mapping(value: Any, kind: Any) -> dict[str, Any]:
    example = "such as {'glasses': 1}" if kind is float else "in a dict"
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise _WrongKind(f"values by name, {example}")
    try:
        converted = {name: item if kind is Any else _as_kind(item, kind) for name, item in value.items()}
    except _WrongKind as wrong:
        raise _WrongKind(f"values by name, each {wrong}") from wrong
    if kind is float and not all(map(math.isfinite, converted.values())):
        raise _WrongKind("values by name, each a finite number")
    return converted


_PLAIN: dict[Any, Callable[[Any], Any]] = {int: _whole, float: _number, bool: _switch, str: _text, Path: _path}
