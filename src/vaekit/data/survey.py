"""What ``vaekit data`` says of a source: the summary of its images, and what the files themselves are."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from vaekit.data.folder import layout_of
from vaekit.data.headers import Header, read_headers
from vaekit.data.images import Images
from vaekit.data.load import suggested_side
from vaekit.data.open import open_in, tree_of
from vaekit.data.summary import summary
from vaekit.pixels.form import AS_IT_IS, Form

__all__ = ["survey", "surveyed"]

_MOST_SIZES = 12
_SMALLEST, _LARGEST = 8, 256  # that is suggested


def survey(source: Any, form: Form = AS_IT_IS) -> dict[str, Any]:
    """The summary of a source, as plain values for JSON, with sizes, formats and modes of its files, and a suggestion.

    Where files differ in size and none is asked for, the rest is told of the images at the suggested one. Takes and
    raises what :func:`open_in` does.

    >>> survey("digits")["suggested"]
    {'size': 8, 'recipe': 'vae', 'reason': 'the size of the images'}
    """
    return surveyed(source, form)[1]


def surveyed(source: Any, form: Form = AS_IT_IS) -> tuple[Images, dict[str, Any]]:
    """The images that :func:`survey` tells of, at the suggested size where files differ, and what it tells."""
    images, headers = _opened(source, form)
    sizes = [header.size for header in headers]
    return images, summary(images) | {
        "sizes": _sizes(sizes),
        "formats": _counted(header.format for header in headers),
        "modes": _counted(header.mode for header in headers),
        "suggested": _suggested(sizes or [images.shape[1:]]),
    }


def _opened(source: Any, form: Form) -> tuple[Images, list[Header]]:
    headers = _headers(source)
    sizes = {header.size for header in headers.values()}
    if form.size is not None or len(sizes) < 2:
        images = open_in(source, form)
    else:
        side = suggested_side(min(map(min, sizes)))
        images = open_in(source, replace(form, size=(side, side)))
        said = f"the files differ in size; what is said of pixels holds at --size {side}"
        images = replace(images, notes=(*images.notes, said))
    unreadable = {name for name, _ in images.skipped}
    return images, [header for name, header in headers.items() if name not in unreadable]


def _headers(source: Any) -> dict[str, Header]:
    tree = tree_of(source)
    if tree is None:
        return {}
    files, is_list = tree
    layout = layout_of(files, is_list)
    return read_headers(files, layout.names, layout.root)


def _suggested(sizes: list[tuple[int, int]]) -> dict[str, Any]:
    """The default recipe, a size that its net serves, and why that size."""
    shortest = min(map(min, sizes))
    side = max(shortest, _SMALLEST)
    if len(set(sizes)) > 1:
        side, why = suggested_side(shortest), f"the files differ in size, no side is under {shortest}"
    elif shortest > _LARGEST:
        side, why = _LARGEST, "larger images take long to train"
    elif shortest < _SMALLEST:
        why = f"the net of the recipe serves sides from {_SMALLEST} pixels"
    elif len(set(sizes[0])) > 1:
        why = "the shorter side of the images; the middle is cut out"
    else:
        why = "the size of the images"
    return {"size": side, "recipe": "vae", "reason": why}


def _counted(words: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(words).items(), key=lambda item: (-item[1], item[0])))


def _sizes(found: list[tuple[int, int]]) -> dict[str, Any]:
    """Heights and widths in pixels, the most common first, and widths over heights; nothing for what is not files."""
    if not found:
        return {}
    ratios = [width / height for height, width in found]
    counts = Counter(f"{height}x{width}" for height, width in found)
    return {
        "different": len(counts),
        "smallest": list(min(found, key=math.prod)),
        "largest": list(max(found, key=math.prod)),
        "most_common": dict(counts.most_common(_MOST_SIZES)),
        "aspect_ratio": {"min": min(ratios), "median": statistics.median(ratios), "max": max(ratios)},
    }
