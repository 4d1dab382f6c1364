"""Map traits to what the painters use: lengths in head units and colors, one value per portrait.

Each length is ``middle + spread * (2u - 1)``, with different middles for men and women where faces differ. Each color
is a point on a short chain of sRGB colors. The unit of the head is that of the canvas at scale 1. The origin is the
center of the face, so the eyes are near v = 0 and the chin near v = 0.34.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaekit.data.portraits.canvas import Array
from vaekit.data.portraits.traits import BACKGROUNDS, HAIR_COLORS, Columns

__all__ = ["Look", "look"]

#: Values by name: float32 ``[batch, 1, 1]`` for numbers, ``[batch, 3, 1, 1]`` for colors (sRGB in [0, 1]).
Look = dict[str, Array]

_Values = NDArray[np.float64]
_Stream = Mapping[str, _Values]

_SKIN = [
    (252, 226, 208), (247, 212, 188), (236, 192, 160), (220, 169, 130),
    (193, 138, 99), (160, 107, 73), (128, 82, 57), (104, 66, 48),
]  # fmt: skip
_HAIR = {
    "black": (36, 31, 34), "darkbrown": (66, 44, 34), "brown": (104, 68, 44), "auburn": (128, 58, 36),
    "ginger": (186, 96, 44), "darkblond": (164, 126, 80), "blond": (222, 186, 122), "grey": (142, 140, 142),
    "white": (222, 219, 214),
}  # fmt: skip
_BACKGROUND = {
    "sky": (158, 190, 214), "teal": (134, 182, 182), "sage": (168, 190, 156), "sand": (212, 196, 166),
    "peach": (228, 190, 164), "rose": (214, 172, 178), "lavender": (182, 174, 208), "slate": (142, 152, 170),
}  # fmt: skip
_CLOTHES = [
    (48, 62, 98), (52, 104, 118), (84, 122, 98), (198, 158, 78), (190, 104, 76),
    (142, 58, 68), (108, 74, 116), (108, 112, 124), (216, 206, 190), (54, 56, 64),
]  # fmt: skip
_IRIS = [(70, 42, 26), (104, 66, 36), (116, 104, 62), (92, 122, 92), (86, 124, 152), (92, 112, 134)]
#: How much darker than the skin a frame is. All frames have one shape and a color that depends on the skin. The face
#: thus determines what glasses look like on it, so that adding them can be compared with the truth.
_FRAME_DARKER = (0.46, 0.42, 0.37)


def look(u: _Stream, columns: Columns) -> Look:
    """Return the numbers and colors for painting rows, given their uniforms and attribute columns."""
    w = {name: 2 * value - 1 for name, value in u.items()}  # in [-1, 1)
    male = columns["male"].astype(np.float64)
    numbers = {
        **{name: columns[name].astype(np.float64) for name in _NUMERIC},
        **_place(w),
        **_head(w, male),
        **_features(w, male, columns["smiling"].astype(np.float64)),
        **_hair(u, w, male, columns["hair_length"]),
        **_dress(w, u, male),
    }
    turn = 0.15 * numbers["pose"]
    numbers |= {"turn": turn, "facing": 1 - turn * turn / 2}
    shaped = {name: value.astype(np.float32)[:, None, None] for name, value in numbers.items()}
    colors = _colors(u, w, columns)
    return shaped | {name: value.astype(np.float32)[:, :, None, None] for name, value in colors.items()}


_NUMERIC = ("glasses", "male", "smiling", "beard", "hair_length", "skin_tone", "pose", "lighting")


def _place(w: _Stream) -> dict[str, _Values]:
    return {
        "x": 0.010 * w["shift_x"],
        "y": 0.505 + 0.009 * w["shift_y"],
        "scale": 1 + 0.025 * w["scale"],
        "tilt": 0.04 * w["tilt"],
    }


def _head(w: _Stream, male: _Values) -> dict[str, _Values]:
    return {
        "wide": _by(male, 0.246, 0.234) + 0.010 * w["face_width"],
        "crown": np.full_like(male, 0.318),
        "chin": _by(male, 0.350, 0.328) + 0.010 * w["face_height"],
        "taper": _by(male, 0.06, 0.17) + 0.035 * w["jaw"],
        "square": _by(male, 0.52, 0.06) + 0.10 * w["jaw"],
        "neck": _by(male, 0.150, 0.096) + 0.006 * w["face_width"],
    }


def _features(w: _Stream, male: _Values, smiling: _Values) -> dict[str, _Values]:
    return {
        "eye_x": 0.108 + 0.005 * w["eye_distance"],
        "eye_y": 0.0 + 0.008 * w["eye_height"],
        "eye_wide": _by(male, 0.051, 0.055) + 0.003 * w["eye_size"],
        "eye_tall": _by(male, 0.0265, 0.0315) + 0.003 * w["eye_size"],
        "lash": _by(male, 0.008, 0.014),
        "wing": _by(male, 0.0, 1.0),
        "brow_y": _by(male, -0.103, -0.112) + 0.007 * w["brow_height"],
        "brow_slope": _by(male, 0.03, -0.02) + 0.08 * w["brow_angle"],
        "brow_thick": _by(male, 0.0175, 0.0085) + _by(male, 0.0030, 0.0012) * w["brow_weight"],
        "brow_arch": _by(male, 0.012, 0.024),
        "nose_y": 0.108 + 0.010 * w["nose_length"],
        "nose_wide": _by(male, 0.046, 0.037) + 0.005 * w["nose_width"],
        "mouth_y": _by(male, 0.196, 0.190) + 0.006 * w["mouth_height"] - 0.008 * smiling,
        "mouth_wide": _by(male, 0.078, 0.068) + 0.006 * w["mouth_width"] + 0.036 * smiling,
        "mouth_open": smiling * (0.066 + 0.006 * w["smile_open"]),
        "mouth_curve": 0.008 + 0.029 * smiling,
        "upper_lip": (_by(male, 0.013, 0.020) + 0.002 * w["lip_fullness"]) * (1 - 0.3 * smiling),
        "lower_lip": (_by(male, 0.019, 0.027) + 0.003 * w["lip_fullness"]) * (1 - 0.3 * smiling),
        "flush": _by(male, 0.18, 0.28) + 0.08 * w["blush"],
    }


def _hair(u: _Stream, w: _Stream, male: _Values, length: _Values) -> dict[str, _Values]:
    short = (length < 0.31).astype(np.float64)  # ears and neck are visible
    bun = short * (1 - male)
    fringe = u["hair_fringe"]
    return {
        "short": short,
        "bun": bun,
        "hair_side": 0.018 + 0.026 * (1 - short) + 0.010 * u["hair_volume"],
        "hair_top": 0.030 + 0.022 * (1 - short) + (0.020 + 0.05 * male * length) * u["hair_volume"],
        "hair_bottom": 0.18 + 0.36 * length,
        "part": 0.10 * w["hair_part"],
        "line": _by(male, -0.222 + 0.030 * fringe, -0.235 + 0.075 * fringe),
        "droop": _by(male, 0.16, 0.20 + 0.35 * (1 - fringe)),
        "burn": _by(male, 0.22, 0.20),
        "sweep": -_by(male, 0.14, 0.08) * w["hair_part"],
        "quiff": -_by(male, 0.10, 0.03) * w["hair_part"],
    }


def _dress(w: _Stream, u: _Stream, male: _Values) -> dict[str, _Values]:
    return {
        "shoulder": _by(male, 0.862, 0.900) + 0.010 * w["shoulders"],
        "slope": _by(male, 0.34, 0.62) + 0.05 * w["shoulders"],
        "neckline": _by(male, 0.945, 0.985) + 0.020 * w["neckline"],
        "opening": 0.150 + 0.012 * w["neckline"],
        "beard_drop": 0.012 + 0.022 * u["beard_length"],
    }


def _colors(u: _Stream, w: _Stream, columns: Columns) -> dict[str, _Values]:
    male = columns["male"].astype(np.float64)[:, None]
    warm = 1 + 0.045 * w["warmth"][:, None] * np.array([1.0, 0.1, -1.0])
    skin = _chain(_SKIN, columns["skin_tone"]) + w["undertone"][:, None] * np.array([0.008, -0.006, -0.022])
    hair = _named(_HAIR, HAIR_COLORS, columns["hair_colour"]) * (1 + 0.10 * w["hair_shade"][:, None])
    clothes = _chain(_CLOTHES, u["clothes_color"]) * (1 + 0.10 * w["clothes_light"][:, None])
    rosy = np.array([0.74, 0.26, 0.28]) + 0.10 * w["lip_color"][:, None] * np.array([1.0, 0.1, 0.4])
    bare, painted = skin * _rgb(0.86, 0.66, 0.64), rosy * (0.55 + 0.45 * skin[:, :1])
    lips = painted + (0.35 + 0.65 * male) * (bare - painted)
    backdrop = _named(_BACKGROUND, BACKGROUNDS, columns["background"])
    backdrop = backdrop + 0.05 * w["backdrop_light"][:, None]
    light = skin + 0.45 * (_rgb(1.0, 0.95, 0.88) - skin) * (0.35 + 0.65 * skin[:, :1])
    sheen = hair + 0.30 * (_rgb(1.0, 0.92, 0.80) - hair) * (0.35 + 0.65 * hair[:, :1])
    colors = {
        "skin": skin, "skin_light": light, "skin_shade": skin * _rgb(0.70, 0.56, 0.52),
        "blush": skin * _rgb(1.0, 0.72, 0.70), "lips": lips,
        "hair": hair, "hair_light": sheen,
        "hair_dark": hair * 0.62, "brow": hair * _rgb(0.66, 0.62, 0.60) * (1 - 0.12 * (1 - male)),
        "beard_color": hair * _rgb(0.82, 0.70, 0.62),
        "clothes": clothes, "backdrop": backdrop,
        "iris": _chain(_IRIS, u["eye_color"] * (1 - 0.8 * np.clip(columns["skin_tone"] * 1.6 - 0.3, 0, 1))),
        "frame": np.maximum(skin - _rgb(*_FRAME_DARKER), 0.03),
    }  # fmt: skip
    return {name: np.clip(color * warm, 0, 1) for name, color in colors.items()}


def _by(male: _Values, man: Any, woman: Any) -> _Values:
    return np.asarray(woman + male * (man - woman), dtype=np.float64)


def _rgb(red: float, green: float, blue: float) -> _Values:
    return np.array([red, green, blue])


def _chain(stops: list[tuple[int, int, int]], t: _Values) -> _Values:
    """Interpolate a chain of colors, ``[batch, 3]``; t in [0, 1] runs from the first to the last."""
    table: _Values = np.array(stops) / 255
    place = np.clip(t, 0, 1) * (len(table) - 1)
    first = np.minimum(place.astype(np.int64), len(table) - 2)
    points: _Values = table[first] + (place - first)[:, None] * (table[first + 1] - table[first])
    return points


def _named(colors: dict[str, tuple[int, int, int]], names: tuple[str, ...], column: NDArray[Any]) -> _Values:
    table: _Values = np.array([colors[name] for name in names]) / 255
    index = np.array([names.index(name) for name in column.tolist()], dtype=np.int64)
    points: _Values = table[index]
    return points
