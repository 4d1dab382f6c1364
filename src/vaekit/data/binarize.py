"""Grey levels made black or white, which a Bernoulli likelihood is about: an intensity is the probability of white.

threshold  white from one half on
static     drawn once: an image has the bits that follow from its own bytes, in whatever set, part or order it comes
dynamic    drawn anew every time an image is trained on (Burda et al. 2016, Sec. 5); elsewhere as ``static``

Black and white pixels stay what they are, so that doing it twice changes nothing.
"""

from __future__ import annotations

import hashlib

import numpy as np

from vaekit.config.run_config import BINARIZE
from vaekit.data.ingest.mapped import empty
from vaekit.errors import UserError, nearest

__all__ = ["BINARIZE", "binarized", "check_binarize"]


def check_binarize(kind: str | None) -> None:
    """Raises :class:`UserError` for a kind that is not known."""
    if kind is not None and kind not in BINARIZE:
        raise UserError(f"binarize {kind}: {nearest(kind, BINARIZE)}", "binarize")


def binarized(pixels: np.ndarray, kind: str) -> np.ndarray:
    """uint8 ``[N, ...]`` → the same shape, 0 and 255 alone.

    >>> binarized(np.array([[0, 127, 128, 255]], np.uint8), "threshold")
    array([[  0,   0, 255, 255]], dtype=uint8)
    """
    out = empty(pixels.shape)
    for image, bits in zip(pixels, out, strict=True):
        is_white = image >= 128 if kind == "threshold" else _drawn(image) < image
        np.multiply(is_white, 255, out=bits, casting="unsafe")
    return out


def _drawn(image: np.ndarray) -> np.ndarray:
    """Uniform on [0, 255), from the bytes of the image: numpy keeps the raw numbers of this generator for good."""
    key = int.from_bytes(hashlib.blake2b(np.ascontiguousarray(image).tobytes(), digest_size=16).digest(), "little")
    raw = np.random.Philox(key=key).random_raw(image.size)
    return ((raw >> 11) * (255 * 2.0**-53)).reshape(image.shape)
