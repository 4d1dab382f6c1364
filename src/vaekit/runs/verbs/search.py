"""Find neighbors, draw a map, and write latents to a file."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vaekit.data import Images, Selection
from vaekit.errors import UserError
from vaekit.figures.grid import Sheet
from vaekit.figures.mosaic import Atlas, chosen_cells
from vaekit.latent import neighbors as search
from vaekit.latent import ops
from vaekit.latent.codes import code_grid, encode_codes
from vaekit.latent.latents_file import check_latents_file, write_latents
from vaekit.runs.context import RunContext, files_of
from vaekit.runs.result import Result

__all__ = ["codes", "map_", "neighbors", "save_latents"]

_MOST_QUERIES = 10
_MOST_SHOWN = 20  # neighbors per image on a sheet


def neighbors(run: RunContext, image: Any, data: Any, split: str | None, count: int) -> Result:
    """Find the nearest images to each given one, except its own file; the figure has a row for each, itself first."""
    run.needs("neighbors")
    opened = run.given(files_of(image))
    given = opened.pixels
    if len(given) > _MOST_QUERIES:
        raise UserError(f"there are {len(given):,} images to find neighbors of; give at most {_MOST_QUERIES}")
    found = _encoded(run, data, split, run.model.summary)
    summaries = (found.latents, ops.encode(run.model, given, view=run.model.summary))
    known, queries = (search.standardized(run.model, z) for z in summaries)
    distances, rows = search.nearest(known, queries, count, _own_rows(opened, image, found))
    nearest = [
        [{**found.facts(i), "distance": d} for d, i in zip(distance, row, strict=True)]
        for distance, row in zip(distances.tolist(), rows.tolist(), strict=True)
    ]
    rows, distances = rows[:, :_MOST_SHOWN], distances[:, :_MOST_SHOWN]
    shown = torch.cat([torch.cat([this[None], found.pixels[row]]) for this, row in zip(given, rows, strict=True)])
    captions = [text for row in distances.tolist() for text in ("this", *(f"{d:.2f}" for d in row))]
    return Result(Sheet(shown, 1 + rows.shape[1], captions=tuple(captions)), {"neighbors": nearest})


def _own_rows(given: Images, image: Any, found: _Encoded) -> list[int | None]:
    """Return for each given image the row of the same file among the images to search, or None."""
    folder = str(image) if isinstance(image, str | Path) and os.path.isdir(image) else ""
    files = [image] if isinstance(image, str | Path) else image
    names = given.names if folder else files
    if not isinstance(names, list | tuple) or not all(isinstance(name, str | Path) for name in names):
        return [None] * len(given)
    rows = {os.path.realpath(os.path.join(found.source, name)): row for row, name in enumerate(found.names)}
    own = [rows.get(os.path.realpath(os.path.join(folder, name))) for name in names]
    return own if len(own) == len(given) else [None] * len(given)


def map_(run: RunContext, data: Any, split: str | None) -> Result:
    """Draw images at the first two principal components of their latents."""
    run.needs("map")
    found = _encoded(run, data, split, run.model.summary)
    plane = search.plane(found.latents)
    rows, places = chosen_cells(plane.coordinates)
    shown = None if found.labels is None else found.labels[rows]
    points = [{**found.facts(i), "x": x, "y": y} for i, (x, y) in enumerate(plane.coordinates.tolist())]
    numbers = {"images": len(points), "variance_shares": list(plane.shares), "points": points}
    return Result(Atlas(found.pixels[rows], places, shown, found.classes), numbers)


def codes(run: RunContext, data: Any) -> Tensor:
    """Return the discrete codes ``[N, rows, columns]`` of images."""
    run.needs("codes")
    return encode_codes(run.model, run.pixels(data))


def save_latents(run: RunContext, out: Path, data: Any, split: str | None) -> Result:
    """Write names, labels, and latents or codes as .npz, .parquet or .csv."""
    run.needs("encode")
    check_latents_file(out)
    has_codes, chosen = run.model.latent == "codes", run.choose(data, split or "all")
    encode = encode_codes if has_codes else ops.encode
    values = encode(run.model, chosen.pixels, team=run.team(chosen))
    if run.leads:
        write_latents(out, chosen.names, values, chosen.label_names)
    numbers = {"written": str(out), "images": len(values)}
    if not has_codes:
        return Result(numbers=numbers | {"latents": values.shape[1]})
    grid = code_grid(run.model)
    return Result(numbers=numbers | {"rows": grid.rows, "columns": grid.columns, "number_of_codes": grid.count})


@dataclass(frozen=True, eq=False)
class _Encoded:
    """Images with their latents. Pixels are read on demand."""

    pixels: Selection
    latents: Tensor
    names: list[str]
    source: str
    labels: Tensor | None
    classes: tuple[str, ...]

    def facts(self, row: int) -> dict[str, Any]:
        """Return the name of an image, and its class."""
        label = {} if self.labels is None else {"label": self.classes[int(self.labels[row])]}
        return {"name": self.names[row], **label}


def _encoded(run: RunContext, data: Any, split: str | None, view: Callable[[Tensor], Tensor]) -> _Encoded:
    """Return the images to work on, by default all, with a view of their latents."""
    chosen = run.choose(data, split or "all")
    pixels = chosen.pixels
    latents = ops.encode(run.model, pixels, team=run.team(chosen), view=view)
    return _Encoded(pixels, latents, chosen.names, chosen.opened.source, chosen.labels, chosen.opened.classes)
