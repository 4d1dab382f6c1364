"""What samples of a model are like beside images, for :mod:`vaekit.evaluation.doctor.examine`.

Samples of a conditional model are drawn with the conditions of held-out images, those of other models from the prior.
They are compared with reconstructions rather than with images, which a decoder may blur:

    sample_distance  mean squared distance of samples to the nearest training image, over that of reconstructions
    sample_variety   variance of samples about their mean, over that of reconstructions
    obedience        what a linear probe, fitted to training images, reads of the condition from samples, over what it
                     reads from held-out images; the median of all conditions that images show
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vaekit.config.run_config import Condition
from vaekit.data import Selection, to_float
from vaekit.evaluation.baselines import LinearCode, Probe, nearest_square
from vaekit.evaluation.doctor.image_checks import mean_shift
from vaekit.latent import ops as edit
from vaekit.model.conditioning import places
from vaekit.model.latent_model import LatentModel
from vaekit.system.rng import SAMPLES, image_noise

__all__ = ["check_samples"]

_SAMPLES = 128  # of the prior
_TOLD = 500  # of a conditional model: conditions are rare and many
_VISIBLE = 0.2  # agreement of a probe with held-out images, below which they do not show a condition
_FEWEST_KNOWN = 30  # held-out images whose value is known


def check_samples(
    model: LatentModel,
    pixels: Tensor,
    train: Selection,
    held: Selection,
    code: LinearCode,
    conditions: Sequence[Condition] = (),
) -> dict[str, Any]:
    """The evidence on samples; empty for a model without a prior.

    ``pixels`` are the training images ``train`` as floats, and ``code`` is their linear code.
    """
    if model.drawn_from() is None:
        return {}
    told = held.conditions_of(slice(_TOLD)) if conditions else None
    samples = to_float(edit.generate(model, _SAMPLES)) if told is None else _drawn(model, told)
    mean, flat = code.mean.view(samples.shape[1:]), samples.flatten(1)
    images = pixels.flatten(1)
    rebuilt = _reconstructed(model, held).flatten(1)
    near, whole = nearest_square(rebuilt, images), float(rebuilt.var(0, correction=0).mean())
    return {
        "sample_mean": float(samples.mean()),
        "sample_std": float(samples.std(correction=0)),
        "sample_shift": mean_shift(mean, float(pixels.var(0, correction=0).mean()), samples.mean(0)),
        "sample_distance": nearest_square(flat, images) / near if near else None,
        "sample_variety": float(flat.var(0, correction=0).mean()) / whole if whole else None,
        "obedience": None if told is None else _obedience(images, train, held, flat, code, conditions),
    }


@torch.inference_mode()
def _drawn(model: LatentModel, told: Tensor) -> Tensor:
    """A sample for each condition ``[N, C]``, float."""
    device = next(model.parameters()).device
    noise = image_noise(0, SAMPLES, 0, len(told), (model.latent_dim,))
    pieces = zip(noise.split(model.at_once(_SAMPLES)), told.split(model.at_once(_SAMPLES)), strict=True)
    return torch.cat([model.sample(e.to(device), condition).picture.cpu() for e, condition in pieces])


@torch.inference_mode()
def _reconstructed(model: LatentModel, held: Selection) -> Tensor:
    """Reconstructions of held-out images, which a conditional model is told of."""
    device, size = next(model.parameters()).device, model.at_once(_SAMPLES)
    found = []
    for start in range(0, len(held), size):
        piece = slice(start, start + size)
        told = held.conditions_of(piece)
        found.append(model.decode(model.encode(to_float(held[piece]).to(device), told).mean, told).picture.cpu())
    return torch.cat(found)


def _obedience(
    images: Tensor,
    train: Selection,
    held: Selection,
    samples: Tensor,
    code: LinearCode,
    conditions: Sequence[Condition],
) -> float | None:
    """None if images show none of the conditions: then nobody can tell whether samples follow them."""
    others = to_float(held[:_TOLD]).flatten(1)
    of_train, of_held = train.conditions_of(slice(None)), held.conditions_of(slice(_TOLD))
    assert of_train is not None and of_held is not None
    found = []
    for values, is_known in places(conditions):
        columns, known = of_held[:, values], of_held[:, is_known, None] > 0
        if int(known.sum()) < _FEWEST_KNOWN:
            continue
        probe = Probe.of(code, images, of_train[:, values], of_train[:, is_known, None] > 0)
        by_image = float(probe.agreement(others, columns, known).mean())
        if by_image > _VISIBLE:
            found.append(float(probe.agreement(samples, columns, known).mean()) / by_image)
    return statistics.median(found) if found else None
