"""The evidence of the doctor as a table: each number with its unit and the expected range."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass

from vaekit.errors import counted
from vaekit.evaluation.doctor.evidence import LIMITS, Evidence

__all__ = ["Row", "rows_of"]


@dataclass(frozen=True)
class Row:
    """A row of the evidence table."""

    name: str
    value: float | int | None
    unit: str
    expected: str
    is_ok: bool | None  #: None if the number alone indicates nothing

    @property
    def text(self) -> str:
        """The value with its unit, formatted for reading."""
        if self.value is None:
            return "–"
        shown = f"{self.value:,}" if isinstance(self.value, int) else f"{self.value:,.{_decimals(self.value)}f}"
        return f"{shown} {self.unit}".rstrip().replace("-", "−")


def rows_of(e: Evidence) -> Iterator[Row]:
    """Yield a row for every number that a rule uses, and for related numbers."""
    yield from _rows_of_run(e)
    yield from _rows_of_fit(e)
    if e.has_density:
        yield from _rows_of_codes(e)
    if e.sample_std is not None:
        yield from _rows_of_samples(e)
    yield from _rows_of_images(e)


def _rows_of_run(e: Evidence) -> Iterator[Row]:
    gain = None if e.gain is None else 100 * e.gain
    yield Row("images seen in training", e.images_seen, "", f"{e.total_images:,}", e.is_finished)
    yield _row("steps", e.steps, "", at_least=LIMITS.fewest_steps)
    yield _row("explained variance, gain of the second half", gain, "points", at_most=100 * LIMITS.most_gain)
    yield _row("quality behind the best epoch, held-out", e.rise_db, "dB", at_most=LIMITS.most_rise_db)


def _rows_of_fit(e: Evidence) -> Iterator[Row]:
    least = f"at least {100 * LIMITS.mean_image:.3g}, or like PCA"
    yield Row("explained variance, held-out images", 100 * e.explained, "%", least, not e.is_mean_image)
    yield Row("explained by PCA of the same size", _percent(e.linear_explained), "%", "", None)
    yield Row(
        f"explained by PCA with {counted(e.wider_size or 0, 'component')}", _percent(e.wider_explained), "%", "", None
    )
    yield Row("PSNR, held-out images", e.psnr_db, "dB", "", None)
    yield _row("train-validation gap, PSNR", e.gap_db, "dB", at_most=LIMITS.most_gap_db)
    if e.train_elbo_nats is not None and e.elbo_nats is not None and e.part != "train":
        yield Row("train-validation gap, bound", e.train_elbo_nats - e.elbo_nats, "nats", "", None)
    if e.observation_std is not None:
        yield Row("observation scale / std of pixels", _over(e.observation_std, e.data_std), "", "below 1", None)
    if e.over_weight is not None:
        yield _row("noise allowed by the loss / actual noise", e.over_weight, "", at_most=LIMITS.most_over_weight)


def _rows_of_codes(e: Evidence) -> Iterator[Row]:
    kl = e.kl_per_dim_nats or (0.0,)
    yield _row("rate: KL(q(z|x) ‖ p(z))", e.rate_nats, "nats", at_least=LIMITS.least_rate_nats)
    yield Row("KL per dimension, largest", max(kl), "nats", "", None)
    yield Row("KL per dimension, median", statistics.median(kl), "nats", "", None)
    levels = e.level_rates_nats or ()
    for number, rate in enumerate(levels, 1):
        yield _row(f"rate of level {number} of {len(levels)}", rate, "nats", at_least=LIMITS.least_level_nats)
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


def _rows_of_samples(e: Evidence) -> Iterator[Row]:
    yield Row("samples: std of pixels, relative to images", _over(e.sample_std, e.data_std), "", "about 1", None)
    most = math.sqrt(LIMITS.most_sample_shift)
    yield _row("samples: shift of the mean image", _root(e.sample_shift), "std", at_most=most)
    distance, most = _root(e.sample_distance), math.sqrt(LIMITS.most_sample_distance)
    yield _row("samples: distance to the nearest image, relative to reconstructions", distance, "times", at_most=most)
    least = 100 * LIMITS.least_sample_variety
    yield _row("samples: variance, relative to reconstructions", _percent(e.sample_variety), "%", at_least=least)
    if e.is_conditional:
        obedience, least = _percent(e.obedience), 100 * LIMITS.least_obedience
        yield _row("samples: visible condition, relative to images", obedience, "%", at_least=least)


def _rows_of_images(e: Evidence) -> Iterator[Row]:
    levels = 255 * e.std_about_mean_image
    if e.part == "train":
        yield _row("images measured, none held out", e.train_count, "", at_least=LIMITS.fewest_images)
    else:
        yield _row("training images measured", e.train_count, "", at_least=LIMITS.fewest_trained)
    least = f"at least {LIMITS.least_std_levels:.3g}, unless dim or sparse"
    yield Row("images: std about their mean image", levels, "levels", least, not e.is_plain)
    yield Row("images: largest deviation from their mean image", _levels(e.peak), "levels", "", None)
    yield _row("images: distinct ones", 100 * e.distinct, "%", at_least=100 * LIMITS.least_distinct)
    yield _row("images: held-out copies of training images", _percent(e.leaked), "%", at_most=100 * LIMITS.most_leaked)
    least = f"at least {LIMITS.noise_correlation:.3g}"
    yield Row("images: correlation of adjacent pixels", abs(e.neighbour_correlation), "", least, not e.is_noise)
    yield _row(
        "images: shift of the held-out mean image", _root(e.part_shift), "std", at_most=math.sqrt(e.most_part_shift)
    )


def _row(name: str, value: float | None, unit: str, at_least: float | None = None, at_most: float | None = None) -> Row:
    """Return a row that is ok within a limit; a missing value is neither ok nor not."""
    expected = f"at least {at_least:.3g}" if at_least is not None else f"at most {at_most:.3g}"
    if value is None:
        return Row(name, None, unit, expected, None)
    return Row(name, value, unit, expected, value >= at_least if at_least is not None else value <= (at_most or 0.0))


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _levels(value: float | None) -> float | None:
    return None if value is None else 255 * value


def _over(value: float | None, whole: float) -> float | None:
    return None if value is None or not whole else value / whole


def _root(square: float | None) -> float | None:
    return None if square is None else math.sqrt(square)


def _decimals(value: float) -> int:
    return 1 if abs(value) >= 100 else 2 if abs(value) >= 0.1 else 4
