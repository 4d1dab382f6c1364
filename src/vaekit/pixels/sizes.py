"""How much of pictures a crop cuts off, and which size and fit suit them.

share that a crop keeps = min(a, b) / max(a, b)    a, b: width over height of the picture and of the size
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from vaekit.pixels.form import Form

__all__ = ["Suggestion", "crop_notes", "kept_share", "suggested"]

SMALLEST, LARGEST = 8, 256  #: sides that are suggested

_LEAST_KEPT = 2 / 3  # of the average picture; a crop that keeps less is not suggested, and is said


@dataclass(frozen=True)
class Suggestion:
    """A size for training, how pictures are brought to it, and why."""

    size: tuple[int, int]  #: (height, width)
    fit: str
    reason: str

    @property
    def size_text(self) -> str:
        """As ``--size`` takes it.

        >>> Suggestion((64, 64), "crop", "").size_text, Suggestion((64, 96), "crop", "").size_text
        ('64', '64x96')
        """
        height, width = self.size
        return str(height) if height == width else f"{height}x{width}"

    @property
    def flags(self) -> str:
        """On the command line; a crop is what happens without a flag."""
        return f"--size {self.size_text}" + (f" --fit {self.fit}" if self.fit != "crop" else "")


def kept_share(sizes: Sequence[tuple[int, ...]], size: tuple[int, int]) -> float:
    """The share of the average picture that a crop to ``size`` keeps; every size is (height, width).

    >>> kept_share([(200, 5000)], (64, 64)), kept_share([(10, 20), (20, 10), (7, 7)], (5, 5))
    (0.04, 0.6666666666666666)
    """
    wanted = size[1] / size[0]
    ratios = (width / height for height, width in sizes)
    return statistics.fmean(min(ratio, wanted) / max(ratio, wanted) for ratio in ratios)


def crop_notes(sizes: Sequence[tuple[int, ...]], form: Form) -> list[str]:
    """What to say of pictures of these sizes, where the form cuts off more than a third of the average one.

    >>> crop_notes([(200, 5000)], Form((64, 64)))[0][:76]
    'cutting the middle out of the images (--fit crop) to 64x64 drops 96 % of the'
    """
    if not sizes or form.size is None or form.fit != "crop":
        return []
    kept = kept_share(sizes, form.size)
    if kept >= _LEAST_KEPT:
        return []
    height, width = form.size
    return [
        f"cutting the middle out of the images (--fit crop) to {height}x{width} drops {_percent(1 - kept)} of the "
        "average picture; train with --fit pad or --fit stretch to keep all of it"
    ]


def suggested(sizes: Sequence[tuple[int, int]], fit: str = "crop") -> Suggestion:
    """What to train pictures of these sizes at. In place of a crop that cuts off more than a third, they are padded.

    >>> suggested([(28, 28)]).flags, suggested([(64, 200)]).flags, suggested([(200, 5000)]).flags
    ('--size 28', '--size 64x200', '--size 256 --fit pad')
    >>> suggested([(64, 70)] * 39 + [(5, 5)])
    Suggestion(size=(64, 64), fit='crop', reason='the files differ in size, no side is under 64 but for a few')
    """
    is_one_size = len(set(sizes)) == 1
    kept = kept_share(sizes, (1, 1))
    if fit == "crop" and kept < _LEAST_KEPT:
        dropped = f"a square cut out of the middle would drop {_percent(1 - kept)} of the average picture"
        if is_one_size and min(sizes[0]) >= SMALLEST and max(sizes[0]) <= LARGEST:
            return Suggestion(sizes[0], "crop", f"the size of the images; {dropped}")
        return Suggestion(_square(sizes, "pad")[0], "pad", dropped)
    size, least = _square(sizes, fit)
    if not is_one_size:
        few = " but for a few" if min(map(max if fit == "pad" else min, sizes)) < least else ""
        why = f"the files differ in size, no {_word(fit, 'side')} is under {least}{few}"
    elif least > LARGEST:
        why = "larger images take long to train"
    elif least < SMALLEST:
        why = f"the net of the recipe serves sides from {SMALLEST} pixels"
    elif sizes[0][0] == sizes[0][1]:
        why = "the size of the images"
    else:
        why = f"the {_word(fit, 'shorter side')} of the images" + "; the middle is cut out" * (fit == "crop")
    return Suggestion(size, fit, why)


def _suggested_side(shortest: int) -> int:
    """The size to train at where no side is under ``shortest`` pixels: a power of two from 8 to 256.

    >>> _suggested_side(100), _suggested_side(5), _suggested_side(4000)
    (64, 8, 256)
    """
    return max(SMALLEST, min(LARGEST, 1 << max(0, shortest.bit_length() - 1)))


def _square(sizes: Sequence[tuple[int, int]], fit: str) -> tuple[tuple[int, int], int]:
    """A square for pictures of these sizes, and the side that it follows: of padded ones the longer, else the other."""
    sides = sorted(map(max if fit == "pad" else min, sizes))
    least = sides[len(sides) // 20]  # that 19 of 20 images reach: one thumbnail must not decide for all
    side = max(SMALLEST, min(LARGEST, least)) if len(set(sizes)) == 1 else _suggested_side(least)
    return (side, side), least


def _word(fit: str, side: str) -> str:
    return "longer side" if fit == "pad" else side


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
