"""What a run does with codes: walks between them, adds and subtracts them, moves them along attributes, finds them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaekit.data.numbers import as_latents, as_numbers
from vaekit.data.subsets import held_out
from vaekit.errors import UserError
from vaekit.figures.grid import Sheet, stacked_sheet
from vaekit.figures.mosaic import Atlas, chosen_cells
from vaekit.latent import neighbours as search
from vaekit.latent import ops as edit
from vaekit.latent.arithmetic import evaluate_expression, parse
from vaekit.latent.codes_file import check_codes_file, write_codes
from vaekit.latent.directions import Column, Direction, check_method, columns_of, fit_all, named, parse_move
from vaekit.latent.directions_store import load_directions, save_directions
from vaekit.latent.fit_prior import fit, forget_fitted, save_fitted
from vaekit.latent.ops import stored_columns
from vaekit.latent.traversal import Axis, active_axes, principal_axes, walk
from vaekit.runs.base import Opened, one_or_folder
from vaekit.system.arguments import checked

__all__ = ["Walked"]

_MOST_QUERIES = 10
_MOST_SHOWN = 20  # neighbours of one image, on a sheet
_MOST_EDITED = 100
_ROWS_OF_EDITS = ("original", "reconstructed", "edited")
_MOST_IN_A_ROW = 12  # pictures of a walk of one stretch
_ENOUGH_TO_HOLD_OUT = 5  # of each of two folders
_DIMENSIONS_AT_ONCE = 16


@checked
@dataclass(frozen=True, eq=False)
class Walked(Opened):
    """A run with the verbs that work on codes."""

    def latent(self, name: Any) -> Tensor:
        """One latent ``[latent_dim]``: of an image, the mean of several, or that of a group of the run's data.

        Groups are written ``label:smiling`` or ``attr:glasses=1,male=0``. Anything but a text or a path is images.
        """
        if not isinstance(name, str | os.PathLike):
            return self.encode(name).mean(0)
        name = os.fspath(name)
        if name.startswith(("label:", "attr:")):
            return edit.group_latents(*self.stored(), name).mean(0)
        if not os.path.exists(name):
            known = ", ".join(self.config.data.classes + self.config.data.attributes) or "none"
            raise UserError(
                f"{name!r} is neither a file or folder nor a group such as label:NAME or attr:NAME=VALUE "
                f"(labels and attributes of this run: {known})"
            )
        return self.encode(one_or_folder(name)).mean(0)

    def arithmetic(self, expression: str) -> Sheet:
        """The picture of a sum of latents, for example ``"me.png + attr:glasses=1 - attr:glasses=0"``."""
        self.needs("arithmetic")
        return self._sheet(edit.decode(self.model, self._sum(expression)[None]))

    def interpolate(self, *stops: Any, steps: int = 6, path: str = "linear") -> Sheet:
        """``steps`` pictures from each stop to the next, both included; a row for each stretch, a single one wraps.

        Stops are latents ``[latent_dim]``, expressions or image files, two or more; ``path`` is ``"linear"`` or
        ``"spherical"`` (:func:`vaekit.latent.ops.interpolate`).
        """
        self.needs("interpolate")
        if len(stops) < 2:
            raise UserError(f"there are {len(stops)} places to walk between; expected at least 2")
        ends = [self._sum(e) if isinstance(e, str | os.PathLike) else as_numbers(e, "stops") for e in stops]
        if any(tuple(e.shape) != (self.model.latent_dim,) for e in ends):
            shapes = " and ".join(str(tuple(e.shape)) for e in ends)
            raise UserError(f"stops: the ends have shapes {shapes}; expected latents [{self.model.latent_dim}]")
        stretches = edit.interpolate(self.model, torch.stack(ends[:-1]), torch.stack(ends[1:]), steps, path)
        in_a_row = steps if len(stops) > 2 else min(steps, _MOST_IN_A_ROW)
        return replace(self._sheet(stretches.transpose(0, 1).flatten(0, 1), in_a_row), walk=steps)

    def fit_prior(self, kind: str = "mixture", components: int | None = None, seed: int = 0) -> dict[str, Any]:
        """Fits a density to the codes of the training images (:mod:`vaekit.latent.fit_prior`) and keeps it in the run.

        ``kind`` is ``"mixture"`` or ``"flow"``; without ``components`` a mixture has 1, 2, 5 or 10 normals, whichever
        gives held-out codes the highest likelihood. From then on new images are drawn from it, until ``"none"`` forgets
        it. Returns what it is like: nats of held-out codes by it, and by a single normal.
        """
        self.needs("fit-prior")
        if kind == "none":
            self.model.fitted_prior = None
            return {"forgotten": self.leads and forget_fitted(self.path)}
        if self.config.conditions:
            raise UserError(
                f"fit-prior: recipe {self.row.name!r} draws by what it is told, which a density of all codes is not; "
                "its own prior is told, draw with vaekit generate --condition"
            )
        prior, facts = fit(self.stored()[0]["latents"], kind, components, seed)
        if self.leads:
            save_fitted(self.path, prior, facts)
        self.model.fitted_prior = prior.to(next(self.model.parameters()).device)
        return facts

    def directions(self, method: str = "adjusted", is_orthogonal: bool = False) -> dict[str, Direction]:
        """The directions of labels and attributes of the run's data and of folders, by name
        (:mod:`vaekit.latent.directions`).

        Fitted on the stored codes of training images and kept in the run, where it can be written to. Their accuracy
        is of the run's own held-out images, or where those have gone, of a fifth of the stored codes, which nothing
        is then fitted on. Those of folders come as they were made.
        """
        self.needs("edit")
        check_method(method)
        seen = self.images_seen()
        known = load_directions(self.path, seen, self.model.latent_dim)
        if not any(each.source == "data" and key[1:] == (method, is_orthogonal) for key, each in known.items()):
            tensors, facts = self.stored()
            columns = columns_of(*stored_columns(tensors, facts))
            if columns:
                held_out = self._held_out_codes(columns)
                fitted = fit_all(tensors["latents"], columns, held_out, method, is_orthogonal)
                known |= {(name, method, is_orthogonal): each for name, each in fitted.items()}
                if self.leads:
                    save_directions(self.path, known, seen)
        of_data = {key[0]: e for key, e in known.items() if e.source == "data" and key[1:] == (method, is_orthogonal)}
        return {key[0]: e for key, e in known.items() if e.source != "data"} | of_data

    def add_direction(
        self, name: str, with_: str, without: str, method: str = "means", is_orthogonal: bool = False
    ) -> Direction:
        """A direction from one folder of images to another, kept in the run under ``name`` in place of an older one.

        Of both folders every fifth image is held out for the accuracy, where each has five at least. Nothing else is
        known of these images, so that ``adjusted`` is ``means``. Raises :class:`UserError` if the data of the run
        have a column of that name.
        """
        self.needs("edit")
        method = "means" if method == "adjusted" else method
        own = self.directions(method, is_orthogonal)
        if name in columns_of(*stored_columns(*self.stored())):
            raise UserError(f"--direction {name}: the data of {self.path} have that already; choose another name")
        groups = [self.encode(one_or_folder(folder)) for folder in (without, with_)]
        kept = np.concatenate([np.arange(len(codes)) % 5 == 4 for codes in groups])
        words = f"a fifth of {with_} and {without}"
        if min(map(len, groups)) < _ENOUGH_TO_HOLD_OUT:
            kept, words = np.zeros_like(kept), "too few images to hold any out"
        has, codes = np.repeat([0.0, 1.0], [len(group) for group in groups]), torch.cat(groups)
        held_out = (codes[torch.from_numpy(kept)], {name: Column(name, has[kept], has[kept])}, words)
        columns = {name: Column(name, has[~kept], has[~kept])}
        apart = [each.vector.double() for each in own.values() if each.source == "data"]
        fitted = fit_all(codes[torch.from_numpy(~kept)], columns, held_out, method, is_orthogonal, apart)
        found = replace(named(fitted, name, () if fitted else (name,)), source=f"{with_} and {without}")
        seen = self.images_seen()
        others = {
            key: each for key, each in load_directions(self.path, seen, self.model.latent_dim).items() if key[0] != name
        }
        if self.leads:
            save_directions(self.path, others | {(name, method, is_orthogonal): found}, seen)
        return found

    def edit(self, data: Any, moves: Mapping[str, float], directions: Mapping[str, Direction] | None = None) -> Sheet:
        """Images with attributes added (a positive strength) and removed (a negative one), in the order of ``data``.

        ``run.edit("me.png", {"glasses": 1, "smiling": -1})``. ``directions`` are those of :meth:`directions`, by
        default with its defaults. A strength of 1 goes as far as from those without to those with.
        """
        self.needs("edit")
        return self.decode(self.encode(one_or_folder(data)) + self._step(moves, directions))

    def edit_sheet(
        self, data: Any, moves: Mapping[str, float], directions: Mapping[str, Direction] | None = None
    ) -> tuple[Sheet, dict[str, Any]]:
        """Images, their reconstructions and what :meth:`edit` makes of them; and what is known of the directions."""
        known = self.directions() if directions is None else directions
        pixels = self.pixels(one_or_folder(data))
        if len(pixels) > _MOST_EDITED:
            raise UserError(f"there are {len(pixels):,} images to edit; give {_MOST_EDITED} at most")
        codes, step = self.encode(pixels), self._step(moves, known)
        facts = {
            name: {"strength": strength, "accuracy": known[name].accuracy, "method": known[name].method}
            for name, strength in moves.items()
        }
        made = (self.decode(each).pixels for each in (codes, codes + step))
        warning = "; ".join(filter(None, (known[name].doubt(name) for name in moves)))
        told = {"directions": facts, **({"warning": warning} if warning else {})}
        return stacked_sheet(pixels, *made, labels=_ROWS_OF_EDITS), told

    def edit_sheet_of_words(
        self,
        data: Any,
        add: Sequence[str],
        remove: Sequence[str],
        directions: Sequence[str] = (),
        method: str = "adjusted",
        is_orthogonal: bool = False,
    ) -> tuple[Sheet, dict[str, Any]]:
        """:meth:`edit_sheet` in words: ``NAME=STRENGTH``, and ``NAME=WITH,WITHOUT`` for new directions."""
        known = self.directions(method, is_orthogonal)
        for text in directions:
            name, equals, folders = text.partition("=")
            with_, comma, without = folders.partition(",")
            if not (name and equals and with_ and comma and without):
                raise UserError(f"--direction {text}: expected NAME=WITH,WITHOUT, for example beard=with/,without/")
            known[name] = self.add_direction(name, with_, without, method, is_orthogonal)
        left_out = self._left_out(known)
        of_folders = "means" if method == "adjusted" else method
        moves: dict[str, float] = {}
        for sign, texts in ((1, add), (-1, remove)):
            for text in texts:
                name, strength = parse_move(text, known, left_out)
                made = known[name]
                if made.source != "data" and (made.method, made.is_orthogonal) != (of_folders, is_orthogonal):
                    flags = f"--method {made.method}" + " --orthogonal" * made.is_orthogonal
                    raise UserError(f"{name} was made of {made.source} with {flags}; give these, or --direction again")
                moves[name] = moves.get(name, 0.0) + sign * strength
        if not moves:
            raise UserError("nothing is added or removed; give --add NAME or --remove NAME")
        return self.edit_sheet(data, moves, known)

    def traverse(
        self, image: Any = None, count: int = 5, steps: int = 7, reach: float = 2.0
    ) -> tuple[Sheet, dict[str, Any]]:
        """The ``count`` most active dimensions and as many principal components, a row each, and their sizes.

        Beside a dimension stands what two standard deviations of it change (root mean square of pixels, in levels),
        beside a component its share of the variance of the codes. A row goes from ``-reach`` to ``reach`` standard
        deviations of the codes about the code of ``image`` (default: the mean code), in ``steps`` pictures.
        """
        self.needs("traverse")
        edit.check_steps(steps)
        _check_dimensions(count)
        if not 0 < reach < float("inf"):
            raise UserError(f"reach {reach:g}: expected a positive number of standard deviations, such as 2", "reach")
        codes = self._codes_that_vary()
        start = codes.mean(0) if image is None else self.latent(image)
        active = self.axes(count, start)
        principal = principal_axes(codes, count)
        ways = walk(start, active + principal, steps, reach)
        labels = [f"{axis.name}  {axis.size:.1f}" for axis in active]
        labels += [f"{axis.name}  {axis.size:.0%}" for axis in principal]
        facts = {
            "levels": {axis.name: axis.size for axis in active},
            "variance_shares": {axis.name: axis.size for axis in principal},
            "reach": reach,
        }
        return Sheet(self.decode(ways.flatten(0, 1)).pixels, steps, row_labels=tuple(labels)), facts

    def axes(self, count: int, start: Any = None) -> list[Axis]:
        """The ``count`` dimensions that change the picture of the latent ``start`` most (default: of the mean code)."""
        self.needs("traverse")
        _check_dimensions(count)
        if start is not None:
            start = as_latents(as_numbers(start, "start")[None], self.model.latent_dim, "start")[0]
        codes = self._codes_that_vary()
        return active_axes(codes, self._effects(codes, codes.mean(0) if start is None else start), count)

    def save_codes(self, out: str | Path, data: Any = None, split: str | None = None) -> dict[str, Any]:
        """Writes names, labels and codes of ``data`` (default: all images of the run) as .npz, .parquet or .csv."""
        self.needs("encode")
        check_codes_file(Path(out))
        found = self._coded(data, split)
        if self.leads:
            write_codes(Path(out), found.names, found.codes, found.label_names)
        return {"written": str(out), "images": len(found.codes), "latents": found.codes.shape[1]}

    def neighbours(
        self, image: Any, data: Any = None, split: str | None = None, count: int = 9
    ) -> tuple[Sheet, list[list[dict[str, Any]]]]:
        """The images of ``data`` (default: all of the run) nearest to each of one or more others, by their codes.

        A sheet with a row for each of them, itself first; and for each the names, labels and distances of its
        neighbours, nearest first (:mod:`vaekit.latent.neighbours`). The sheet shows twenty of them at most.
        """
        self.needs("neighbours")
        given = self.pixels(one_or_folder(image))
        if len(given) > _MOST_QUERIES:
            raise UserError(f"there are {len(given):,} images to find the neighbours of; give {_MOST_QUERIES} at most")
        found = self._coded(data, split)
        known, asked = (search.standardised(self.model, each) for each in (found.codes, edit.encode(self.model, given)))
        distances, rows = search.nearest(known, asked, count)
        told = [
            [{**found.facts(i), "distance": d} for d, i in zip(distance, row, strict=True)]
            for distance, row in zip(distances.tolist(), rows.tolist(), strict=True)
        ]
        rows, distances = rows[:, :_MOST_SHOWN], distances[:, :_MOST_SHOWN]
        shown = torch.cat([torch.cat([this[None], found.pixels[row]]) for this, row in zip(given, rows, strict=True)])
        captions = [text for row in distances.tolist() for text in ("this", *(f"{d:.2f}" for d in row))]
        return Sheet(shown, 1 + rows.shape[1], captions=tuple(captions)), told

    def map(self, data: Any = None, split: str | None = None) -> tuple[Atlas, dict[str, Any]]:
        """``data`` (default: all images of the run) laid out in the plane of the first two principal components.

        A mosaic; and the share of the variance of the codes along each axis with the points of all images.
        """
        self.needs("map")
        found = self._coded(data, split)
        plane = search.plane(found.codes)
        rows, places = chosen_cells(plane.coordinates)
        shown = None if found.labels is None else found.labels[rows]
        points = [{**found.facts(i), "x": x, "y": y} for i, (x, y) in enumerate(plane.coordinates.tolist())]
        numbers = {"images": len(points), "variance_shares": list(plane.shares), "points": points}
        return Atlas(found.pixels[rows], places, shown, found.classes), numbers

    def decode(self, latents: Any) -> Sheet:
        """The pictures of latents ``[N, latent_dim]``, a tensor, an array or lists of numbers."""
        return self._sheet(edit.decode(self.model, as_latents(latents, self.model.latent_dim)))

    def _sum(self, expression: str | os.PathLike[str]) -> Tensor:
        """The latent of an expression; one that is as a whole the name of a file or folder needs no quotes in it."""
        expression = os.fspath(expression)
        if os.path.exists(expression):
            return self.latent(expression)
        return evaluate_expression(parse(expression), self.latent)

    def _codes_that_vary(self) -> Tensor:
        codes = self.stored()[0]["latents"]
        if len(codes) < 2:
            raise UserError(f"{self.path} has the code of one image, which varies along nothing; train on more")
        return codes

    def _effects(self, codes: Tensor, start: Tensor) -> Tensor:
        """Of each dimension ``[L]``: what two standard deviations of it change (root mean square, in levels)."""
        each = torch.diag(codes.std(0, unbiased=False))
        found = []
        for some in each.split(_DIMENSIONS_AT_ONCE):
            low, high = (edit.decode(self.model, start + sign * some).float() for sign in (-1, 1))
            found.append((high - low).square().mean((1, 2, 3)).sqrt())
        return torch.cat(found)

    def _step(self, moves: Mapping[str, float], directions: Mapping[str, Direction] | None) -> Tensor:
        """Σ strength · direction, ``[L]``."""
        known = self.directions() if directions is None else directions
        left_out = self._left_out(known) if set(moves) - set(known) else ()
        step = torch.zeros(self.model.latent_dim)
        for name, strength in moves.items():
            vector = as_numbers(named(known, name, left_out).vector, "directions")
            step = step + strength * as_latents(vector[None], self.model.latent_dim, "directions")[0]
        return step

    def _left_out(self, directions: Mapping[str, Direction]) -> set[str]:
        """The labels and attributes that there is no direction of."""
        return set(columns_of(*stored_columns(*self.stored()))) - set(directions)

    def _held_out_codes(self, like: Mapping[str, Column]) -> tuple[Tensor, dict[str, Column], str] | None:
        """Codes and columns of the run's own images that nothing was trained on, where there are any here."""
        try:
            images = self.images()
        except UserError:
            return None
        row = self.row
        part, rows = held_out(images, row)
        if part == "train":
            return None
        labels = None if images.labels is None else images.labels.numpy()[rows]
        attributes = {name: column[rows] for name, column in images.attributes.items()}
        codes = edit.encode(self.model, images.selection(rows))
        return codes, columns_of(labels, images.classes, attributes, like), f"{part} part"


def _check_dimensions(count: int) -> None:
    if count < 1:
        raise UserError(f"count {count}: expected at least 1 dimension", "count")
