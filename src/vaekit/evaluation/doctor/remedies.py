"""What to do about an illness: what the next command does, and which values it trains with.

Each remedy changes one thing, and none undoes what another did: a run only gets longer, a latent only gets larger, a
value that departs from the usual goes back to it once. So advice that is followed comes to an end. Training longer
always comes with early stopping, which keeps the weights of the best epoch: held-out images never pay for it.
"""

from __future__ import annotations

import math
from typing import Any

from vaekit.evaluation.doctor.evidence import LIMITS, Evidence

__all__ = [
    "Remedy",
    "can_be_longer",
    "fit_the_prior",
    "follow_the_condition",
    "go_on",
    "larger_latent",
    "less_pressure",
    "longer",
    "look_at_data",
    "stop_in_time",
    "usual_rate",
    "use_it",
]

#: What the next command does (use the run, reconstruct with it, look at the data, fit a prior, resume or train) and
#: what it changes: values of the recipe, or ``images`` or ``patience``.
Remedy = tuple[str, dict[str, Any]]

_USUAL_RATE = 1e-3  # of recipes that are not in the table
_LEAST_PATIENCE = 5  # epochs
_SHARE_OF_PATIENCE = 1 / 3  # of the epochs of a run: longer than the rate's warm-up, in which losses may rise
_LEAST_LATENT = 8
_ALMOST = 0.9  # a tenth more would change nothing


def use_it(_: Evidence) -> Remedy:
    """Nothing needs to be done."""
    return "use", {}


def look_at_data(_: Evidence) -> Remedy:
    """What no training can mend."""
    return "data", {}


def go_on(e: Evidence) -> Remedy:
    """To the end of the run."""
    return "resume", {"images": e.total_images}


def can_be_longer(e: Evidence) -> bool:
    """Whether more of the same may help: not after early stopping, and not after hundreds of passes."""
    return not e.was_patient and e.planned_epochs < _ALMOST * LIMITS.most_epochs


def longer(e: Evidence) -> Remedy:
    """Three times as long, or as long as it takes for enough steps; ten times as long at most."""
    enough = 4 * LIMITS.fewest_steps * e.images_seen / max(1, e.steps)
    most = min(LIMITS.most_longer * e.total_images, LIMITS.most_epochs * e.trained_images)
    images = round(min(most, max(3 * e.total_images, enough)))
    return "train", {"images": images} | _patience(e, images)


def stop_in_time(e: Evidence) -> Remedy:
    """At the best epoch; a run that has done so needs more images."""
    return look_at_data(e) if e.has_patience else ("train", _patience(e, e.total_images))


def usual_rate(e: Evidence) -> Remedy:
    """The learning rate that the recipe has by itself."""
    return "train", {"learning_rate": e.usual_learning_rate}


def less_pressure(e: Evidence) -> Remedy:
    """What lets the latent hold more: the first of these that there is."""
    if not e.has_density:
        return _slower(e)
    if e.beta > 1:
        return "train", {"beta": 1}
    if e.is_scale_fixed:
        return "train", {"scale": "shared"}
    return ("train", {"free_bits_nats": 0.1}) if e.can_free_bits and e.free_bits_nats == 0 else _slower(e)


def larger_latent(e: Evidence) -> Remedy:
    """Four times as many numbers, eight at least; no more than there are pixel values."""
    wanted = max(_LEAST_LATENT, LIMITS.wider * e.latent_dim)
    return "train", {"latent_dim": wanted if e.values is None else min(wanted, e.values)}


def follow_the_condition(e: Evidence) -> Remedy:
    """A prior that knows the condition; where it has one, labels may be wrong."""
    if not e.has_conditional_prior:
        return "train", {"prior": "conditional-normal"}
    return _usual_weight(e) or look_at_data(e)


def fit_the_prior(e: Evidence) -> Remedy:
    """The rate at its usual weight, which brings latents to the prior; else a prior that is brought to the latents."""
    found = _usual_weight(e)
    if found is not None:
        return found
    if e.is_conditional and not e.has_conditional_prior:
        return "train", {"prior": "conditional-normal"}
    if not (e.is_grid or e.is_conditional or e.is_prior_fitted):
        return "fit-prior", {}
    return longer(e) if can_be_longer(e) else ("reconstruct", {})


def _usual_weight(e: Evidence) -> Remedy | None:
    return ("train", {"beta": 1}) if e.has_density and e.beta < 1 else None


def _slower(e: Evidence) -> Remedy:
    """A learning rate that is too high goes back to the usual one, the usual one to a quarter; below that, look."""
    usual = e.usual_learning_rate or _USUAL_RATE
    if e.learning_rate < usual:
        return look_at_data(e)
    return "train", {"learning_rate": usual if e.learning_rate > usual else usual / 4}


def _patience(e: Evidence, images: int) -> dict[str, Any]:
    """Early stopping for a run of so many images, unless there is one."""
    if e.has_patience:
        return {}
    epochs = images / max(1.0, e.trained_images)
    return {"patience": max(_LEAST_PATIENCE, math.ceil(_SHARE_OF_PATIENCE * epochs))}
