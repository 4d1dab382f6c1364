"""Groups of images named in words: ``label:smiling``, ``attr:glasses=1,male=0`` (all conditions hold).

Pure matching over arrays, so that it serves images and stored latents alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vaekit.errors import UserError, nearest, storable

__all__ = ["WORDS", "match_group"]

#: What may stand for 1 and 0 in a table or a query.
WORDS = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}

_SHAPE = "expected label:CLASS or attr:COLUMN=VALUE,COLUMN=VALUE"


def match_group(
    query: str,
    labels: np.ndarray | None,
    classes: Sequence[str],
    attributes: Mapping[str, np.ndarray],
) -> np.ndarray:
    """Which rows belong to the group: a bool mask [N].

    Arguments: query as above; labels int [N], indices into classes, or None; attributes column -> [N] floats
    (NaN: missing, never matches) or strings. Raises :class:`UserError` that lists what is known if the
    class, the column or the value is unknown, or if no row matches.

    >>> table = {"glasses": np.array([1.0, 1.0]), "male": np.array([1.0, 0.0])}
    >>> match_group("attr:glasses=1,male=0", None, (), table)
    array([False,  True])
    """
    query = storable(query)  # as the names of classes and columns are
    kind, colon, rest = query.strip().partition(":")
    if not colon or kind not in ("label", "attr") or not rest.strip():
        raise UserError(f"the group {query!r} cannot be understood; {_SHAPE}")
    if kind == "label":
        mask = _match_label(_unquote(rest), labels, classes, query)
    else:
        mask = _match_attributes(rest, attributes, query)
    if not mask.any():
        raise UserError(f"no image belongs to the group {query!r}; ask for fewer conditions at once")
    return mask


def _match_label(name: str, labels: np.ndarray | None, classes: Sequence[str], query: str) -> np.ndarray:
    if labels is None or not classes:
        raise UserError(
            f"the group {query!r} asks for a label, but these images have none "
            "(labels are class subfolders, two or more of them with images)"
        )
    if name not in classes:
        raise UserError(f"the group {query!r} asks for an unknown label; {nearest(name, classes)}")
    return np.asarray(labels) == list(classes).index(name)


def _match_attributes(text: str, attributes: Mapping[str, np.ndarray], query: str) -> np.ndarray:
    if not attributes:
        raise UserError(f"the group {query!r} asks for attributes, but these images have none (no metadata.csv)")
    masks = []
    for condition in text.split(","):
        column, equals, value = condition.partition("=")
        column, value = _unquote(column), _unquote(value)
        if not equals or not column or not value:
            raise UserError(f"the group {query!r} cannot be understood at {condition.strip()!r}; {_SHAPE}")
        if column not in attributes:
            raise UserError(f"the group {query!r} asks for an unknown attribute; {nearest(column, attributes)}")
        masks.append(_match_value(column, value, np.asarray(attributes[column]), query))
    return np.logical_and.reduce(masks)


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
    return f"{column} runs from {present[0]:g} to {present[-1]:g}"


def _number(text: str) -> float | None:
    try:
        return WORDS[text.lower()] if text.lower() in WORDS else float(text)
    except ValueError:
        return None


def _unquote(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'" else text
