"""Many image files into one uint8 array [N, C, H, W], in parallel and without a second copy of the pixels."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from vaekit.data.decode import decode, is_colour, reason, upright_size
from vaekit.data.files import Files
from vaekit.data.identity import hash_file
from vaekit.data.scratch import empty
from vaekit.errors import UserError

__all__ = ["Loaded", "allocate", "join", "load_files", "place", "refuse_unequal", "suggested_side"]

T = TypeVar("T")

_BLOCK = 512  # headers looked at before asking whether colour was found
_HEADERS = 1024  # headers looked at before decoding, to find unequal sizes early


@dataclass
class Loaded:
    """Of the M readable files: pixels [M, C, H, W], contents, and their places in the request."""

    pixels: np.ndarray
    contents: list[bytes]
    kept: list[int]
    skipped: list[tuple[str, str]]


def load_files(
    files: Files, names: Sequence[str], root: str, size: tuple[int, int] | None, channels: int | None
) -> Loaded:
    """Decodes the files ``root + name``. Files that cannot be read are skipped with a reason.

    Arguments: size (height, width), None if all have the same; channels 1, 3 or None: 3 if any image has
    colour.
    Raises :class:`UserError` if more than half cannot be read, or if sizes differ and none is asked for.
    """
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        # PIL warns of large images and odd notes; neither is a reason to alarm the user
        warnings.simplefilter("ignore")
        try:
            if size is None:
                some = names[:: max(1, len(names) // _HEADERS)]
                refuse_unequal(_sizes(pool, files, some, root), files.where)
            channels = channels or (3 if _any_colour(pool, files, names, root) else 1)
            return _decode_all(pool, files, names, root, size, channels)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def allocate(count: int, channels: int, size: tuple[int, int]) -> np.ndarray:
    """An unwritten uint8 array [count, channels, height, width], in memory or in a mapped file (see scratch).

    Raises :class:`UserError` if neither has room for it.
    """
    return empty((count, channels, *size))


def join(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """uint8 arrays [n, C, H, W] of one shape, one after the other; a single one is returned as it is."""
    if len(arrays) == 1:
        return arrays[0]
    return np.concatenate(arrays, out=empty((sum(map(len, arrays)), *arrays[0].shape[1:])))


def place(target: np.ndarray, image: np.ndarray) -> None:
    """Writes uint8 [H, W] or [H, W, 3] into target [C, H, W]; gray goes into every channel."""
    target[:] = image if image.ndim == 2 else image.transpose(2, 0, 1)


def suggested_side(shortest: int) -> int:
    """The size to train at where no side is under ``shortest`` pixels: a power of two from 8 to 256.

    >>> suggested_side(100), suggested_side(5), suggested_side(4000)
    (64, 8, 256)
    """
    return max(8, min(256, 1 << max(0, shortest.bit_length() - 1)))


def refuse_unequal(sizes: Sequence[tuple[int, int]], where: str) -> None:
    """Raises :class:`UserError` with a size to give if ``sizes`` (height, width) are not all the same."""
    if len(set(sizes)) < 2:
        return
    low, high = min(sizes), max(sizes)
    raise UserError(
        f"the images in {where} differ in size (from {low[0]}x{low[1]} to {high[0]}x{high[1]}, "
        f"height x width); give the size to bring them to, for example --size {suggested_side(min(map(min, sizes)))}"
    )


def _decode_all(
    pool: ThreadPoolExecutor,
    files: Files,
    names: Sequence[str],
    root: str,
    size: tuple[int, int] | None,
    channels: int,
) -> Loaded:
    known = size or _first(pool, files, names, root, upright_size) or (1, 1)
    pixels = allocate(len(names), channels, known)

    found = {known}

    def one(index: int) -> bytes | str:
        try:
            if len(found) > 1:
                return "not read"
            data = files.read(root + names[index])
            image = decode(data, size, channels)
            if image.shape[:2] != known:
                found.add((image.shape[0], image.shape[1]))
                return "of another size"
            place(pixels[index], image)
            return hash_file(data)
        except Exception as error:  # a hostile file may raise anything; it must cost itself only
            return reason(error)

    results = list(pool.map(one, range(len(names))))
    refuse_unequal(sorted(found), files.where)
    return _settle(files, names, pixels, results)


def _settle(files: Files, names: Sequence[str], pixels: np.ndarray, results: list[bytes | str]) -> Loaded:
    kept = [index for index, result in enumerate(results) if isinstance(result, bytes)]
    contents = [result for result in results if isinstance(result, bytes)]
    skipped = [(names[index], result) for index, result in enumerate(results) if isinstance(result, str)]
    if 2 * len(skipped) > len(names):
        raise UserError(_too_many(files.where, len(names), skipped))
    if skipped:
        for row, index in enumerate(kept):
            if row != index:
                pixels[row] = pixels[index]
    return Loaded(pixels[: len(kept)], contents, kept, skipped)


def _too_many(where: str, count: int, skipped: list[tuple[str, str]]) -> str:
    if count == 1:
        return f"{where} cannot be read as an image: {skipped[0][1]}; fetch or export it again"
    few = "; ".join(f"{name}: {why}" for name, why in skipped[:3]) + ("; …" if len(skipped) > 3 else "")
    return (
        f"{len(skipped)} of the {count} images in {where} cannot be read ({few}); "
        "at least half must be readable: fetch or export them again"
    )


def _any_colour(pool: ThreadPoolExecutor, files: Files, names: Sequence[str], root: str) -> bool:
    return bool(_first(pool, files, names, root, lambda file: is_colour(file) or None))


def _sizes(pool: ThreadPoolExecutor, files: Files, names: Sequence[str], root: str) -> list[tuple[int, int]]:
    found = pool.map(lambda name: _header(files, root + name, upright_size), names)
    return [size for size in found if size is not None]


def _first(
    pool: ThreadPoolExecutor, files: Files, names: Sequence[str], root: str, look: Callable[..., T | None]
) -> T | None:
    """What ``look`` finds in the first header where it finds something."""
    for start in range(0, len(names), _BLOCK):
        block = [root + name for name in names[start : start + _BLOCK]]
        for found in pool.map(lambda name: _header(files, name, look), block):
            if found is not None:
                return found
    return None


def _header(files: Files, name: str, look: Callable[..., T]) -> T | None:
    try:
        with files.open(name) as file:
            return look(file)
    except Exception:  # the same file will be read in full, and named with its reason, later
        return None
