"""Functions that take the fields of :class:`~vaekit.config.options.TrainOptions` as documented keywords."""

from __future__ import annotations

import functools
import inspect
import textwrap
import typing
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from vaekit.config.options import TrainOptions, helps
from vaekit.errors import nearest
from vaekit.system.arguments import checked_fields

__all__ = ["takes"]

_P = ParamSpec("_P")
_R = TypeVar("_R")
_WRAPPER = textwrap.TextWrapper(100, initial_indent=" " * 4, subsequent_indent=" " * 8, break_on_hyphens=False)


def takes(
    record: Callable[_P, TrainOptions],
) -> Callable[[Callable[[Any, TrainOptions], _R]], Callable[Concatenate[Any, _P], _R]]:
    """Decorate a function of data and a record, so that it takes the record's fields as keywords.

        @takes(TrainOptions)
        def train(data: Any, options: TrainOptions) -> Run: ...

        train("digits", "vae", epochs=3)

    Type checkers and editors see the keywords, and ``help()`` documents them. Values of a wrong type raise
    :class:`~vaekit.errors.UserError`.
    """

    def decorate(function: Callable[[Any, TrainOptions], _R]) -> Callable[Concatenate[Any, _P], _R]:
        @functools.wraps(function)
        def call(data: Any, *args: _P.args, **kwargs: _P.kwargs) -> _R:
            for name in kwargs:
                if name not in helps():
                    raise TypeError(f"{function.__name__}() has no argument {name!r}; {nearest(name, helps())}")
            return function(data, checked_fields(record(*args, **kwargs)))

        call.__signature__ = _signature(function)  # type: ignore[attr-defined]
        call.__doc__ = _documented(function)
        return typing.cast(Callable[Concatenate[Any, _P], _R], call)

    return decorate


def _signature(function: Callable[..., object]) -> inspect.Signature:
    """Return the signature: the first parameter of the function, then the fields of the record."""
    first = next(iter(inspect.signature(function).parameters.values()))
    options = inspect.signature(TrainOptions).parameters.values()
    types = typing.get_type_hints(TrainOptions) | typing.get_type_hints(function)
    known = [each.replace(annotation=types[each.name]) for each in (first, *options)]
    return inspect.Signature(known, return_annotation=types["return"])


def _documented(function: Callable[..., object]) -> str:
    """Return the docstring with a paragraph for each option after that of the data."""
    text, raises, rest = inspect.cleandoc(function.__doc__ or "").partition("\n\nRaises:")
    lines = (f"{name}: {option.described()}" for name, option in helps().items())
    return "\n".join([text, *map(_WRAPPER.fill, lines)]) + raises + rest
