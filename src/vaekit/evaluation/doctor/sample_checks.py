"""Compare samples of a model with images, for :mod:`vaekit.evaluation.doctor.examine`.

Samples of a conditional model use the conditions of held-out images; those of other models come from the prior. They
are compared with reconstructions rather than with images, because the decoder may blur both:

    sample_distance  mean squared distance of samples to the nearest training image, relative to reconstructions
    sample_variety   variance of samples about their mean, relative to reconstructions
    obedience        how strongly a linear probe, fitted to training images, detects the condition in samples, relative
    to
                     held-out images; the median over all conditions that are visible in images
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor

from vaekit.config.run_config import Condition
from vaekit.data import Selection, to_float
from vaekit.evaluation.baselines import PrincipalComponents, Probe, nearest_square
from vaekit.evaluation.doctor.image_checks import mean_shift
from vaekit.latent import ops as edit
from vaekit.model.conditioning import places
from vaekit.model.latent_model import LatentModel
from vaekit.system.rng import SAMPLES, image_noise

__all__ = ["check_samples"]

_SAMPLES = 128  # of the prior
_CONDITIONED = 500  # of a conditional model, because conditions are rare and many
_VISIBLE = 0.2  # a condition is visible if a probe agrees with held-out images by at least this much
_FEWEST_KNOWN = 30  # held-out images with a known value


class SampleEvidence(TypedDict, total=False):
    """The fields of :class:`~vaekit.evaluation.doctor.evidence.Evidence` that describe samples."""

    sample_mean: float
    sample_std: float
    sample_shift: float
    sample_distance: float | None
    sample_variety: float | None
    obedience: float | None


def check_samples(
    model: LatentModel,
    pixels: Tensor,
    train: Selection,
    held: Selection,
    pca: PrincipalComponents,
    conditions: Sequence[Condition] = (),
) -> SampleEvidence:
    """Return the evidence on samples; empty for a model without a prior.

    Args:
        model: The model.
        pixels: The training images ``train`` as floats.
        train: Training images.
        held: Held-out images.
        pca: Principal components of the training images.
        conditions: Conditions of the model.
    """
    if model.drawn_from() is None:
        return {}
    given = held.conditions_of(slice(_CONDITIONED)) if conditions else None
    samples = to_float(edit.generate(model, _SAMPLES)) if given is None else _sampled(model, given)
    mean, flat = pca.mean.view(samples.shape[1:]), samples.flatten(1)
    images = pixels.flatten(1)
    rebuilt = _reconstructed(model, held).flatten(1)
    near, whole = nearest_square(rebuilt, images), float(rebuilt.var(0, correction=0).mean())
    return {
        "sample_mean": float(samples.mean()),
        "sample_std": float(samples.std(correction=0)),
        "sample_shift": mean_shift(mean, float(pixels.var(0, correction=0).mean()), samples.mean(0)),
        "sample_distance": nearest_square(flat, images) / near if near else None,
        "sample_variety": float(flat.var(0, correction=0).mean()) / whole if whole else None,
        "obedience": None if given is None else _obedience(images, train, held, flat, pca, conditions),
    }


@torch.inference_mode()
def _sampled(model: LatentModel, given: Tensor) -> Tensor:
    """Draw a float sample for each condition ``[N, C]``."""
    noise = image_noise(0, SAMPLES, 0, len(given), (model.latent_dim,))
    pieces = zip(noise.split(model.at_once(_SAMPLES)), given.split(model.at_once(_SAMPLES)), strict=True)
    return torch.cat([model.sample(e.to(model.device), condition).picture.cpu() for e, condition in pieces])


@torch.inference_mode()
def _reconstructed(model: LatentModel, held: Selection) -> Tensor:
    """Reconstruct held-out images, conditioned on their known values."""
    device, size = model.device, model.at_once(_SAMPLES)
    pictures = []
    for start in range(0, len(held), size):
        piece = slice(start, start + size)
        given = held.conditions_of(piece)
        pictures.append(model.decode(model.encode(to_float(held[piece]).to(device), given).mean, given).picture.cpu())
    return torch.cat(pictures)


def _obedience(
    images: Tensor,
    train: Selection,
    held: Selection,
    samples: Tensor,
    pca: PrincipalComponents,
    conditions: Sequence[Condition],
) -> float | None:
    """Return None if no condition is visible in images, because then it cannot be judged."""
    others = to_float(held[:_CONDITIONED]).flatten(1)
    of_train, of_held = train.conditions_of(slice(None)), held.conditions_of(slice(_CONDITIONED))
    assert of_train is not None and of_held is not None
    ratios = []
    for values, is_known in places(conditions):
        columns, known = of_held[:, values], of_held[:, is_known, None] > 0
        if int(known.sum()) < _FEWEST_KNOWN:
            continue
        probe = Probe.of(pca, images, of_train[:, values], of_train[:, is_known, None] > 0)
        by_image = float(probe.agreement(others, columns, known).mean())
        if by_image > _VISIBLE:
            ratios.append(float(probe.agreement(samples, columns, known).mean()) / by_image)
    return statistics.median(ratios) if ratios else None
