"""Select groups of images by a query: ``label:smiling``, ``attr:glasses=1,male=0`` (all conditions must hold).

Matching works on arrays, so that it serves both images and stored latents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vaekit.errors import UserError, nearest, storable

__all__ = ["TRUTH_VALUES", "match_group"]

#: Words that a table or a query may use for 1 and 0.
TRUTH_VALUES = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}

_SHAPE = "expected label:CLASS or attr:COLUMN=VALUE,COLUMN=VALUE"


def match_group(
    query: str,
    labels: np.ndarray | None,
    classes: Sequence[str],
    attributes: Mapping[str, np.ndarray],
) -> np.ndarray:
    """Return a mask ``[N]`` of the rows that belong to a group.

    Args:
        query: ``label:CLASS`` or ``attr:COLUMN=VALUE,COLUMN=VALUE``.
        labels: Integers ``[N]``, indices into ``classes``, or None.
        classes: Names of the labels.
        attributes: Arrays ``[N]`` by column, of floats (NaN marks a missing value and never matches) or strings.

    Raises:
        UserError: If the class, column or value is unknown (the message lists those that exist), or no row matches.

    >>> table = {"glasses": np.array([1.0, 1.0]), "male": np.array([1.0, 0.0])}
    >>> match_group("attr:glasses=1,male=0", None, (), table)
    array([False,  True])
    """
    query = storable(query)  # as the names of classes and columns are stored
    kind, colon, rest = query.strip().partition(":")
    if not colon or kind not in ("label", "attr") or not rest.strip():
        raise UserError(f"cannot parse the group {query!r}; {_SHAPE}")
    if kind == "label":
        mask = _match_label(_unquote(rest), labels, classes, query)
    else:
        mask = _match_attributes(rest, attributes, query)
    if not mask.any():
        raise UserError(f"no image belongs to the group {query!r}; use fewer conditions")
    return mask


def _match_label(name: str, labels: np.ndarray | None, classes: Sequence[str], query: str) -> np.ndarray:
    if labels is None or not classes:
        raise UserError(
            f"the group {query!r} selects by label, but these images have no labels "
            "(labels come from two or more subfolders with images)"
        )
    if name not in classes:
        raise UserError(f"the group {query!r} has an unknown label; {nearest(name, classes)}")
    result: np.ndarray = np.asarray(labels) == list(classes).index(name)
    return result


def _match_attributes(text: str, attributes: Mapping[str, np.ndarray], query: str) -> np.ndarray:
    if not attributes:
        raise UserError(
            f"the group {query!r} selects by attribute, but these images have no attributes (no metadata.csv)"
        )
    masks = []
    for condition in text.split(","):
        column, equals, value = condition.partition("=")
        column, value = _unquote(column), _unquote(value)
        if not equals or not column or not value:
            raise UserError(f"cannot parse the group {query!r} at {condition.strip()!r}; {_SHAPE}")
        if column not in attributes:
            raise UserError(f"the group {query!r} has an unknown attribute; {nearest(column, attributes)}")
        masks.append(_match_value(column, value, np.asarray(attributes[column]), query))
    result: np.ndarray = np.logical_and.reduce(masks)
    return result


def _match_value(column: str, value: str, values: np.ndarray, query: str) -> np.ndarray:
    if values.dtype.kind in "fiub":
        number = _number(value)
        mask = values == number if number is not None else np.zeros(len(values), bool)
    else:
        mask = values == value
    if not mask.any():
        raise UserError(f"the group {query!r}: no image has {column}={value}; {_known(column, value, values)}")
    return np.asarray(mask)


def _known(column: str, value: str, values: np.ndarray) -> str:
    if values.dtype.kind not in "fiub":
        return nearest(value, sorted({str(v) for v in values} - {""}))
    present = np.unique(values[~np.isnan(values.astype(float))])
    if len(present) <= 12:
        return "choose from: " + (", ".join(f"{v:g}" for v in present) or "(there are none)")
    return f"{column} ranges from {present[0]:g} to {present[-1]:g}"


def _number(text: str) -> float | None:
    try:
        return TRUTH_VALUES[text.lower()] if text.lower() in TRUTH_VALUES else float(text)
    except ValueError:
        return None


def _unquote(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'" else text
