"""Metrics of a model on images, each with a unit; ``NAME_error`` is the standard error of a mean over images.

sse_per_image    Σ over pixel values of (x − x̂)², x̂ decoded from the posterior mean, [0, 1] scale; mean over images
ssim             structural similarity of x and x̂ (Wang et al. 2004, Eq. 13), at most 1; mean over images
psnr_db          −10 log10 of the mean of (x − x̂)² over all pixel values of all images
distortion_nats  −E_q[log p(x|z)] with one posterior sample per image; for an autoencoder, at its latent
rate_nats        KL(q(z|x)‖p(z)); null for an autoencoder. A hierarchy has ``rate_nats_level_1`` and so on, top first
elbo_nats        −distortion − rate (Kingma & Welling 2014, Eq. 3); null for an autoencoder
iwae_nats        log 1/K Σₖ p(x, zₖ)/q(zₖ|x), zₖ ~ q(z|x) (Burda et al. 2016, Eq. 8): between elbo and log p(x)
bits_per_dim     −elbo_nats / (C · H · W · ln 2) for discrete likelihoods; null for densities

``active_units``, ``mutual_information_nats`` and ``marginal_kl_nats`` describe the latents of all images together
(:mod:`vaekit.evaluation.aggregate_posterior`). The last two are measured for latent vectors, and units are not counted
for a hierarchy; elsewhere they are null. If there are too few images to estimate the last two, both are null, and
the bounds ``mutual_information_at_least_nats`` and ``marginal_kl_at_most_nats`` are given instead; otherwise the bounds
are null. The standard error of a bound is always null: where the estimate saturates, every image gives almost log N,
and the small spread says nothing about the distance to the true value.

The noise of an image depends on the seed and its pixels, so its metrics are the same in every set, order and batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vaekit.config.table import Recipe
from vaekit.data import Selection, to_float
from vaekit.evaluation.aggregate_posterior import AggregatePosterior, active_units, is_saturated
from vaekit.evaluation.ssim import ssim
from vaekit.model.distributions.latent import DiagonalNormal
from vaekit.model.factory import build_objective
from vaekit.model.inference import Batch, Inference
from vaekit.model.latent_model import LatentModel
from vaekit.system.distributed import ALONE, Team
from vaekit.system.progress import Counted, count_silently
from vaekit.system.rng import EVALUATION, IMPORTANCE, keys_of, noise_of, stream

__all__ = ["LEVEL_RATE", "Measurement", "Numbers", "evaluate", "loss_nats", "measure", "psnr_db"]

Numbers = dict[str, float | int | None]

LEVEL_RATE = "rate_nats_level_"  #: prefix of the name of a level's rate

_MOST_PAIRED = 10_000  # images whose latents are compared with each other, which has quadratic cost
_WEIGHTS_AT_ONCE = 512  # images times samples of the importance-weighted bound


@dataclass(frozen=True, eq=False)
class Measurement:
    """Metrics of N images before averaging. A column is float64 ``[N]``, in the order of the images.

    Autoencoders have only the columns ``sse`` and ``distortion_nats``, and neither ``aggregate`` nor ``kl_per_dim``.
    """

    values: int  #: pixel values per image, C · H · W
    is_discrete: bool  #: whether the likelihood is a probability
    columns: dict[str, Tensor]
    kl_per_dim: Tensor | None = None  #: float64 ``[L]``: mean over images, nats
    kl_per_dim_error: Tensor | None = None  #: its standard error; None for a single image
    active_units: int | None = None
    aggregate: AggregatePosterior | None = None  #: posteriors of evenly spaced images, at most 10,000
    aggregate_rate_nats: Tensor | None = None  #: their rates
    iwae_samples: int = 0
    is_conditional: bool = False  #: whether the prior depends on conditions of the image

    def numbers(self) -> Numbers:
        """Return means and standard errors by name; None for those that the model does not have."""
        sse = self.columns["sse"]
        mean, error = float(sse.mean()), _standard_error(sse)
        numbers: Numbers = {
            "images": len(sse),
            "sse_per_image": mean,
            "sse_per_image_error": error,
            "psnr_db": _decibel(mean / self.values),
            "psnr_db_error": None if error is None or not mean else 10 / math.log(10) * error / mean,
        }
        if "ssim" in self.columns:
            numbers |= _mean_and_error("ssim", self.columns["ssim"])
        bounds = {"elbo_nats": "bits_per_dim"}
        if self.iwae_samples:
            bounds["iwae_nats"] = "iwae_bits_per_dim"
            numbers["iwae_samples"] = self.iwae_samples
        levels = [name for name in self.columns if name.startswith(LEVEL_RATE)]
        for name in ("distortion_nats", "rate_nats", *levels, *bounds):
            numbers |= _mean_and_error(name, self.columns.get(name))
        for bound, name in bounds.items():
            nats = self.columns.get(bound) if self.is_discrete else None
            numbers |= _mean_and_error(name, None if nats is None else nats / (-self.values * math.log(2)))
        return numbers | {"active_units": self.active_units} | self._of_codes()

    def _of_codes(self) -> Numbers:
        """Return I(x; z) and KL(q(z) ‖ p(z)), the rest of the rate; as bounds if there are too few images."""
        information = None if self.aggregate is None else self.aggregate.log_ratios()
        marginal = None
        if information is not None and self.aggregate_rate_nats is not None and not self.is_conditional:
            marginal = self.aggregate_rate_nats - information
        known, bounds = (information, marginal), (None, None)
        if information is not None and is_saturated(information):
            known, bounds = bounds, known
        return {
            **_mean_and_error("mutual_information_nats", known[0]),
            **_without_error("mutual_information_at_least_nats", bounds[0]),
            **_mean_and_error("marginal_kl_nats", known[1]),
            **_without_error("marginal_kl_at_most_nats", bounds[1]),
        }


def evaluate(
    model: LatentModel,
    pixels: Tensor | Selection,
    seed: int = 0,
    batch_size: int = 128,
    team: Team = ALONE,
    iwae_samples: int = 0,
) -> Numbers:
    """Return the averaged metrics of :func:`measure`."""
    return measure(model, pixels, seed, batch_size, team, iwae_samples).numbers()


def loss_nats(numbers: Numbers, row: Recipe) -> float | None:
    """Return the recipe's loss after warm-up in nats per image, from :meth:`Measurement.numbers`.

    For an objective with a capacity, it is computed from the mean rate, because rates of single images are not
    available. Terms that need a batch of latents or the weights are omitted: MMD, total correlation and penalties.

    Returns:
        The loss, or None if the numbers, which may come from a metrics file, have no distortion.
    """
    bound, distortion = numbers.get("iwae_nats"), numbers.get("distortion_nats")
    if bound is not None:
        return -bound
    if distortion is None:
        return None
    return build_objective(row).loss_of_means(distortion, numbers.get("rate_nats") or 0.0)


@torch.inference_mode()
def measure(
    model: LatentModel,
    pixels: Tensor | Selection,
    seed: int = 0,
    batch_size: int = 128,
    team: Team = ALONE,
    iwae_samples: int = 0,
    with_ssim: bool = False,
    counted: Counted = count_silently,
) -> Measurement:
    """Measure images. Deterministic.

    Args:
        model: The model in eval mode.
        pixels: uint8 ``[N, C, H, W]``, N ≥ 1.
        seed: Seed of the noise.
        batch_size: Images per batch.
        team: Processes that share the work; all of them get the complete result.
        iwae_samples: K of the importance-weighted bound, which takes K times as long; 0 omits it.
        with_ssim: Whether to compute the structural similarity, which is slow for large images.
        counted: Called with the number of images done, or of importance samples drawn if there are any.
    """
    model.check_eval_mode()
    gathered = _Gathered(model, pixels, iwae_samples, with_ssim)
    device = model.device
    drawn = _Drawn(counted, len(pixels), iwae_samples if "iwae_nats" in gathered.columns else 0)
    for number, chunk in enumerate(pixels.split(batch_size)):
        if number % team.size != team.rank:
            continue
        start, size = number * batch_size, model.at_once(batch_size)
        for images in chunk.split(size):
            x, keys = to_float(images.to(device)), keys_of(images)
            batch = Batch(x, condition=_conditions_of(pixels, start, len(x)))
            noise = noise_of(keys, seed, EVALUATION, (model.latent_dim,)).unsqueeze(0)
            gathered.add(start, batch, model.infer(batch, noise.to(device)))
            if "iwae_nats" in gathered.columns:
                gathered.columns["iwae_nats"][start : start + len(x)] = _iwae(model, batch, seed, keys, drawn)
            start += len(x)
            drawn.until(start)
    return gathered.joined(team)


class _Gathered:
    """Accumulates metrics of N images. Entries of other processes are zero, and are summed at the end."""

    def __init__(self, model: LatentModel, pixels: Tensor | Selection, iwae_samples: int, with_ssim: bool) -> None:
        self.model, self.pixels, self.iwae_samples = model, pixels, iwae_samples
        count, latents = len(pixels), model.latent_dim
        device = model.device
        probe = model.infer(Batch(to_float(pixels[:1].to(device))), torch.zeros(1, 1, latents).to(device))
        self.has_density, self.is_discrete = probe.has_density, probe.px.is_discrete
        self.prior = None if len(probe.levels) > 1 else probe.levels[0].pz
        is_vector = len(model.latent_shapes) == 1 and len(model.latent_shapes[0]) == 1
        self.is_normal = self.has_density and is_vector and isinstance(probe.levels[0].qz, DiagonalNormal)
        names = ["sse", *["ssim"] * with_ssim, "distortion_nats", *["rate_nats"] * self.has_density]
        names += ["iwae_nats"] * (self.has_density and iwae_samples > 0)
        self.has_levels = len(probe.levels) > 1
        if self.has_levels and self.has_density:
            names += [f"{LEVEL_RATE}{number}" for number in range(1, 1 + len(probe.levels))]
        self.columns = {name: torch.zeros(count, dtype=torch.float64) for name in names}
        dimensions = sum(kl.shape[-1] for kl in probe.kl) if self.has_density else 0
        self.kl_moments = torch.zeros(2, dimensions, dtype=torch.float64)
        self.moments = torch.zeros(2, latents, dtype=torch.float64)
        self.every = math.ceil(count / _MOST_PAIRED)
        kept = math.ceil(count / self.every) if self.is_normal else 0
        self.aggregate = torch.zeros(3, kept, latents, dtype=torch.float64)

    def add(self, start: int, batch: Batch, inference: Inference) -> None:
        """Store the metrics of the images from index ``start``."""
        level, x = inference.levels[0], batch.x
        rows = slice(start, start + len(x))
        latents = self.model.encode(x, batch.condition).mean if self.has_levels else level.qz.mean
        picture = self.model.decode(latents, batch.condition).picture
        self.columns["sse"][rows] = _double((picture - x).square().flatten(1).sum(1))
        if "ssim" in self.columns:
            self.columns["ssim"][rows] = ssim(picture.cpu(), x.cpu())
        self.columns["distortion_nats"][rows] = -_double(inference.log_px.mean(0))
        if not self.has_density:
            return
        kl = _double(torch.cat(inference.kl, dim=-1))
        self.columns["rate_nats"][rows] = kl.sum(1)
        if self.has_levels:
            for number, of_level in enumerate(inference.kl, 1):
                self.columns[f"{LEVEL_RATE}{number}"][rows] = _double(of_level).sum(1)
        self.kl_moments += torch.stack([kl.sum(0), kl.square().sum(0)])
        mean = _double(latents)
        self.moments += torch.stack([mean.sum(0), mean.square().sum(0)])
        if not self.is_normal or not isinstance(level.qz, DiagonalNormal):
            return
        own = torch.arange(start, start + len(x)) % self.every == 0
        first = math.ceil(start / self.every)
        kept = torch.stack([mean, _double(level.qz.log_std), _double(level.z[0])])[:, own]
        self.aggregate[:, first : first + kept.shape[1]] = kept

    def _active_units(self, variance_of_means: Tensor) -> int | None:
        """Return None for discrete latents and hierarchies, which have no units with a prior of their own."""
        moments = None if self.prior is None else self.prior.moments
        return None if moments is None else active_units(variance_of_means, moments.variance)

    def joined(self, team: Team) -> Measurement:
        """Combine the results of all processes."""
        team.sum_(*self.columns.values(), self.kl_moments, self.moments, self.aggregate)
        values = math.prod(self.pixels.shape[1:])
        if not self.has_density:
            return Measurement(values, self.is_discrete, self.columns)
        rate, count = self.columns["rate_nats"], len(self.pixels)
        self.columns["elbo_nats"] = -self.columns["distortion_nats"] - rate
        mean, square = self.moments / count
        kl, kl_square = self.kl_moments / count
        return Measurement(
            values,
            self.is_discrete,
            self.columns,
            kl_per_dim=kl,
            kl_per_dim_error=_error_of_moments(kl, kl_square, count) if count > 1 else None,
            active_units=self._active_units(square - mean.square()) if count > 1 else None,
            # undefined for a single image
            aggregate=AggregatePosterior(*self.aggregate) if count > 1 and self.is_normal else None,
            aggregate_rate_nats=rate[:: self.every],
            iwae_samples=self.iwae_samples,
            is_conditional=isinstance(self.pixels, Selection) and self.pixels.conditions is not None,
        )


def _conditions_of(pixels: Tensor | Selection, start: int, count: int) -> Tensor | None:
    """Return the conditions of a range of images for a conditional model."""
    return pixels.conditions_of(slice(start, start + count)) if isinstance(pixels, Selection) else None


class _Drawn:
    """Reports progress: images, or with ``samples`` > 0 the importance samples of all images, which take longer."""

    def __init__(self, counted: Counted, images: int, samples: int) -> None:
        self.counted, self.samples, self.done = counted, samples, 0
        self.total = images * max(1, samples)
        self.task = "importance samples" if samples else "images measured"
        counted(self.task, 0, self.total)

    def add(self, weights: int) -> None:
        """Report further importance samples."""
        self.done += weights
        self.counted(self.task, self.done, self.total)

    def until(self, images: int) -> None:
        """Report that the first ``images`` images are measured, by this process or by others."""
        self.done = images * max(1, self.samples)
        self.counted(self.task, self.done, self.total)


def _iwae(model: LatentModel, batch: Batch, seed: int, keys: Sequence[int], drawn: _Drawn) -> Tensor:
    """Return the importance-weighted bound of a batch, float64 ``[B]`` in nats."""
    at_once = max(1, model.at_once(_WEIGHTS_AT_ONCE) // drawn.samples)  # for small K, images share a pass
    starts = range(0, len(keys), at_once)
    parts = zip(batch.split(at_once), [keys[start : start + at_once] for start in starts], strict=True)
    return torch.cat([_bound(model, part, seed, few, drawn) for part, few in parts])


def _bound(model: LatentModel, batch: Batch, seed: int, keys: Sequence[int], drawn: _Drawn) -> Tensor:
    """Return the bound of images that share a pass, float64 ``[B]``, holding only a part of the K samples at a time."""
    x, samples = batch.x, drawn.samples
    streams = [stream(seed, IMPORTANCE, key) for key in keys]
    total = torch.full((len(x),), -math.inf, dtype=torch.float64)
    for done in range(0, samples, _WEIGHTS_AT_ONCE):
        piece = (min(_WEIGHTS_AT_ONCE, samples - done), model.latent_dim)
        noise = torch.stack([torch.randn(piece, generator=generator) for generator in streams], dim=1).to(x.device)
        for e in noise.split(max(1, model.at_once(_WEIGHTS_AT_ONCE) // len(x))):
            inference = model.infer(batch, e)
            weights = _double(inference.log_px) + _double(inference.log_pz) - _double(inference.log_qz)
            total = torch.logaddexp(total, weights.logsumexp(0))
            drawn.add(weights.numel())
    return total - math.log(samples)


def psnr_db(images: Tensor, truth: Tensor, where: Tensor | None = None) -> float:
    """Return the peak signal-to-noise ratio of float images on the [0, 1] scale, from the overall mean squared error.

    ``where`` (bool, broadcastable) restricts it to some pixels.

    >>> round(psnr_db(torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.1)), 3)
    20.0
    """
    squares = (images.double() - truth.double()).square()
    return _decibel(float(squares.mean() if where is None else squares[where.expand_as(squares)].mean()))


def _double(tensor: Tensor) -> Tensor:
    """Convert to float64 on the CPU, because not every device supports it."""
    return tensor.cpu().double()


def _mean_and_error(name: str, column: Tensor | None) -> Numbers:
    if column is None:
        return {name: None, f"{name}_error": None}
    return {name: float(column.mean()), f"{name}_error": _standard_error(column)}


def _without_error(name: str, column: Tensor | None) -> Numbers:
    """Return a bound without a standard error, because its spread does not measure its distance to the true value."""
    return {name: None if column is None else float(column.mean()), f"{name}_error": None}


def _standard_error(column: Tensor) -> float | None:
    """Return the standard error of the mean of independent values, std (N − 1) / √N; None for a single value."""
    return float(column.std() / math.sqrt(len(column))) if len(column) > 1 else None


def _error_of_moments(mean: Tensor, second: Tensor, count: int) -> Tensor:
    """Return the standard errors of means of N > 1 values, from the means and the means of squares."""
    return ((second - mean.square()).clamp(min=0) / (count - 1)).sqrt()


def _decibel(mean_squared_error: float) -> float:
    if math.isnan(mean_squared_error):
        return math.nan
    return -10 * math.log10(mean_squared_error) if mean_squared_error > 0 else math.inf
