"""Targets of the images in a dataset or an array: a class label, or attributes.

    whole numbers, strings                  labels; class names are those of the dataset, or the values
    floating-point numbers                  one attribute; NaN and missing numbers are unknown
    vectors of numbers of equal length      an attribute per entry

Attributes have the names that the dataset gives them, or ``attribute_0``, ``attribute_1`` and so on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from vaekit.data.number_inputs import as_dense
from vaekit.errors import UserError, counted

__all__ = ["NAMES", "Target", "Targets", "array_targets", "joined", "plain_target", "targets_of"]

NAMES = ("attribute_names", "attr_names", "target_names")  #: where a dataset or .npz may name its attributes
_MOST_ENTRIES = 1000  # of a vector; longer ones are other data


@dataclass(frozen=True)
class Unused:
    """A target that is neither a label nor attributes."""

    kind: str  #: description


#: A target as a plain value; a vector is float64 ``[K]``.
Target = int | str | float | np.ndarray | Unused | None


@dataclass(frozen=True, eq=False)
class Targets:
    """The targets of N images."""

    labels: list[str] | None = None  #: class names
    classes: list[str] | None = None  #: in the order of the dataset, if it has one
    attributes: dict[str, np.ndarray] = field(default_factory=dict)  #: float64 ``[N]`` each
    notes: list[str] = field(default_factory=list)


def plain_target(value: Any) -> Target:
    """Convert a target of a dataset to a plain value.

    >>> plain_target(torch.tensor(7)), plain_target(np.float32(0.5)), plain_target("cat"), plain_target([1, 0])
    (7, 0.5, 'cat', array([1., 0.]))
    """
    kind = _described(value)
    if isinstance(value, torch.Tensor):
        dense = as_dense(value, "a label")
        value = (dense.double() if dense.is_floating_point() else dense).numpy()
    if isinstance(value, np.ndarray | np.generic) and value.size == 1:
        value = value.item()
    if isinstance(value, int | float | str | None):
        return value
    if isinstance(value, list | tuple) and value and all(isinstance(item, int | float) for item in value):
        value = np.asarray(value, np.float64)
    is_vector = isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "fiub"
    return value.astype(np.float64) if is_vector and 0 < len(value) <= _MOST_ENTRIES else Unused(kind)


def targets_of(targets: Sequence[Target], source: object) -> Targets:
    """Decide whether the targets are labels or attributes; ``source`` may name classes or attributes."""
    given = [(index, target) for index, target in enumerate(targets) if target is not None]
    if not given:
        return Targets()
    for index, target in given:
        if isinstance(target, Unused):
            return _unused(f"that of item {index} is {target.kind}; expected a number, a string or a vector of numbers")
    kinds: dict[str, int] = {}  # index of the first item of each kind
    for index, target in given:
        kinds.setdefault(_kind(target), index)
    if set(kinds) == {"whole number", "decimal number"}:
        del kinds["whole number"]
    if len(kinds) > 1 and set(kinds) != {"whole number", "string"}:
        return _unused("; ".join(f"that of item {index} is a {kind}" for kind, index in kinds.items()))
    kind = next(iter(kinds))
    if kind in ("whole number", "string"):
        return _classes(targets, len(targets) - len(given), getattr(source, "classes", None))
    width = len(given[0][1]) if isinstance(given[0][1], np.ndarray) else 1
    rows = [np.full(width, np.nan if target is None else target, np.float64) for target in targets]
    return Targets(attributes=_columns(np.stack(rows), _names(source)))


def array_targets(values: np.ndarray, count: int, names: Any, where: str) -> Targets:
    """Convert an array of targets for ``count`` images to labels ``[N]``, or attributes ``[N]`` or ``[N, K]``.

    Raises:
        UserError: If the number of rows or the type is wrong.
    """
    if values.dtype.kind == "f" or (values.ndim == 2 and values.shape[1] > 1 and values.dtype.kind in "iub"):
        table = values.reshape(len(values), -1) if values.ndim else values.reshape(1, 1)
        if len(table) != count:
            raise UserError(
                f"{where} contains {counted(count, 'image')} but attributes for {len(table):,}; expected one per image"
            )
        if table.shape[1] > _MOST_ENTRIES:
            raise UserError(
                f"{where} contains {table.shape[1]:,} numbers per image; expected at most {_MOST_ENTRIES:,}"
            )
        return Targets(attributes=_columns(table.astype(np.float64), names))
    flat = values.reshape(-1)
    if len(flat) != count:
        raise UserError(
            f"{where} contains {counted(count, 'image')} but {counted(len(flat), 'label')}; expected one label per "
            "image"
        )
    if flat.dtype.kind not in "iubU":
        raise UserError(f"{where} contains labels of type {flat.dtype}; expected whole numbers, strings or floats")
    return Targets([str(value) for value in flat.tolist()])


def joined(parts: Sequence[Targets], where: str) -> Targets:
    """Concatenate the targets of several arrays of images; targets that some of them lack are dropped with a note."""
    names = list(parts[0].attributes)
    have_labels = [part.labels is not None for part in parts]
    have_attributes = [list(part.attributes) == names for part in parts]
    labels = [label for part in parts for label in part.labels or ()] if all(have_labels) else None
    columns = {name: [part.attributes[name] for part in parts] for name in names} if all(have_attributes) else {}
    dropped = ["labels"] if any(have_labels) and not all(have_labels) else []
    dropped += [] if all(have_attributes) else ["attributes"]
    notes = [f"no {kind}: some image arrays in {where} have them and some do not" for kind in dropped]
    return Targets(labels, None, {name: np.concatenate(column) for name, column in columns.items()}, notes)


def _kind(target: Target) -> str:
    if isinstance(target, np.ndarray):
        return f"vector of {counted(len(target), 'number')}"
    kinds = {int: "whole number", bool: "whole number", float: "decimal number", str: "string"}
    return next(kinds[base] for base in type(target).mro() if base in kinds)


def _unused(reason: str) -> Targets:
    return Targets(notes=[f"labels are not used: {reason}"])


def _described(value: Any) -> str:
    shape = getattr(value, "shape", ())
    kind = f"of type {value.dtype}" if hasattr(value, "dtype") else f"of type {type(value).__name__}"
    return f"{kind} with {math.prod(shape):,} values" if math.prod(shape) != 1 else kind


def _classes(targets: Sequence[Target], missing: int, classes: Any) -> Targets:
    """Return labels, if every image has one; integers may be indices into class names."""
    if missing:
        return _unused(f"{missing:,} of {len(targets):,} items have none")
    numbers = [target for target in targets if isinstance(target, int)]
    if len(numbers) == len(targets) and isinstance(classes, list | tuple):
        order = [str(name) for name in classes]
        if len(set(order)) == len(order) and all(0 <= number < len(order) for number in numbers):
            return Targets([order[number] for number in numbers], order)
    return Targets([str(target) for target in targets])


def _names(source: object) -> Any:
    """Return the attribute names of a dataset, or None."""
    return next((names for name in NAMES if (names := getattr(source, name, None)) is not None), None)


def _columns(table: np.ndarray, names: Any) -> dict[str, np.ndarray]:
    """Return the columns of float64 ``[N, K]`` by the K distinct names given, else numbered."""
    known = [str(name) for name in names if str(name)] if isinstance(names, list | tuple | np.ndarray) else []
    if len(known) != table.shape[1] or len(set(known)) != len(known):
        known = [f"attribute_{index}" for index in range(table.shape[1])]
    return {name: np.ascontiguousarray(column) for name, column in zip(known, table.T, strict=True)}
