"""Train, validation and test parts that depend on content and seed alone.

Each image has a number u in [0, 1), a hash of (content, seed). It is a validation image if u < 0.1, a test
image if 0.1 <= u < 0.2, else a training image. So duplicates go together, the order is of no matter, and
adding images moves nobody.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from vaekit.errors import UserError, nearest

__all__ = ["FEWEST", "PARTS", "SPLIT", "assign_parts", "check_split", "named_parts", "split_of", "uniforms"]

PARTS = ("train", "val", "test")

#: The column of a table that names the part of each image.
SPLIT = "split"

#: Below this many images all of them are trained on.
FEWEST = 10

_WORDS = {"train": 0, "val": 1, "valid": 1, "validation": 1, "test": 2}
_MOST_NAMED = 5  # unknown words that an error lists
_INTERVALS = {1: (0.0, 0.1), 2: (0.1, 0.2), 0: (0.2, 1.0)}


def check_split(split: str) -> str:
    """Returns ``split`` if it is a part or 'all', else raises :class:`UserError`."""
    if split not in ("all", *PARTS):
        raise UserError(f"split {split!r}: {nearest(str(split), ('all', *PARTS))}", "split")
    return split


def split_of(word: str) -> int | None:
    """The part that a folder's name or a word of a table stands for.

    >>> split_of("Valid"), split_of("cat")
    (1, None)
    """
    return _WORDS.get(word.lower())


def named_parts(words: Sequence[str], where: str) -> list[int]:
    """The parts (0, 1, 2) that the words of a column name; -1 for an empty word.

    Raises :class:`UserError` that lists the words that name no part.

    >>> named_parts(["train", "Test", ""], "metadata.csv")
    [0, 2, -1]
    """
    parts = {word: -1 if not word.strip() else split_of(word.strip()) for word in set(words)}
    unknown = sorted(word for word, part in parts.items() if part is None)
    if unknown:
        listed = ", ".join(map(repr, unknown[:_MOST_NAMED])) + (", …" if len(unknown) > _MOST_NAMED else "")
        raise UserError(
            f"the column {SPLIT!r} of {where} holds {listed}; expected {', '.join(_WORDS)}, or nothing; "
            "correct the words or rename the column"
        )
    return [part for word in words if (part := parts[word]) is not None]


def uniforms(contents: Sequence[bytes], seed: int = 0) -> np.ndarray:
    """A number in [0, 1) for each content, float64 [N].

    >>> bool((uniforms([b"a", b"a"]) == uniforms([b"a"])).all())
    True
    """
    key = b"vaekit split %d\n" % seed
    words = (hashlib.sha256(key + content).digest()[:8] for content in contents)
    # 53 bits are exact in a double, so that the largest stays below 1
    return np.array([(int.from_bytes(word, "big") >> 11) / 2.0**53 for word in words], dtype=np.float64)


def assign_parts(u: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Parts, uint8 [N] (0 train, 1 val, 2 test), and notes for the user.

    Arguments: u float [N] from :func:`uniforms`; given int8 [N], the part the source itself names, or -1.
    Parts the source does not name are carved out of its training images. From ten images on no carved part
    is empty.

    >>> assign_parts(np.array([0.05, 0.15, 0.5]), np.array([-1, -1, -1], np.int8))[0]
    array([0, 0, 0], dtype=uint8)
    """
    parts = np.where(given < 0, 0, given).astype(np.uint8)
    pool = np.flatnonzero(given <= 0)
    wanted = [part for part in (1, 2) if not (given == part).any()]
    if len(u) == 0 or not wanted:
        return parts, []
    if len(pool) == 0:
        return parts, []
    if len(pool) < FEWEST:
        named = " and ".join(PARTS[part] for part in wanted)
        few = "1 image is" if len(pool) == 1 else f"{len(pool)} images are"
        return parts, [f"{few} too few for a split ({FEWEST} needed): all are train, {named} stay empty"]
    for part in wanted:
        low, high = _INTERVALS[part]
        parts[pool[(u[pool] >= low) & (u[pool] < high)]] = part
    return parts, [note for part in (*wanted, 0) for note in _fill(parts, u, pool, part)]


def _fill(parts: np.ndarray, u: np.ndarray, pool: np.ndarray, part: int) -> list[str]:
    """Moves the images with the nearest hash into an empty part, if another part can spare them."""
    if (parts[pool] == part).any():
        return []
    low, high = _INTERVALS[part]
    spare = [i for i in pool if len(np.unique(u[pool[parts[pool] == parts[i]]])) > 1]
    if not spare:
        return [f"the images are all alike: {PARTS[part]} stays empty"]
    nearest_index = min(spare, key=lambda i: (max(low - u[i], u[i] - high, 0.0), u[i]))
    parts[pool[u[pool] == u[nearest_index]]] = part
    return []
