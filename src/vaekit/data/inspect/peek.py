"""Read a sample of a source, for planning a training without loading all images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

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

__all__ = ["peek"]

_MOST = 64


def peek(source: Any, form: Form = AS_IT_IS, with_val: bool = False, seed: int = 0) -> tuple[Images, int, int]:
    """Sample a source.

    For folders, archives and portraits the number of training images is an estimate, because the exact split requires
    reading all files, and unreadable files are counted. Raises the same errors as :func:`open_in`.

    Args:
        source: Any source that :func:`open_in` accepts.
        form: Form to convert the images to.
        with_val: Whether validation images count as training images.
        seed: Seed of the split.

    Returns:
        Up to 64 images, the number of all images, and the number of training images.

    >>> peek("portraits:1000", Form((8, 8)))[1:]
    (1000, 800)
    """
    if isinstance(source, str) and is_builtin(source) and source.startswith("portraits"):
        portraits = portraits_count(source)
        sample = open_in(f"portraits:{min(portraits, _MOST)}", form, seed=seed)
        return replace(sample, source=source), portraits, _expected([-1] * portraits, with_val)
    tree = tree_of(source)
    if tree is not None:
        name = str(Path(source).expanduser().resolve()) if isinstance(source, str | Path) else "files"
        rows, given = _sample_tree(tree, form)
        return rows.images(name, seed, form), len(given), _expected(given, with_val)
    # convert only a sample to the size, unless the images may differ in size
    whole = open_in(source, form if _may_differ(source) else AS_IT_IS, seed=seed)
    train = int(np.isin(whole.parts, (0, 1) if with_val else (0,)).sum())
    sample = whole[:: max(1, -(-len(whole) // _MOST))]
    return open_in(sample, form), len(whole), train


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
