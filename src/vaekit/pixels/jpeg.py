"""JPEG without detours: most of the time to open a small file with PIL goes into Python that reads its header.

Only files that need nothing else come this way: no EXIF or XMP (they may be turned), no colour profile, no Adobe marker
(their colours may be inverted), and not a bit of damage. The others are for PIL. Both use libjpeg-turbo, and reduce by
the same factors: the same pixels.
"""

from __future__ import annotations

import numpy as np
import simplejpeg

__all__ = ["decode_plain_jpeg"]

_SCAN, _APP1, _APP2, _APP14 = 0xDA, 0xE1, 0xE2, 0xEE
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xDA)))
_COLOURS = {"Gray": "Gray", "YCbCr": "RGB"}


def decode_plain_jpeg(data: bytes, least: int, most_pixels: int) -> np.ndarray | None:
    """The image as uint8 [H, W] or [H, W, 3]; None where it is not a plain JPEG of at most ``most_pixels``.

    It is reduced to a half, quarter or eighth while it is decoded if both sides stay at least ``least`` pixels; 0: it
    is not.
    """
    if not _is_plain(data):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        if colours not in _COLOURS or height * width > most_pixels:
            return None
        by = next((by for by in (8, 4, 2) if least and min(height, width) >= by * least), 1)
        sides = (0, 0) if by == 1 else (-(-height // by), -(-width // by))
        pixels: np.ndarray = simplejpeg.decode_jpeg(data, _COLOURS[colours], min_height=sides[0], min_width=sides[1])
    except ValueError:  # damaged: PIL says how
        return None
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


def _is_plain(data: bytes) -> bool:
    """Whether all markers before the pixels are of the ordinary kind."""
    if data[:2] != b"\xff\xd8":
        return False
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == _SCAN:
            return True
        if marker in _WITHOUT_LENGTH or marker in (_APP1, _APP14):
            return False
        if marker == _APP2 and data.startswith(b"ICC_PROFILE", at + 4):
            return False
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return False
