"""Random numbers and attributes of portraits, from a counter-based generator.

Row ``i`` of seed ``s`` owns the uniforms ``u[i, p] = mix(mix(mix(s) + i) + p)``, one for each slot ``p``, where ``mix``
is the finalizer of SplitMix64 (Steele, Lea & Flood 2014). Every slot exists for every row, used or not, so changing an
attribute never shifts the others. Append new slots at the end; inserting or removing one requires a new ``_DRAWING`` in
builtin.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaekit.errors import UserError, counted, nearest

__all__ = ["ATTRIBUTES", "BACKGROUNDS", "HAIR_COLORS", "SLOTS", "Columns", "attributes", "uniforms"]

Columns = dict[str, NDArray[Any]]

ATTRIBUTES = (
    "glasses", "male", "smiling", "beard", "hair_length",
    "hair_colour", "skin_tone", "pose", "background", "lighting",
)  # fmt: skip

SLOTS = (
    *ATTRIBUTES,
    "warmth", "undertone", "shift_x", "shift_y", "scale", "tilt",
    "face_width", "face_height", "jaw", "eye_distance", "eye_size", "eye_color", "eye_height",
    "brow_angle", "brow_height", "brow_weight", "nose_length", "nose_width",
    "mouth_width", "mouth_height", "lip_fullness", "lip_color", "smile_open", "blush",
    "hair_volume", "hair_part", "hair_fringe", "hair_shade", "beard_length",
    "clothes_color", "clothes_light", "neckline", "shoulders", "backdrop_light",
)  # fmt: skip

HAIR_COLORS = ("black", "darkbrown", "brown", "auburn", "ginger", "darkblond", "blond", "grey", "white")
BACKGROUNDS = ("sky", "teal", "sage", "sand", "peach", "rose", "lavender", "slate")

# share of each hair color for the lightest and the darkest skin; interpolated in between
_HAIR_LIGHT = (0.07, 0.15, 0.20, 0.12, 0.10, 0.13, 0.13, 0.06, 0.04)
_HAIR_DARK = (0.56, 0.26, 0.06, 0.02, 0.00, 0.00, 0.00, 0.07, 0.03)
_MASK = (1 << 64) - 1


def uniforms(count: int, seed: int, start: int = 0) -> dict[str, NDArray[np.float64]]:
    """Return the uniforms of rows ``start`` to ``start + count - 1`` by slot, float64 ``[count]`` in [0, 1)."""
    rows = np.arange(start, start + count, dtype=np.uint64)
    key = _mix(_mix(np.array([seed & _MASK], np.uint64)) + rows * np.uint64(0x9E3779B97F4A7C15))
    steps = [np.uint64((p + 1) * 0xD1B54A32D192ED03 & _MASK) for p in range(len(SLOTS))]
    bits = {slot: _mix(key + step) >> np.uint64(11) for slot, step in zip(SLOTS, steps, strict=True)}
    return {slot: value.astype(np.float64) * 2.0**-53 for slot, value in bits.items()}


def attributes(u: Mapping[str, NDArray[np.float64]], overrides: Mapping[str, Any] | None = None) -> Columns:
    """Return the attribute columns for the uniforms ``u``, with overrides of one or ``[count]`` values.

    Raises:
        UserError: If an override has an unknown name or color, or is out of range.
    """
    chosen = _overrides(overrides or {}, len(u["male"]))
    out: Columns = {}
    for name in ("glasses", "male", "smiling"):
        out[name] = chosen.get(name, (u[name] < 0.5).astype(np.int64))
    out["beard"] = chosen.get("beard", (u["beard"] < 0.4).astype(np.int64)) * out["male"]
    female = 0.18 + 0.82 * u["hair_length"]
    out["hair_length"] = chosen.get("hair_length", np.where(out["male"] == 1, 0.3 * u["hair_length"], female))
    tone = u["skin_tone"] * (0.6 + 0.4 * u["skin_tone"])
    out["skin_tone"] = chosen.get("skin_tone", tone)
    # based on the random skin tone, so that overriding the skin does not change the hair
    out["hair_colour"] = chosen.get("hair_colour", _hair_color(u["hair_colour"], tone))
    out["pose"] = chosen.get("pose", _peaked(u["pose"]))
    out["background"] = chosen.get("background", np.array(BACKGROUNDS)[_index(u["background"], BACKGROUNDS)])
    out["lighting"] = chosen.get("lighting", 2 * u["lighting"] - 1)
    return {name: out[name] for name in ATTRIBUTES}


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def _peaked(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map a uniform on [0, 1) to a triangular distribution on (-1, 1) by its quantile function."""
    return np.where(u < 0.5, np.sqrt(2 * u) - 1, 1 - np.sqrt(2 * np.maximum(1 - u, 0)))


def _index(u: NDArray[np.float64], choices: tuple[str, ...]) -> NDArray[np.int64]:
    return (u * len(choices)).astype(np.int64)


def _hair_color(u: NDArray[np.float64], tone: NDArray[np.float64]) -> NDArray[np.str_]:
    dark = np.clip((tone - 0.2) / 0.5, 0, 1)[:, None]
    bounds = np.cumsum(_HAIR_LIGHT) * (1 - dark) + np.cumsum(_HAIR_DARK) * dark
    names: NDArray[np.str_] = np.array(HAIR_COLORS)[(u[:, None] >= bounds[:, :-1]).sum(1)]
    return names


def _overrides(overrides: Mapping[str, Any], count: int) -> Columns:
    return {name: _column(name, value, count) for name, value in overrides.items()}


def _column(name: str, value: Any, count: int) -> NDArray[Any]:
    if name not in ATTRIBUTES:
        raise UserError(f"overrides: portraits have no attribute {name!r}; {nearest(name, ATTRIBUTES)}")
    column = np.asarray(value)
    if column.ndim > 1 or (column.ndim == 1 and len(column) != count):
        raise UserError(f"overrides: {name} has shape {column.shape}; expected one value or {counted(count, 'value')}")
    column = np.broadcast_to(column, count)
    choices = {"hair_colour": HAIR_COLORS, "background": BACKGROUNDS}.get(name)
    if choices:
        unknown = sorted(set(column.astype(str)) - set(choices))
        if unknown:
            raise UserError(f"overrides: {name} {unknown[0]!r} is unknown; {nearest(unknown[0], choices)}")
        return column.astype(str)
    return _number(name, column)


def _number(name: str, column: NDArray[Any]) -> NDArray[Any]:
    is_boolean = name in ("glasses", "male", "smiling", "beard")
    low = -1 if name in ("pose", "lighting") else 0
    if column.dtype.kind not in "biuf":
        raise UserError(f"overrides: {name} must be a number, not {column[0]!r}")
    numbers = column.astype(np.float64)
    is_valid = np.isin(numbers, (0, 1)) if is_boolean else (numbers >= low) & (numbers <= 1)
    if not is_valid.all():
        wrong = numbers[~is_valid][0]
        raise UserError(f"overrides: {name} is {wrong:g}; expected {'0 or 1' if is_boolean else f'{low} to 1'}")
    return numbers.astype(np.int64) if is_boolean else numbers
