"""What a model is told of an image beside its pixels: the class, and the columns that came with it.

    c = [one-hot class, is it known] ++ [one-hot value, is it known] ++ [(number − low) / (high − low), is it known] …

A part that is not known is all zero. In training parts are hidden at random, so that a model can be asked with all of
them, with some, or with none (the unconditional model of Ho & Salimans 2021, Sec. 3.2, for every part).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaekit.config.run_config import Condition
from vaekit.data import Images, Selection
from vaekit.errors import UserError, nearest, storable

__all__ = ["asked", "conditions_of", "hidden_parts", "known_in", "matrix", "places", "selected", "size_of"]

LABEL = "label"
_MOST_VALUES = 50  # of a column of words; more are names
_ROUNDED = 1e-5
_HIDE_ALL, _HIDE_EACH = 0.1, 0.1


def conditions_of(images: Images, rows: np.ndarray) -> tuple[Condition, ...]:
    """What can be told of the training images (``rows``, bool ``[N]``): their class, and columns that vary.

    Raises :class:`UserError` if there is nothing.
    """
    found = [Condition(LABEL, tuple(images.classes))] if images.labels is not None and len(images.classes) > 1 else []
    for name, column in images.attributes.items():
        if found and name == LABEL:
            continue  # the class is called so
        known = column[rows]
        if known.dtype.kind == "f":
            known = known[np.isfinite(known)]
            if len(known) and known.min() < known.max():
                found.append(Condition(name, (), float(known.min()), float(known.max())))
        else:
            values = tuple(np.unique(known[known.astype(str) != ""].astype(str)).tolist())  # "" is a missing one
            if 1 < len(values) <= min(_MOST_VALUES, len(known) // 2):
                found.append(Condition(name, values))
    if not found:
        raise UserError(
            f"{images.source}: a conditional recipe needs labels (class subfolders) or attributes that vary "
            "(columns of metadata.csv), these images have none; train another recipe, such as vae"
        )
    return tuple(found)


def size_of(conditions: Sequence[Condition]) -> int:
    """How many numbers stand for all parts."""
    return sum(_width(each) + 1 for each in conditions)


def places(conditions: Sequence[Condition]) -> list[tuple[slice, int]]:
    """For each condition: the columns of :func:`matrix` that hold its values, and the column that says if it is known.

    >>> places([Condition("label", ("cat", "dog")), Condition("age", (), 0.0, 90.0)])
    [(slice(0, 2, None), 2), (slice(3, 4, None), 4)]
    """
    ends = np.cumsum([_width(each) + 1 for each in conditions]).tolist()
    return [(slice(end - _width(each) - 1, end - 1), end - 1) for each, end in zip(conditions, ends, strict=True)]


def matrix(conditions: Sequence[Condition], images: Images) -> Tensor:
    """What is known of each of N images, float32 ``[N, C]``; columns that images lack are not known."""
    parts = [_part(each, _column(each, images), len(images)) for each in conditions]
    return torch.from_numpy(np.concatenate(parts, axis=1)).float()


def asked(conditions: Sequence[Condition], words: Sequence[str]) -> Tensor:
    """The condition ``[C]`` that words such as ``glasses=1`` or ``label=7`` ask for; the rest is not known.

    Raises :class:`UserError` for what is not known, and says what is.
    """
    known = {each.name: each for each in conditions}
    told: dict[str, Any] = {}
    for word in words:
        name, equals, value = (storable(part.strip()) for part in word.partition("="))
        if not equals or not value:
            raise UserError(f"condition {word}: expected NAME=VALUE, such as {_example(conditions)}", "condition")
        if name not in known:
            raise UserError(
                f"condition {word}: the model was not trained with {name!r}; {nearest(name, known)}", "condition"
            )
        if name in told:
            raise UserError(f"condition {word}: {name} is asked for twice; give it once", "condition")
        told[name] = _value(known[name], value, word)
    parts = [_part(each, [told[each.name]] if each.name in told else None, 1) for each in conditions]
    return torch.from_numpy(np.concatenate(parts, axis=1)).float()[0]


def hidden_parts(conditions: Sequence[Condition], draws: Tensor) -> Tensor:
    """1 where a number of the condition is kept and 0 where it is hidden, ``[B, C]``, from uniform ``[B, parts + 1]``.

    One image in ten has all of its parts hidden, and each part of the others is hidden in one of ten.
    """
    kept = (draws[:, :1] >= _HIDE_ALL) & (draws[:, 1:] >= _HIDE_EACH)
    widths = torch.tensor([_width(each) + 1 for each in conditions])
    return kept.float().repeat_interleave(widths, dim=1)


def known_in(conditions: Sequence[Condition], told: Tensor | None) -> list[str]:
    """The names of the parts that are known of some of the images ``[N, C]``."""
    if told is None:
        return []
    return [each.name for each, (_, at) in zip(conditions, places(conditions), strict=True) if bool(told[:, at].any())]


def _width(condition: Condition) -> int:
    return len(condition.values) or 1


def _column(condition: Condition, images: Images) -> Sequence[Any] | None:
    if condition.name == LABEL and images.labels is not None:
        return [images.classes[i] for i in images.labels.tolist()]
    column = images.attributes.get(condition.name)
    if column is None or (column.dtype.kind == "f") == bool(condition.values):
        return None
    result: Sequence[Any] | None = column.tolist() if not condition.values else column.astype(str).tolist()
    return result


def _part(condition: Condition, column: Sequence[Any] | None, count: int) -> np.ndarray:
    part = np.zeros((count, _width(condition) + 1))
    if column is None:
        return part
    if condition.values:
        places = {value: i for i, value in enumerate(condition.values)}
        for row, value in enumerate(column):
            if value in places:
                part[row, places[value]] = part[row, -1] = 1
        return part
    values = np.asarray(column, float)
    known = np.isfinite(values)
    part[known, 0] = (values[known] - condition.low) / (condition.high - condition.low)
    part[known, -1] = 1
    return part


def _value(condition: Condition, text: str, word: str) -> Any:
    if condition.values:
        if text not in condition.values:
            raise UserError(f"condition {word}: choose from: {', '.join(condition.values)}", "condition")
        return text
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    slack = _ROUNDED * max(abs(condition.low), abs(condition.high))  # of what is told to six digits
    if not condition.low - slack <= number <= condition.high + slack:
        raise UserError(
            f"condition {word}: expected a number from {condition.low:g} to {condition.high:g}, as in training, and "
            "each name once",
            "condition",
        )
    return number


def _example(conditions: Sequence[Condition]) -> str:
    first = conditions[0]
    return f"{first.name}={first.values[0] if first.values else f'{first.high:g}'}"


def selected(images: Images, rows: np.ndarray, conditions: Sequence[Condition]) -> Selection:
    """Some of the images, with what a conditional model is told of them."""
    chosen = images.selection(rows)
    return replace(chosen, conditions=matrix(conditions, images)) if conditions else chosen
