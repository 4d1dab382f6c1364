"""One seed, many independent random streams: each is named by what it serves and where it stands.

    stream = generator(mix(seed, purpose, position))

Training takes one stream per step, generated images one each, so that image i of seed s is the same whatever
the count, the chunk or the device. What is measured on an image takes a stream that is named by its pixels: the noise
of an image is the same in any set, part, order, batch and process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = [
    "AUGMENTATION",
    "BINARISATION",
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

NOISE, ORDER, CORRUPTION = range(3)  # of training
# All later ones sit in bits that seed · 3 does not reach, so that they never meet (seeds below 2^57).
_LATER = [purpose << 59 for purpose in range(1, 9)]
SAMPLES, VERB_NOISE, MASKS, AUGMENTATION, IMPORTANCE, BINARISATION, HIDING, EVALUATION = _LATER


def stream(seed: int, purpose: int, position: int) -> torch.Generator:
    """The random stream for one ``purpose`` at one ``position``, the same on every machine."""
    mixed = (seed * 3 + purpose) * 0x9E3779B97F4A7C15 + (position + 1) * 0xBF58476D1CE4E5B9
    mixed = ((mixed ^ (mixed >> 31)) * 0x94D049BB133111EB) % 2**64
    return torch.Generator().manual_seed((mixed ^ (mixed >> 29)) % 2**63)


def image_noise(seed: int, purpose: int, start: int, count: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise ``[count, *shape]`` for the images from ``start`` on, one stream each.

    >>> both, second = image_noise(0, SAMPLES, 0, 2, (3,)), image_noise(0, SAMPLES, 1, 1, (3,))
    >>> torch.equal(both[1:], second)
    True
    """
    return noise_of(range(start, start + count), seed, purpose, shape)


def noise_of(keys: Sequence[int], seed: int, purpose: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise ``[N, *shape]`` for the images with these ``keys``, one stream each."""
    noise = torch.empty(len(keys), *shape)
    for row, key in zip(noise, keys, strict=True):
        torch.randn(shape, generator=stream(seed, purpose, key), out=row)
    return noise


def keys_of(pixels: Tensor) -> list[int]:
    """A number below 2⁶⁴ for each of the uint8 images ``[N, C, H, W]``, from its bytes alone.

    >>> black, white = keys_of(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1))
    >>> black == keys_of(torch.zeros(1, 1, 1, 1, dtype=torch.uint8))[0] != white
    True
    """
    images = pixels.cpu().contiguous().numpy()
    return [int.from_bytes(hashlib.blake2b(image.tobytes(), digest_size=8).digest(), "little") for image in images]
