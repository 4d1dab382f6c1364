"""What ``vaekit data`` says of a source: the summary of its images, and how large the files themselves are."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from dataclasses import replace
from typing import Any

from vaekit.data.layout import is_image
from vaekit.data.load import header_sizes, suggested_side
from vaekit.data.open import open_in, tree_of
from vaekit.data.summary import summary
from vaekit.pixels.form import Form

__all__ = ["survey"]

_AS_IT_IS = Form()
_MOST_SIZES = 12
_SMALLEST, _LARGEST = 8, 256  # that is suggested


def survey(source: Any, form: Form = _AS_IT_IS) -> dict[str, Any]:
    """The summary of a source, as plain values for JSON, with the sizes of its files and a size to train at.

    Where files differ in size and none is asked for, the rest is told of the images at the suggested one. Takes and
    raises what :func:`open_in` does.

    >>> survey("digits")["suggested"]
    {'size': 8, 'recipe': 'vae'}
    """
    tree = tree_of(source)
    found = [] if tree is None else header_sizes(tree[0], [name for name in tree[0].names if is_image(name)])
    shortest = min(map(min, found), default=0)
    differ = form.size is None and len(set(found)) > 1
    images = open_in(source, replace(form, size=(suggested_side(shortest),) * 2) if differ else form)
    if differ:
        said = f"the files differ in size; what is said of pixels holds at --size {suggested_side(shortest)}"
        images = replace(images, notes=(*images.notes, said))
    known = summary(images)
    shortest = shortest or min(images.shape[1:])
    side = suggested_side(shortest) if len(set(found)) > 1 or shortest > _LARGEST else max(shortest, _SMALLEST)
    return known | {"sizes": _sizes(found), "suggested": {"size": side, "recipe": "vae"}}


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
