"""What is wrong with a training, if anything: numbers → a verdict, in words and with what to do about it.

    Evidence  →  the first of RULES whose predicate holds  →  Diagnosis

Nothing here opens a file or a model; :mod:`vaekit.checkup` gathers the numbers. What is lost after the best epoch is in
decibel, so that one threshold serves every likelihood (:func:`quality_db`):

    PSNR                            of an autoencoder, and of a likelihood whose scale is fixed
    −20/ln 10 · loss / (C · H · W)  of all others; where the scale σ is learned, a normal's −20 log₁₀ σ − rate + …

The thresholds were chosen on runs of the built-in ``digits``; ``docs/numbers.md`` says what they were judged on.
"""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = [
    "LIMITS",
    "RULES",
    "VERDICTS",
    "Diagnosis",
    "Evidence",
    "Row",
    "Rule",
    "diagnose",
    "gain_of_second_half",
    "quality_db",
]

VERDICTS = ("healthy", "still improving", "collapsed", "over-regularised", "overfitting", "broken data")


@dataclass(frozen=True)
class Thresholds:
    """Where health ends, each with its reason."""

    #: Levels of 255, of the standard deviation about the mean image: below two, images differ by rounding alone.
    least_std_levels: float = 2.0
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
    # Of samples of the prior
    sample_mean: float | None = None
    sample_std: float | None = None
    sample_shift: float | None = None  #: ‖mean of training images − mean of samples‖² / variance of an image

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return json.loads(json.dumps(dataclasses.asdict(self), allow_nan=False))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Evidence:
        """The inverse of :meth:`to_dict`; raises :class:`TypeError` for other names."""
        named: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**named)

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


@dataclass(frozen=True)
class Diagnosis:
    """A verdict, why, what it rests on, and what to do next."""

    verdict: str  #: one of VERDICTS
    reason: str  #: one sentence
    advice: str  #: one sentence
    remedy: str  #: what the next command does: use (the run), data (look at it), resume or train
    changes: Mapping[str, Any]  #: values of the recipe, or ``images`` or ``patience``, to train with
    rows: tuple[Row, ...]

    @property
    def words(self) -> str:
        """The verdict and its reason in one line."""
        return f"{self.verdict}: {self.reason}"

    def table(self) -> list[str]:
        """The rows of evidence as lines of text; those that are not as expected are marked."""
        cells = [(_MARKS[row.is_ok], row.name, row.text, row.expected) for row in self.rows]
        wide = [max(len(cell[i]) for cell in cells) for i in range(3)]
        return [f"{m:<{wide[0]}}  {n:<{wide[1]}}  {v:>{wide[2]}}  {e}".rstrip() for m, n, v, e in cells]


_MARKS = {True: "ok", False: "!", None: ""}


def diagnose(evidence: Evidence) -> Diagnosis:
    """The first of :data:`RULES` that holds; healthy if none does."""
    rule = next(rule for rule in RULES if rule.holds(evidence))
    remedy, changes = rule.remedy(evidence)
    advice = rule.advice if isinstance(rule.advice, str) else rule.advice(evidence)
    return Diagnosis(rule.verdict, rule.reason(evidence), advice, remedy, changes, tuple(_rows(evidence)))


@dataclass(frozen=True)
class Rule:
    """One way to be ill."""

    verdict: str
    holds: Callable[[Evidence], bool]
    reason: Callable[[Evidence], str]
    advice: str | Callable[[Evidence], str]
    remedy: Callable[[Evidence], tuple[str, dict[str, Any]]]


def quality_db(loss_nats: float, psnr_db: float, values: int, is_scale_fixed: bool) -> float:
    """How good a model is on images of so many pixel values, in dB; higher is better.

    >>> round(quality_db(-1000.0, 20.0, 1000, False) - quality_db(-900.0, 20.0, 1000, False), 3)  # 0.1 nats per value
    0.869
    """
    return psnr_db if is_scale_fixed else -20 / math.log(10) * loss_nats / values


def gain_of_second_half(curve: Sequence[tuple[int, float]]) -> float | None:
    """What the second half of a run gained, of a curve of (images seen, value) in order.

    From the last point within the first half; where that lies further back, the share of the gain that falls to a half.
    None where there is no such point.

    >>> gain_of_second_half([(100, 10.0), (200, 12.0), (300, 13.0), (400, 13.5)])
    1.5
    """
    before = [point for point in curve if 2 * point[0] <= curve[-1][0]]
    if not before:
        return None
    (start, first), (end, last) = before[-1], curve[-1]
    return (last - first) * 0.5 * end / (end - start)


def _decimals(value: float) -> int:
    return 1 if abs(value) >= 100 else 2 if abs(value) >= 0.1 else 4


# The rules, in the order in which they are asked


def _has_plain_images(e: Evidence) -> bool:
    return e.std_about_mean_image * 255 < LIMITS.least_std_levels


def _has_other_parts(e: Evidence) -> bool:
    return e.part_shift is not None and e.part_shift > e.most_part_shift


def _is_noise(e: Evidence) -> bool:
    return abs(e.neighbour_correlation) < LIMITS.noise_correlation and e.explained < LIMITS.mean_image


def _overfits(e: Evidence) -> bool:
    gap, rise = e.gap_db or 0.0, e.rise_db or 0.0
    return e.steps >= LIMITS.fewest_steps and (gap > LIMITS.most_gap_db or (rise > LIMITS.most_rise_db and gap > 0))


def _is_collapsed(e: Evidence) -> bool:
    is_empty = e.rate_nats is not None and (e.rate_nats < LIMITS.least_rate_nats or e.active_units == 0)
    return is_empty or e.explained < LIMITS.mean_image


def _is_over_regularised(e: Evidence) -> bool:
    weight = e.over_weight or 0.0
    is_poor = e.explained < LIMITS.least_explained or (e.active_share or 0.0) < LIMITS.few_active
    return (is_poor and weight > LIMITS.most_over_weight) or (e.beta > 1 and weight > LIMITS.far_over_weight)


def _still_gains(e: Evidence) -> bool:
    return (e.gain or 0.0) > LIMITS.most_gain


def _data_command(_: Evidence) -> tuple[str, dict[str, Any]]:
    return "data", {}


def _longer(e: Evidence) -> tuple[str, dict[str, Any]]:
    enough = 4 * LIMITS.fewest_steps * max(1, e.images_seen // max(1, e.steps))
    return "train", {"images": max(3 * e.total_images, enough)}


def _lighter(e: Evidence) -> tuple[str, dict[str, Any]]:
    """What takes the pressure off the codes: the first of these that there is."""
    if not e.has_density:
        return "train", {"learning_rate": e.learning_rate / 4}
    if e.beta > 1:
        return "train", {"beta": 1}
    if e.is_scale_fixed:
        return "train", {"scale": "shared"}
    return "train", {"free_bits_nats": 0.1} if e.free_bits_nats == 0 else {"learning_rate": e.learning_rate / 4}


def _stopped_in_time(e: Evidence) -> tuple[str, dict[str, Any]]:
    if not e.has_patience:
        return "train", {"patience": 5}
    return "train", {"shift": e.shift + 1} if e.shift == 0 else {"latent_dim": max(1, e.latent_dim // 2)}


_LONGER = "Train it longer, from the start, so that the schedule fits the length."
RULES: tuple[Rule, ...] = (
    Rule(
        "broken data",
        _has_plain_images,
        lambda e: f"the images are all but equal, pixels vary by {e.std_about_mean_image * 255:.1f} levels of 255.",
        "Look at the images: a folder of one picture, of empty files or of a wrong channel has nothing to learn.",
        _data_command,
    ),
    Rule(
        "broken data",
        lambda e: e.distinct < LIMITS.least_distinct,
        lambda e: f"only {e.distinct:.0%} of the training images differ from one another, the others are copies.",
        "Take the copies out: a model of them learns a few images by heart.",
        _data_command,
    ),
    Rule(
        "broken data",
        _has_other_parts,
        lambda e: (
            "training and held-out images are not of one kind, their mean images differ by "
            f"{math.sqrt(e.part_shift or 0):.1f} standard deviations."
        ),
        "Look at both parts: one may be inverted, of another source, or scaled in another way.",
        _data_command,
    ),
    Rule(
        "broken data",
        _is_noise,
        lambda e: (
            f"the images are noise: pixels side by side correlate by {e.neighbour_correlation:.2f}, "
            "and nothing was learnt."
        ),
        "Look at the images: they may have been decoded wrongly, or be of the wrong shape.",
        _data_command,
    ),
    Rule(
        "overfitting",
        _overfits,
        lambda e: (
            f"training images are reconstructed {e.gap_db:.1f} dB better than held-out ones"
            + (", which were better at an earlier epoch." if (e.rise_db or 0) > LIMITS.most_rise_db else ".")
        ),
        "More images help most; else stop when held-out images get no better, or shift images at random.",
        _stopped_in_time,
    ),
    Rule(
        "still improving",
        lambda e: not e.is_finished,
        lambda e: f"the training was stopped after {e.images_seen:,} of {e.total_images:,} images.",
        "Go on with it: the same command takes up where it stopped.",
        lambda e: ("resume", {"images": e.total_images}),
    ),
    Rule(
        "still improving",
        lambda e: e.steps < LIMITS.fewest_steps,
        lambda e: f"{e.steps:,} steps are a beginning, no model shows by then what it can do.",
        _LONGER,
        _longer,
    ),
    Rule(
        "collapsed",
        _is_collapsed,
        lambda e: (
            f"reconstructions explain {max(0.0, e.explained):.0%} of the variance of held-out images"
            + (
                "."
                if e.rate_nats is None
                else f", codes hold {e.rate_nats:.1f} nats and {e.active_units} of {e.latent_dim} units are active."
            )
        ),
        "The decoder does without the code: make codes cheaper.",
        _lighter,
    ),
    Rule(
        "over-regularised",
        _is_over_regularised,
        lambda e: (
            f"the loss allows for {e.over_weight:.0f} times the noise that there is: codes hold {e.rate_nats:.1f} "
            f"nats, {e.active_units} of {e.latent_dim} units are active, and reconstructions explain {e.explained:.0%} "
            "of the variance of held-out images."
        ),
        "Weigh the rate less, or let the observation scale be learned.",
        _lighter,
    ),
    Rule(
        "still improving",
        lambda e: e.epochs < LIMITS.fewest_epochs,
        lambda e: f"each image was seen {e.epochs:.1f} times, too few to learn anything by heart.",
        _LONGER,
        _longer,
    ),
    Rule(
        "still improving",
        _still_gains,
        lambda e: (
            f"reconstructions explain {e.explained:.0%} of the variance of held-out images, {100 * (e.gain or 0):.0f} "
            "points more than when half of the training was done."
        ),
        _LONGER,
        _longer,
    ),
    Rule(
        "healthy",
        lambda _: True,
        lambda e: (
            f"reconstructions explain {e.explained:.0%} of the variance of held-out images, and nothing points to an "
            "illness."
        ),
        "Use it.",
        lambda _: ("use", {}),
    ),
)


def _rows(e: Evidence) -> Iterator[Row]:
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
    yield Row(
        "mutual information I(x; z)", e.mutual_information_nats, "nats", f"at most log {e.held_out_count:,}", None
    )
    yield Row("aggregate posterior against prior: KL(q(z) ‖ p(z))", e.marginal_kl_nats, "nats", "0 is best", None)
    yield Row("samples: std of pixels over that of images", _over(e.sample_std, e.data_std), "", "about 1", None)
    yield Row("samples: mean image off by", _root(e.sample_shift), "std", "about 0", None)


def _rows_of_images(e: Evidence) -> Iterator[Row]:
    levels = 255 * e.std_about_mean_image
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
