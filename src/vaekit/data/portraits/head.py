"""Painters of large parts: background, clothes, neck, hair and the skin of the head.

Each paints one layer over the canvas, from back to front. Light comes from above, and from the side given by
``lighting``.
"""

from __future__ import annotations

import numpy as np

from vaekit.data.portraits.canvas import Array, Canvas, Patch, cover, edge, glow, rounded, smooth
from vaekit.data.portraits.look import Look

__all__ = ["background", "back_hair", "body", "ears", "front_hair", "head_share", "neck", "skin"]

_EVER = 1e9  # outside of any canvas


def background(canvas: Canvas, look: Look) -> None:
    """Paint a plain background, brighter toward the light and darker at the bottom."""
    x, y = np.clip(canvas.x, -0.5, 0.5), np.clip(canvas.y, 0, 1)
    shade = 1.02 + 0.20 * look["lighting"] * x - 0.22 * y
    canvas.rgb[:] = look["backdrop"] * shade[:, None]
    halo = glow(canvas.x, canvas.y - 0.42, 0.62, 0.62)
    canvas.rgb += 0.07 * halo[:, None]


def body(canvas: Canvas, look: Look) -> None:
    """Paint shoulders in plain clothes."""
    patch = canvas.patch(-_EVER, _EVER, 0.82, _EVER)
    x = patch.x - look["x"]
    spread = x * x
    line = look["shoulder"] + look["slope"] * spread
    share = edge(patch.y - line)
    shade = 0.98 + 0.55 * look["lighting"] * x - 0.9 * spread
    shade = shade - 0.9 * (patch.y - 0.95)
    patch.paint(share, look["clothes"] * np.clip(shade, 0.55, 1.2)[:, None])


def back_hair(canvas: Canvas, look: Look) -> None:
    """Paint hair that falls behind the face onto the shoulders, and a bun for women with tied hair."""
    patch = canvas.patch(-0.46, 0.46, 0.2, 1.2)
    wide = look["wide"] + look["hair_side"]
    top, bottom = -0.05, look["hair_bottom"]
    middle, half = (top + bottom) / 2, (bottom - top) / 2
    flare = wide + 0.045 * smooth((patch.v - 0.02) * 2.4)
    share = cover(rounded(patch.u, patch.v - middle, flare, half, 0.13), patch.pixel)
    tone = 0.25 - (patch.v + 0.2) * 1.1 + 0.9 * look["lighting"] * patch.u
    tone += 0.30 * np.abs(patch.u / wide) - 0.25 + _strands(patch.u, patch.v, look)
    _paint_hair(patch, look, share * (1 - look["short"]), tone)
    _bun(canvas, look)


def _bun(canvas: Canvas, look: Look) -> None:
    patch = canvas.patch(-0.2, 0.2, 0.0, 0.30)
    u = patch.u + look["turn"] * 0.3
    v = patch.v + look["crown"] + 0.055
    share = edge(1 - (u * u) / 0.105**2 - (v * v) / 0.08**2) * look["bun"]
    shade = 0.82 - 1.6 * v + look["lighting"] * u
    patch.paint(share, look["hair"] * shade[:, None])


def neck(canvas: Canvas, look: Look) -> None:
    """Paint the neck, the skin that the neckline leaves visible, and the shadow of the chin."""
    patch = canvas.patch(-0.25, 0.25, 0.66, 1.1)
    x = patch.x - look["x"]
    below = np.maximum(patch.y - 0.80, 0)
    half = look["neck"] + 2.2 * below * below
    column = np.minimum(half - np.abs(x), look["neckline"] - 0.5 * x * x / look["opening"] - patch.y)
    share = cover(column, patch.pixel)
    tone = 0.35 + 1.3 * look["lighting"] * x
    patch.paint(share, _skin_tone(look, tone))
    garment = cover(patch.y - look["shoulder"] - look["slope"] * x * x, patch.pixel)
    hem = cover(0.011 - np.abs(column + 0.008), patch.pixel) * garment
    patch.paint(hem * 0.9, look["clothes"] * (0.82 + 0.5 * look["lighting"] * x)[:, None])
    chin = glow(patch.u, patch.v - 0.27, look["neck"] * 1.5, 0.24)
    patch.paint(np.minimum(chin * 1.5, 0.85) * share, look["skin_shade"])


def ears(canvas: Canvas, look: Look) -> None:
    """Paint both ears where hair does not hide them; the one on the far side disappears behind the head."""
    for side in (-1, 1):
        patch = canvas.patch(side * 0.25 - 0.09, side * 0.25 + 0.09, 0.38, 0.66)
        u = patch.u - side * (look["wide"] + 0.008) + look["turn"] * 0.12
        v = patch.v - 0.025
        share = edge(1 - (u * u) / 0.034**2 - (v * v) / 0.062**2)
        share *= (1 - head_share(patch, look)) * look["short"]
        tone = 0.42 + 0.30 * side * look["lighting"]
        patch.paint(share, _skin_tone(look, tone + np.zeros_like(u)))
        patch.paint(glow(u - side * 0.008, v, 0.020, 0.042) * share * 0.6, look["skin_shade"])


def skin(canvas: Canvas, look: Look) -> None:
    """Paint the head, shaded like a rounded body."""
    patch = canvas.patch(-0.34, 0.34, 0.08, 0.94)
    across, down, radius = _round_head(patch, look)
    share = edge(1 - radius)
    depth = np.sqrt(np.maximum(1 - 0.92 * (across * across + down * down), 0.02))
    tone = 0.48 * look["lighting"] * across - 0.20 * down + 0.62 * depth
    patch.paint(share, _skin_tone(look, tone))


def head_share(patch: Patch, look: Look, grow: Array | float = 0.0) -> Array:
    """Return the share of each pixel inside the outline of the head, widened by the relative amount ``grow``."""
    _, _, radius = _round_head(patch, look)
    return edge((1 + grow) * (1 + grow) - radius)


def front_hair(canvas: Canvas, look: Look) -> None:
    """Paint hair on top of the head and beside the face: the part of its outline above the hairline."""
    patch = canvas.patch(-0.36, 0.36, 0.0, 0.98)
    across, height, share = _hair_outline(patch, look)
    line = _hairline(patch.u, look)
    share *= edge(line - patch.v)
    burn, tips = 0.012 + 0.06 * look["hair_length"], look["hair_bottom"] - 0.05
    end = tips + look["short"] * (burn - tips) - patch.v
    share *= smooth(end / (0.06 - 0.04 * look["short"]) + 0.5)
    shadow = np.clip((line + 0.035 - patch.v) / 0.06, 0, 1)
    shadow *= head_share(patch, look) * 0.36
    patch.paint(shadow, look["skin_shade"])
    lit = 0.75 * look["lighting"] * across + 0.10 - 0.30 * across * across
    lit += 0.85 * glow(across - 0.35 * look["lighting"], height + 0.62, 0.75, 0.36)
    lit -= 0.28 * smooth(height * 1.2 + 0.4) - _strands(patch.u, patch.v, look)
    _paint_hair(patch, look, share, lit)


def _hair_outline(patch: Patch, look: Look) -> tuple[Array, Array, Array]:
    """Return the position within the hair in units of its half width and height, and the share inside its outline."""
    across = patch.u / (look["wide"] + look["hair_side"])
    v = patch.v + 0.02
    rise = (look["crown"] + look["hair_top"]) * (1 + look["quiff"] * across)
    fall = 0.40 + 1.5 * look["short"]
    height = np.where(v < 0, v / rise, v * fall)
    a, b = across * across, height * height
    return across, height, edge(1 - a - b + 0.34 * a * b)


def _hairline(u: Array, look: Look) -> Array:
    """Return the lowest v that hair covers at each u: high at the parting, falling to the ears on both sides."""
    shifted = u - look["turn"] * 0.12
    off = shifted - look["part"]
    from_part = np.sqrt(off * off + 0.0016) - 0.04
    side = shifted / look["wide"]
    side = side * side * side
    side = side * side
    line: Array = look["line"] + look["droop"] * from_part + look["sweep"] * off
    line += look["burn"] * np.minimum(side, 4)
    return line


def _strands(u: Array, v: Array, look: Look) -> Array:
    """Return soft, wide locks that fan out from the parting: a gentle wave between -0.1 and 0.1."""
    fan = (u - look["part"]) / (np.maximum(v, -0.36) + 0.52) * 5.5
    wave = fan - np.floor(fan) - 0.5
    wave = wave * wave * (1 - 2 * wave * wave) * 3.2
    return (wave - 0.19) * 0.36


def _paint_hair(patch: Patch, look: Look, share: Array, lit: Array) -> None:
    """Return hair in three tones: ``lit`` 0 is the plain color, 1 lighter, -1 darker."""
    up = smooth((lit - 0.1) * 1.1)[:, None]
    down = smooth(-(lit + 0.05) * 1.1)[:, None]
    plain = look["hair"]
    patch.paint(share, plain + up * (look["hair_light"] - plain) + down * (look["hair_dark"] - plain))


def _skin_tone(look: Look, tone: Array) -> Array:
    """Return skin in three tones: 0.5 is the plain color, 1 the lit one, 0 the shaded one."""
    up = smooth((tone - 0.45) * 1.7)[:, None]
    down = smooth((0.5 - tone) * 1.25)[:, None]
    plain = look["skin"]
    tinted: Array = plain + up * (look["skin_light"] - plain) + down * (look["skin_shade"] - plain)
    return tinted


def _round_head(patch: Patch, look: Look) -> tuple[Array, Array, Array]:
    """Return the position on the head in units of its half width and height, and a squared radius, 1 on its outline."""
    down = patch.v / np.where(patch.v < 0, look["crown"], look["chin"])
    lower = np.maximum(down, 0)
    lower *= lower
    across = patch.u / (look["wide"] * (1 - look["taper"] * lower))
    square = look["square"] * lower * (lower - 1)
    return across, down, across * across + down * down + square
