"""Independent random streams from one seed, each named by its purpose and position.

    generator = stream(seed, purpose, position)

Training uses one stream per step. Generation uses one per image, so that image i of seed s is the same for every count,
chunk size and device. Measurements name the stream of an image by its pixels, so that its noise is the same in every
dataset, order, batch and process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = [
    "AUGMENTATION",
    "BINARIZATION",
    "CORRUPTION",
    "EVALUATION",
    "HIDING",
    "IMPORTANCE",
    "MASKS",
    "NOISE",
    "ORDER",
    "SAMPLES",
    "VERB_NOISE",
    "image_noise",
    "keys_of",
    "noise_of",
    "stream",
]

NOISE, ORDER, CORRUPTION = range(3)  # used by training
# Later purposes use bits above those of seed * 3, so that their streams never coincide with these (seeds below 2^57).
_LATER = [purpose << 59 for purpose in range(1, 9)]
SAMPLES, VERB_NOISE, MASKS, AUGMENTATION, IMPORTANCE, BINARIZATION, HIDING, EVALUATION = _LATER


def stream(seed: int, purpose: int, position: int) -> torch.Generator:
    """Return the generator for one ``purpose`` at one ``position``; it is the same on every machine."""
    mixed = (seed * 3 + purpose) * 0x9E3779B97F4A7C15 + (position + 1) * 0xBF58476D1CE4E5B9
    mixed = ((mixed ^ (mixed >> 31)) * 0x94D049BB133111EB) % 2**64
    return torch.Generator().manual_seed((mixed ^ (mixed >> 29)) % 2**63)


def image_noise(seed: int, purpose: int, start: int, count: int, shape: tuple[int, ...]) -> Tensor:
    """Draw standard normal noise ``[count, *shape]`` for ``count`` images from index ``start``, one stream each.

    >>> both, second = image_noise(0, SAMPLES, 0, 2, (3,)), image_noise(0, SAMPLES, 1, 1, (3,))
    >>> torch.equal(both[1:], second)
    True
    """
    return noise_of(range(start, start + count), seed, purpose, shape)


def noise_of(keys: Sequence[int], seed: int, purpose: int, shape: tuple[int, ...]) -> Tensor:
    """Draw standard normal noise ``[N, *shape]`` for images with these ``keys``, one stream each."""
    noise = torch.empty(len(keys), *shape)
    for row, key in zip(noise, keys, strict=True):
        torch.randn(shape, generator=stream(seed, purpose, key), out=row)
    return noise


def keys_of(pixels: Tensor) -> list[int]:
    """Hash the bytes of each uint8 image ``[N, C, H, W]`` to an integer below 2⁶⁴.

    >>> black, white = keys_of(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1))
    >>> black == keys_of(torch.zeros(1, 1, 1, 1, dtype=torch.uint8))[0] != white
    True
    """
    images = pixels.cpu().contiguous().numpy()
    return [int.from_bytes(hashlib.blake2b(image.tobytes(), digest_size=8).digest(), "little") for image in images]
