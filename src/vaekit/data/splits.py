"""Assign images to train, validation and test parts by content and seed.

Each image has a number u in [0, 1), a hash of (content, seed). It belongs to val if u < 0.1, to test if 0.1 <= u < 0.2,
and to train otherwise. Duplicates therefore stay together, the order does not matter, and adding images moves no other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from vaekit.errors import UserError, counted, nearest

__all__ = ["FEWEST", "PARTS", "SPLIT", "assign_parts", "check_split", "named_parts", "split_of", "uniforms"]

PARTS = ("train", "val", "test")

#: Column of a table that assigns images to parts.
SPLIT = "split"

#: With fewer images, all of them are trained on.
FEWEST = 10

_PART_NAMES = {"train": 0, "val": 1, "valid": 1, "validation": 1, "test": 2}
_MOST_NAMED = 5  # unknown names that an error lists
_INTERVALS = {1: (0.0, 0.1), 2: (0.1, 0.2), 0: (0.2, 1.0)}


def check_split(split: str) -> str:
    """Return ``split`` if it is a part or 'all'; raises :class:`UserError` otherwise."""
    if split not in ("all", *PARTS):
        raise UserError(f"split {split!r}: {nearest(str(split), ('all', *PARTS))}", "split")
    return split


def split_of(name: str) -> int | None:
    """Return the part that a folder name or table entry stands for, or None.

    >>> split_of("Valid"), split_of("cat")
    (1, None)
    """
    return _PART_NAMES.get(name.lower())


def named_parts(entries: Sequence[str], where: str) -> list[int]:
    """Return the part (0, 1, 2) for each entry of a column, or -1 for an empty entry.

    Raises:
        UserError: If an entry is not the name of a part. The message lists such entries.

    >>> named_parts(["train", "Test", ""], "metadata.csv")
    [0, 2, -1]
    """
    parts = {entry: -1 if not entry.strip() else split_of(entry.strip()) for entry in set(entries)}
    unknown = sorted(entry for entry, part in parts.items() if part is None)
    if unknown:
        listed = ", ".join(map(repr, unknown[:_MOST_NAMED])) + (", …" if len(unknown) > _MOST_NAMED else "")
        raise UserError(
            f"the column {SPLIT!r} of {where} contains {listed}; expected {', '.join(_PART_NAMES)}, or nothing; "
            "correct the entries or rename the column"
        )
    return [part for entry in entries if (part := parts[entry]) is not None]


def uniforms(contents: Sequence[bytes], seed: int = 0) -> np.ndarray:
    """Hash each content to a number in [0, 1), float64 ``[N]``.

    >>> bool((uniforms([b"a", b"a"]) == uniforms([b"a"])).all())
    True
    """
    key = b"vaekit split %d\n" % seed
    heads = (hashlib.sha256(key + content).digest()[:8] for content in contents)
    # a double represents 53 bits exactly, so that the largest value stays below 1
    return np.array([(int.from_bytes(head, "big") >> 11) / 2.0**53 for head in heads], dtype=np.float64)


def assign_parts(u: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Assign the images to parts.

    Parts that the source does not define are taken from its training images. With ten or more images, no part is empty
    unless all images are equal.

    Args:
        u: float ``[N]`` from :func:`uniforms`.
        given: int8 ``[N]``, the part that the source defines, or -1.

    Returns:
        Parts, uint8 ``[N]`` (0 train, 1 val, 2 test), and notes for the user.

    >>> assign_parts(np.array([0.05, 0.15, 0.5]), np.array([-1, -1, -1], np.int8))[0]
    array([0, 0, 0], dtype=uint8)
    """
    parts = np.where(given < 0, 0, given).astype(np.uint8)
    pool = np.flatnonzero(given <= 0)
    missing = [part for part in (1, 2) if not (given == part).any()]
    if len(u) == 0 or not missing:
        return parts, []
    if len(pool) == 0:
        return parts, []
    if len(pool) < FEWEST:
        named = " and ".join(PARTS[part] for part in missing)
        few = f"{counted(len(pool), 'image')} {'is' if len(pool) == 1 else 'are'}"
        return parts, [f"{few} too few to split (at least {FEWEST} needed): all are train, {named} stay empty"]
    for part in missing:
        low, high = _INTERVALS[part]
        parts[pool[(u[pool] >= low) & (u[pool] < high)]] = part
    return parts, [note for part in (*missing, 0) for note in _fill(parts, u, pool, part)]


def _fill(parts: np.ndarray, u: np.ndarray, pool: np.ndarray, part: int) -> list[str]:
    """Move the images with the closest hash into an empty part, if another part can spare them."""
    if (parts[pool] == part).any():
        return []
    low, high = _INTERVALS[part]
    spare = [i for i in pool if len(np.unique(u[pool[parts[pool] == parts[i]]])) > 1]
    if not spare:
        return [f"all images are equal: {PARTS[part]} stays empty"]
    nearest_index = min(spare, key=lambda i: (max(low - u[i], u[i] - high, 0.0), u[i]))
    parts[pool[u[pool] == u[nearest_index]]] = part
    return []
