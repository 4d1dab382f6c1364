"""Encode images as files, also in formats that PIL cannot write."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
from PIL import Image

__all__ = ["deep_png", "deep_tiff", "saved"]


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def deep_png(values: np.ndarray) -> bytes:
    """Encode [H, W, C] as a PNG with 16 bits per channel, which PIL cannot write."""
    height, width, channels = values.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def deep_tiff(values: np.ndarray) -> bytes:
    """Encode [H, W, 3] as a little-endian, uncompressed TIFF with 16 bits per channel."""
    height, width, _ = values.shape
    pixels = values.astype("<u2").tobytes()
    end = 8 + len(pixels)
    entries = [
        *((256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, end), (259, 3, 1, 1), (262, 3, 1, 2)),
        *((273, 4, 1, 8), (277, 3, 1, 3), (278, 3, 1, height), (279, 4, 1, len(pixels))),
    ]
    table = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return (
        struct.pack("<2sHI", b"II", 42, end + 6)
        + pixels
        + struct.pack("<HHH", 16, 16, 16)
        + table
        + struct.pack("<I", 0)
    )
