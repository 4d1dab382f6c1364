"""Latent directions that add or remove an attribute, and how well each separates images.

    means       d = E[z | with] − E[z | without]                                (Larsen et al. 2016, Sec. 4.2)
    adjusted    the same with all other attributes held equal: d of the least squares fit  z ≈ a + t d + B u,
                t = 1 with the attribute and 0 without, u the other columns of the data
    classifier  d = w (wᵀ δ / wᵀ w), w = (S + λ tr(S)/L · I)⁻¹ δ, δ as in means, S the covariance within both groups:
                the regularized linear discriminant (Friedman 1989, Eq. 18, with all classes sharing S)

Moving a latent by ``strength · d`` adds more of the attribute. Strength 1 covers the distance from the mean of images
without it to the mean of images with it: directly for means, with other attributes held equal for adjusted, and in the
projection on w for classifier. ``orthogonal`` removes from d its part in the span of the other attributes' directions,
which shortens it.

The accuracy is that of separating held-out images by the projection of their latents on d, with the threshold halfway
between the projected means of both groups. It is the mean of the fractions classified correctly with and without the
attribute; chance is 1/2.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaekit.errors import UserError, argument, counted, nearest
from vaekit.system.arguments import record_text

__all__ = [
    "METHODS",
    "Column",
    "Direction",
    "check_method",
    "columns_of",
    "fit",
    "fit_all",
    "method_of_folders",
    "named",
    "orthogonal",
]

METHODS = ("adjusted", "means", "classifier")

_SHRINKAGE = 0.1  # λ: added to every variance, relative to the mean variance
_ONE = 1e-9  # tolerance within which an eigenvalue is 1
_LEAST_LEFT = 1e-3  # share of an attribute's variance, or of a direction's length, that must remain
_MOST_STRINGS = 50  # distinct strings of a column for which directions are fitted


@dataclass(frozen=True, eq=False)
class Column:
    """A binary property of N images, and the data column it was derived from."""

    source: str  #: columns of one source exclude each other and are not held equal
    has: np.ndarray  #: float64 ``[N]``: 1 with the property, 0 without, NaN if unknown
    value: np.ndarray  #: float64 ``[N]``: the number if the source is numeric, else as ``has``
    cut: float | None = None  #: numbers above this value have the property


@dataclass(frozen=True, eq=False, repr=False)
class Direction:
    """A direction ``[L]``, how it was fitted, and how well it separates held-out images."""

    vector: Tensor  #: float32 ``[L]``
    method: str
    is_orthogonal: bool
    images_with: int  #: images with the attribute that it was fitted on
    images_without: int
    accuracy: float | None  #: held-out, balanced; None if there are too few images
    held_out: int  #: number of images for the accuracy
    held_out_from: str  #: description of these images
    source: str = "data"  #: what it was fitted on: the labels and attributes of the run's data, or two folders
    levels: int = 1  #: number of levels that it moves, from the top; it is 0 on the finer levels of a hierarchy

    def __repr__(self) -> str:
        return record_text(self)

    def doubt(self, name: str) -> str:
        """Return a warning if the accuracy is within two standard errors of chance, else an empty string."""
        if self.accuracy is None or self.accuracy - 0.5 > 2 * 0.5 / math.sqrt(self.held_out):
            return ""
        return (
            f"{name}: the direction does not separate held-out images better than chance "
            f"(accuracy {self.accuracy:.2f} on {counted(self.held_out, 'image')}); the edit may show something else"
        )

    def facts(self) -> dict[str, Any]:
        """Return all fields except the vector."""
        return {name: value for name, value in asdict(self).items() if name != "vector"}


def columns_of(
    labels: np.ndarray | None,
    classes: tuple[str, ...],
    attributes: Mapping[str, np.ndarray],
    like: Mapping[str, Column] | None = None,
) -> dict[str, Column]:
    """Return the properties for which directions can be fitted, such as ``glasses``, ``hair=blond`` or a class name.

    A numeric column with two values has the property at the higher one; with more values, above the median. Each string
    of a text column is a property ``COLUMN=VALUE``. A class has its own name, or ``label:NAME`` if a column has that
    name. Properties that all or no images have are omitted.

    Args:
        labels: int ``[N]`` or None.
        classes: Names of the labels.
        attributes: Columns ``[N]`` by name.
        like: Columns whose thresholds are reused.

    >>> columns_of(np.array([0, 1]), ("cat", "dog"), {"age": np.array([3.0, 9.0])})["age"].has
    array([0., 1.])
    """
    columns: dict[str, Column] = {}
    for name, values in attributes.items():
        if values.dtype.kind in "fiub":
            numbers = np.where(np.isfinite(values.astype(float)), values.astype(float), np.nan)
            cut = like[name].cut if like and name in like else _cut(numbers)
            columns[name] = Column(name, np.where(np.isnan(numbers), np.nan, numbers > cut), numbers, cut)
            continue
        strings = sorted({str(value) for value in values} - {""})
        for string in strings if len(strings) <= _MOST_STRINGS else ():
            has = np.where(values == "", np.nan, values == string)
            columns[f"{name}={string}"] = Column(name, has, has)
    for number, name in enumerate(classes if labels is not None else ()):
        has = np.equal(labels, number).astype(float)  # type: ignore[arg-type]
        columns[name if name not in attributes else f"label:{name}"] = Column("label:", has, has)
    return {name: column for name, column in columns.items() if {0.0, 1.0} <= set(column.has[~np.isnan(column.has)])}


def fit(latents: Tensor, has: np.ndarray, method: str = "means", others: np.ndarray | None = None) -> Tensor:
    """Fit the direction of an attribute.

    Args:
        latents: Latents ``[N, L]``.
        has: float ``[N]`` of 0 and 1.
        method: One of :data:`METHODS`.
        others: Columns float ``[N, M]`` that ``adjusted`` holds equal.

    Returns:
        float64 ``[L]``.

    Raises:
        UserError: If ``others`` determine the attribute.
    """
    check_method(method)
    z, t = latents.double(), torch.from_numpy(has).double()
    if method == "adjusted":
        design = torch.ones(len(z), 1).double()
        if others is not None:
            design = torch.cat([design, torch.from_numpy(others).double()], 1)
        return _adjusted(z, t, t - design @ torch.linalg.lstsq(design, t[:, None], driver="gelsd").solution[:, 0])
    with_, without = z[t == 1], z[t == 0]
    difference = with_.mean(0) - without.mean(0)
    if method == "means":
        return difference
    within = torch.cat([with_ - with_.mean(0), without - without.mean(0)])  # S: its scale has no effect
    ridge = _SHRINKAGE * max(float(within.square().sum() / z.shape[1]), 1e-12)
    normal = _solve(within, ridge, difference)
    result: Tensor = normal * (normal @ difference) / (normal @ normal).clamp(min=1e-300)
    return result


def _solve(rows: Tensor, ridge: float, vector: Tensor) -> Tensor:
    """Return (XᵀX + λ I)⁻¹ v for rows X ``[N, L]``; for fewer rows than dimensions by an N × N system.

    (XᵀX + λ I)⁻¹ = (I − Xᵀ (X Xᵀ + λ I)⁻¹ X) / λ (Woodbury 1950).
    """
    count, size = rows.shape
    if count >= size:
        result: Tensor = torch.linalg.solve(rows.mT @ rows + ridge * torch.eye(size).double(), vector)
        return result
    inner: Tensor = torch.linalg.solve(rows @ rows.mT + ridge * torch.eye(count).double(), rows @ vector)
    return (vector - rows.mT @ inner) / ridge


def _adjusted(z: Tensor, t: Tensor, left: Tensor) -> Tensor:
    """Return the direction with other attributes held equal; ``left`` ``[N]`` is what they leave of ``t``."""
    if float(left @ t) < _LEAST_LEFT * float(((t - t.mean()) ** 2).sum()):
        raise UserError(f"{argument('method', 'adjusted')}: the other columns determine this one; use means")
    return left @ z / (left @ t)  # Frisch & Waugh 1933: regress the residuals of z on those of t


class _Others:
    """Residuals after projection on the columns of all other sources, from one SVD of all columns X = U S Vᵀ.

    With v the rows of V that belong to a source, an eigenvector q of v vᵀ with eigenvalue 1 yields a direction U S⁻¹ vᵀ
    q that the other columns do not span.
    """

    def __init__(self, matrix: Tensor, sources: Sequence[str], tolerance: float) -> None:
        u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
        kept = s > tolerance * s.max()
        self._basis, self._scales, self._rows = u[:, kept], s[kept], vh[kept].mT
        self._places: dict[str, list[int]] = {}
        for place, source in enumerate(sources):
            self._places.setdefault(source, []).append(place)
        self._alone: dict[str, Tensor] = {}

    def left(self, vector: Tensor, source: str) -> Tensor:
        """Return the part of a vector ``[N]`` outside of the span of the columns of other sources."""
        alone = self._reached_by(source)
        inside = self._basis.mT @ vector
        result: Tensor = vector - self._basis @ (inside - alone @ (alone.mT @ inside))
        return result

    def _reached_by(self, source: str) -> Tensor:
        """Return an orthonormal basis ``[r, d]``, in coordinates of U, of what only the columns of ``source`` span."""
        if source not in self._alone:
            rows = self._rows[self._places[source]]
            values, vectors = torch.linalg.eigh(rows @ rows.mT)
            directions = rows.mT @ vectors[:, values > 1 - _ONE] / self._scales[:, None]
            self._alone[source] = torch.linalg.qr(directions)[0]
        return self._alone[source]


def fit_all(
    latents: Tensor,
    columns: Mapping[str, Column],
    held_out: tuple[Tensor, Mapping[str, Column], str] | None,
    method: str = "adjusted",
    is_orthogonal: bool = False,
    apart_from: Sequence[Tensor] = (),
) -> dict[str, Direction]:
    """Fit a direction for every column that the others do not determine.

    Args:
        latents: Latents ``[N, L]``.
        columns: Properties of the images.
        held_out: Latents, columns and description of the images for the accuracy. If None, every fifth of the given
            images is held out.
        method: One of :data:`METHODS`.
        is_orthogonal: Whether to make each direction orthogonal to those of other sources and to ``apart_from``.
        apart_from: Further vectors ``[L]``.

    Returns:
        Directions by name.
    """
    check_method(method)
    if held_out is None:
        kept = np.arange(len(latents)) % 5 == 4
        held_out = (latents[torch.from_numpy(kept)], _rows(columns, kept), "a fifth of the stored latents")
        latents, columns = latents[torch.from_numpy(~kept)], _rows(columns, ~kept)
    latents, held_out = latents.double(), (held_out[0].double(), *held_out[1:])
    vectors = _fitted(latents, columns, method)
    if is_orthogonal and vectors:
        whole, sources = dict(vectors), [columns[name].source for name in vectors]
        spans = _Others(torch.stack([*whole.values(), *apart_from], 1), [*sources, *[""] * len(apart_from)], 1e-9)
        vectors = {name: spans.left(vector, columns[name].source) for name, vector in whole.items()}
        vectors = {n: v for n, v in vectors.items() if float(v.norm()) > _LEAST_LEFT * float(whole[n].norm())}
    return {
        name: Direction(
            vector.float(), method, is_orthogonal,
            int((columns[name].has == 1).sum()), int((columns[name].has == 0).sum()),
            *_accuracy(vector, latents, columns[name].has, held_out[0], held_out[1].get(name)), held_out[2],
        )
        for name, vector in vectors.items()
    }  # fmt: skip


def _fitted(latents: Tensor, columns: Mapping[str, Column], method: str) -> dict[str, Tensor]:
    """Fit the directions of all columns for which it is possible."""
    vectors = {}
    sources = ["", *(column.source for column in columns.values())]
    design = _design(columns) if method == "adjusted" and columns else torch.zeros(0)
    others: dict[bytes, _Others] = {}  # by the set of images for which a column is known
    for name, column in columns.items():
        known = ~np.isnan(column.has)
        if not {0.0, 1.0} <= set(column.has[known]):
            continue
        rows = torch.from_numpy(known)
        if method != "adjusted":
            vectors[name] = fit(latents[rows], column.has[known], method)
            continue
        key = known.tobytes()
        if key not in others:
            tolerance = np.finfo(float).eps * max(int(known.sum()), design.shape[1])
            others[key] = _Others(design[rows], sources, tolerance)
        t = torch.from_numpy(column.has[known]).double()
        try:
            vectors[name] = _adjusted(latents[rows], t, others[key].left(t, column.source))
        except UserError:  # other methods can fit it
            continue
    return vectors


def orthogonal(vector: Tensor, others: Sequence[Tensor]) -> Tensor:
    """Return the part of a vector ``[L]`` outside of the span of others."""
    if not others:
        return vector
    basis, values, _ = torch.linalg.svd(torch.stack(list(others), 1), full_matrices=False)
    basis = basis[:, values > 1e-9 * values.max()]
    result: Tensor = vector - basis @ (basis.mT @ vector)
    return result


def named(directions: Mapping[str, Direction], name: str, left_out: Collection[str] = ()) -> Direction:
    """Return a direction by name; raises :class:`UserError` if it is unknown or ``left_out``."""
    if name in left_out:
        raise UserError(
            f"the other columns of the data determine {name!r}, so it has no direction of its own; "
            f"use {argument('method', 'means')} without {argument('is_orthogonal')}"
        )
    if name not in directions:
        known = nearest(name, directions) if directions else "the data of this run has neither labels nor attributes"
        raise UserError(
            f"there is no direction {name!r}; {known}; two folders of images, with it and without it, make one"
        )
    return directions[name]


def method_of_folders(method: str) -> str:
    """Return the method of a direction from two folders, whose images have no other attributes to adjust for."""
    return "means" if method == "adjusted" else method


def check_method(method: str) -> None:
    """Raise :class:`UserError` if the method is unknown."""
    if method not in METHODS:
        raise UserError(f"method {method}: {nearest(method, METHODS)}", "method")


def _cut(values: np.ndarray) -> float:
    """Return the midpoint of two distinct values, or the median of more."""
    known = values[~np.isnan(values)]
    distinct = np.unique(known)
    return float(distinct.mean() if len(distinct) == 2 else np.median(known) if len(known) else 0.0)


def _rows(columns: Mapping[str, Column], rows: np.ndarray) -> dict[str, Column]:
    return {name: replace(column, has=column.has[rows], value=column.value[rows]) for name, column in columns.items()}


def _design(columns: Mapping[str, Column]) -> Tensor:
    """Return ones and all columns, standardized, ``[N, 1 + M]``; unknown values count as the mean."""
    centered = [np.nan_to_num(column.value - np.nanmean(column.value)) for column in columns.values()]
    scaled = [values / (values.std() or 1.0) for values in centered]
    return torch.from_numpy(np.stack([np.ones(len(scaled[0])), *scaled], 1)).double()


def _accuracy(
    vector: Tensor, latents: Tensor, has: np.ndarray, held_out: Tensor, column: Column | None
) -> tuple[float | None, int]:
    truth = np.zeros(0) if column is None else column.has
    if not {0.0, 1.0} <= set(truth[~np.isnan(truth)]):
        return None, 0
    fitted, tested = ((z.double() @ vector).numpy() for z in (latents, held_out))
    threshold = (fitted[has == 1].mean() + fitted[has == 0].mean()) / 2
    right = ((tested[truth == 1] > threshold).mean() + (tested[truth == 0] <= threshold).mean()) / 2
    return float(right), int((~np.isnan(truth)).sum())
