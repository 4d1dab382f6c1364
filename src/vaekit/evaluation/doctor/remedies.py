"""Remedies: what the next command does, and which values it trains with.

Each remedy changes one setting, and none undoes another: runs only get longer, latents only get larger, and an unusual
value returns to its default once. Following the advice therefore comes to an end. Training longer is always combined
with early stopping, which keeps the weights of the best epoch, so that held-out images do not get worse.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from vaekit.evaluation.doctor.evidence import LIMITS, Evidence

__all__ = [
    "Changes",
    "Remedy",
    "can_be_longer",
    "fit_the_prior",
    "follow_the_condition",
    "resume",
    "larger_latent",
    "fill_the_levels",
    "less_pressure",
    "longer",
    "look_at_data",
    "stop_in_time",
    "usual_rate",
    "use_it",
]

#: What the next training changes: values of the recipe, ``images`` or ``patience``.
Changes = Mapping[str, str | float | None]

#: Kind of the next command (use, reconstruct, data, fit-prior, resume or train), and what it changes.
Remedy = tuple[str, Changes]

_USUAL_RATE = 1e-3  # of recipes that are not in the table
_LEAST_PATIENCE = 5  # epochs
_SHARE_OF_PATIENCE = 1 / 3  # of the epochs of a run; longer than the rate's warm-up, during which losses may increase
_LEAST_LATENT = 8
_FREE_PER_DIMENSION, _FREE_PER_LEVEL = 0.1, 2.0  # nats
_ALMOST = 0.9  # a tenth more would make no difference


def use_it(_: Evidence) -> Remedy:
    """Use the run as it is."""
    return "use", {}


def look_at_data(_: Evidence) -> Remedy:
    """Inspect the data, because no training can fix it."""
    return "data", {}


def resume(e: Evidence) -> Remedy:
    """Continue to the end of the run."""
    return "resume", {"images": e.total_images}


def can_be_longer(e: Evidence) -> bool:
    """Whether longer training may help: not after early stopping, and not after hundreds of passes."""
    return not e.was_patient and e.planned_epochs < _ALMOST * LIMITS.most_epochs


def longer(e: Evidence) -> Remedy:
    """Train three times as long, or until there are enough steps, but at most ten times as long."""
    enough = 4 * LIMITS.fewest_steps * e.images_seen / max(1, e.steps)
    most = min(LIMITS.most_longer * e.total_images, LIMITS.most_epochs * e.trained_images)
    images = round(min(most, max(3 * e.total_images, enough)))
    return "train", {"images": images} | _patience(e, images)


def stop_in_time(e: Evidence) -> Remedy:
    """Stop at the best epoch; if the run already did, more images are needed."""
    return look_at_data(e) if e.has_patience else ("train", _patience(e, e.total_images))


def usual_rate(e: Evidence) -> Remedy:
    """Use the recipe's default learning rate."""
    return "train", {"learning_rate": e.usual_learning_rate}


def less_pressure(e: Evidence) -> Remedy:
    """Allow the latent to hold more, by the first measure that is available."""
    if not e.has_density:
        return _slower(e)
    if e.beta > 1:
        return "train", {"beta": 1}
    if e.is_scale_fixed:
        return "train", {"scale": "shared"}
    return _free_bits(e) or _slower(e)


def fill_the_levels(e: Evidence) -> Remedy:
    """Let every level carry something free of charge, then raise the weight of the rate more slowly."""
    is_short = e.can_free_bits and e.kl_warmup < LIMITS.longest_warmup
    return _free_bits(e) or (("train", {"kl_warmup": LIMITS.longest_warmup}) if is_short else use_it(e))


def larger_latent(e: Evidence) -> Remedy:
    """Use four times as many dimensions, at least eight and at most one per pixel value."""
    wanted = max(_LEAST_LATENT, LIMITS.wider * e.latent_dim)
    return "train", {"latent_dim": wanted if e.values is None else min(wanted, e.values)}


def follow_the_condition(e: Evidence) -> Remedy:
    """Use a prior that depends on the condition; if there is one, the labels may be wrong."""
    if not e.has_conditional_prior:
        return "train", {"prior": "conditional-normal"}
    return _usual_weight(e) or look_at_data(e)


def fit_the_prior(e: Evidence) -> Remedy:
    """Match latents and prior: restore the usual weight of the rate, or else fit the prior to the latents."""
    if e.draws_texture:  # no training of the model changes that
        return ("reconstruct", {}) if e.is_prior_fitted else ("fit-prior", {})
    weight = _usual_weight(e)
    if weight is not None:
        return weight
    if e.is_conditional and not e.has_conditional_prior:
        return "train", {"prior": "conditional-normal"}
    if not (e.is_grid or e.is_conditional or e.is_prior_fitted):
        return "fit-prior", {}
    return longer(e) if can_be_longer(e) else ("reconstruct", {})


def _free_bits(e: Evidence) -> Remedy | None:
    """Return free bits, which are for each dimension, or for each level of a hierarchy, unless there are some."""
    if not e.can_free_bits or e.free_bits_nats:
        return None
    return "train", {"free_bits_nats": _FREE_PER_DIMENSION if e.level_rates_nats is None else _FREE_PER_LEVEL}


def _usual_weight(e: Evidence) -> Remedy | None:
    return ("train", {"beta": 1}) if e.has_density and e.beta < 1 else None


def _slower(e: Evidence) -> Remedy:
    """Reduce a high learning rate to the usual one, and the usual one to a quarter; below that, inspect the data."""
    usual = e.usual_learning_rate or _USUAL_RATE
    if e.learning_rate < usual:
        return look_at_data(e)
    return "train", {"learning_rate": usual if e.learning_rate > usual else usual / 4}


def _patience(e: Evidence, images: int) -> dict[str, int]:
    """Return early stopping for a run of this length, unless the run already has it."""
    if e.has_patience:
        return {}
    epochs = images / max(1.0, e.trained_images)
    return {"patience": max(_LEAST_PATIENCE, math.ceil(_SHARE_OF_PATIENCE * epochs))}
