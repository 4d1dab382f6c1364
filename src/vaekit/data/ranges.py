"""How much of the range of their values images use, and what to do where it is too little or too much.

A set is scaled by the range of its format (:mod:`vaekit.pixels.deep`), never by its own values. So values of 12 bits in
files of 16 keep 17 of 256 gray levels; that is said here, and refused below 1 % of the range.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vaekit.errors import UserError
from vaekit.pixels.deep import PEAK

__all__ = ["beyond_words", "dark_notes", "frame_notes", "range_notes", "refuse_dim"]

_LEAST_SHARE = 0.01
_AMPLE_SHARE = 0.5  # half of the range is what a bright-limited photograph leaves; a bit of depth is lost below
_DARK = 1  # bytes: a mask of 0 and 1 is black to the eye
_BLOCK = 1 << 22


def range_notes(peaks: np.ndarray, where: str) -> list[str]:
    """What to say of the files with more than 8 bits.

    Args:
        peaks: The largest value of each file, int [N] on the scale 0..PEAK, or EIGHT_BITS.
        where: The name of the set.

    Raises:
        UserError: Together they use less than 1 % of the range.

    >>> range_notes(np.array([4095, 300]), "scans")[0][:59]
    'files with more than 8 bits use 6.2 % of their range, which '
    """
    peak = int(peaks.max(initial=0))
    share = peak / PEAK
    refuse_dim(share, f"the files with more than 8 bits in {where}", "save them again")
    if not 0 < share < _AMPLE_SHARE:
        return []
    levels = round(share * 255) + 1
    return [
        f"files with more than 8 bits use {100 * share:.2g} % of their range, which leaves {levels} of 256 gray "
        f"levels; to use all, multiply the values of every file by {_factor(share)}"
    ]


def refuse_dim(share: float, what: str, then: str) -> None:
    """Raises :class:`UserError` if the largest value is above 0 and below 1 % of the range."""
    if 0 < share < _LEAST_SHARE:
        raise UserError(
            f"{what} use only {100 * share:.2g} % of their range and would all be black; "
            f"multiply all values by the same number, such as {_factor(share)}, and {then}"
        )


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
