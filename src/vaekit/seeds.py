"""One seed, many independent random streams: each is named by what it serves and where it stands.

    stream = generator(mix(seed, purpose, position))

Training takes one stream per step, the verbs one per image, so that image i of seed s is the same whatever
the count, the chunk or the device.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "AUGMENTATION",
    "BINARISATION",
    "CORRUPTION",
    "HIDING",
    "IMPORTANCE",
    "MASKS",
    "NOISE",
    "ORDER",
    "SAMPLES",
    "VERB_NOISE",
    "image_noise",
    "stream",
]

NOISE, ORDER, CORRUPTION = range(3)  # of training
# All later ones sit in bits that seed · 3 does not reach, so that they never meet (seeds below 2^57).
SAMPLES, VERB_NOISE, MASKS, AUGMENTATION, IMPORTANCE, BINARISATION, HIDING = (purpose << 59 for purpose in range(1, 8))


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
    noise = torch.empty(count, *shape)
    for row in range(count):
        noise[row] = torch.randn(shape, generator=stream(seed, purpose, start + row))
    return noise
