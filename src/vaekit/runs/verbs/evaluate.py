"""Measure a model on images: errors, bounds, distances of samples, disentanglement."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaekit.config.capabilities import serves
from vaekit.data import BINARIZE, Images, Selection
from vaekit.data.csv_table import check_table, write_table
from vaekit.data.subsets import is_binary
from vaekit.errors import UserError, argument
from vaekit.evaluation import metrics
from vaekit.evaluation.disentanglement import disentanglement, factors_of
from vaekit.evaluation.features import Features, inception, small_classifier
from vaekit.evaluation.frechet import frechet_distance, kernel_distance, small_sample_warning
from vaekit.latent import ops
from vaekit.model.conditioning import known_in, selected
from vaekit.runs.context import ChosenImages, RunContext
from vaekit.runs.result import Result
from vaekit.system.progress import Counted

__all__ = ["Measures", "check_pixels", "evaluate"]

_COMPARED_AT_ONCE = 64


@dataclass(frozen=True)
class Measures:
    """What to measure beyond the standard numbers."""

    iwae_samples: int | None = None  #: samples per image of the importance-weighted bound
    samples: int | None = None  #: number of generated images to compare with the given ones
    features: str | Path | None = None  #: file of Inception weights for this comparison
    per_image: str | Path | None = None  #: CSV file to write
    factors: bool = False  #: whether to measure disentanglement


def evaluate(run: RunContext, data: Any, split: str | None, seed: int, measures: Measures, counted: Counted) -> Result:
    """Measure ``data``, or the run's own test part."""
    if measures.iwae_samples is not None:
        _check_bound(run, measures.iwae_samples)
    features = _features(run, measures.samples, measures.features)
    if measures.per_image is not None:
        check_table(Path(measures.per_image))
    images = run.choose(data, split)
    check_pixels(run, images.opened)
    known = _factors(run, images) if measures.factors else {}
    team = run.team(
        images, iwae_samples=measures.iwae_samples, samples=measures.samples, factors=measures.factors, seed=seed
    )
    chosen = selected(images.opened, images.rows, run.config.conditions)
    found = metrics.measure(
        run.model, chosen, seed, team=team, iwae_samples=measures.iwae_samples or 0, with_ssim=True, counted=counted
    )
    table = {"name": images.names, **{k: v.tolist() for k, v in found.columns.items()}}
    if measures.per_image is not None and run.leads:
        write_table(Path(measures.per_image), table)
    numbers = {"part": images.part, **found.numbers(), **_per_dimension(found)}
    if measures.samples is not None and features is not None:
        numbers |= _distances(run, chosen, measures.samples, features, seed, counted)
    if measures.factors:
        numbers |= disentanglement(ops.encode(run.model, chosen, team=team, view=run.model.summary), known, seed)
    if chosen.conditions is not None:
        numbers["told"] = known_in(run.config.conditions, chosen.conditions_of(slice(None)))
    kind = run.config.data.binarize
    if kind:
        numbers |= {"binarize": kind, "measured_on": BINARIZE[kind]}
    return Result(numbers=numbers, table=table)


def check_pixels(run: RunContext, images: Images) -> None:
    """Refuse gray levels for a likelihood of binary pixels."""
    if run.model.likelihood.is_binary and not all(map(is_binary, images.pixels.split(1024))):
        raise UserError(
            f"the likelihood of {run.path} is for binary pixels, but {images.source} has gray levels; give other images"
        )


def _per_dimension(found: metrics.Measurement) -> dict[str, Any]:
    """Return the KL of each latent dimension, and its standard error."""
    if found.kl_per_dim is None:
        return {}
    errors = found.kl_per_dim_error
    return {
        "kl_per_dim_nats": found.kl_per_dim.tolist(),
        "kl_per_dim_nats_error": None if errors is None else errors.tolist(),
    }


def _factors(run: RunContext, chosen: ChosenImages) -> dict[str, np.ndarray]:
    """Return the attributes of the images as columns; the class is called ``label``."""
    run.needs("factors")
    images, rows = chosen.opened, chosen.rows
    columns = {name: values[rows] for name, values in images.attributes.items()}
    if images.labels is not None:
        columns |= {"label": np.array(images.classes)[images.labels.numpy()[rows]]}
    factors_of(columns, images.source)  # raises before a long measurement if there are none
    return columns


def _features(run: RunContext, samples: int | None, weights: str | Path | None) -> Features | None:
    """Return the features for comparing samples: vaekit's classifier, or Inception with weights from a file."""
    if samples is None:
        if weights is not None:
            raise UserError(f"{argument('features')} compares samples with images; give {argument('samples', 'N')} too")
        return None
    if samples < 2:
        raise UserError(f"samples {samples}: expected at least 2 images", "samples")
    if not serves("generate", run.model):
        raise UserError(f"samples: {run.path} has no prior to sample from; leave it out", "samples")
    device = run.model.device
    return small_classifier(device) if weights is None else inception(weights, device)


def _distances(
    run: RunContext, real: Selection, count: int, features: Features, seed: int, counted: Counted
) -> dict[str, Any]:
    """Measure distances between ``count`` generated images and real ones."""
    if len(real) < 2:
        raise UserError("samples: expected at least 2 images to compare with", "samples")
    pieces = ops.generate_in_pieces(run.model, count, seed)
    made = _features_of(features, pieces, count, "images drawn", counted)
    found = _features_of(features, real.split(_COMPARED_AT_ONCE), len(real), "images compared", counted)
    kernel = kernel_distance(made, found, seed=seed)
    numbers = {
        "samples": count,
        "features": features.name,
        "frechet_distance": frechet_distance(made, found),
        "kernel_distance": kernel.mean,
        "kernel_distance_error": kernel.standard_error,
    }
    warning = small_sample_warning(min(count, len(real)), features.size)
    return numbers | ({"warning": warning} if warning else {})


def _features_of(features: Features, pieces: Iterable[Tensor], count: int, what: str, counted: Counted) -> Tensor:
    found, done = [], 0
    for images in pieces:
        counted(what, done, count)
        found.append(features.of(images))
        done += len(images)
    return torch.cat(found)


def _check_bound(run: RunContext, samples: int) -> None:
    if samples < 1:
        raise UserError(f"iwae_samples {samples}: expected at least 1 sample per image", "iwae_samples")
    if not run.recipe.has_density:
        raise UserError(f"iwae_samples: {run.path} is an autoencoder and has no bound; leave it out", "iwae_samples")
