"""Sums of codes, in words: ``attr:glasses=1,male=1 - attr:glasses=1,male=0 + 0.5*"my photo.png"``.

    expression   term (("+" | "-") term)*      the operators stand between spaces
    term         [number "*"] name
    name         label:CLASS, attr:COLUMN=VALUE,…, or the path of an image or a folder

A quote opens at the start of a name or after one of ``: = ,`` and holds spaces, operators and, written twice,
itself. Everywhere else a quote or an apostrophe is an ordinary character.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from vaekit.errors import UserError

if TYPE_CHECKING:  # reading an expression needs no torch
    from torch import Tensor

__all__ = ["Term", "evaluate_expression", "parse", "to_text"]

Term = tuple[float, str]

_COEFFICIENT = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\s*\*\s*")
_QUOTED = re.compile(r"\"((?:[^\"]|\"\")*)\"|'((?:[^']|'')*)'", re.DOTALL)
_PLAIN = re.compile(r"[\w./\\:=,~@%+-]+")
_SHOWN_CHARACTERS = 40  # either side of a mistake


def parse(text: str) -> list[Term]:
    """The terms of an expression, as (coefficient, name).

    Raises :class:`UserError` that points at the place of the mistake.

    >>> parse("label:smiling - 1.5*'my photo.png'")
    [(1.0, 'label:smiling'), (-1.5, 'my photo.png')]
    """
    terms: list[Term] = []
    sign, at = 1.0, _skip_spaces(text, 0)
    while True:
        term, at = _term(text, at)
        terms.append((sign * term[0], term[1]))
        at = _skip_spaces(text, at)
        if at == len(text):
            return terms
        sign, at = _operator(text, at)


def to_text(terms: Sequence[Term]) -> str:
    """The expression that :func:`parse` reads back as ``terms``, quoted where needed.

    >>> to_text([(1.0, "a"), (-1.5, "my photo.png")])
    'a - 1.5*"my photo.png"'
    """
    words: list[str] = []
    for coefficient, name in terms:
        is_negative = math.copysign(1, coefficient) < 0
        if words:
            words.append("-" if is_negative else "+")
            coefficient = abs(coefficient)
        words.append(_quote(name) if coefficient == 1 else f"{coefficient!r}*{_quote(name)}")
    return " ".join(words)


def evaluate_expression(terms: Sequence[Term], resolve: Callable[[str], Tensor]) -> Tensor:
    """Σ coefficient · code, where ``resolve`` gives the code ``[L]`` of a name; summed from left to right.

    >>> evaluate_expression(parse("a - 0.5*b"), {"a": 3.0, "b": 1.0}.__getitem__)
    2.5
    """
    assert terms, "an expression has at least one term"
    codes = [coefficient * resolve(name) for coefficient, name in terms]
    total = codes[0]
    for code in codes[1:]:
        total = total + code
    return total


def _term(text: str, at: int) -> tuple[Term, int]:
    coefficient, start = 1.0, at
    if found := _COEFFICIENT.match(text, at):
        coefficient, at = float(found[1]), found.end()
        if not math.isfinite(coefficient):
            _fail(text, start, "expected a coefficient that is a finite number")
    name, end = _name(text, at)
    return (coefficient, name), end


def _name(text: str, at: int) -> tuple[str, int]:
    """The name that starts at ``at``, its quotes taken off, and where it ends."""
    start, parts, may_quote = at, [], True
    while at < len(text) and not text[at].isspace():
        if may_quote and text[at] in "\"'":
            found = _QUOTED.match(text, at)
            if found is None:
                _fail(text, at, f"this quote is not closed; expected another {text[at]} after the name")
            quote = text[at]
            parts.append((found[1] if quote == '"' else found[2]).replace(quote * 2, quote))
            at, may_quote = found.end(), False
        else:
            parts.append(text[at])
            may_quote = text[at] in ":=,"
            at += 1
    if text[start:at] in ("", "+", "-"):
        _fail(text, start, "expected a term: label:NAME, attr:NAME=VALUE, or the path of an image or folder")
    name = "".join(parts)
    if not name:
        _fail(text, start, "expected a name between the quotes")
    return name, at


def _operator(text: str, at: int) -> tuple[float, int]:
    end = at
    while end < len(text) and not text[end].isspace():
        end += 1
    if text[at:end] not in ("+", "-"):
        _fail(text, at, "expected + or - between spaces; a name that contains spaces is written in quotes")
    return (1.0 if text[at] == "+" else -1.0), _skip_spaces(text, end)


def _skip_spaces(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _quote(name: str) -> str:
    is_plain = _PLAIN.fullmatch(name) and name not in ("+", "-")
    return name if is_plain else '"' + name.replace('"', '""') + '"'


def _fail(text: str, at: int, what: str) -> NoReturn:
    start = max(0, at - _SHOWN_CHARACTERS)
    # One line, whatever the text holds, so that the caret stands below its character.
    shown = "".join(c if c.isprintable() else " " for c in text[start : at + _SHOWN_CHARACTERS])
    caret = " " * (at - start) + "^"
    raise UserError(f"the expression cannot be read at character {at + 1}: {what}\n    {shown}\n    {caret}")
