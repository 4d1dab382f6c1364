"""Latent arithmetic as text: ``attr:glasses=1,male=1 - attr:glasses=1,male=0 + 0.5*"my photo.png"``.

    expression   term (("+" | "-") term)*      with spaces around operators
    term         [number "*"] name
    name         label:CLASS, attr:COLUMN=VALUE,…, or the path of an image or a folder

A quoted string starts at the beginning of a name or after one of ``: = ,``. It may contain spaces, operators and,
doubled, the quote itself. Everywhere else a quote or an apostrophe is an ordinary character.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from vaekit.errors import UserError

if TYPE_CHECKING:  # parsing does not need torch
    from torch import Tensor

__all__ = ["Term", "evaluate_expression", "parse", "to_text"]

Term = tuple[float, str]

_COEFFICIENT = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\s*\*\s*")
_QUOTED = re.compile(r"\"((?:[^\"]|\"\")*)\"|'((?:[^']|'')*)'", re.DOTALL)
_PLAIN = re.compile(r"[\w./\\:=,~@%+-]+")
_SHOWN_CHARACTERS = 40  # on either side of an error


def parse(text: str) -> list[Term]:
    """Parse an expression into terms (coefficient, name).

    Raises:
        UserError: If the expression is invalid. The message points at the position.

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
    """Format terms so that :func:`parse` returns them again, quoting names where needed.

    >>> to_text([(1.0, "a"), (-1.5, "my photo.png")])
    'a - 1.5*"my photo.png"'
    """
    parts: list[str] = []
    for coefficient, name in terms:
        is_negative = math.copysign(1, coefficient) < 0
        if parts:
            parts.append("-" if is_negative else "+")
            coefficient = abs(coefficient)
        parts.append(_quote(name) if coefficient == 1 else f"{coefficient!r}*{_quote(name)}")
    return " ".join(parts)


def evaluate_expression(terms: Sequence[Term], resolve: Callable[[str], Tensor]) -> Tensor:
    """Return Σ coefficient · latent from left to right, where ``resolve`` returns the latent ``[L]`` of a name.

    >>> evaluate_expression(parse("a - 0.5*b"), {"a": 3.0, "b": 1.0}.__getitem__)
    2.5
    """
    assert terms, "an expression has at least one term"
    total, *others = (coefficient * resolve(name) for coefficient, name in terms)
    for latent in others:
        total = total + latent
    return total


def _term(text: str, at: int) -> tuple[Term, int]:
    coefficient, start = 1.0, at
    if match := _COEFFICIENT.match(text, at):
        coefficient, at = float(match[1]), match.end()
        if not math.isfinite(coefficient):
            _fail(text, start, "expected a finite coefficient")
    name, end = _name(text, at)
    return (coefficient, name), end


def _name(text: str, at: int) -> tuple[str, int]:
    """Return the name that starts at ``at``, without quotes, and the position after it."""
    start, parts, may_quote = at, [], True
    while at < len(text) and not text[at].isspace():
        if may_quote and text[at] in "\"'":
            match = _QUOTED.match(text, at)
            if match is None:
                _fail(text, at, f"this quote is not closed; expected another {text[at]} after the name")
            quote = text[at]
            parts.append((match[1] if quote == '"' else match[2]).replace(quote * 2, quote))
            at, may_quote = match.end(), False
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
        _fail(text, at, "expected + or - with spaces around it; put names that contain spaces in quotes")
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
    # replace line breaks, so that the caret is below its character
    shown = "".join(c if c.isprintable() else " " for c in text[start : at + _SHOWN_CHARACTERS])
    caret = " " * (at - start) + "^"
    raise UserError(f"cannot parse the expression at character {at + 1}: {what}\n    {shown}\n    {caret}")
