"""Report how much of their value range images use, and refuse sets that use too little or too much.

A set is scaled by the range of its format (:mod:`vaekit.pixels.bit_depth`), never by its own values. For example,
12-bit values in 16-bit files leave 17 of 256 gray levels, which is reported here. A set that uses less than 1 % of the
range is not trained on. A dark image that is passed to a trained run is scaled as in training, with a note.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vaekit.errors import UserError, counted
from vaekit.pixels.bit_depth import PEAK

__all__ = ["Dim", "dark_notes", "frame_notes", "out_of_range_message", "range_notes", "range_of_files", "refuse_dim"]

_LEAST_SHARE = 0.01
_AMPLE_SHARE = 0.5  # typical of photographs without overexposed areas; below, at least a bit of depth is lost
_DARK = 1  # bytes; a mask of 0 and 1 looks black
_BLOCK = 1 << 22


class Dim(NamedTuple):
    """Message about images that use less than 1 % of their range."""

    problem: str
    remedy: str

    @property
    def note(self) -> str:
        """Note for the case that the images are used anyway."""
        return f"{self.problem}; they are scaled as in training, which leaves them nearly black"


def refuse_dim(dim: Dim) -> None:
    """Raise :class:`UserError`, because nothing can be learned from black images."""
    raise UserError(f"{dim.problem} and would be black; {dim.remedy}")


def range_of_files(peaks: np.ndarray, where: str) -> tuple[list[str], Dim | None]:
    """Apply :func:`range_notes` to files with more than 8 bits.

    Args:
        peaks: Largest value of each file, int ``[N]`` on the scale 0 to PEAK, or EIGHT_BITS.
        where: Name of the set.
    """
    return range_notes(int(peaks.max(initial=0)) / PEAK, f"files with more than 8 bits in {where}", "save them again")


def range_notes(share: float, subject: str, then: str) -> tuple[list[str], Dim | None]:
    """Report the share of the range that a set uses.

    Args:
        share: Largest value divided by the end of the range.
        subject: The set, as the plural subject of a sentence.
        then: What to do with the scaled values, as an imperative.

    Returns:
        Notes, and the message for a set that uses less than 1 %, if so.

    >>> range_notes(4095 / 65535, "files in scans", "save them again")[0][0][:45]
    'files in scans use 6.2 % of their range, whic'
    """
    if not 0 < share < _AMPLE_SHARE:
        return [], None
    percent = f"{100 * share:.2g} % of their range"
    if share < _LEAST_SHARE:
        factor = _factor(share)
        remedy = f"multiply all values by the same number, such as {factor}, and {then}"
        return [], Dim(f"{subject} use only {percent}", remedy)
    levels = round(share * 255) + 1
    return [
        f"{subject} use {percent}, which leaves {levels} of 256 gray levels; to use all of them, multiply all values "
        f"by {_factor(share)} before training, and those of later images too"
    ], None


def out_of_range_message(where: str, count: int, faults: Sequence[tuple[str, str]]) -> str:
    """Describe images with values out of range; ``faults`` holds the name and fault of each."""
    examples = "; ".join(f"{name}: {why}" for name, why in faults[:3]) + ("; …" if len(faults) > 3 else "")
    subject = where if count == 1 else f"{len(faults):,} of the {counted(count, 'image')} in {where}"
    verb = "has" if count == 1 else "have"
    details = faults[0][1] if count == 1 else examples
    return (
        f"{subject} {verb} values out of range ({details}); "
        "divide the values of all files by the same number, and do the same with later images"
    )


def dark_notes(pixels: np.ndarray) -> list[str]:
    """Return a note if no value of uint8 images ``[N, C, H, W]`` exceeds 1; stops at the first that does."""
    flat = pixels.reshape(-1) if pixels.flags.c_contiguous else pixels
    step = _BLOCK if flat.ndim == 1 else max(1, _BLOCK * len(flat) // max(1, flat.size))
    top = 0
    for start in range(0, len(flat), step):
        top = max(top, int(flat[start : start + step].max(initial=0)))
        if top > _DARK:
            return []
    if not top:
        return []
    return ["the largest value of all images is 1 of 255, so they are black; if 1 means white, multiply them by 255"]


def frame_notes(names: Sequence[str], has_more: np.ndarray) -> list[str]:
    """Return a note if files have more frames or pages than the one that is used."""
    several = np.flatnonzero(has_more)
    if not len(several):
        return []
    subject = f"{counted(len(several), 'file')} {'has' if len(several) == 1 else 'have'}"
    return [
        f"{subject} more than one frame or page, such as {names[several[0]]}; only the first is used, "
        "unless you give frames=all"
    ]


def _factor(share: float) -> int:
    """Return the largest whole number that keeps the values in range."""
    return int(1 / share)
