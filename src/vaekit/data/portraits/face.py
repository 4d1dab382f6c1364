"""Painters of small parts: eyes, brows, nose, mouth, beard and glasses."""

from __future__ import annotations

import numpy as np

from vaekit.data.portraits.canvas import Array, Canvas, Patch, cover, glow, rounded, smooth
from vaekit.data.portraits.head import head_share
from vaekit.data.portraits.look import Look

__all__ = ["beard", "brows", "cheeks", "eyes", "glasses", "mouth", "nose"]


def _rgb(red: int, green: int, blue: int) -> Array:
    return np.array([red, green, blue], np.float32)[None, :, None, None] / np.float32(255)


_EYEWHITE, _PUPIL, _GLINT = _rgb(246, 243, 240), _rgb(18, 14, 16), _rgb(255, 255, 255)
_LENS_WIDE, _LENS_TALL, _LENS_ROUND = 0.083, 0.062, 0.043  # half sides of a lens, and the radius of its corners
_RIM = 0.0165  # half the thickness of a frame, which is two pixels of 64 in total
_LASH, _TEETH, _THROAT, _LENS = _rgb(34, 24, 24), _rgb(252, 248, 242), _rgb(104, 34, 36), _rgb(206, 226, 240)


def _at(look: Look, across: Array | float, depth: float) -> Array:
    """Return the horizontal position of a point, ``across`` from the middle at ``depth`` toward us, after turning."""
    return across * look["facing"] + depth * look["turn"]


def cheeks(canvas: Canvas, look: Look) -> None:
    """Paint blush, and the highlights of the cheeks that a smile lifts."""
    for side in (-1.0, 1.0):
        patch = canvas.patch(side * 0.14 - 0.15, side * 0.14 + 0.15, 0.46, 0.80)
        u = patch.u - _at(look, side * 0.138, 0.16)
        v = patch.v - 0.105
        patch.paint(glow(u, v, 0.105, 0.085) * head_share(patch, look) * look["flush"] * 1.6, look["blush"])
        u = patch.u - _at(look, side * 0.118, 0.2)
        lift = glow(u, v + 0.02, 0.07, 0.05) * look["smiling"]
        patch.paint(lift * 0.35, look["skin_light"])


def eyes(canvas: Canvas, look: Look) -> None:
    """Paint almond-shaped eyes with iris, pupil and highlight, under lids with lashes."""
    for side in (-1, 1):
        patch = canvas.patch(side * 0.11 - 0.115, side * 0.11 + 0.115, 0.38, 0.62)
        wide = look["eye_wide"] * (1 - side * 0.7 * look["turn"])
        u = patch.u - _at(look, side * look["eye_x"], 0.2)
        v = patch.v - look["eye_y"] + 0.10 * side * u  # the outer corners are slightly higher
        patch.paint(glow(u, v + 0.022, 0.095, 0.065) * 0.36, look["skin_shade"])
        t = u / wide
        steep = 1 / np.sqrt(1 + (2 * look["eye_tall"] / wide * np.minimum(np.abs(t), 1)) ** 2)
        upper = (v + look["eye_tall"] * (1 - t * t)) * steep
        lower = (look["eye_tall"] * 0.72 * (1 - t * t) - v) * steep
        _ball(patch, look, u - 0.03 * look["pose"] * wide, v, np.minimum(upper, lower))
        lid = look["lash"] * np.maximum(1.2 - t * t, 0)
        ink = cover(lid * 0.6 - np.abs(upper), patch.pixel)
        ink *= cover(wide * 1.06 - np.abs(u), patch.pixel)
        patch.paint(ink * 0.92, _LASH)
        patch.paint(_wing(u * side, v, wide, patch.pixel) * look["wing"], _LASH)


def _ball(patch: Patch, look: Look, u: Array, v: Array, inside: Array) -> None:
    """Paint an eyeball within its lids, with iris, pupil, the shadow of the lid and a highlight."""
    ball = cover(inside, patch.pixel)
    patch.paint(ball, _EYEWHITE)
    radius = look["eye_tall"] * 0.96
    far = np.sqrt(u * u + (v + 0.002) ** 2)
    patch.paint(cover(radius - far, patch.pixel) * ball, look["iris"])
    patch.paint(cover(radius * 0.52 - far, patch.pixel) * ball, _PUPIL)
    patch.paint(np.clip((-v - 0.008) / 0.03, 0, 0.35) * ball, _LASH)
    spot = np.sqrt((u - 0.009) ** 2 + (v + 0.010) ** 2)
    patch.paint(cover(0.0075 - spot, patch.pixel), _GLINT)


def _wing(u: Array, v: Array, wide: Array, pixel: Array) -> Array:
    """Paint the outer lashes: a short stroke outward and upward from the corner of the eye."""
    a, b = u - wide * 0.82, v + 0.004
    along = np.clip(a * 0.8 - b * 0.6, 0, 0.030)
    distance = np.sqrt((a - along * 0.8) ** 2 + (b + along * 0.6) ** 2)
    return cover(0.0085 * (1 - along * 22) - distance, pixel) * 0.9


def brows(canvas: Canvas, look: Look) -> None:
    """Paint arched brows that thin out toward the temples."""
    for side in (-1.0, 1.0):
        patch = canvas.patch(side * 0.11 - 0.13, side * 0.11 + 0.13, 0.32, 0.50)
        u = (patch.u - _at(look, side * (look["eye_x"] + 0.004), 0.2)) * side
        t = u / 0.066
        v = patch.v - look["brow_y"] + look["brow_slope"] * u + look["brow_arch"] * (1 - t * t) - 0.012
        ends = np.minimum(t * t * t * t, 1.3)
        thick = look["brow_thick"] * (0.88 - 0.26 * t) * (1 - 0.9 * ends)
        distance = np.minimum(thick - np.abs(v), (1.03 - np.abs(t)) * 0.066)
        patch.paint(cover(distance, patch.pixel) * 0.9, look["brow"])


def nose(canvas: Canvas, look: Look) -> None:
    """Paint a lit bridge and tip, the shadow beside and below, and the nostrils."""
    patch = canvas.patch(-0.16, 0.16, 0.38, 0.70)
    tip = _at(look, 0.0, 0.32)
    u, v = patch.u - tip, patch.v - look["nose_y"]
    wide = look["nose_wide"]
    lean = look["lighting"] + 3 * look["turn"]
    bridge = patch.u - _at(look, 0.0, 0.26) + 0.020 * lean
    patch.paint(glow(bridge, v + 0.075, 0.038, 0.11) * 0.30 * np.abs(lean), look["skin_shade"])
    patch.paint(glow(u, v - 0.020, wide * 1.5, 0.030) * 0.55, look["skin_shade"])
    patch.paint(glow(u, v, wide * 1.05, 0.034) * 0.5, look["skin"])
    spot = glow(u - 0.006 * look["lighting"], v + 0.008, 0.030, 0.028)
    patch.paint(spot * 0.7, look["skin_light"])
    for side in (-1.0, 1.0):
        hole = glow(u - side * 0.5 * wide, v - 0.021, 0.017, 0.0105)
        patch.paint(np.minimum(hole * 1.4, 1) * 0.62, look["skin_shade"] * 0.62)


def mouth(canvas: Canvas, look: Look) -> None:
    """Paint lips, either closed and nearly straight, or in a wide smile that shows the teeth."""
    patch = canvas.patch(-0.20, 0.20, 0.58, 0.86)
    u, v = patch.u - _at(look, 0.0, 0.24), patch.v - look["mouth_y"]
    t = u / look["mouth_wide"]
    bow = np.maximum(1 - t * t, -0.3)
    top = look["mouth_curve"] * (0.55 - t * t)  # the corners are higher than the middle
    bottom = top + look["mouth_open"] * bow
    rim = cover((1 - np.abs(t)) * look["mouth_wide"], patch.pixel)
    patch.paint(glow(u, v - 0.052 - look["mouth_open"], 0.075, 0.028) * 0.35, look["skin_shade"])
    peak = top - look["upper_lip"] * bow * (1.12 - 0.30 * np.maximum(1 - t * t * 14, 0))
    upper = cover(np.minimum(v - peak, bottom - v + 0.002), patch.pixel) * rim
    patch.paint(upper, look["lips"] * 0.90)
    lower = cover(np.minimum(v - top, bottom + look["lower_lip"] * bow - v), patch.pixel) * rim
    patch.paint(lower, look["lips"])
    shine = glow(u - 0.012 * look["lighting"], v - bottom - look["lower_lip"] * 0.5, 0.045, 0.012)
    patch.paint(shine * 0.35 * lower, look["skin_light"])
    _between_lips(patch, look, v - top, bottom - v, bow, rim)


def _between_lips(patch: Patch, look: Look, under: Array, over: Array, bow: Array, rim: Array) -> None:
    """Paint teeth in an open mouth, or the dark line of a closed one; ``under`` and ``over`` are lip distances."""
    inside = np.minimum(under, over)
    patch.paint(cover(inside, patch.pixel) * rim * look["smiling"], _THROAT)
    teeth = np.minimum(inside - 0.002, look["mouth_open"] * 0.70 * bow - under)
    patch.paint(cover(teeth, patch.pixel) * rim * look["smiling"], _TEETH)
    line = cover(0.0055 - np.abs(under), patch.pixel) * rim * (1 - look["smiling"])
    patch.paint(line * 0.85, look["lips"] * 0.45)


def beard(canvas: Canvas, look: Look) -> None:
    """Paint a full beard with a mustache, along the jaw and slightly beyond the chin."""
    patch = canvas.patch(-0.34, 0.34, 0.42, 0.98)
    u, v = patch.u - look["turn"] * 0.12, patch.v
    side = np.abs(u) / look["wide"]
    line = 0.148 + 0.014 * smooth(side * 3) - 0.16 * smooth((side - 0.56) * 2.5)
    soft = smooth((v - line) / 0.045 + 0.5)
    outline = head_share(patch, look, 0.02 + look["beard_drop"] * np.maximum(v, 0) * 4)
    tone = 1 + 0.9 * look["lighting"] * patch.u - 0.7 * (v - 0.15) + 0.12 * side
    patch.paint(soft * outline * look["beard"] * 0.94, look["beard_color"] * tone[:, None])


def glasses(canvas: Canvas, look: Look) -> None:
    """Paint a thick frame with a bridge and temples, around slightly tinted lenses."""
    patch = canvas.patch(-0.33, 0.33, 0.36, 0.64)
    v = patch.v - 0.006
    u = patch.u - _at(look, 0.0, 0.27)
    frame = cover(np.minimum(0.013 - np.abs(v + 0.020 - 6 * u * u), 0.034 - np.abs(u)), patch.pixel)
    for side in (-1.0, 1.0):
        wide = _LENS_WIDE * (1 - side * 0.6 * look["turn"])
        u = patch.u - _at(look, side * 0.110, 0.22)
        outline = rounded(u, v, wide, _LENS_TALL, _LENS_ROUND)
        _lens(patch, look, u, v, cover(outline, patch.pixel) * look["glasses"])
        rim = cover(outline + _RIM, patch.pixel) - cover(outline - _RIM, patch.pixel)
        frame = np.maximum(np.maximum(frame, rim), _temple(patch, look, side * u - wide, v))
    patch.paint(frame * look["glasses"], look["frame"])


def _lens(patch: Patch, look: Look, u: Array, v: Array, share: Array) -> None:
    """Paint slightly tinted glass with a slanted reflection."""
    patch.paint(share * 0.08, _LENS)
    patch.paint(glow(u + 0.03 + 0.35 * v, v + 0.018, 0.022, 0.045) * share * 0.20, _GLINT)


def _temple(patch: Patch, look: Look, out: Array, v: Array) -> Array:
    """Return the share covered by the bar from the frame to the ear; ``out`` is the distance from the lens."""
    bar = np.minimum(0.012 - np.abs(v + 0.022), np.minimum(out, 0.075 - out))
    return cover(bar, patch.pixel) * head_share(patch, look)
