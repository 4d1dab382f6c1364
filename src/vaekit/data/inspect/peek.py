"""Read a sample of a source, for planning a training without loading all images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vaekit.data.images import Images
from vaekit.data.ingest.files import Files
from vaekit.data.ingest.loader import sample_sizes
from vaekit.data.sources.builtin import is_builtin, portraits_count
from vaekit.data.sources.folder import layout_of, read_tree
from vaekit.data.sources.hub import is_hub
from vaekit.data.sources.open import open_in, tree_of
from vaekit.data.sources.rows import Rows
from vaekit.data.splits import FEWEST
from vaekit.pixels.image_form import AS_IT_IS, Form

__all__ = ["Peek", "peek"]

_MOST = 64


class Peek(NamedTuple):
    """A sample of a source, and the numbers of its images."""

    images: Images  #: up to 64 images
    total: int  #: number of all images
    train: int  #: number of training images
    is_estimate: bool  #: whether the number of training images is an estimate


def peek(source: Any, form: Form = AS_IT_IS, with_val: bool = False, seed: int = 0) -> Peek:
    """Sample a source.

    For folders, archives and portraits of more images than the sample, the number of training images is an estimate,
    because the exact split requires reading all files, and unreadable files are counted.
    Raises the same errors as :func:`open_in`.

    Args:
        source: Any source that :func:`open_in` accepts.
        form: Form to convert the images to.
        with_val: Whether validation images count as training images.
        seed: Seed of the split.

    >>> peek("portraits:1000", Form((8, 8)))[1:]
    (1000, 800, True)
    >>> peek("digits")[1:]
    (1797, 1425, False)
    """
    if isinstance(source, str) and is_builtin(source) and source.startswith("portraits"):
        portraits = portraits_count(source)
        sample = open_in(f"portraits:{min(portraits, _MOST)}", form, seed=seed)
        return _of_sample(replace(sample, source=source), [-1] * portraits, with_val)
    tree = tree_of(source)
    if tree is not None:
        name = str(Path(source).expanduser().resolve()) if isinstance(source, str | Path) else "files"
        rows, given = _sample_tree(tree, form)
        return _of_sample(rows.images(name, seed, form), given, with_val)
    # convert only a sample to the size, unless the images may differ in size
    whole = open_in(source, form if _may_differ(source) else AS_IT_IS, seed=seed)
    sample = whole[:: max(1, -(-len(whole) // _MOST))]
    return Peek(open_in(sample, form), len(whole), _trained(whole, with_val), False)


def _of_sample(sample: Images, given: Sequence[int], with_val: bool) -> Peek:
    """Return the numbers of a source whose parts are known only for the sample, unless it is the whole source."""
    is_whole = len(sample) == len(given)
    train = _trained(sample, with_val) if is_whole else _expected(given, with_val)
    return Peek(sample, len(given), train, not is_whole)


def _trained(images: Images, with_val: bool) -> int:
    return int(np.isin(images.parts, (0, 1) if with_val else (0,)).sum())


def _sample_tree(tree: tuple[Files, bool], form: Form) -> tuple[Rows, Sequence[int]]:
    files, flat = tree
    layout = layout_of(files, flat)
    rows = read_tree(files, form, layout, most=_MOST)
    rows.notes = layout.notes  # other notes would describe the sample only
    rows.sizes = sample_sizes(files, layout.names, layout.root, form)
    return rows, layout.given


def _expected(given: Sequence[int], with_val: bool) -> int:
    """Estimate the number of training images from the parts that a source defines (-1: none)."""
    pool = sum(part <= 0 for part in given)
    if pool < FEWEST:
        return pool + (with_val and sum(part == 1 for part in given))
    carved = {part: round(0.1 * pool) * (part not in given) for part in (1, 2)}
    val = carved[1] + sum(part == 1 for part in given)
    return pool - carved[1] - carved[2] + (val if with_val else 0)


def _may_differ(source: Any) -> bool:
    """Whether the images of a source without files may differ in size."""
    if isinstance(source, str | Path):
        return isinstance(source, str) and is_hub(source)
    return not isinstance(source, np.ndarray | Images) and not hasattr(source, "numpy")
