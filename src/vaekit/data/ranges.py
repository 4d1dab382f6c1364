"""How much of the range of their values images use, and what to do where it is too little or too much.

A set is scaled by the range of its format (:mod:`vaekit.pixels.deep`), never by its own values. So values of 12 bits in
files of 16 keep 17 of 256 gray levels; that is said here. A set below 1 % of the range is not trained on; a single
dark image that a trained run is given is scaled as in training, and a note says how dark it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vaekit.errors import UserError
from vaekit.pixels.deep import PEAK

__all__ = ["Dim", "beyond_words", "dark_notes", "frame_notes", "range_notes", "range_of_files", "refuse_dim"]

_LEAST_SHARE = 0.01
_AMPLE_SHARE = 0.5  # half of the range is what a bright-limited photograph leaves; a bit of depth is lost below
_DARK = 1  # bytes: a mask of 0 and 1 is black to the eye
_BLOCK = 1 << 22


class Dim(NamedTuple):
    """The message about images that use less than 1 % of their range."""

    said: str
    remedy: str

    @property
    def note(self) -> str:
        """The note if the images are used all the same."""
        return f"{self.said}; they are scaled as in training, which leaves them nearly black"


def refuse_dim(dim: Dim) -> None:
    """Raises :class:`UserError`: nothing can be learned from images that are all black."""
    raise UserError(f"{dim.said} and would all be black; {dim.remedy}")


def range_of_files(peaks: np.ndarray, where: str) -> tuple[list[str], Dim | None]:
    """:func:`range_notes` of files with more than 8 bits.

    Args:
        peaks: The largest value of each file, int [N] on the scale 0..PEAK, or EIGHT_BITS.
        where: The name of the set.
    """
    return range_notes(int(peaks.max(initial=0)) / PEAK, f"files with more than 8 bits in {where}", "save them again")


def range_notes(share: float, what: str, then: str) -> tuple[list[str], Dim | None]:
    """Notes about the share of its range that a set uses; and what is said where it is less than 1 %.

    >>> range_notes(4095 / 65535, "files in scans", "save them again")[0][0][:45]
    'files in scans use 6.2 % of their range, whic'
    """
    if not 0 < share < _AMPLE_SHARE:
        return [], None
    percent = f"{100 * share:.2g} % of their range"
    if share < _LEAST_SHARE:
        factor = _factor(share)
        remedy = f"multiply all values by the same number, such as {factor}, and {then}"
        return [], Dim(f"{what} use only {percent}", remedy)
    levels = round(share * 255) + 1
    return [
        f"{what} use {percent}, which leaves {levels} of 256 gray levels; to use all, train on values multiplied by "
        f"{_factor(share)}, and multiply those of later images alike"
    ], None


def beyond_words(where: str, count: int, beyond: Sequence[tuple[str, str]]) -> str:
    """What to say of files whose values lie outside of the range: (name, why) of each."""
    few = "; ".join(f"{name}: {why}" for name, why in beyond[:3]) + ("; …" if len(beyond) > 3 else "")
    what = where if count == 1 else f"{len(beyond)} of the {count} images in {where}"
    holds = "has" if count == 1 else "have"
    said = beyond[0][1] if count == 1 else few
    return (
        f"{what} {holds} values that cannot be scaled without a guess ({said}); "
        "divide the values of all files by the same number, and use it for later images too"
    )


def dark_notes(pixels: np.ndarray) -> list[str]:
    """What to say of uint8 images [N, C, H, W] without any value above 1; looks no further than the first one."""
    flat = pixels.reshape(-1) if pixels.flags.c_contiguous else pixels
    step = _BLOCK if flat.ndim == 1 else max(1, _BLOCK * len(flat) // max(1, flat.size))
    top = 0
    for start in range(0, len(flat), step):
        top = max(top, int(flat[start : start + step].max(initial=0)))
        if top > _DARK:
            return []
    if not top:
        return []
    return ["the largest value of all images is 1 of 255, so they are black; if 1 means white, multiply by 255"]


def frame_notes(names: Sequence[str], has_more: np.ndarray) -> list[str]:
    """What to say where only the first frame or page of a file is used."""
    several = np.flatnonzero(has_more)
    if not len(several):
        return []
    said = "1 file has" if len(several) == 1 else f"{len(several)} files have"
    return [
        f"{said} more than one frame or page, such as {names[several[0]]}; only the first is used "
        "(all are with --frames all of train or data)"
    ]


def _factor(share: float) -> int:
    """The largest whole number that keeps the values within the range."""
    return int(1 / share)
