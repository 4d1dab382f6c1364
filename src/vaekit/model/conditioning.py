"""The condition of an image: its class and its attributes, as one vector.

    c = [one-hot class, is known] ++ [one-hot value, is known] ++ [(number − low) / (high − low), is known] …

A part that is unknown is all zero. In training, parts are hidden at random, so a trained model can be conditioned on
all parts, on some, or on none (the unconditional model of Ho & Salimans 2021, Sec. 3.2, applied to every part).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from vaekit.config.run_config import Condition
from vaekit.data import Images, Selection
from vaekit.errors import UserError, nearest, storable

__all__ = [
    "conditions_of",
    "hidden_parts",
    "known_in",
    "matrix",
    "parse_condition",
    "places",
    "possible_conditions",
    "selected",
    "size_of",
]

_Column = Sequence[str | float]  # values of a part, by image

LABEL = "label"
_MOST_VALUES = 50  # distinct values of a text column; a column with more holds names or identifiers
_ROUNDED = 1e-5  # relative: numbers are shown to six digits
_HIDE_ALL, _HIDE_EACH = 0.1, 0.1  # probabilities


def conditions_of(images: Images, rows: np.ndarray) -> tuple[Condition, ...]:
    """Return the :func:`possible_conditions`; raises :class:`UserError` if there are none."""
    found = possible_conditions(images, rows)
    if not found:
        raise UserError(
            f"{images.source}: these images have no labels (class subfolders) and no attributes that vary (columns of "
            "metadata.csv), and a conditional recipe needs either; train another recipe, such as vae"
        )
    return found


def possible_conditions(images: Images, rows: np.ndarray) -> tuple[Condition, ...]:
    """Return what a model can be conditioned on: the class, and the attributes that vary over the training images.

    Args:
        images: All images.
        rows: Which of them are for training, bool ``[N]``.
    """
    found = [Condition(LABEL, tuple(images.classes))] if images.labels is not None and len(images.classes) > 1 else []
    for name, column in images.attributes.items():
        if found and name == LABEL:
            continue  # the name is taken by the class
        known = column[rows]
        if known.dtype.kind == "f":
            known = known[np.isfinite(known)]
            if len(known) and known.min() < known.max():
                found.append(Condition(name, (), float(known.min()), float(known.max())))
        else:
            values = tuple(np.unique(known[known.astype(str) != ""].astype(str)).tolist())  # "": missing
            if 1 < len(values) <= min(_MOST_VALUES, len(known) // 2):
                found.append(Condition(name, values))
    return tuple(found)


def size_of(conditions: Sequence[Condition]) -> int:
    """Return the length C of the condition vector."""
    return sum(_width(each) + 1 for each in conditions)


def places(conditions: Sequence[Condition]) -> list[tuple[slice, int]]:
    """Return, per condition, the columns of :func:`matrix` with its values and the column with its known flag.

    >>> places([Condition("label", ("cat", "dog")), Condition("age", (), 0.0, 90.0)])
    [(slice(0, 2, None), 2), (slice(3, 4, None), 4)]
    """
    ends = np.cumsum([_width(each) + 1 for each in conditions]).tolist()
    return [(slice(end - _width(each) - 1, end - 1), end - 1) for each, end in zip(conditions, ends, strict=True)]


def matrix(conditions: Sequence[Condition], images: Images) -> Tensor:
    """Return the condition vectors of N images, float32 ``[N, C]``; attributes that the images lack are unknown."""
    parts = [_part(each, _column(each, images), len(images)) for each in conditions]
    return torch.from_numpy(np.concatenate(parts, axis=1)).float()


def parse_condition(conditions: Sequence[Condition], pairs: Sequence[str]) -> Tensor:
    """Parse a condition such as ``["glasses=1", "label=7"]``; parts that are not named are unknown.

    Args:
        conditions: What the model was conditioned on in training.
        pairs: Texts of the form ``NAME=VALUE``.

    Returns:
        The condition vector, float32 ``[C]``.

    Raises:
        UserError: A name or a value did not occur in training, or a name is given twice.
    """
    known = {each.name: each for each in conditions}
    given: dict[str, str | float] = {}
    for word in pairs:
        name, equals, value = (storable(part.strip()) for part in word.partition("="))
        if not equals or not value:
            raise UserError(f"condition {word}: expected NAME=VALUE, such as {_example(conditions)}", "condition")
        if name not in known:
            raise UserError(
                f"condition {word}: the model was not trained with {name!r}; {nearest(name, known)}", "condition"
            )
        if name in given:
            raise UserError(f"condition {word}: {name} is given twice; give it once", "condition")
        given[name] = _value(known[name], value, word)
    parts = [_part(each, [given[each.name]] if each.name in given else None, 1) for each in conditions]
    return torch.from_numpy(np.concatenate(parts, axis=1)).float()[0]


def hidden_parts(conditions: Sequence[Condition], draws: Tensor) -> Tensor:
    """Return a random mask of the condition: 1 keeps a number, 0 hides it.

    All parts of an image are hidden with probability 0.1. Otherwise each part is hidden with probability 0.1.

    Args:
        conditions: The parts.
        draws: Uniform random numbers ``[B, parts + 1]``.

    Returns:
        The mask, float32 ``[B, C]``.
    """
    kept = (draws[:, :1] >= _HIDE_ALL) & (draws[:, 1:] >= _HIDE_EACH)
    widths = torch.tensor([_width(each) + 1 for each in conditions])
    return kept.float().repeat_interleave(widths, dim=1)


def known_in(conditions: Sequence[Condition], values: Tensor | None) -> list[str]:
    """Return the names of the parts that are known for at least one row of the condition vectors ``[N, C]``."""
    if values is None:
        return []
    parts = zip(conditions, places(conditions), strict=True)
    return [each.name for each, (_, flag) in parts if bool(values[:, flag].any())]


def _width(condition: Condition) -> int:
    return len(condition.values) or 1


def _column(condition: Condition, images: Images) -> _Column | None:
    if condition.name == LABEL and images.labels is not None:
        return [images.classes[i] for i in images.labels.tolist()]
    column = images.attributes.get(condition.name)
    if column is None or (column.dtype.kind == "f") == bool(condition.values):
        return None
    result: _Column = column.tolist() if not condition.values else column.astype(str).tolist()
    return result


def _part(condition: Condition, column: _Column | None, count: int) -> np.ndarray:
    part = np.zeros((count, _width(condition) + 1))
    if column is None:
        return part
    if condition.values:
        places: dict[str | float, int] = {value: i for i, value in enumerate(condition.values)}
        for row, value in enumerate(column):
            if value in places:
                part[row, places[value]] = part[row, -1] = 1
        return part
    values = np.asarray(column, float)
    known = np.isfinite(values)
    part[known, 0] = (values[known] - condition.low) / (condition.high - condition.low)
    part[known, -1] = 1
    return part


def _value(condition: Condition, text: str, word: str) -> str | float:
    if condition.values:
        if text not in condition.values:
            raise UserError(f"condition {word}: choose from: {', '.join(condition.values)}", "condition")
        return text
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    slack = _ROUNDED * max(abs(condition.low), abs(condition.high))
    if not condition.low - slack <= number <= condition.high + slack:
        raise UserError(
            f"condition {word}: expected a number from {condition.low:g} to {condition.high:g}, the range of training",
            "condition",
        )
    return number


def _example(conditions: Sequence[Condition]) -> str:
    first = conditions[0]
    return f"{first.name}={first.values[0] if first.values else f'{first.high:g}'}"


def selected(images: Images, rows: np.ndarray, conditions: Sequence[Condition]) -> Selection:
    """Select images by ``rows`` (bool ``[N]``), with their condition vectors if the model is conditional."""
    chosen = images.selection(rows)
    return replace(chosen, conditions=matrix(conditions, images)) if conditions else chosen
