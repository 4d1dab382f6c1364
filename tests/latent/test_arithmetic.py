"""Expressions: what is accepted, what is refused and where, and that formatting and parsing are inverse."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from vaekit.errors import UserError
from vaekit.latent.arithmetic import evaluate_expression, parse, to_text


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("a", [(1, "a")]),
        ("  a  ", [(1, "a")]),
        ("a - b + c", [(1, "a"), (-1, "b"), (1, "c")]),
        ("attr:glasses=1,male=0 - label:smiling", [(1, "attr:glasses=1,male=0"), (-1, "label:smiling")]),
        ("1.5*a - .5 * b + 2e-1 *c", [(1.5, "a"), (-0.5, "b"), (0.2, "c")]),
        ("-2*a - -3*b", [(-2, "a"), (3, "b")]),
        ("\"my photo.png\" + 'the other one.png'", [(1, "my photo.png"), (1, "the other one.png")]),
        ('label:"not smiling" - 2*"a b"', [(1, "label:not smiling"), (-2, "a b")]),
        ('attr:hair="dark brown",male=1', [(1, "attr:hair=dark brown,male=1")]),
        ("mum's.png + a-b+c.png", [(1, "mum's.png"), (1, "a-b+c.png")]),
        ('\'it\'\'s.png\' - "say ""hi"".png"', [(1, "it's.png"), (-1, 'say "hi".png')]),
        ('"+" - "-" + "2*x"', [(1, "+"), (-1, "-"), (1, "2*x")]),
        (r"C:\photos\me.png", [(1, r"C:\photos\me.png")]),
        ("a\n\t+\u00a0b", [(1, "a"), (1, "b")]),
    ],
)
def test_parse(text: str, terms: list[tuple[float, str]]) -> None:
    assert parse(text) == terms


@pytest.mark.parametrize(
    ("text", "character", "expected"),
    [
        ("", 1, "expected a term"),
        ("   ", 4, "expected a term"),
        ("a b", 3, "expected + or -"),
        ("a -b", 3, "expected + or -"),
        ("a +", 4, "expected a term"),
        ("+ a", 1, "expected a term"),
        ("a + + b", 5, "expected a term"),
        ("a - 2*", 7, "expected a term"),
        ('a + "b c', 5, "not closed"),
        ("a + ''", 5, "expected a name"),
        ("1e999*a", 1, "finite"),
    ],
)
def test_mistakes_are_pointed_at(text: str, character: int, expected: str) -> None:
    with pytest.raises(UserError, match=f"at character {character}:") as caught:
        parse(text)
    said, shown, caret = str(caught.value).split("\n")
    assert expected in said
    assert shown == "    " + text and caret == " " * (4 + character - 1) + "^"


def test_a_long_expression_is_shown_around_its_mistake() -> None:
    with pytest.raises(UserError) as caught:
        parse("a + " * 50 + "b c" + " + a" * 50)
    _, shown, caret = str(caught.value).split("\n")
    assert len(shown) < 100 and shown[caret.index("^")] == "c"


COEFFICIENTS = st.floats(allow_nan=False, allow_infinity=False)
TERMS = st.lists(st.tuples(COEFFICIENTS, st.text(min_size=1)), min_size=1, max_size=5)


@given(TERMS)
@example([(-1.0, "'"), (1.0, '"'), (1e-300, '"" \'')])
@example([(1.0, "-"), (-1.0, "+"), (1.0, "3*x"), (1.0, "1.*"), (-0.0, " ")])
def test_printing_and_reading_are_inverse(terms: list[tuple[float, str]]) -> None:
    assert parse(to_text(terms)) == terms


@given(st.text() | st.text(alphabet="ab1.5e*+-\"' :=,\n"))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        terms = parse(text)
    except UserError as error:
        assert "^" in str(error)
    else:
        assert parse(to_text(terms)) == terms
        assert all(name and math.isfinite(coefficient) for coefficient, name in terms)


def test_the_sum() -> None:
    latents = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([10.0, 20.0]), "c": torch.tensor([0.5, 0.25])}
    total = evaluate_expression(parse("a - b + 2*c"), latents.__getitem__)
    assert total.tolist() == [1 - 10 + 1.0, 2 - 20 + 0.5]
