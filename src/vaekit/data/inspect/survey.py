"""What ``vaekit data`` reports: the summary of the images, properties of the files and suggested settings."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from vaekit.data.images import Images
from vaekit.data.ingest.headers import Header, read_headers
from vaekit.data.inspect.summary import summary
from vaekit.data.sources.folder import layout_of
from vaekit.data.sources.open import open_in, tree_of
from vaekit.pixels.image_form import AS_IT_IS, Form
from vaekit.pixels.sizes import Suggestion, suggested

__all__ = ["survey", "surveyed"]

_MOST_SIZES = 12


def survey(source: Any, form: Form = AS_IT_IS) -> dict[str, Any]:
    """Summarize a source as plain values for JSON, with sizes, formats and modes of its files, and suggested settings.

    If files differ in size and ``form`` has no size, the images are converted to the suggested one. Accepts and raises
    the same as :func:`open_in`.

    >>> survey("digits")["suggested"]
    {'size': 8, 'fit': 'crop', 'recipe': 'vae', 'reason': 'the size of the images'}
    """
    return surveyed(source, form)[1]


def surveyed(source: Any, form: Form = AS_IT_IS) -> tuple[Images, dict[str, Any]]:
    """Return the images that :func:`survey` describes, and its result."""
    images, headers = _opened(source, form)
    sizes = [header.size for header in headers]
    return images, summary(images) | {
        "sizes": _sizes(sizes),
        "formats": _counted(header.format for header in headers),
        "modes": _counted(header.mode for header in headers),
        "suggested": _suggested(suggested(sizes or [images.shape[1:]], form.fit)),
    }


def _opened(source: Any, form: Form) -> tuple[Images, list[Header]]:
    headers = _headers(source)
    sizes = {header.size for header in headers.values()}
    if form.size is not None or len(sizes) < 2:
        images = open_in(source, form)
    else:
        suggestion = suggested([header.size for header in headers.values()], form.fit)
        images = open_in(source, replace(form, size=suggestion.size, fit=suggestion.fit))
        chosen = f"size={suggestion.size_text} fit={suggestion.fit}"
        size_note = f"the files differ in size; pixel statistics are for {chosen}"
        images = replace(images, notes=(*images.notes, size_note))
    unreadable = {name for name, _ in images.skipped}
    return images, [header for name, header in headers.items() if name not in unreadable]


def _headers(source: Any) -> dict[str, Header]:
    tree = tree_of(source)
    if tree is None:
        return {}
    files, is_list = tree
    layout = layout_of(files, is_list)
    return read_headers(files, layout.names, layout.root)


def _suggested(suggestion: Suggestion) -> dict[str, Any]:
    """Return the default recipe with a size and fit that its network supports, and the reason."""
    height, width = suggestion.size
    size = height if height == width else suggestion.size_text
    return {"size": size, "fit": suggestion.fit, "recipe": "vae", "reason": suggestion.reason}


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))


def _sizes(sizes: list[tuple[int, int]]) -> dict[str, Any]:
    """Summarize heights, widths (most common sizes first) and aspect ratios; empty for sources without files."""
    if not sizes:
        return {}
    ratios = [width / height for height, width in sizes]
    counts = Counter(f"{height}x{width}" for height, width in sizes)
    return {
        "different": len(counts),
        "smallest": list(min(sizes, key=math.prod)),
        "largest": list(max(sizes, key=math.prod)),
        "most_common": dict(counts.most_common(_MOST_SIZES)),
        "aspect_ratio": {"min": min(ratios), "median": statistics.median(ratios), "max": max(ratios)},
    }
