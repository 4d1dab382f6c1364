"""Near duplicates: pictures that are nearly equal, such as one saved again, scaled a little or brightened a little.

Two images are near if all of this holds, with gray as JPEG has it (ITU-R 601):

    their difference hashes differ in at most 3 of 64 bits: in 8 rows of 9 areas, whether the next area is brighter
    (by more than 1.5 levels of 255, below which a plain area is noise)
    their mean brightness differs by at most 8 levels
    their 16x16 thumbnails, each less its mean, differ by at most 2 levels on average

Measured: no pair is near and not equal among the 1,797 ``digits``, 3,000 portraits of 64 pixels, 13,165 real faces of
64 pixels and 10,000 of CIFAR-10; among MNIST's 10,000 test digits 4 pairs are, all ones (at 2.5 levels, dozens). Of the
faces, drawn and real, at least 97 % are found again after JPEG of quality 60, a detour through 60 pixels or 5 levels
more light. JPEG of that quality changes more than this in a third of CIFAR-10's images of 32 pixels and in most digits.

Areas are averaged with whole weights, so that sums are exact and no result depends on the order of the images. A pair
within 3 bits agrees in one of 4 bands of 16 bits (the pigeonhole principle): sorted by each band in turn, images that
agree in it stand together, and each is compared with a bounded number that follow it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

__all__ = ["Alike", "near_duplicates"]

_MOST_BITS, _MOST_BRIGHTER, _MOST_LEVELS = 3, 8.0, 2.0
_FURTHEST = 64  # images that one is compared with in each band, at most, or
_ENOUGH = 1 << 25  # comparisons in all, where the images are few enough for more
_BANDS = 4
_PIECE_BYTES = 8 << 20  # of float64 pixels at a time
_PAIRS = 4096  # of thumbnails at a time
_LUMA = (299, 587, 114)  # thousandths of red, green and blue (ITU-R 601), which JPEG keeps best
_MARGIN = 1.5  # levels
_ONES = np.unpackbits(np.arange(1 << 16, dtype=np.uint16).view(np.uint8).reshape(-1, 2), axis=1).sum(1, dtype=np.uint8)


@dataclass(frozen=True)
class Alike:
    """Groups of near images, and what it took to find them."""

    groups: list[list[int]]  #: positions, rising; a group is what near pairs hold together
    compared: int  #: pairs of hashes
    is_complete: bool  #: whether every pair that agrees in a band was compared


def near_duplicates(pixels: torch.Tensor, rows: np.ndarray | None = None) -> Alike:
    """Groups of nearly equal images among uint8 [N, C, H, W], or among its ``rows`` (positions).

    >>> image = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    >>> near_duplicates(torch.cat([image, image.flip(3), image.clamp(max=250) + 4])).groups
    [[0, 2]]
    """
    rows = np.arange(len(pixels)) if rows is None else rows
    hashes, thumbnails = _marks(pixels, rows)
    brightness = thumbnails.mean(1)
    root, compared, is_complete = np.arange(len(rows)), 0, True
    furthest = max(_FURTHEST, _ENOUGH // (_BANDS * max(1, len(rows))))
    for keys in hashes.view(np.uint16).reshape(-1, _BANDS).T:
        # equal hashes stand together in every band, from dark to light, so that the nearest are met first
        order = np.lexsort((brightness, hashes, keys))
        for step in range(1, len(order)):
            agree = keys[order[:-step]] == keys[order[step:]]
            first, second = order[:-step][agree], order[step:][agree]
            if step > furthest:
                is_complete &= len(first) == 0
            if step > furthest or not len(first):
                break
            compared += len(first)
            near = _ones(hashes[first] ^ hashes[second]) <= _MOST_BITS
            near &= np.abs(brightness[first] - brightness[second]) <= _MOST_BRIGHTER
            near &= root[first] != root[second]  # nothing new of those that are together already
            near[near] = _close(thumbnails, first[near], second[near])
            root = _joined(root, first[near], second[near])
    return Alike(_groups(root, rows), compared, is_complete)


def _marks(pixels: torch.Tensor, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The hash, uint64 [n], and the thumbnail, uint8 [n, 256], of each of the rows."""
    _, channels, height, width = pixels.shape
    down = torch.cat([_areas(height, 8), _areas(height, 16)])
    across = torch.cat([_areas(width, 9), _areas(width, 16)])
    weights = _LUMA if channels == 3 else (1,) * channels
    whole = sum(weights) * height * width  # by which the sums exceed the averages
    hashes, thumbnails = np.empty(len(rows), np.uint64), np.empty((len(rows), 256), np.uint8)
    piece = max(1, _PIECE_BYTES // (8 * height * width))
    for start in range(0, len(rows), piece):
        here = slice(start, start + piece)
        some = pixels[torch.from_numpy(rows[here])]
        gray = sum(weight * some[:, channel].double() for channel, weight in enumerate(weights))
        sums = down @ gray @ across.T
        rises = sums[:, :8, 1:9] - sums[:, :8, :8] > _MARGIN * whole
        # bits of one band come from all over the image: a plain border fills no band
        bits = rises.view(-1, 16, _BANDS).transpose(1, 2).reshape(-1, 64).numpy()
        hashes[here] = np.packbits(bits, axis=1).view(np.uint64)[:, 0]
        thumbnails[here] = (sums[:, 8:, 9:] / whole + 0.5).floor().flatten(1).numpy()
    return hashes, thumbnails


def _areas(pixels: int, areas: int) -> torch.Tensor:
    """[areas, pixels]: how much of each pixel lies in each of equal areas, as whole numbers that sum to ``pixels``."""
    start, left = torch.arange(areas)[:, None] * pixels, torch.arange(pixels) * areas
    inside = torch.minimum(start + pixels, left + areas) - torch.maximum(start, left)
    return inside.clamp(min=0).double()


def _ones(values: np.ndarray) -> np.ndarray:
    """How many bits of each uint64 are set."""
    return _ONES[values.view(np.uint16).reshape(-1, 4)].sum(1)


def _close(thumbnails: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Whether the thumbnails of each pair differ little, but for their brightness."""
    close = np.zeros(len(first), bool)
    for start in range(0, len(first), _PAIRS):
        here = slice(start, start + _PAIRS)
        change = thumbnails[first[here]].astype(np.float32) - thumbnails[second[here]]
        close[here] = np.abs(change - change.mean(1, keepdims=True)).mean(1) <= _MOST_LEVELS
    return close


def _joined(root: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Roots after joining pairs: the lowest position of each group."""
    while True:
        low, high = np.minimum(root[first], root[second]), np.maximum(root[first], root[second])
        if (low == high).all():
            return root
        np.minimum.at(root, high, low)
        while (root[root] != root).any():
            root = root[root]


def _groups(root: np.ndarray, rows: np.ndarray) -> list[list[int]]:
    order = np.argsort(root, kind="stable")
    _, starts = np.unique(root[order], return_index=True)
    return [rows[group].tolist() for group in np.split(order, starts[1:]) if len(group) > 1]
