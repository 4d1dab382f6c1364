"""A look at a source that reads no more than a sample of it: what a plan needs to know before training."""

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
from vaekit.pixels.form import AS_IT_IS, Form

__all__ = ["peek"]

_MOST = 64


def peek(source: Any, form: Form = AS_IT_IS, with_val: bool = False, seed: int = 0) -> tuple[Images, int, int]:
    """Up to 64 images, the number of all, and that of training images (``with_val``: and validation).

    For folders, archives and portraits the last is what the split expects (only reading all would tell), and
    broken files count. Takes and raises what :func:`open_in` does.

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
    # the size is given to a sample only, but where images may differ without it
    whole = open_in(source, form if _may_differ(source) else AS_IT_IS, seed=seed)
    train = int(np.isin(whole.parts, (0, 1) if with_val else (0,)).sum())
    few = whole[:: max(1, -(-len(whole) // _MOST))]
    return open_in(few, form), len(whole), train


def _sample_tree(tree: tuple[Files, bool], form: Form) -> tuple[Rows, Sequence[int]]:
    files, flat = tree
    layout = layout_of(files, flat)
    rows = read_tree(files, form, layout, most=_MOST)
    rows.notes = layout.notes  # the others would be about the sample
    rows.sizes = sample_sizes(files, layout.names, layout.root, form)
    return rows, layout.given


def _expected(given: Sequence[int], with_val: bool) -> int:
    """Training images expected of the parts that a source names (-1: none)."""
    pool = sum(part <= 0 for part in given)
    if pool < FEWEST:
        return pool + (with_val and sum(part == 1 for part in given))
    carved = {part: round(0.1 * pool) * (part not in given) for part in (1, 2)}
    val = carved[1] + sum(part == 1 for part in given)
    return pool - carved[1] - carved[2] + (val if with_val else 0)


def _may_differ(source: Any) -> bool:
    """Whether the images of a source that is no tree need not be of one size."""
    if isinstance(source, str | Path):
        return isinstance(source, str) and is_hub(source)
    return not isinstance(source, np.ndarray | Images) and not hasattr(source, "numpy")
