"""Measure what :mod:`vaekit.evaluation.doctor.diagnosis` needs to know about a run.

The evidence has metrics on training and on held-out images, the course of the run, properties of the images, and
properties of samples compared with them.

The loss since the best epoch is in decibels, so that one threshold serves every likelihood (:func:`quality_db`):

    PSNR                            for an autoencoder, and for a likelihood whose scale is fixed
    −20/ln 10 · loss / (C · H · W)  for all others; if the scale σ is learned, a normal's −20 log₁₀ σ − rate + …

Deterministic: nothing here uses the global random generator, changes weights, or reads a clock.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypedDict

import numpy as np
from torch import Tensor

from vaekit.config.run_config import RunConfig
from vaekit.config.steps import steps_to_see
from vaekit.config.table import RECIPES, Recipe
from vaekit.data import Images, Selection, to_float
from vaekit.data.subsets import held_out, is_trained_on
from vaekit.errors import UserError
from vaekit.evaluation.baselines import PrincipalComponents
from vaekit.evaluation.doctor.evidence import LIMITS, Evidence
from vaekit.evaluation.doctor.image_checks import check_images, evenly
from vaekit.evaluation.doctor.sample_checks import check_samples
from vaekit.evaluation.metrics import LEVEL_RATE, Measurement, Numbers, loss_nats, measure
from vaekit.model.conditioning import selected
from vaekit.model.factory import can_free_bits
from vaekit.model.latent_model import LatentModel

__all__ = ["MetricsLine", "examine", "gain_of_second_half", "quality_db"]

MetricsLine = Mapping[str, str | float | None]  #: a line of ``metrics.jsonl``

_WITH_SCALE = ("normal", "laplace", "discretized-logistic", "discretized-normal")
_BEST_PSNR_DB = 99.0  # cap for perfect copies; 8-bit rounding alone gives 59 dB


def examine(model: LatentModel, config: RunConfig, images: Images, lines: Sequence[MetricsLine]) -> Evidence:
    """Collect the evidence on a run.

    Args:
        model: The model in eval mode.
        config: Configuration of the run.
        images: The images, prepared as in training.
        lines: The run's metrics.

    Raises:
        UserError: If the model returns NaN or infinity.
    """
    row = config.recipe
    part, rows = held_out(images, row)
    trained = np.flatnonzero(is_trained_on(images, row))
    # A conditional model is conditioned on the known values, as in training and evaluate.
    train, held = (selected(images, evenly(images, part_rows), config.conditions) for part_rows in (trained, rows))
    fit = [measure(model, pixels) for pixels in (train, held)]
    on_train, on_held = (measurement.numbers() for measurement in fit)
    if not math.isfinite(on_held["sse_per_image"] or 0.0):
        raise UserError(
            "the model draws pictures that are not finite, because its weights have diverged; train a new run with a "
            f"learning rate below {row.learning_rate:g}"
        )
    seen = max(map(_images_seen, lines), default=0)
    curve = _curve(lines, row, fit[0].values, config.total_images)
    best = max(curve, key=lambda point: point.quality_db, default=None)
    if best is not None and config.patience is not None:
        curve = curve[: curve.index(best) + 1]  # the weights are those of the best epoch
    pixels = to_float(train[:])
    spread = _mean_square(held, pixels.mean(0))
    pca = PrincipalComponents.of(pixels.flatten(1))
    linear, wider = _linear(pca, held, model.latent_dim)
    evidence = Evidence(
        has_density=on_held["rate_nats"] is not None,
        beta=row.beta,
        latent_dim=model.latent_dim,
        learning_rate=row.learning_rate,
        is_scale_fixed=_is_scale_fixed(row),
        free_bits_nats=row.free_bits_nats,
        shift=row.shift,
        has_patience=config.patience is not None,
        images_seen=seen,
        total_images=config.total_images,
        steps=steps_to_see(seen, len(trained), row.batch_size or 1),
        epochs=seen / len(trained),
        is_finished=any(line.get("kind") == "final" for line in lines),
        part=part,
        train_count=len(train),
        held_out_count=len(held),
        **check_images(images, trained, pixels),
        explained=_share(float(fit[1].columns["sse"].mean()) / fit[1].values, spread),
        psnr_db=_capped(on_held["psnr_db"]),
        train_psnr_db=_capped(on_train["psnr_db"]),
        gain=_gain(curve, row, spread),
        rise_db=None if best is None else best.quality_db - curve[-1].quality_db,
        observation_std=model.likelihood.observation_std(),
        **_latents(fit[1], on_train, on_held),
        **check_samples(model, pixels, train, held, pca, config.conditions),
        linear_explained=linear,
        wider_explained=wider,
        **_recipe(model, row),
    )
    evidence.check_finite()
    return evidence


def _capped(psnr_db: float | int | None) -> float:
    assert psnr_db is not None
    return min(float(psnr_db), _BEST_PSNR_DB)


# The run


def quality_db(loss_nats: float, psnr_db: float, values: int, is_scale_fixed: bool) -> float:
    """Return the quality of a model on images with this many pixel values, in dB; higher is better.

    >>> round(quality_db(-1000.0, 20.0, 1000, False) - quality_db(-900.0, 20.0, 1000, False), 3)  # 0.1 nats per value
    0.869
    """
    return psnr_db if is_scale_fixed else -20 / math.log(10) * loss_nats / values


def gain_of_second_half(curve: Sequence[tuple[int, float]]) -> float | None:
    """Return the gain of the second half of a run from a curve of (images seen, value).

    It starts from the last point within the first half. If that point is earlier, the gain is scaled down to one half
    of the run. The result is None if there is no such point.

    >>> gain_of_second_half([(100, 10.0), (200, 12.0), (300, 13.0), (400, 13.5)])
    1.5
    """
    before = [point for point in curve if 2 * point[0] <= curve[-1][0]]
    if not before:
        return None
    (start, first), (end, last) = before[-1], curve[-1]
    return (last - first) * 0.5 * end / (end - start)


def _gain(curve: Sequence[_Point], row: Recipe, spread: float) -> float | None:
    """Return how much the second half of the run increased the explained variance."""
    gain = gain_of_second_half([(p.images, _share(10 ** (-p.psnr_db / 10), spread)) for p in curve])
    is_noise_removed = row.schedule == "cosine" and not row.ema_power
    return gain if gain is None or not is_noise_removed else gain * LIMITS.share_of_unaveraged_gain


class _Point(NamedTuple):
    images: int  # seen in training
    psnr_db: float
    quality_db: float


def _images_seen(line: MetricsLine) -> int:
    images = line["images"]
    assert isinstance(images, int)
    return images


def _curve(lines: Sequence[MetricsLine], row: Recipe, values: int, total: int) -> list[_Point]:
    """Return the points after each epoch since the weight of the rate reached its final value."""
    is_relative = not row.has_bound or _is_scale_fixed(row)
    points = []
    for images, numbers in _validations(lines):
        if images >= row.kl_warmup * total:
            loss, psnr = loss_nats(numbers, row), numbers.get("psnr_db")
            if loss is not None and psnr is not None and math.isfinite(loss) and math.isfinite(psnr):
                points.append(_Point(images, psnr, quality_db(loss, psnr, values, is_relative)))
    return points


def _is_scale_fixed(row: Recipe) -> bool:
    return row.scale == "fixed" and row.likelihood in _WITH_SCALE


def _validations(lines: Sequence[MetricsLine]) -> list[tuple[int, Numbers]]:
    """Return the images seen and the metrics of held-out images, after each epoch."""
    return [(_images_seen(line), _of_held_out(line)) for line in lines if line.get("kind") == "validation"]


def _of_held_out(line: MetricsLine) -> Numbers:
    prefix, numbers = "validation_", ((key, value) for key, value in line.items() if not isinstance(value, str))
    return {key.removeprefix(prefix): value for key, value in numbers if key.startswith(prefix)}


# The fit


def _mean_square(held: Selection, mean: Tensor) -> float:
    """Return the mean over held-out pixel values of (x − mean training image)²."""
    return float((to_float(held[:]) - mean).double().square().mean())


def _share(mean_squared_error: float, whole: float) -> float:
    """Return the explained share of the variance; 0 if there is none."""
    return 1 - mean_squared_error / whole if whole else 0.0


def _linear(pca: PrincipalComponents, held: Selection, latent_dim: int) -> tuple[float, float]:
    """Return the share of held-out variance explained by PCA, of the latent's size and larger."""
    images = to_float(held[:]).flatten(1)
    wider = max(LIMITS.least_wider, LIMITS.wider * latent_dim)
    return pca.explained(images, latent_dim), pca.explained(images, wider)


class _OfRecipe(TypedDict):
    usual_learning_rate: float | None
    is_grid: bool
    draws_texture: bool
    is_conditional: bool
    has_conditional_prior: bool
    is_prior_fitted: bool
    can_free_bits: bool
    kl_warmup: float


def _recipe(model: LatentModel, row: Recipe) -> _OfRecipe:
    """Return properties of the recipe that remedies depend on."""
    return {
        "usual_learning_rate": RECIPES[row.name].learning_rate if row.name in RECIPES else None,
        "is_grid": row.latent != "vector",
        "draws_texture": row.latent == "grid",
        "is_conditional": row.is_conditional,
        "has_conditional_prior": row.prior == "conditional-normal",
        "is_prior_fitted": model.fitted_prior is not None,
        "can_free_bits": can_free_bits(row),
        "kl_warmup": row.kl_warmup,
    }


class _OfLatents(TypedDict):
    elbo_nats: float | None
    train_elbo_nats: float | None
    rate_nats: float | None
    active_units: int | None
    kl_per_dim_nats: tuple[float, ...] | None
    level_rates_nats: tuple[float, ...] | None
    mutual_information_nats: float | None
    mutual_information_at_least_nats: float | None
    marginal_kl_nats: float | None
    marginal_kl_at_most_nats: float | None


def _latents(measurement: Measurement, on_train: Numbers, on_held: Numbers) -> _OfLatents:
    kl_per_dim = measurement.kl_per_dim
    of_levels = {name: rate for name, rate in on_held.items() if name.startswith(LEVEL_RATE)}
    rates = tuple(rate for name, rate in of_levels.items() if rate is not None and not name.endswith("_error"))
    return {
        "elbo_nats": on_held["elbo_nats"],
        "train_elbo_nats": on_train["elbo_nats"],
        "rate_nats": on_held["rate_nats"],
        "active_units": measurement.active_units,
        "kl_per_dim_nats": None if kl_per_dim is None else tuple(kl_per_dim.tolist()),
        "level_rates_nats": rates or None,
        "mutual_information_nats": on_held["mutual_information_nats"],
        "mutual_information_at_least_nats": on_held["mutual_information_at_least_nats"],
        "marginal_kl_nats": on_held["marginal_kl_nats"],
        "marginal_kl_at_most_nats": on_held["marginal_kl_at_most_nats"],
    }
