"""Four measures of disentanglement: how well latent dimensions separate known factors of images. Higher is better.

    MIG         mean over k of  [I(z_a; vₖ) − I(z_b; vₖ)] / H(vₖ)                         (Chen et al. 2018, Eq. 6)
    SAP         mean over k of  S_ak − S_bk, S_ik how well z_i alone predicts vₖ          (Kumar et al. 2018, Sec. 3)
    DCI         D = Σᵢ ρᵢ [1 − H(Pᵢ) / log K],  C = mean over k of  1 − H(Qₖ) / log L     (Eastwood & Williams 2018,
                R_ik the importance of z_i to a predictor of vₖ from all of z,             Sec. 2)
                Pᵢ = R_i· / Σₖ R_ik,  Qₖ = R_·k / Σᵢ R_ik,  ρᵢ = Σₖ R_ik / Σ R;
                I the mean over k of that predictor's score on held-out images
    FactorVAE   of images that share vₖ, one dimension varies least: how often it         (Kim & Mnih 2018, Sec. 4)
                identifies k

z has L dimensions, and v holds K factors per image; a and b are the best and second best dimension for a factor. Mutual
information is of z discretized into 20 equal parts of its range, as in Locatello et al. 2019. The score of a predictor
is R² = 1 − Σ(v − v̂)² / Σ(v − v̄)² for a continuous factor. For a discrete factor it is the balanced accuracy, the mean
over its values of the fraction classified correctly, which is 1/V by chance with V values.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import ArrayLike

from vaekit.errors import UserError, argument, counted

__all__ = [
    "Factor", "binned", "concentration", "dci", "disentanglement", "factor_vae_score", "factors_of",
    "mutual_information_gap", "mutual_information_nats", "sap", "unfit",
]  # fmt: skip

_BINS = 20  # equal parts of a range; numbers with more distinct values are continuous
_MOST_VALUES = 100  # of a discrete factor
_FEWEST_SHARING = 5  # images that must share a value for it to be held fixed
_FEWEST_IMAGES = _BINS * _FEWEST_SHARING  # ensures that some value is shared by that many
_MOST_FITTED = 10_000  # images for fitting and scoring predictors
_TREES, _FEWEST_IN_LEAF = 50, 5  # of a forest
_DRAWN = 64  # images per vote (Locatello et al. 2019, who use 10,000 and 5,000 votes in total)
_VOTES, _HELD_OUT_VOTES = 1000, 500  # per factor
_VOTES_AT_ONCE = 100
_LEAST_STD = 0.05  # relative to the largest; dimensions that vary less are inactive


@dataclass(frozen=True, eq=False)
class Factor:
    """A property of images, for the M of N images for which it is known."""

    rows: np.ndarray  #: int64 ``[M]``: rows of these images
    values: np.ndarray  #: ``[M]``: float64 of a continuous factor; int64 from 0 of a discrete one
    is_continuous: bool

    @property
    def bins(self) -> np.ndarray:
        """The values of a discrete factor, or the bin of a continuous one, int64 ``[M]``."""
        return binned(self.values) if self.is_continuous else self.values


def factors_of(columns: Mapping[str, np.ndarray], source: str = "these images") -> dict[str, Factor]:
    """Return the factors in the columns ``[N]`` of a dataset by name, without those that are :func:`unfit`.

    Numbers with more than 20 distinct values are continuous; all others are discrete. NaN and "" mean unknown.

    Args:
        columns: Columns by name.
        source: Name of the images, for messages.

    Raises:
        UserError: If there is no factor.

    >>> factors_of({"hair": np.array(["red", "grey"] * 50), "age": np.arange(100.0)})["hair"].values[:3]
    array([1, 0, 1])
    """
    return _sorted_out(columns, source)[0]


def unfit(columns: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Return the columns ``[N]`` that are not usable as factors, with the reason.

    >>> unfit({"male": np.array([0, 1] * 50), "on": np.ones(100), "id": np.arange(100).astype(str)})
    {'on': 'one value', 'id': '100 values for 100 images'}
    """
    return _unfit_of({name: _factor(values) for name, values in columns.items()})


def disentanglement(
    latents: ArrayLike, columns: Mapping[str, np.ndarray], seed: int = 0
) -> dict[str, float | dict[str, float] | dict[str, str] | None]:
    """Compute all four measures.

    Args:
        latents: Latents ``[N, L]``.
        columns: Known properties of the images, ``[N]`` by name.
        seed: Seed of the images that predictors are fitted on and of the images drawn.

    Returns:
        The measures by name. ``mig_per_factor`` has the gap of each factor, and ``factors_left_out`` the columns that
        are not usable, with the reason. Measures that need two factors are None if there is only one.

    Raises:
        UserError: If there is no factor, or fewer than two dimensions vary.

    >>> levels = np.arange(400) // np.array([[1], [5]]) % 5
    >>> found = disentanglement(levels.T, dict(zip("ab", levels)))
    >>> {name: round(found[name], 6) for name in ("mig", "dci_disentanglement", "dci_completeness", "factor_vae_score")}
    {'mig': 1.0, 'dci_disentanglement': 1.0, 'dci_completeness': 1.0, 'factor_vae_score': 1.0}
    """
    z = _checked(latents)
    factors, left_out = _sorted_out(columns, "these images")
    gaps = mutual_information_gap(z, factors)
    return {
        "mig": _mean(gaps.values()),
        "sap": _mean(sap(z, factors, seed).values()),
        **dci(z, factors, seed),
        "factor_vae_score": factor_vae_score(z, factors, seed),
        "mig_per_factor": gaps,
        **({"factors_left_out": left_out} if left_out else {}),
    }


def mutual_information_gap(latents: np.ndarray, factors: Mapping[str, Factor]) -> dict[str, float]:
    """Return [I(z_a; v) − I(z_b; v)] / H(v) of each factor for latents ``[N, L]`` (Chen et al. 2018, Eq. 6).

    MIG is the mean. For few images both terms are overestimated by about the same amount, which cancels.
    """
    found = {}
    for name, factor in factors.items():
        known = [mutual_information_nats(binned(z), factor.bins) for z in latents[factor.rows].T]
        found[name] = _gap(known) / mutual_information_nats(factor.bins, factor.bins)
    return found


def sap(latents: np.ndarray, factors: Mapping[str, Factor], seed: int = 0) -> dict[str, float]:
    """Return the gap S_a − S_b of each factor for latents ``[N, L]``; SAP is the mean (Kumar et al. 2018, Sec. 3).

    For a continuous factor S is the R² of a line, which is the squared correlation. For a discrete one it is the
    balanced accuracy, on half of the images, of a tree with one leaf per value that is fitted on the other half.
    """
    found = {}
    for name, factor in factors.items():
        halves = _halves(factor, seed)
        found[name] = _gap([_told_by_one(z, factor, halves) for z in latents[factor.rows].T])
    return found


def dci(latents: np.ndarray, factors: Mapping[str, Factor], seed: int = 0) -> dict[str, float | None]:
    """Return disentanglement, completeness, informativeness of latents ``[N, L]`` (Eastwood & Williams 2018, Sec. 2).

    Predictors are random forests, fitted on half of at most 10,000 images and scored on the other half. The importance
    of a dimension is the impurity reduction of its splits. Informativeness is R², at least 0, or the balanced accuracy,
    where the paper uses the error.
    """
    importance, told = np.zeros((latents.shape[1], len(factors))), []
    for number, factor in enumerate(factors.values()):
        z, (fitted, held_out) = latents[factor.rows], _halves(factor, seed)
        forest = _forest(factor, seed).fit(z[fitted], factor.values[fitted])
        used = forest.feature_importances_
        importance[:, number] = used if used.any() else 1 / len(used)  # without any split all dimensions are equal
        told.append(_score(factor, forest.predict(z[held_out]), held_out))
    return {
        "dci_disentanglement": float(importance.mean(1) @ concentration(importance)) if len(factors) > 1 else None,
        "dci_completeness": float(concentration(importance.T).mean()),
        "dci_informativeness": _mean(told),
    }


def factor_vae_score(latents: np.ndarray, factors: Mapping[str, Factor], seed: int = 0) -> float | None:
    """Return how often the dimension that varies least identifies the fixed factor (Kim & Mnih 2018, Sec. 4).

    For a vote, a random image and a factor are chosen, and 64 images with the same value (for a continuous factor, the
    same twentieth of its range) are drawn with replacement. The vote goes to the dimension with the smallest variance
    relative to that over all images. Each dimension is assigned to the factor that it received most votes for, among
    1,000 votes per factor. The score is the accuracy on another 500 votes per factor; chance is 1/K. Dimensions with a
    standard deviation below 0.05 of the largest are excluded (Locatello et al. 2019 use 0.05 itself, where the prior's
    is 1). The result is None for a single factor.

    Values that few images share are drawn repeatedly from the same images.
    """
    if len(factors) < 2:
        return None
    std = latents.std(0)
    is_active = std >= _LEAST_STD * std.max()
    z, rng = latents[:, is_active] / std[is_active], np.random.default_rng(seed)
    votes = np.zeros((2, len(factors), z.shape[1]))
    for number, factor in enumerate(factors.values()):
        taken = _least_varying(z, factor, _VOTES + _HELD_OUT_VOTES, rng)
        for part, votes_part in enumerate((taken[:_VOTES], taken[_VOTES:])):
            votes[part, number] = np.bincount(votes_part, minlength=z.shape[1])
    stands_for, held_out = votes[0].argmax(0), votes[1]
    return float(held_out[stands_for, np.arange(z.shape[1])].sum() / held_out.sum())


def mutual_information_nats(a: np.ndarray, b: np.ndarray) -> float:
    """Return I(a; b) = Σ p(a, b) log[p(a, b) / (p(a) p(b))] of the frequencies of two integer columns ``[N]`` from 0.

    >>> a = np.array([0, 0, 1, 1])
    >>> mutual_information_nats(a, a) / math.log(2), mutual_information_nats(a, np.array([0, 1, 0, 1]))
    (1.0, 0.0)
    """
    width = int(b.max()) + 1
    joint = np.bincount(a * width + b, minlength=(int(a.max()) + 1) * width).reshape(-1, width) / len(a)
    apart = joint.sum(1, keepdims=True) * joint.sum(0)
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / apart[seen])).sum())


def binned(values: np.ndarray) -> np.ndarray:
    """Return the bin, of 20 equal parts of their range, of values ``[N]`` as int64.

    >>> binned(np.array([0.0, 0.51, 0.99, 1.0]))
    array([ 0, 10, 19, 19])
    """
    low = values.min()
    width = (values.max() - low) or 1.0
    result: np.ndarray = np.minimum((values - low) / width * _BINS, _BINS - 1).astype(np.int64)
    return result


def concentration(weights: np.ndarray) -> np.ndarray:
    """Return 1 − H(w) / log B of each row w of weights ``[A, B]``: 1 if one weight has all, 0 if all are equal or 0.

    >>> concentration(np.array([[3.0, 0.0], [2.0, 2.0], [0.0, 0.0]]))
    array([1., 0., 0.])
    """
    whole, width = weights.sum(1, keepdims=True), weights.shape[1]
    share = np.where(whole > 0, weights / np.where(whole > 0, whole, 1), 1 / width)
    result: np.ndarray = 1 + (share * np.log(np.where(share > 0, share, 1))).sum(1) / math.log(width)
    return result


def _sorted_out(columns: Mapping[str, np.ndarray], source: str) -> tuple[dict[str, Factor], dict[str, str]]:
    """Return the factors, and the reasons why other columns are not usable."""
    factors = {name: _factor(values) for name, values in columns.items()}
    left_out = _unfit_of(factors)
    if len(left_out) == len(columns):
        alike = {reason: ", ".join(n for n in left_out if left_out[n] == reason) for reason in left_out.values()}
        why = "; ".join(f"{names}: {reason}" for reason, names in alike.items()) or "neither labels nor attributes"
        raise UserError(
            f"factors: {source} has no usable column ({why}); use at least {_FEWEST_IMAGES} images with labels or "
            f"attributes, with several images for each value, or {argument('split', 'all')}",
            "factors",
        )
    return {name: factor for name, factor in factors.items() if name not in left_out}, left_out


def _unfit_of(factors: Mapping[str, Factor]) -> dict[str, str]:
    reasons = {name: _unfit(factor) for name, factor in factors.items()}
    return {name: reason for name, reason in reasons.items() if reason}


def _factor(column: np.ndarray) -> Factor:
    is_number = column.dtype.kind in "fiub"
    known = np.flatnonzero(np.isfinite(column) if is_number else column != "")
    distinct, values = np.unique(column[known], return_inverse=True)
    is_continuous = is_number and len(distinct) > _BINS
    return Factor(known, column[known].astype(np.float64) if is_continuous else values, is_continuous)


def _unfit(factor: Factor) -> str | None:
    images, values = len(factor.rows), len(np.unique(factor.values))
    if images < _FEWEST_IMAGES:
        return f"known for {counted(images, 'image')}, expected {_FEWEST_IMAGES}"
    if values < 2:
        return "one value"
    if not factor.is_continuous and values > min(_MOST_VALUES, images // _FEWEST_SHARING):
        return f"{counted(values, 'value')} for {counted(images, 'image')}"
    return None


def _checked(latents: ArrayLike) -> np.ndarray:
    """Convert latents to float64 ``[N, L]`` and validate them."""
    z = np.asarray(latents, dtype=np.float64)
    if not np.isfinite(z).all():
        raise UserError("factors: some latents are not finite; run vaekit doctor to find out why", "factors")
    if (varying := int((z.max(0) > z.min(0)).sum())) < 2:
        raise UserError(
            f"factors: {varying} of {z.shape[1]} latent dimensions vary from image to image, expected at least 2; "
            "run vaekit doctor to see whether the model has collapsed",
            "factors",
        )
    return z


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _gap(scores: list[float]) -> float:
    """Return the difference between the best and the second best score."""
    second, best = sorted(scores)[-2:]
    return best - second


def _told_by_one(z: np.ndarray, factor: Factor, halves: tuple[np.ndarray, np.ndarray]) -> float:
    """Return how well one dimension ``[M]`` predicts a factor, by a line or by thresholds."""
    from sklearn.tree import DecisionTreeClassifier

    if factor.is_continuous:
        z, v = z - z.mean(), factor.values - factor.values.mean()
        return float((z @ v) ** 2 / max((z @ z) * (v @ v), 1e-300))
    fitted, held_out = halves
    leaves = int(factor.values.max()) + 1
    tree = DecisionTreeClassifier(max_leaf_nodes=leaves, class_weight="balanced", random_state=0)
    tree.fit(z[fitted, None], factor.values[fitted])
    return _score(factor, tree.predict(z[held_out, None]), held_out)


class _Forest(Protocol):
    """What is used of scikit-learn's random forests."""

    feature_importances_: np.ndarray

    def fit(self, x: np.ndarray, y: np.ndarray, /) -> Self:
        """Fit it to inputs ``[M, L]`` and targets ``[M]``."""

    def predict(self, x: np.ndarray, /) -> np.ndarray:
        """Predict the targets ``[M]`` of inputs ``[M, L]``."""


def _forest(factor: Factor, seed: int) -> _Forest:
    """Return a forest whose splits may use every dimension; otherwise it would split on uninformative ones."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    shape: dict[str, int | None] = dict(n_estimators=_TREES, min_samples_leaf=_FEWEST_IN_LEAF, max_features=None)
    shape["random_state"] = seed % 2**32
    forest: _Forest = (
        RandomForestRegressor(**shape)
        if factor.is_continuous
        else RandomForestClassifier(class_weight="balanced", **shape)
    )
    return forest


def _halves(factor: Factor, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return two disjoint random samples of the images for which a factor is known, as positions.

    Taking every second image instead would be biased for a set that is sorted by its factors.
    """
    order = np.random.default_rng(seed).permutation(len(factor.rows))[:_MOST_FITTED]
    return order[::2], order[1::2]


def _score(factor: Factor, predicted: np.ndarray, rows: np.ndarray) -> float:
    """Return R², at least 0, or the balanced accuracy of predictions for the given images."""
    true = factor.values[rows]
    if factor.is_continuous:
        spread = ((true - true.mean()) ** 2).sum()
        return max(0.0, 1 - float(((true - predicted) ** 2).sum() / max(spread, 1e-300)))
    return _mean((predicted[true == value] == value).mean() for value in np.unique(true))


def _least_varying(z: np.ndarray, factor: Factor, votes: int, rng: np.random.Generator) -> np.ndarray:
    """Return the dimension that varies least, int64 ``[votes]``, in each draw of images that share a value."""
    bins = factor.bins
    by_value, sizes = factor.rows[np.argsort(bins, kind="stable")], np.bincount(bins)
    starts = np.cumsum(sizes) - sizes
    held = rng.choice(bins[sizes[bins] >= _FEWEST_SHARING], votes)  # values weighted by their number of images
    winners = []
    for values in np.split(held, range(_VOTES_AT_ONCE, votes, _VOTES_AT_ONCE)):
        places = starts[values, None] + (rng.random((len(values), _DRAWN)) * sizes[values, None]).astype(np.int64)
        winners.append(z[by_value[places]].var(1).argmin(1))
    return np.concatenate(winners)
