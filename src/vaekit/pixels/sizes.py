"""Choose a size and fit for training images, and report how much a crop cuts off.

share that a crop keeps = min(a, b) / max(a, b)    a, b: aspect ratios (width / height) of the image and of the size
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from vaekit.errors import argument
from vaekit.pixels.image_form import Form

__all__ = ["Suggestion", "crop_notes", "kept_share", "suggested"]

SMALLEST, LARGEST = 8, 256  #: limits of suggested sides, in pixels

_LEAST_KEPT = 2 / 3  # a crop that keeps less of the average image is reported and not suggested


@dataclass(frozen=True)
class Suggestion:
    """A size for training, how images are fitted to it, and why."""

    size: tuple[int, int]  #: (height, width)
    fit: str
    reason: str

    @property
    def size_text(self) -> str:
        """The size as text.

        >>> Suggestion((64, 64), "crop", "").size_text, Suggestion((64, 96), "crop", "").size_text
        ('64', '64x96')
        """
        height, width = self.size
        return str(height) if height == width else f"{height}x{width}"

    @property
    def arguments(self) -> str:
        """The arguments that choose it, for an error; cropping is the default and needs none."""
        fit = f" {argument('fit', self.fit)}" if self.fit != "crop" else ""
        return argument("size", self.size_text) + fit


def kept_share(sizes: Sequence[tuple[int, ...]], size: tuple[int, int]) -> float:
    """Return the share of the average image that a crop to ``size`` keeps. All sizes are (height, width).

    >>> kept_share([(200, 5000)], (64, 64)), kept_share([(10, 20), (20, 10), (7, 7)], (5, 5))
    (0.04, 0.6666666666666666)
    """
    wanted = size[1] / size[0]
    ratios = (width / height for height, width in sizes)
    return statistics.fmean(min(ratio, wanted) / max(ratio, wanted) for ratio in ratios)


def crop_notes(sizes: Sequence[tuple[int, ...]], form: Form) -> list[str]:
    """Report a crop that cuts off more than a third of the average image.

    >>> crop_notes([(200, 5000)], Form((64, 64)))[0]
    'the center crop to 64x64 drops 96 % of the average image; train with fit=pad or fit=stretch to keep all of it'
    """
    if not sizes or form.size is None or form.fit != "crop":
        return []
    kept = kept_share(sizes, form.size)
    if kept >= _LEAST_KEPT:
        return []
    height, width = form.size
    return [
        f"the center crop to {height}x{width} drops {_percent(1 - kept)} of the average image; train with fit=pad "
        "or fit=stretch to keep all of it"
    ]


def suggested(sizes: Sequence[tuple[int, int]], fit: str = "crop") -> Suggestion:
    """Suggest a training size for images of these sizes; padding replaces a crop that cuts off more than a third.

    >>> from vaekit.errors import worded
    >>> [worded(suggested(sizes).arguments) for sizes in ([(28, 28)], [(64, 200)], [(200, 5000)])]
    ['size=28', 'size=64x200', 'size=256 fit=pad']
    >>> suggested([(64, 70)] * 39 + [(5, 5)])
    Suggestion(size=(64, 64), fit='crop', reason='the files differ in size; all but a few sides are at least 64')
    """
    is_one_size = len(set(sizes)) == 1
    kept = kept_share(sizes, (1, 1))
    if fit == "crop" and kept < _LEAST_KEPT:
        dropped = f"a square center crop would drop {_percent(1 - kept)} of the average image"
        if is_one_size and min(sizes[0]) >= SMALLEST and max(sizes[0]) <= LARGEST:
            return Suggestion(sizes[0], "crop", f"the size of the images; {dropped}")
        return Suggestion(_square(sizes, "pad")[0], "pad", dropped)
    size, least = _square(sizes, fit)
    if not is_one_size:
        quantity = "all but a few" if min(map(max if fit == "pad" else min, sizes)) < least else "all"
        why = f"the files differ in size; {quantity} {'longer ' * (fit == 'pad')}sides are at least {least}"
    elif least > LARGEST:
        why = "larger images take long to train"
    elif least < SMALLEST:
        why = f"the recipe's network needs at least {SMALLEST} pixels per side"
    elif sizes[0][0] == sizes[0][1]:
        why = "the size of the images"
    else:
        why = f"the {'longer' if fit == 'pad' else 'shorter'} side of the images" + "; center crop" * (fit == "crop")
    return Suggestion(size, fit, why)


def _suggested_side(shortest: int) -> int:
    """Round down to a power of two, at least 8 and at most 256.

    >>> _suggested_side(100), _suggested_side(5), _suggested_side(4000)
    (64, 8, 256)
    """
    return max(SMALLEST, min(LARGEST, 1 << max(0, shortest.bit_length() - 1)))


def _square(sizes: Sequence[tuple[int, int]], fit: str) -> tuple[tuple[int, int], int]:
    """Return a square for images of these sizes and the side it is based on: the longer if padded, else the shorter."""
    sides = sorted(map(max if fit == "pad" else min, sizes))
    least = sides[len(sides) // 20]  # 19 of 20 images reach it, so that one thumbnail does not decide for all
    side = max(SMALLEST, min(LARGEST, least)) if len(set(sizes)) == 1 else _suggested_side(least)
    return (side, side), least


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
