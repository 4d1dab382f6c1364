"""Convert gray levels to black and white for a Bernoulli likelihood; the intensity is the probability of white.

threshold  white from one half upward
static     drawn once: the bits of an image depend only on its bytes, whatever its dataset, part and order
dynamic    drawn again each time an image is trained on (Burda et al. 2016, Sec. 5); elsewhere as ``static``

Black and white pixels stay as they are, so binarizing twice changes nothing.
"""

from __future__ import annotations

import hashlib

import numpy as np

from vaekit.config.run_config import BINARIZE
from vaekit.data.ingest.mapped import empty
from vaekit.errors import UserError, nearest

__all__ = ["BINARIZE", "binarized", "check_binarize"]


def check_binarize(kind: str | None) -> None:
    """Raise :class:`UserError` if ``kind`` is unknown."""
    if kind is not None and kind not in BINARIZE:
        raise UserError(f"binarize {kind}: {nearest(kind, BINARIZE)}", "binarize")


def binarized(pixels: np.ndarray, kind: str) -> np.ndarray:
    """Binarize uint8 pixels ``[N, ...]``; the result has the same shape and holds only 0 and 255.

    >>> binarized(np.array([[0, 127, 128, 255]], np.uint8), "threshold")
    array([[  0,   0, 255, 255]], dtype=uint8)
    """
    out = empty(pixels.shape)
    for image, bits in zip(pixels, out, strict=True):
        is_white = image >= 128 if kind == "threshold" else _uniform(image) < image
        np.multiply(is_white, 255, out=bits, casting="unsafe")
    return out


def _uniform(image: np.ndarray) -> np.ndarray:
    """Draw uniform numbers in [0, 255) from the bytes of the image. numpy guarantees Philox's raw output."""
    key = int.from_bytes(hashlib.blake2b(np.ascontiguousarray(image).tobytes(), digest_size=16).digest(), "little")
    raw = np.random.Philox(key=key).random_raw(image.size)
    return ((raw >> 11) * (255 * 2.0**-53)).reshape(image.shape)
