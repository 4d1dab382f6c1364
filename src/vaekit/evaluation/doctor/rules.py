"""The rules of the doctor in order of priority: a verdict, its condition, reason, advice and remedy.

Each rule uses named numbers of :class:`~vaekit.evaluation.doctor.evidence.Evidence`, whose limits are in
:data:`LIMITS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vaekit.errors import counted
from vaekit.evaluation.doctor import remedies
from vaekit.evaluation.doctor.evidence import LIMITS, Evidence
from vaekit.evaluation.doctor.remedies import Remedy

__all__ = ["RULES", "VERDICTS", "Rule"]

VERDICTS = (
    *("healthy", "still improving", "collapsed", "over-regularized", "overfitting", "broken data"),
    *("underfitting", "prior mismatch", "condition ignored", "unused level"),
)


@dataclass(frozen=True)
class Rule:
    """A possible problem."""

    verdict: str
    holds: Callable[[Evidence], bool]
    reason: Callable[[Evidence], str]
    advice: str | Callable[[Evidence], str]
    remedy: Callable[[Evidence], Remedy]


# Conditions of the rules


def _has_no_held_out_images(e: Evidence) -> bool:
    return e.part == "train" and e.train_count < LIMITS.fewest_images


def _has_other_parts(e: Evidence) -> bool:
    return e.part_shift is not None and e.part_shift > e.most_part_shift


def _overfits(e: Evidence) -> bool:
    gap, rise = e.gap_db or 0.0, e.rise_db or 0.0
    is_beyond = gap > LIMITS.most_gap_db or (rise > LIMITS.most_rise_db and gap > 0)
    return gap > LIMITS.far_gap_db or (e.steps >= LIMITS.fewest_steps and is_beyond)


def _is_collapsed(e: Evidence) -> bool:
    is_empty = e.rate_nats is not None and (e.rate_nats < LIMITS.least_rate_nats or e.active_units == 0)
    return is_empty or e.is_mean_image


def _is_over_regularized(e: Evidence) -> bool:
    weight = e.over_weight or 0.0
    is_poor = e.explained < LIMITS.least_explained or (e.active_share or 0.0) < LIMITS.few_active
    return (is_poor and weight > LIMITS.most_over_weight) or (e.beta > 1 and weight > LIMITS.far_over_weight)


def _has_small_latent(e: Evidence) -> bool:
    by_chance = (1 - e.explained) * e.wider_size / (e.values or math.inf)  # share of noise that so many numbers explain
    is_missed = (e.wider_explained or 0.0) > e.explained + by_chance + 2 * LIMITS.linear_margin
    is_size = (e.linear_explained or 0.0) <= e.explained + LIMITS.linear_margin  # else this size could hold more
    has_idle_units = e.active_share is not None and e.active_share < 1
    can_grow = not e.is_grid and not has_idle_units and e.latent_dim < (e.values or math.inf)
    return e.explained < LIMITS.half_explained and is_missed and is_size and can_grow


def _is_off_its_prior(e: Evidence) -> bool:
    is_far = (e.sample_shift or 0.0) > LIMITS.most_sample_shift
    is_far |= (e.sample_distance or 0.0) > LIMITS.most_sample_distance
    return is_far or (e.sample_variety is not None and e.sample_variety < LIMITS.least_sample_variety)


def _explains(e: Evidence) -> str:
    if e.explained < 0:
        return "reconstructions are worse than the mean image"
    text = f"reconstructions explain {e.explained:.0%} of the variance of held-out images"
    if e.explained < LIMITS.mean_image and e.linear_explained is not None:
        text += f" (PCA of the same size explains {max(0.0, e.linear_explained):.0%})"
    return text


def _rate(e: Evidence) -> str:
    if e.rate_nats is None:
        return ""
    units = (
        ""
        if e.active_units is None
        else f" and {e.active_units} of {counted(e.latent_dim, 'unit')} {'is' if e.active_units == 1 else 'are'} active"
    )
    return f", latents carry {e.rate_nats:.1f} nats{units}"


def _unused(e: Evidence) -> str:
    """Describe the levels that carry almost nothing."""
    rates = e.level_rates_nats or ()
    carry = " and ".join(f"level {number} carries {rates[number - 1]:.2f} nats" for number in e.unused_levels)
    return f"{carry}, of {sum(rates):.1f} nats on {counted(len(rates), 'level')} (level 1 is the top)"


def _differs(e: Evidence) -> str:
    """Describe the first difference between samples and images."""
    if (e.sample_shift or 0.0) > LIMITS.most_sample_shift:
        return f"their mean image is off by {math.sqrt(e.sample_shift or 0):.1f} standard deviations"
    if (e.sample_distance or 0.0) > LIMITS.most_sample_distance:
        return f"they are {math.sqrt(e.sample_distance or 0):.1f} times as far from training images as reconstructions"
    return f"their variance is {e.sample_variety or 0:.0%} of that of reconstructions"


_ADD_IMAGES = "More images help most."
_STOP_OR_ADD = {
    "data": _ADD_IMAGES + " The weights are already those of the best epoch.",
    "train": _ADD_IMAGES + " Until you have more, stop when held-out images no longer improve.",
}
_MATCH_PRIOR = {
    "fit-prior": "Fit a prior to the latents; this needs no training.",
    "reconstruct": "Use it to reconstruct and edit, but do not trust its samples.",
    "train": "Bring the prior and the latents together.",
}
_TEXTURE = {
    "fit-prior": "Samples of a latent grid are texture, because its prior draws each number by itself. Fit a prior to "
    "the grid; this is a training of its own.",
    "reconstruct": "Use it to reconstruct and edit. For better samples, remove the fitted prior, and fit one on more "
    "images. Fewer latents may help, too: a smaller latent_channels or a larger downsampling.",
}
_FOLLOW = {
    "train": "Use a prior that depends on the condition.",
    "data": "Check the labels: the images may not show them.",
}
_PRESS_LESS = {
    "train": "The decoder ignores the latent: make the latent cheaper to use.",
    "data": "A smaller learning rate did not help: inspect the images.",
}


def _by(remedy: Callable[[Evidence], Remedy], texts: Mapping[str, str]) -> Callable[[Evidence], str]:
    """Return the advice for the kind of command that a remedy leads to."""
    return lambda e: texts[remedy(e)[0]]


_FILL = {
    "train": "Let each level carry something before its rate costs, or raise the weight of the rate more slowly.",
    "use": "Use it. Free bits and a long warm-up did not help: the images may not need so many levels.",
}
_LONGER = "Train longer, from the start, so that the schedule fits the length, and keep the best epoch."
RULES: tuple[Rule, ...] = (
    Rule(
        "broken data",
        _has_no_held_out_images,
        lambda e: (
            f"no image is held out of fewer than {LIMITS.fewest_images}: a model memorizes so few, and nothing shows "
            "what else it has learned."
        ),
        "Add images: a useful latent space needs at least a few hundred of one kind.",
        remedies.look_at_data,
    ),
    Rule(
        "broken data",
        lambda e: e.train_count < LIMITS.fewest_trained,
        lambda e: (
            f"there {'is' if e.train_count == 1 else 'are'} {counted(e.train_count, 'training image')} and "
            f"{counted(e.held_out_count, 'held-out image')}: a model memorizes so "
            "few, and metrics on so few held-out images are meaningless."
        ),
        "Add images: a useful latent space needs at least a few hundred of one kind.",
        remedies.look_at_data,
    ),
    Rule(
        "broken data",
        lambda e: e.is_plain,
        lambda e: f"the images are almost equal: pixels vary by {e.std_about_mean_image * 255:.1f} levels of 255.",
        "Inspect the images: nothing can be learned from one repeated picture, empty files or a wrong channel.",
        remedies.look_at_data,
    ),
    Rule(
        "broken data",
        lambda e: e.distinct < LIMITS.least_distinct,
        lambda e: f"only {e.distinct:.0%} of the training images are distinct; the others are copies.",
        "Remove the copies: a model of them memorizes a few images.",
        remedies.look_at_data,
    ),
    Rule(
        "broken data",
        lambda e: (e.leaked or 0.0) > LIMITS.most_leaked,
        lambda e: f"{e.leaked:.0%} of the validation or test images are training images too, so metrics are too good.",
        "Remove them from one of the parts; vaekit data lists equal images.",
        remedies.look_at_data,
    ),
    Rule(
        "broken data",
        _has_other_parts,
        lambda e: (
            "training and held-out images differ in kind: their mean images differ by "
            f"{math.sqrt(e.part_shift or 0):.1f} standard deviations."
        ),
        "Inspect both parts: one may be inverted, from another source, or scaled differently.",
        remedies.look_at_data,
    ),
    Rule(
        "broken data",
        lambda e: e.is_noise,
        lambda e: (
            f"the images are noise: adjacent pixels correlate by {e.neighbour_correlation:.2f}, "
            "and nothing was learned."
        ),
        "Inspect the images: they may have been decoded incorrectly, or with a wrong shape.",
        remedies.look_at_data,
    ),
    Rule(
        "overfitting",
        _overfits,
        lambda e: (
            f"training images are reconstructed {e.gap_db:.1f} dB better than held-out ones"
            + (", which were better in an earlier epoch." if (e.rise_db or 0) > LIMITS.most_rise_db else ".")
        ),
        _by(remedies.stop_in_time, _STOP_OR_ADD),
        remedies.stop_in_time,
    ),
    Rule(
        "still improving",
        lambda e: not e.is_finished,
        lambda e: f"training was stopped after {e.images_seen:,} of {counted(e.total_images, 'image')}.",
        "Run the same command again: it resumes where training stopped.",
        remedies.resume,
    ),
    Rule(
        "still improving",
        lambda e: e.steps < LIMITS.fewest_steps and remedies.can_be_longer(e),
        lambda e: f"only {counted(e.steps, 'step')} so far, too few to show what the model can do.",
        _LONGER,
        remedies.longer,
    ),
    Rule(
        "still improving",
        lambda e: e.is_slow and e.explained < LIMITS.mean_image,
        lambda e: f"{_explains(e)}; the learning rate of {e.learning_rate:g} is too small.",
        lambda e: f"Train with the recipe's learning rate, {e.usual_learning_rate:g}.",
        remedies.usual_rate,
    ),
    Rule(
        "collapsed",
        _is_collapsed,
        lambda e: f"{_explains(e)}{_rate(e)}.",
        _by(remedies.less_pressure, _PRESS_LESS),
        remedies.less_pressure,
    ),
    Rule(
        "over-regularized",
        _is_over_regularized,
        lambda e: f"the loss assumes {e.over_weight:.0f} times the actual noise; {_explains(e)}{_rate(e)}.",
        "Reduce the weight of the rate, or learn the observation scale.",
        remedies.less_pressure,
    ),
    Rule(
        "still improving",
        lambda e: e.epochs < LIMITS.fewest_epochs and not e.was_patient,
        lambda e: f"each image was seen {e.epochs:.1f} times, too few to overfit.",
        _LONGER,
        remedies.longer,
    ),
    Rule(
        "underfitting",
        _has_small_latent,
        lambda e: (
            f"{_explains(e)}, but PCA with {e.wider_size} components explains {e.wider_explained:.0%}: "
            f"{counted(e.latent_dim, 'latent dimension')} {'is' if e.latent_dim == 1 else 'are'} too few."
        ),
        "Use a larger latent.",
        remedies.larger_latent,
    ),
    Rule(
        "condition ignored",
        lambda e: e.obedience is not None and e.obedience < LIMITS.least_obedience,
        lambda e: f"samples show {max(0.0, e.obedience or 0):.0%} of what real images show of the requested condition.",
        _by(remedies.follow_the_condition, _FOLLOW),
        remedies.follow_the_condition,
    ),
    Rule(
        "unused level",
        lambda e: bool(e.unused_levels),
        lambda e: f"{_explains(e)}, but {_unused(e)}.",
        _by(remedies.fill_the_levels, _FILL),
        remedies.fill_the_levels,
    ),
    Rule(
        "prior mismatch",
        _is_off_its_prior,
        lambda e: f"{_explains(e)}, but samples differ from images: {_differs(e)}.",
        lambda e: _by(remedies.fit_the_prior, _TEXTURE if e.draws_texture else _MATCH_PRIOR)(e),
        remedies.fit_the_prior,
    ),
    Rule(
        "still improving",
        lambda e: (e.gain or 0.0) > LIMITS.most_gain and remedies.can_be_longer(e),
        lambda e: f"{_explains(e)}, {100 * (e.gain or 0):.0f} points more than after half of the training.",
        _LONGER,
        remedies.longer,
    ),
    Rule(
        "healthy",
        lambda _: True,
        lambda e: f"{_explains(e)}, and no problem was found.",
        "Use it.",
        remedies.use_it,
    ),
)
