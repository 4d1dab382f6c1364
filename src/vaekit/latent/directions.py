"""Directions in the space of codes along which an attribute comes or goes, and how well each tells it.

    means       d = E[z | with] − E[z | without]                                (Larsen et al. 2016, Sec. 4.2)
    adjusted    the same at equal other attributes: d of the least squares fit  z ≈ a + t d + B u,
                t 1 with the attribute and 0 without, u the other columns of the data
    classifier  d = w (wᵀ δ / wᵀ w), w = (S + λ tr(S)/L · I)⁻¹ δ, δ as in means, S the covariance within both groups:
                the regularised linear discriminant (Friedman 1989, Eq. 18, with all classes sharing S)

A code moved by ``strength · d`` has more of the attribute. At strength 1 it goes as far as from the mean of those
without to the mean of those with: for means as it is, for adjusted at equal other attributes, for classifier in the
projection on w. ``orthogonal`` takes out of d what lies in the span of the other attributes' directions, and goes
less far.

The accuracy is that of telling held-out images apart by the projection of their codes on d, with the threshold halfway
between the projected means of both groups: the mean of the fractions told right with and without, ½ by chance.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaekit.errors import UserError, argument, nearest
from vaekit.system.arguments import record_text

__all__ = [
    "METHODS",
    "Column",
    "Direction",
    "check_method",
    "columns_of",
    "fit",
    "fit_all",
    "named",
    "orthogonal",
]

METHODS = ("adjusted", "means", "classifier")

_SHRINKAGE = 0.1  # λ: of the mean variance, added to every variance
_ONE = 1e-9  # below 1 by no more than that, an eigenvalue is 1
_LEAST_LEFT = 1e-3  # of an attribute's variance, or a direction's length, that the others must leave
_MOST_STRINGS = 50  # values of a column of words that each get a direction


@dataclass(frozen=True, eq=False)
class Column:
    """What is known of N images in one respect, and the column of the data that it was made of."""

    source: str  #: columns of one source exclude one another, and are not held equal
    has: np.ndarray  #: float64 ``[N]``: 1 with it, 0 without, NaN where it is not known
    value: np.ndarray  #: float64 ``[N]``: the number itself where the source has numbers, else as ``has``
    cut: float | None = None  #: above which a number is "with"


@dataclass(frozen=True, eq=False, repr=False)
class Direction:
    """One direction ``[L]``, how it was found, and how well it tells held-out images apart."""

    vector: Tensor  #: float32 ``[L]``
    method: str
    is_orthogonal: bool
    images_with: int  #: that it was fitted on
    images_without: int
    accuracy: float | None  #: held out, balanced; None where there are too few images to hold any out
    held_out: int  #: images that the accuracy is of
    held_out_from: str  #: what these are
    source: str = "data"  #: what it was fitted on: the labels and attributes of the run's data, or two folders

    def __repr__(self) -> str:
        return record_text(self)

    def doubt(self, name: str) -> str:
        """A warning if the accuracy is within two standard errors of chance, else an empty string."""
        if self.accuracy is None or self.accuracy - 0.5 > 2 * 0.5 / math.sqrt(self.held_out):
            return ""
        return (
            f"{name}: held-out images with and without it are not told apart better than by chance "
            f"(accuracy {self.accuracy:.2f} of {self.held_out:,} images); the edit may show something else"
        )

    def facts(self) -> dict[str, Any]:
        """Everything but the vector."""
        return {name: value for name, value in asdict(self).items() if name != "vector"}


def columns_of(
    labels: np.ndarray | None,
    classes: tuple[str, ...],
    attributes: Mapping[str, np.ndarray],
    like: Mapping[str, Column] | None = None,
) -> dict[str, Column]:
    """What directions the columns of a data set make, by name: ``glasses``, ``hair=blond``, and each class.

    A column of numbers with two values has its higher one as "with"; of more values, those above the median. Of a
    column of words each value is one, ``COLUMN=VALUE``; a class is called by its name, and ``label:NAME`` where a
    column has that name. What all images or none have is left out.

    >>> columns_of(np.array([0, 1]), ("cat", "dog"), {"age": np.array([3.0, 9.0])})["age"].has
    array([0., 1.])
    """
    found: dict[str, Column] = {}
    for name, values in attributes.items():
        if values.dtype.kind in "fiub":
            numbers = np.where(np.isfinite(values.astype(float)), values.astype(float), np.nan)
            cut = like[name].cut if like and name in like else _cut(numbers)
            found[name] = Column(name, np.where(np.isnan(numbers), np.nan, numbers > cut), numbers, cut)
            continue
        words = sorted({str(value) for value in values} - {""})
        for word in words if len(words) <= _MOST_STRINGS else ():
            has = np.where(values == "", np.nan, values == word)
            found[f"{name}={word}"] = Column(name, has, has)
    for number, name in enumerate(classes if labels is not None else ()):
        has = np.equal(labels, number).astype(float)  # type: ignore[arg-type]
        found[name if name not in attributes else f"label:{name}"] = Column("label:", has, has)
    return {name: column for name, column in found.items() if {0.0, 1.0} <= set(column.has[~np.isnan(column.has)])}


def fit(codes: Tensor, has: np.ndarray, method: str = "means", others: np.ndarray | None = None) -> Tensor:
    """The direction float64 ``[L]`` of an attribute: codes ``[N, L]``, ``has`` float ``[N]`` of 0 and 1.

    ``others`` float ``[N, M]`` are the columns that ``adjusted`` holds equal. Raises :class:`UserError` if they
    determine the attribute.
    """
    check_method(method)
    z, t = codes.double(), torch.from_numpy(has).double()
    if method == "adjusted":
        design = torch.ones(len(z), 1).double()
        if others is not None:
            design = torch.cat([design, torch.from_numpy(others).double()], 1)
        return _adjusted(z, t, t - design @ torch.linalg.lstsq(design, t[:, None], driver="gelsd").solution[:, 0])
    with_, without = z[t == 1], z[t == 0]
    difference = with_.mean(0) - without.mean(0)
    if method == "means":
        return difference
    within = torch.cat([with_ - with_.mean(0), without - without.mean(0)])
    covariance = within.mT @ within / max(1, len(z) - 2)
    covariance += _SHRINKAGE * max(float(covariance.diagonal().mean()), 1e-12) * torch.eye(z.shape[1]).double()
    normal = torch.linalg.solve(covariance, difference)
    return normal * (normal @ difference) / (normal @ normal).clamp(min=1e-300)


def _adjusted(z: Tensor, t: Tensor, left: Tensor) -> Tensor:
    """The direction at equal other attributes, where ``left`` ``[N]`` is what these leave of ``t``."""
    if float(left @ t) < _LEAST_LEFT * float(((t - t.mean()) ** 2).sum()):
        raise UserError(f"{argument('method', 'adjusted')}: the other columns determine this one; use means")
    return left @ z / (left @ t)  # Frisch & Waugh 1933: what the others leave of t explains what they leave of z


class _Others:
    """What the columns of all other sources leave of a vector, from one decomposition of all columns X = U S Vᵀ.

    With v the rows of V that belong to a source, an eigenvector q of v vᵀ with eigenvalue 1 marks a direction
    U S⁻¹ vᵀ q of the span that the other columns do not reach.
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
        """The part of a vector ``[N]`` outside the span of the columns of other sources."""
        alone = self._reached_by(source)
        inside = self._basis.mT @ vector
        return vector - self._basis @ (inside - alone @ (alone.mT @ inside))

    def _reached_by(self, source: str) -> Tensor:
        """An orthonormal basis ``[r, d]``, in coordinates of U, of what only the columns of ``source`` reach."""
        if source not in self._alone:
            rows = self._rows[self._places[source]]
            values, vectors = torch.linalg.eigh(rows @ rows.mT)
            directions = rows.mT @ vectors[:, values > 1 - _ONE] / self._scales[:, None]
            self._alone[source] = torch.linalg.qr(directions)[0]
        return self._alone[source]


def fit_all(
    codes: Tensor,
    columns: Mapping[str, Column],
    held_out: tuple[Tensor, Mapping[str, Column], str] | None,
    method: str = "adjusted",
    is_orthogonal: bool = False,
    apart_from: Sequence[Tensor] = (),
) -> dict[str, Direction]:
    """A direction for every column, fitted on codes ``[N, L]``; where the others leave nothing of one it is left out.

    ``is_orthogonal`` makes each orthogonal to those of other sources, and to ``apart_from``, each ``[L]``.

    ``held_out`` gives codes, columns and words for images that the accuracy is of; without it every fifth of the given
    images is kept for that, and nothing is fitted on it.
    """
    check_method(method)
    if held_out is None:
        kept = np.arange(len(codes)) % 5 == 4
        held_out = (codes[torch.from_numpy(kept)], _some(columns, kept), "a fifth of the stored codes")
        codes, columns = codes[torch.from_numpy(~kept)], _some(columns, ~kept)
    codes, held_out = codes.double(), (held_out[0].double(), *held_out[1:])
    vectors = _fitted(codes, columns, method)
    if is_orthogonal and vectors:
        whole, sources = dict(vectors), [columns[name].source for name in vectors]
        spans = _Others(torch.stack([*whole.values(), *apart_from], 1), [*sources, *[""] * len(apart_from)], 1e-9)
        vectors = {name: spans.left(vector, columns[name].source) for name, vector in whole.items()}
        vectors = {n: v for n, v in vectors.items() if float(v.norm()) > _LEAST_LEFT * float(whole[n].norm())}
    return {
        name: Direction(
            vector.float(), method, is_orthogonal,
            int((columns[name].has == 1).sum()), int((columns[name].has == 0).sum()),
            *_accuracy(vector, codes, columns[name].has, held_out[0], held_out[1].get(name)), held_out[2],
        )
        for name, vector in vectors.items()
    }  # fmt: skip


def _fitted(codes: Tensor, columns: Mapping[str, Column], method: str) -> dict[str, Tensor]:
    """The directions of all columns that have one."""
    vectors = {}
    sources = ["", *(column.source for column in columns.values())]
    design = _design(columns) if method == "adjusted" and columns else torch.zeros(0)
    others: dict[bytes, _Others] = {}  # by which images a column is known of
    for name, column in columns.items():
        known = ~np.isnan(column.has)
        if not {0.0, 1.0} <= set(column.has[known]):
            continue
        rows = torch.from_numpy(known)
        if method != "adjusted":
            vectors[name] = fit(codes[rows], column.has[known], method)
            continue
        key = known.tobytes()
        if key not in others:
            tolerance = np.finfo(float).eps * max(int(known.sum()), design.shape[1])
            others[key] = _Others(design[rows], sources, tolerance)
        t = torch.from_numpy(column.has[known]).double()
        try:
            vectors[name] = _adjusted(codes[rows], t, others[key].left(t, column.source))
        except UserError:  # another method has it
            continue
    return vectors


def orthogonal(vector: Tensor, others: Sequence[Tensor]) -> Tensor:
    """What is left of a vector ``[L]`` outside the span of others."""
    if not others:
        return vector
    basis, values, _ = torch.linalg.svd(torch.stack(list(others), 1), full_matrices=False)
    basis = basis[:, values > 1e-9 * values.max()]
    return vector - basis @ (basis.mT @ vector)


def named(directions: Mapping[str, Direction], name: str, left_out: Collection[str] = ()) -> Direction:
    """One of them; raises :class:`UserError` that says which there are, or that this one was ``left_out``."""
    if name in left_out:
        raise UserError(
            f"the other columns of the data determine {name!r}, which leaves no direction of its own; "
            f"use {argument('method', 'means')} without {argument('is_orthogonal')}"
        )
    if name not in directions:
        known = nearest(name, directions) if directions else "the data of this run have neither labels nor attributes"
        raise UserError(
            f"there is no direction {name!r}; {known}; two folders of images, with it and without it, make a new one"
        )
    return directions[name]


def check_method(method: str) -> None:
    """Raises :class:`UserError` if there is no such method."""
    if method not in METHODS:
        raise UserError(f"method {method}: {nearest(method, METHODS)}", "method")


def _cut(values: np.ndarray) -> float:
    """Between two values the middle, of more the median."""
    known = values[~np.isnan(values)]
    distinct = np.unique(known)
    return float(distinct.mean() if len(distinct) == 2 else np.median(known) if len(known) else 0.0)


def _some(columns: Mapping[str, Column], rows: np.ndarray) -> dict[str, Column]:
    return {name: replace(column, has=column.has[rows], value=column.value[rows]) for name, column in columns.items()}


def _design(columns: Mapping[str, Column]) -> Tensor:
    """Ones, then every column, ``[N, 1 + M]``, of mean 0 and variance 1; the unknown counts as the mean."""
    centred = [np.nan_to_num(column.value - np.nanmean(column.value)) for column in columns.values()]
    scaled = [each / (each.std() or 1.0) for each in centred]
    return torch.from_numpy(np.stack([np.ones(len(scaled[0])), *scaled], 1)).double()


def _accuracy(
    vector: Tensor, codes: Tensor, has: np.ndarray, held_out: Tensor, column: Column | None
) -> tuple[float | None, int]:
    told = np.zeros(0) if column is None else column.has
    if not {0.0, 1.0} <= set(told[~np.isnan(told)]):
        return None, 0
    known, asked = ((each.double() @ vector).numpy() for each in (codes, held_out))
    threshold = (known[has == 1].mean() + known[has == 0].mean()) / 2
    right = ((asked[told == 1] > threshold).mean() + (asked[told == 0] <= threshold).mean()) / 2
    return float(right), int((~np.isnan(told)).sum())
