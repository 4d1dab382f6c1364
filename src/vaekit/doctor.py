"""What is wrong with a training, if anything: numbers → a verdict, in words and with what to do about it.

Evidence  →  the first of RULES whose predicate holds  →  Diagnosis
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vaekit.evidence import LIMITS, Evidence, Row, rows_of

__all__ = ["RULES", "VERDICTS", "Diagnosis", "Rule", "diagnose"]

VERDICTS = ("healthy", "still improving", "collapsed", "over-regularised", "overfitting", "broken data")


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
    return Diagnosis(rule.verdict, rule.reason(evidence), advice, remedy, changes, tuple(rows_of(evidence)))


@dataclass(frozen=True)
class Rule:
    """One way to be ill."""

    verdict: str
    holds: Callable[[Evidence], bool]
    reason: Callable[[Evidence], str]
    advice: str | Callable[[Evidence], str]
    remedy: Callable[[Evidence], tuple[str, dict[str, Any]]]


# The rules, in the order in which they are asked


def _has_few_images(e: Evidence) -> bool:
    return e.part == "train" and e.train_count < LIMITS.fewest_images


def _has_plain_images(e: Evidence) -> bool:
    return e.std_about_mean_image * 255 < LIMITS.least_std_levels


def _has_other_parts(e: Evidence) -> bool:
    return e.part_shift is not None and e.part_shift > e.most_part_shift


def _is_noise(e: Evidence) -> bool:
    return abs(e.neighbour_correlation) < LIMITS.noise_correlation and e.explained < LIMITS.mean_image


def _overfits(e: Evidence) -> bool:
    gap, rise = e.gap_db or 0.0, e.rise_db or 0.0
    is_beyond = gap > LIMITS.most_gap_db or (rise > LIMITS.most_rise_db and gap > 0)
    return gap > LIMITS.far_gap_db or (e.steps >= LIMITS.fewest_steps and is_beyond)


def _is_too_slow(e: Evidence) -> bool:
    return e.is_slow and e.explained < LIMITS.mean_image


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


def _explains(e: Evidence) -> str:
    if e.explained < 0:
        return "reconstructions are worse than the mean image would be"
    return f"reconstructions explain {e.explained:.0%} of the variance of held-out images"


_LONGER = "Train it longer, from the start, so that the schedule fits the length."
RULES: tuple[Rule, ...] = (
    Rule(
        "broken data",
        _has_few_images,
        lambda e: (
            f"of fewer than {LIMITS.fewest_images} images none is held out: a model learns so few by heart, and "
            "nothing tells what else it learnt."
        ),
        "Add images: a few hundred of one kind are where a latent space begins.",
        _data_command,
    ),
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
        "still improving",
        _is_too_slow,
        lambda e: f"{_explains(e)}, the learning rate of {e.learning_rate:g} is too small to have learnt more.",
        lambda e: f"Train it with the recipe's learning rate, {e.usual_learning_rate:g}.",
        lambda e: ("train", {"learning_rate": e.usual_learning_rate}),
    ),
    Rule(
        "collapsed",
        _is_collapsed,
        lambda e: (
            _explains(e)
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
            f"nats, {e.active_units} of {e.latent_dim} units are active, and {_explains(e)}."
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
        lambda e: f"{_explains(e)}, {100 * (e.gain or 0):.0f} points more than when half of the training was done.",
        _LONGER,
        _longer,
    ),
    Rule(
        "healthy",
        lambda _: True,
        lambda e: f"{_explains(e)}, and nothing points to an illness.",
        "Use it.",
        lambda _: ("use", {}),
    ),
)
