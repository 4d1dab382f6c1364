"""What the verdict on a training rests on: the numbers, the thresholds they are held against, and both as a table.

Nothing here opens a file or a model; :mod:`vaekit.checkup` gathers the numbers. The thresholds were chosen on runs of
the built-in ``digits``; ``docs/numbers.md`` says what they were judged on.
"""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vaekit.errors import NotFinite, UserError
from vaekit.schema import record

__all__ = ["LIMITS", "Evidence", "Row", "rows_of"]


@dataclass(frozen=True)
class Thresholds:
    """Where health ends, each with its reason."""

    #: Levels of 255, of the standard deviation about the mean image: below two, images differ by rounding alone.
    least_std_levels: float = 2.0
    #: Training images where none is held out: with fewer nothing can be told but that they are few.
    fewest_images: int = 10
    #: Share of different images among those trained on: below half, most are copies, and held-out images are few.
    least_distinct: float = 0.5
    #: Correlation of pixels side by side: 0 in noise, 0.3 and more even in digits of 8 by 8 pixels.
    noise_correlation: float = 0.05
    #: ‖mean of training images − mean of held-out‖² over the variance of an image: a little above 0 where both are of
    #: one set; 0.5 is a difference of seven tenths of a standard deviation in every pixel.
    most_part_shift: float = 0.5
    #: How many times the average shift of sets of this size is still chance: few images may differ in brightness alone.
    chances: float = 5.0
    #: Share of held-out variance that reconstructions explain: below this they are the mean image.
    mean_image: float = 0.1
    #: … and below this they lack much, which is an illness where the loss is what keeps it away.
    least_explained: float = 0.7
    #: Nats per image: a code that says less could not tell three images apart (log 3 is 1.1).
    least_rate_nats: float = 1.0
    #: Share of the units of a code that are active.
    few_active: float = 0.25
    #: β s² over the mean squared error: the noise that the loss allows for over what there is. 1 where the scale s is
    #: learned and β is 1.
    most_over_weight: float = 4.0
    #: … and where β makes it so large, no code holds what it could, however much is still explained.
    far_over_weight: float = 10.0
    #: dB of PSNR by which training images are reconstructed better than held-out ones.
    most_gap_db: float = 3.0
    #: … and by which they are so after any number of steps: no beginning looks like that.
    far_gap_db: float = 6.0
    #: Times the recipe's learning rate below which a model that has learnt nothing was not given the chance to.
    slow_rate: float = 0.25
    #: dB of quality on held-out images that the weights in use are behind the best epoch.
    most_rise_db: float = 0.5
    #: Share of held-out variance that the second half of a run may have added to what reconstructions explain: what the
    #: last doubling of the length was worth. The last epochs add little however short a run was: a cosine ends there.
    most_gain: float = 0.04
    #: Share of that gain which counts where a cosine ends without averaged weights: the rest is noise of the weights,
    #: which the falling learning rate takes away. Such runs showed 7 points; twice the length was worth 2 to 3.
    share_of_unaveraged_gain: float = 0.5
    #: Fewer steps are a beginning.
    fewest_steps: int = 300
    #: Fewer passes over the images give no curve to judge from, and nothing can have been learnt by heart.
    fewest_epochs: float = 2.0


LIMITS = Thresholds()

#: Which numbers of the evidence may be negative, and which are at least 1. All others are not negative.
_SIGNED: tuple[str, ...] = (
    "neighbour_correlation",
    "explained",
    "psnr_db",
    "train_psnr_db",
    "gain",
    "rise_db",
    "elbo_nats",
)
_SIGNED += ("train_elbo_nats", "rate_nats", "kl_per_dim_nats", "mutual_information_nats", "marginal_kl_nats")
_POSITIVE = ("latent_dim",)
_MOST, _MOST_DB = 1e15, 1000.0
_PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Evidence:
    """The numbers that a verdict rests on. None: the model or the run has no such number."""

    # Of the recipe
    has_density: bool  #: not of an autoencoder
    beta: float  #: weight of the rate
    latent_dim: int
    learning_rate: float
    is_scale_fixed: bool  #: that of a likelihood which has one
    free_bits_nats: float
    shift: int
    has_patience: bool
    # Of the run
    images_seen: int  #: in training, repeats counted
    total_images: int  #: that the run was to see
    steps: int  #: taken
    epochs: float  #: passes over the training images
    is_finished: bool
    # Of the data: uint8 pixels on the [0, 1] scale
    part: str  #: that is held out: val, test, or train where there is none
    train_count: int  #: training images measured
    held_out_count: int  #: held-out images measured
    data_mean: float
    data_std: float  #: of all pixel values
    std_about_mean_image: float  #: √ of the mean over pixels of the variance over images
    distinct: float  #: share of different images among those trained on
    neighbour_correlation: float  #: of deviations from the mean image, of pixels side by side
    part_shift: float | None  #: ‖mean of training images − mean of another part‖² / variance of an image, the largest
    part_count: int  #: images of that part that were looked at
    # Of the fit
    explained: float  #: 1 − SSE / Σ(x − mean training image)², on held-out images
    psnr_db: float  #: on held-out images
    train_psnr_db: float
    gain: float | None  #: what the second half of the run added to ``explained``
    rise_db: float | None  #: that the best epoch was better on held-out images than the weights in use
    observation_std: float | None  #: of the likelihood, where it is one number
    # Of a model with a density, on held-out images
    elbo_nats: float | None = None
    train_elbo_nats: float | None = None
    rate_nats: float | None = None
    kl_per_dim_nats: tuple[float, ...] | None = None
    active_units: int | None = None
    mutual_information_nats: float | None = None
    marginal_kl_nats: float | None = None
    mutual_information_at_least_nats: float | None = None  #: where the images are too few to tell it
    marginal_kl_at_most_nats: float | None = None  #: likewise
    # Of samples of the prior
    sample_mean: float | None = None
    sample_std: float | None = None
    sample_shift: float | None = None  #: ‖mean of training images − mean of samples‖² / variance of an image
    # Of the table of recipes
    usual_learning_rate: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; raises :class:`NotFinite` if a number is not finite."""
        self.check_finite()
        return json.loads(json.dumps(dataclasses.asdict(self), allow_nan=False))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "the evidence") -> Evidence:
        """The inverse of :meth:`to_dict`; raises :class:`UserError` for other names, types and ranges."""
        found = record(cls, values, where)
        for name, value in dataclasses.asdict(found).items():
            for each in value if isinstance(value, tuple) else (value,):
                is_number = isinstance(each, int | float)
                least = -_MOST if name in _SIGNED else 1 if name in _POSITIVE else 0
                if is_number and not least <= each <= _MOST:
                    raise UserError(f"{where} has {name} = {each}, expected a number from {least:g} to {_MOST:g}")
        if max(abs(found.psnr_db), abs(found.train_psnr_db)) > _MOST_DB or found.part not in _PARTS:
            raise UserError(f"{where} has a part or a PSNR that no run has")
        return found

    def check_finite(self) -> None:
        """Raises :class:`NotFinite` if a number is not finite: no rule could judge it."""
        for value in vars(self).values():
            parts = value if isinstance(value, tuple) else (value,)
            if any(isinstance(each, float) and not math.isfinite(each) for each in parts):
                raise NotFinite("numbers")

    @property
    def gap_db(self) -> float | None:
        """PSNR of training images less that of held-out ones."""
        return None if self.part == "train" else self.train_psnr_db - self.psnr_db

    @property
    def over_weight(self) -> float | None:
        """β s² / mean squared error of training images: the noise that the loss allows for over what there is."""
        if not self.has_density:
            return None
        if self.observation_std is None:  # a likelihood without one scale says itself how sure it is
            return self.beta
        return self.beta * self.observation_std**2 * 10 ** (self.train_psnr_db / 10)

    @property
    def is_slow(self) -> bool:
        """Whether the learning rate is far below what the recipe has by itself."""
        return self.learning_rate < LIMITS.slow_rate * (self.usual_learning_rate or 0.0)

    @property
    def most_part_shift(self) -> float:
        """The largest :attr:`part_shift` that may be chance: on average it is 1/n + 1/m for n and m images."""
        by_chance = 1 / max(1, self.train_count) + 1 / max(1, self.part_count)
        return LIMITS.most_part_shift + LIMITS.chances * by_chance

    @property
    def active_share(self) -> float | None:
        """Share of the units that are active."""
        return None if self.active_units is None else self.active_units / self.latent_dim


@dataclass(frozen=True)
class Row:
    """A line of the table of evidence."""

    name: str
    value: float | int | None
    unit: str
    expected: str
    is_ok: bool | None  #: None: no illness shows in it alone

    @property
    def text(self) -> str:
        """The value with its unit, for the eye."""
        if self.value is None:
            return "–"
        shown = f"{self.value:,}" if isinstance(self.value, int) else f"{self.value:,.{_decimals(self.value)}f}"
        return f"{shown} {self.unit}".rstrip().replace("-", "−")


def rows_of(e: Evidence) -> Iterator[Row]:
    """The table: every number that a rule reads, and what belongs beside it."""
    yield from _rows_of_run(e)
    yield from _rows_of_fit(e)
    if e.has_density:
        yield from _rows_of_codes(e)
    yield from _rows_of_images(e)


def _rows_of_run(e: Evidence) -> Iterator[Row]:
    gain = None if e.gain is None else 100 * e.gain
    yield Row("images seen in training", e.images_seen, "", f"{e.total_images:,}", e.is_finished)
    yield _row("steps", e.steps, "", at_least=LIMITS.fewest_steps)
    yield _row("explained more than at half of the run", gain, "points", at_most=100 * LIMITS.most_gain)
    yield _row("behind the best epoch, held-out", e.rise_db, "dB", at_most=LIMITS.most_rise_db)


def _rows_of_fit(e: Evidence) -> Iterator[Row]:
    yield _row("explained of held-out images", 100 * e.explained, "%", at_least=100 * LIMITS.mean_image)
    yield Row("PSNR, held-out images", e.psnr_db, "dB", "", None)
    yield _row("train-validation gap, PSNR", e.gap_db, "dB", at_most=LIMITS.most_gap_db)
    if e.train_elbo_nats is not None and e.elbo_nats is not None and e.part != "train":
        yield Row("train-validation gap, bound", e.train_elbo_nats - e.elbo_nats, "nats", "", None)
    if e.observation_std is not None:
        yield Row("observation scale over std of pixels", _over(e.observation_std, e.data_std), "", "below 1", None)
    if e.over_weight is not None:
        yield _row(
            "noise that the loss allows for, over what there is", e.over_weight, "", at_most=LIMITS.most_over_weight
        )


def _rows_of_codes(e: Evidence) -> Iterator[Row]:
    kl = e.kl_per_dim_nats or (0.0,)
    yield _row("rate: KL(q(z|x) ‖ p(z))", e.rate_nats, "nats", at_least=LIMITS.least_rate_nats)
    yield Row("KL per dimension, largest", max(kl), "nats", "", None)
    yield Row("KL per dimension, median", statistics.median(kl), "nats", "", None)
    least = math.ceil(LIMITS.few_active * e.latent_dim)
    yield _row(f"active units of {e.latent_dim}", e.active_units, "", at_least=least)
    information, marginal = "mutual information I(x; z)", "aggregate posterior against prior: KL(q(z) ‖ p(z))"
    limit = f"at most log {e.held_out_count:,}"
    if e.mutual_information_at_least_nats is None:
        yield Row(information, e.mutual_information_nats, "nats", limit, None)
    else:
        yield Row(f"{information}, at least", e.mutual_information_at_least_nats, "nats", limit, None)
    if e.marginal_kl_at_most_nats is None:
        yield Row(marginal, e.marginal_kl_nats, "nats", "0 is best", None)
    else:
        yield Row(f"{marginal}, at most", e.marginal_kl_at_most_nats, "nats", "0 is best", None)
    yield Row("samples: std of pixels over that of images", _over(e.sample_std, e.data_std), "", "about 1", None)
    yield Row("samples: mean image off by", _root(e.sample_shift), "std", "about 0", None)


def _rows_of_images(e: Evidence) -> Iterator[Row]:
    levels = 255 * e.std_about_mean_image
    if e.part == "train":
        yield _row("images measured, none held out", e.train_count, "", at_least=LIMITS.fewest_images)
    yield _row("images: std about their mean image", levels, "levels", at_least=LIMITS.least_std_levels)
    yield _row("images: different from one another", 100 * e.distinct, "%", at_least=100 * LIMITS.least_distinct)
    yield _row("images: correlation of neighbours", abs(e.neighbour_correlation), "", at_least=LIMITS.noise_correlation)
    yield _row("images: held-out mean image off by", _root(e.part_shift), "std", at_most=math.sqrt(e.most_part_shift))


def _row(name: str, value: float | None, unit: str, at_least: float | None = None, at_most: float | None = None) -> Row:
    """A row that is as expected within a limit; one without a value tells nothing."""
    expected = f"at least {at_least:.3g}" if at_least is not None else f"at most {at_most:.3g}"
    if value is None:
        return Row(name, None, unit, expected, None)
    return Row(name, value, unit, expected, value >= at_least if at_least is not None else value <= (at_most or 0.0))


def _over(value: float | None, whole: float) -> float | None:
    return None if value is None or not whole else value / whole


def _root(square: float | None) -> float | None:
    return None if square is None else math.sqrt(square)


def _decimals(value: float) -> int:
    return 1 if abs(value) >= 100 else 2 if abs(value) >= 0.1 else 4
