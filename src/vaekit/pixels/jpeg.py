"""Fast path for plain JPEG files. Opening a small file with PIL takes longer than decoding it.

It is used only for files without EXIF or XMP (they may be rotated), without a color profile, without an Adobe marker
(their colors may be inverted) and without damage. PIL decodes all others. Both use libjpeg-turbo with the same
reduction factors, so the pixels are the same.
"""

from __future__ import annotations

import numpy as np
import simplejpeg

__all__ = ["decode_plain_jpeg"]

_SCAN, _APP1, _APP2, _APP14 = 0xDA, 0xE1, 0xE2, 0xEE
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xDA)))
_COLORS = {"Gray": "Gray", "YCbCr": "RGB"}


def decode_plain_jpeg(data: bytes, least: int, most_pixels: int) -> np.ndarray | None:
    """Decode a plain JPEG.

    Args:
        data: Bytes of the file.
        least: If positive, the image may be reduced to a half, quarter or eighth while decoding, as long as both sides
            keep at least this many pixels.
        most_pixels: Limit above which PIL is to be used.

    Returns:
        uint8 ``[H, W]`` or ``[H, W, 3]``, or None if the file is not a plain JPEG of at most ``most_pixels``.
    """
    if not _is_plain(data):
        return None
    try:
        height, width, colors, _ = simplejpeg.decode_jpeg_header(data)
        if colors not in _COLORS or height * width > most_pixels:
            return None
        factor = next((factor for factor in (8, 4, 2) if least and min(height, width) >= factor * least), 1)
        sides = (0, 0) if factor == 1 else (-(-height // factor), -(-width // factor))
        pixels: np.ndarray = simplejpeg.decode_jpeg(data, _COLORS[colors], min_height=sides[0], min_width=sides[1])
    except ValueError:  # damaged; PIL will say how
        return None
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


def _is_plain(data: bytes) -> bool:
    """Whether no marker before the pixels requires special treatment."""
    if data[:2] != b"\xff\xd8":
        return False
    offset = 2
    while offset + 4 <= len(data) and data[offset] == 0xFF:
        marker = data[offset + 1]
        if marker == _SCAN:
            return True
        if marker in _WITHOUT_LENGTH or marker in (_APP1, _APP14):
            return False
        if marker == _APP2 and data.startswith(b"ICC_PROFILE", offset + 4):
            return False
        offset += 2 + int.from_bytes(data[offset + 2 : offset + 4], "big")
    return False
