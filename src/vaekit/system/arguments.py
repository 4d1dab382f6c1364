"""Arguments of public functions, checked against their annotations before anything else happens.

    @checked
    def generate(self, count: int = 18, seed: int = 0) -> Sheet: ...

``count`` may be 18, 18.0 or ``np.int64(18)``, and arrives as a plain int. 2.5, True, "18" and a table raise a
:class:`UserError` that names the parameter. Ranges are checked where the values are used. Images and latents are
annotated ``Any`` or ``Tensor`` and converted elsewhere (:mod:`vaekit.data.numbers`).
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

_LARGEST = 2**63  # of whole numbers, exclusive
_SHOWN_CHARACTERS = 80
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = _SHOWN_CHARACTERS
_REPR.maxlevel, _REPR.maxlist, _REPR.maxtuple, _REPR.maxdict = 2, 4, 4, 4
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.EACCES)  # which the functions that take a path explain themselves


def checked(target: _Checked) -> _Checked:
    """Makes a function check its arguments; of a class, every public method.

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
    """A value in a message: short and on one line, arrays by their shape and objects by their type.

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
    """A dataclass whose fields are checked against their annotations, as :func:`checked` does with arguments."""
    fields, found = vars(record), field_values(record)
    is_same = all(type(value) is type(fields[name]) and value == fields[name] for name, value in found.items())
    return record if is_same else dataclasses.replace(record, **found)  # type: ignore[type-var]


def field_values(record: object) -> dict[str, Any]:
    """The fields of a dataclass as the kinds that their annotations name; raises :class:`UserError` for others."""
    fields, record_type = vars(record), typing.cast(Hashable, type(record))
    return {name: _converted(name, fields[name], kind) for name, kind in _kinds_of(record_type).items()}


def record_text(record: Any) -> str:
    """A dataclass with :func:`shown` for each of its fields: a ``__repr__`` that prints no tensor."""
    fields = (f"{each.name}={shown(getattr(record, each.name))}" for each in dataclasses.fields(record))
    return f"{type(record).__name__}({', '.join(fields)})"


@functools.cache
def _kinds_of(record_type: Any) -> dict[str, Any]:
    return typing.get_type_hints(record_type)


def _checked_function(function: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(function)

    @functools.cache
    def kinds() -> dict[str, Any]:
        found = typing.get_type_hints(function)
        variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        single = [name for name, p in signature.parameters.items() if p.kind not in variadic]
        return {name: found[name] for name in single if name in found}

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:
            return function(*args, **kwargs)  # which says itself what is missing or unknown
        for name, kind in kinds().items():
            if name in bound.arguments:
                bound.arguments[name] = _converted(name, bound.arguments[name], kind)
        return function(*bound.args, **bound.kwargs)

    return call


class _WrongKind(Exception):
    """The value is of another kind; the text says which was expected."""


def _converted(name: str, value: Any, kind: Any) -> Any:
    kinds = typing.get_args(kind) if typing.get_origin(kind) in (types.UnionType, typing.Union) else (kind,)
    if value is None and types.NoneType in kinds:
        return None
    wanted = []
    for each in kinds:
        if each is types.NoneType or (each is str and Path in kinds):
            continue
        try:
            return _as_kind(value, each)
        except _WrongKind as wrong:
            wanted.append(str(wrong))
    raise UserError(f"{name} {shown(value)}: expected {' or '.join(wanted)}", name)


def _as_kind(value: Any, kind: Any) -> Any:
    """The value as the kind that an annotation names; raises :class:`_WrongKind`."""
    origin = typing.get_origin(kind) or kind
    if origin in _PLAIN:
        return _PLAIN[origin](value)
    if origin is Sequence and typing.get_args(kind) == (str,):
        return _words(value)
    if origin is tuple:
        if not isinstance(value, tuple | list):
            raise _WrongKind("a tuple")
        return tuple(_as_kind(each, typing.get_args(kind)[0]) for each in value)
    if origin in (Mapping, dict):
        return _mapping(value, typing.get_args(kind)[1])
    if origin is Callable:
        if not callable(value):
            raise _WrongKind("a function")
        return value
    if origin is Any or not isinstance(origin, type) or origin.__name__ in _CONVERTED_ELSEWHERE:
        return value
    if not isinstance(value, origin):
        raise _WrongKind(f"{'an' if origin.__name__[0] in 'AEIOU' else 'a'} {origin.__name__}")
    return value


_CONVERTED_ELSEWHERE = ("Tensor", "ndarray")


def _scalar(value: Any) -> Any:
    """What an array without dimensions holds; any other value as it is."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        try:
            return value.item()
        except (RuntimeError, NotImplementedError):  # a tensor on the meta device holds nothing
            return value
    return value


def _whole(value: Any) -> int:
    found = _scalar(value)
    if isinstance(found, numbers.Real) and not isinstance(found, numbers.Integral) and float(found).is_integer():
        found = int(float(found))
    if isinstance(found, bool) or not isinstance(found, numbers.Integral):
        raise _WrongKind("a whole number")
    if not -_LARGEST < int(found) < _LARGEST:
        raise _WrongKind("a whole number below 2^63")
    return int(found)


def _number(value: Any) -> float:
    found = _scalar(value)
    if isinstance(found, bool) or not isinstance(found, numbers.Real):
        raise _WrongKind("a number")
    try:
        return float(found)
    except OverflowError as error:
        raise _WrongKind("a number that a float can hold") from error


def _switch(value: Any) -> bool:
    found = _scalar(value)
    if not isinstance(found, bool | int) or found not in (0, 1):
        raise _WrongKind("True or False")
    return bool(found)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _WrongKind("a text")
    return str(value)


def _path(value: Any) -> str | Path:
    if not isinstance(value, str | os.PathLike) or value == "":
        raise _WrongKind("a path")
    try:
        path = Path(value)
        path.stat()
    except TypeError as error:  # of bytes
        raise _WrongKind("a path") from error
    except ValueError as error:  # NUL bytes, lone surrogates
        raise _WrongKind(f"a path that the system can open ({error})") from error
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise _WrongKind(f"a path that the system can open ({(error.strerror or str(error)).lower()})") from error
    return value if isinstance(value, str) else path


def _words(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Mapping | bytes) or not hasattr(value, "__iter__"):
        raise _WrongKind("a list of texts")
    try:
        found = tuple(value)
    except TypeError as error:  # an array without dimensions
        raise _WrongKind("a list of texts") from error
    if not all(isinstance(each, str) for each in found):
        raise _WrongKind("a list of texts")
    return tuple(map(str, found))


def _mapping(value: Any, kind: Any) -> dict[str, Any]:
    example = "such as {'glasses': 1}" if kind is float else "in a dict"
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise _WrongKind(f"values by name, {example}")
    try:
        found = {name: each if kind is Any else _as_kind(each, kind) for name, each in value.items()}
    except _WrongKind as wrong:
        raise _WrongKind(f"values by name, each {wrong}") from wrong
    if kind is float and not all(map(math.isfinite, found.values())):
        raise _WrongKind("values by name, each a finite number")
    return found


_PLAIN: dict[Any, Callable[[Any], Any]] = {int: _whole, float: _number, bool: _switch, str: _text, Path: _path}
