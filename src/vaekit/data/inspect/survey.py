"""What ``vaekit data`` says of a source: the summary of its images, and what the files themselves are."""

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
from vaekit.pixels.form import AS_IT_IS, Form
from vaekit.pixels.sizes import Suggestion, suggested

__all__ = ["survey", "surveyed"]

_MOST_SIZES = 12


def survey(source: Any, form: Form = AS_IT_IS) -> dict[str, Any]:
    """The summary of a source, as plain values for JSON, with sizes, formats and modes of its files, and a suggestion.

    Where files differ in size and none is asked for, the rest is told of the images at the suggested one. Takes and
    raises what :func:`open_in` does.

    >>> survey("digits")["suggested"]
    {'size': 8, 'fit': 'crop', 'recipe': 'vae', 'reason': 'the size of the images'}
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
        "suggested": _suggested(suggested(sizes or [images.shape[1:]], form.fit)),
    }


def _opened(source: Any, form: Form) -> tuple[Images, list[Header]]:
    headers = _headers(source)
    sizes = {header.size for header in headers.values()}
    if form.size is not None or len(sizes) < 2:
        images = open_in(source, form)
    else:
        wanted = suggested([header.size for header in headers.values()], form.fit)
        images = open_in(source, replace(form, size=wanted.size, fit=wanted.fit))
        said = f"the files differ in size; what is said of pixels holds at {wanted.flags}"
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


def _suggested(suggestion: Suggestion) -> dict[str, Any]:
    """The default recipe, a size that its net serves with the fit, and why."""
    height, width = suggestion.size
    size = height if height == width else suggestion.size_text
    return {"size": size, "fit": suggestion.fit, "recipe": "vae", "reason": suggestion.reason}


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
