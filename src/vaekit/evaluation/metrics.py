"""Numbers about a model on images, each with a unit; ``NAME_error`` is the standard error of a mean over images.

sse_per_image    Σ over pixel values of (x − x̂)², x̂ decoded from the posterior mean, [0, 1] scale; mean over images
ssim             structural similarity of x and x̂ (Wang et al. 2004, Eq. 13), at most 1; mean over images
psnr_db          −10 log10 of the mean of (x − x̂)² over all pixel values of all images
distortion_nats  −E_q[log p(x|z)], one posterior sample per image; for an autoencoder at its one code
rate_nats        KL(q(z|x)‖p(z)); null for an autoencoder
elbo_nats        −distortion − rate (Kingma & Welling 2014, Eq. 3); null for an autoencoder
iwae_nats        log 1/K Σₖ p(x, zₖ)/q(zₖ|x), zₖ ~ q(z|x) (Burda et al. 2016, Eq. 8): between elbo and log p(x)
bits_per_dim     −elbo_nats / (C · H · W · ln 2), of likelihoods that are probabilities; null for densities

Of the codes of all images together (:mod:`vaekit.evaluation.aggregate_posterior`): ``active_units``,
``mutual_information_nats`` and
``marginal_kl_nats``. Where there are too few images to estimate them, both are null, and the bounds
``mutual_information_at_least_nats`` and ``marginal_kl_at_most_nats`` take their place; elsewhere the bounds are null.
The standard error of a bound is always null: where the estimate saturates, every image gives nearly log N, and their
small spread says nothing about the distance to the true value.

The noise of an image follows from the seed and from its pixels: its numbers are the same in any set, order and batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vaekit.config.table import Recipe
from vaekit.data import Selection, to_float
from vaekit.evaluation.aggregate_posterior import Codes, active_units, is_saturated
from vaekit.evaluation.ssim import ssim
from vaekit.model.distributions.latent import DiagonalNormal
from vaekit.model.factory import build_objective
from vaekit.model.inference import Batch, Inference
from vaekit.model.latent_model import LatentModel
from vaekit.system.distributed import ALONE, Team
from vaekit.system.progress import Counted, count_silently
from vaekit.system.rng import EVALUATION, IMPORTANCE, keys_of, noise_of, stream

__all__ = ["Measurement", "Numbers", "evaluate", "loss_nats", "measure", "psnr_db"]

Numbers = dict[str, float | int | None]

_MOST_PAIRED = 10_000  # images whose codes are compared with one another: the cost is the square of it
_WEIGHTS_AT_ONCE = 512  # images times samples of the importance-weighted bound


@dataclass(frozen=True, eq=False)
class Measurement:
    """What was found on N images, before anything is averaged. A column is float64 ``[N]``, in the order of the images.

    Autoencoders have the columns ``sse`` and ``distortion_nats`` alone, no ``codes`` and no ``kl_per_dim``.
    """

    values: int  #: of an image: C · H · W
    is_discrete: bool  #: whether the likelihood is a probability
    columns: dict[str, Tensor]
    kl_per_dim: Tensor | None = None  #: float64 ``[L]``: mean over images, nats
    kl_per_dim_error: Tensor | None = None  #: its standard error; None of one image
    active_units: int | None = None
    codes: Codes | None = None  #: of evenly spaced images, 10,000 at most
    codes_rate_nats: Tensor | None = None  #: their rates
    iwae_samples: int = 0
    is_told: bool = False  #: whether the prior knew something of each image, and is not one for all

    def numbers(self) -> Numbers:
        """Means, with their standard errors, by name; what a model does not have is None."""
        sse = self.columns["sse"]
        mean, error = float(sse.mean()), _standard_error(sse)
        found: Numbers = {
            "images": len(sse),
            "sse_per_image": mean,
            "sse_per_image_error": error,
            "psnr_db": _decibel(mean / self.values),
            "psnr_db_error": None if error is None or not mean else 10 / math.log(10) * error / mean,
        }
        if "ssim" in self.columns:
            found |= _mean_and_error("ssim", self.columns["ssim"])
        bounds = {"elbo_nats": "bits_per_dim"}
        if self.iwae_samples:
            bounds["iwae_nats"] = "iwae_bits_per_dim"
            found["iwae_samples"] = self.iwae_samples
        for name in ("distortion_nats", "rate_nats", *bounds):
            found |= _mean_and_error(name, self.columns.get(name))
        for bound, name in bounds.items():
            nats = self.columns.get(bound) if self.is_discrete else None
            found |= _mean_and_error(name, None if nats is None else nats / (-self.values * math.log(2)))
        return found | {"active_units": self.active_units} | self._of_codes()

    def _of_codes(self) -> Numbers:
        """I(x; z), and KL(q(z) ‖ p(z)), the rest of the rate; as bounds where the images are too few to tell."""
        information = None if self.codes is None else self.codes.log_ratios()
        marginal = None
        if information is not None and self.codes_rate_nats is not None and not self.is_told:
            marginal = self.codes_rate_nats - information
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
    """The numbers of :func:`measure`."""
    return measure(model, pixels, seed, batch_size, team, iwae_samples).numbers()


def loss_nats(numbers: Numbers, row: Recipe) -> float | None:
    """What the recipe minimises once its warm-up is over, nats per image, from :meth:`Measurement.numbers`.

    Of a capacity it is that of the mean rate, since rates of single images are not among the numbers. What it takes a
    batch of codes or the weights to know is left out: MMD, total correlation, penalties. None where the numbers, which
    a metrics file may hold, have no distortion.
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
    """Measures uint8 images ``[N, C, H, W]``, N ≥ 1; the model must be in eval mode. Deterministic in ``seed``.

    ``iwae_samples`` is K of the importance-weighted bound, which takes K times as long; 0 leaves it out.
    ``with_ssim`` adds the structural similarity, which takes long for large images. A ``team`` shares the work: each
    process takes some of the chunks, and all get what was found on all. ``counted`` hears how many are done.
    """
    assert not model.training
    found = _Gathered(model, pixels, iwae_samples, with_ssim)
    device = next(model.parameters()).device
    counted("measured", 0, len(pixels))
    for number, chunk in enumerate(pixels.split(batch_size)):
        if number % team.size != team.rank:
            continue
        start, size = number * batch_size, model.at_once(batch_size)
        for some in chunk.split(size):
            x, keys = to_float(some.to(device)), keys_of(some)
            batch = Batch(x, condition=_conditions_of(pixels, start, len(x)))
            noise = noise_of(keys, seed, EVALUATION, (model.latent_dim,)).unsqueeze(0)
            found.add(start, batch, model.infer(batch, noise.to(device)))
            done = start
            if "iwae_nats" in found.columns:
                for bounds in _iwae(model, batch, iwae_samples, seed, keys):
                    found.columns["iwae_nats"][done : done + len(bounds)] = bounds
                    done += len(bounds)
                    counted("measured", done, len(pixels))
            start += len(x)
            counted("measured", start, len(pixels))
    return found.joined(team)


class _Gathered:
    """Room for what is found on N images; what other processes find is zero here, and summed in the end."""

    def __init__(self, model: LatentModel, pixels: Tensor | Selection, iwae_samples: int, with_ssim: bool) -> None:
        self.model, self.pixels, self.iwae_samples = model, pixels, iwae_samples
        count, latents = len(pixels), model.latent_dim
        device = next(model.parameters()).device
        probe = model.infer(Batch(to_float(pixels[:1].to(device))), torch.zeros(1, 1, latents).to(device))
        self.has_density, self.is_discrete = probe.has_density, probe.px.is_discrete
        self.prior = probe.levels[0].pz
        self.is_normal = self.has_density and isinstance(probe.levels[0].qz, DiagonalNormal)
        names = ["sse", *["ssim"] * with_ssim, "distortion_nats", *["rate_nats"] * self.has_density]
        names += ["iwae_nats"] * (self.has_density and iwae_samples > 0)
        self.columns = {name: torch.zeros(count, dtype=torch.float64) for name in names}
        dimensions = sum(kl.shape[-1] for kl in probe.kl) if self.has_density else 0
        self.kl_moments = torch.zeros(2, dimensions, dtype=torch.float64)
        self.moments = torch.zeros(2, latents, dtype=torch.float64)
        self.every = math.ceil(count / _MOST_PAIRED)
        kept = math.ceil(count / self.every) if self.is_normal else 0
        self.codes = torch.zeros(3, kept, latents, dtype=torch.float64)

    def add(self, start: int, batch: Batch, inference: Inference) -> None:
        """What was found on the images from ``start`` on."""
        level, x = inference.levels[0], batch.x
        rows = slice(start, start + len(x))
        picture = self.model.decode(level.qz.mean, batch.condition).picture
        self.columns["sse"][rows] = _double((picture - x).square().flatten(1).sum(1))
        if "ssim" in self.columns:
            self.columns["ssim"][rows] = ssim(picture.cpu(), x.cpu())
        self.columns["distortion_nats"][rows] = -_double(inference.log_px.mean(0))
        if not self.has_density:
            return
        kl = _double(torch.cat(inference.kl, dim=-1))
        self.columns["rate_nats"][rows] = kl.sum(1)
        self.kl_moments += torch.stack([kl.sum(0), kl.square().sum(0)])
        mean = _double(level.qz.mean)
        self.moments += torch.stack([mean.sum(0), mean.square().sum(0)])
        if not isinstance(level.qz, DiagonalNormal):
            return
        own = torch.arange(start, start + len(x)) % self.every == 0
        first = math.ceil(start / self.every)
        kept = torch.stack([mean, _double(level.qz.log_std), _double(level.z[0])])[:, own]
        self.codes[:, first : first + kept.shape[1]] = kept

    def _active_units(self, variance_of_means: Tensor) -> int | None:
        """None where latents are codes, which have no units."""
        moments = None if self.prior is None else self.prior.moments
        return None if moments is None else active_units(variance_of_means, moments.variance)

    def joined(self, team: Team) -> Measurement:
        """What all processes found."""
        team.sum_(*self.columns.values(), self.kl_moments, self.moments, self.codes)
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
            codes=Codes(*self.codes) if count > 1 and self.is_normal else None,  # one image is told from none
            codes_rate_nats=rate[:: self.every],
            iwae_samples=self.iwae_samples,
            is_told=isinstance(self.pixels, Selection) and self.pixels.conditions is not None,
        )


def _conditions_of(pixels: Tensor | Selection, start: int, count: int) -> Tensor | None:
    """What is known of some of the images, for a conditional model."""
    return pixels.conditions_of(slice(start, start + count)) if isinstance(pixels, Selection) else None


def _iwae(model: LatentModel, batch: Batch, samples: int, seed: int, keys: Sequence[int]) -> Iterator[Tensor]:
    """The importance-weighted bound of each image, float64, nats, a few at a time."""
    done = 0
    for some in batch.split(max(1, model.at_once(_WEIGHTS_AT_ONCE) // samples)):  # they share a pass where K is small
        yield _bound(model, some, samples, seed, keys[done : done + len(some.x)])
        done += len(some.x)


def _bound(model: LatentModel, batch: Batch, samples: int, seed: int, keys: Sequence[int]) -> Tensor:
    """The bound of images that share a pass, float64 ``[B]``; no more than a piece of the K samples is ever held."""
    x = batch.x
    streams = [stream(seed, IMPORTANCE, key) for key in keys]
    total = torch.full((len(x),), -math.inf, dtype=torch.float64)
    for done in range(0, samples, _WEIGHTS_AT_ONCE):
        piece = (min(_WEIGHTS_AT_ONCE, samples - done), model.latent_dim)
        noise = torch.stack([torch.randn(piece, generator=generator) for generator in streams], dim=1).to(x.device)
        for e in noise.split(max(1, model.at_once(_WEIGHTS_AT_ONCE) // len(x))):
            found = model.infer(batch, e)
            weights = _double(found.log_px) + _double(found.log_pz) - _double(found.log_qz)
            total = torch.logaddexp(total, weights.logsumexp(0))
    return total - math.log(samples)


def psnr_db(images: Tensor, truth: Tensor, where: Tensor | None = None) -> float:
    """Peak signal-to-noise ratio of float images on the [0, 1] scale, from the mean squared error over all values.

    ``where`` (bool, broadcastable) restricts it to some pixels.

    >>> round(psnr_db(torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.1)), 3)
    20.0
    """
    squares = (images.double() - truth.double()).square()
    return _decibel(float(squares.mean() if where is None else squares[where.expand_as(squares)].mean()))


def _double(tensor: Tensor) -> Tensor:
    """In double precision, which not every device has."""
    return tensor.cpu().double()


def _mean_and_error(name: str, column: Tensor | None) -> Numbers:
    if column is None:
        return {name: None, f"{name}_error": None}
    return {name: float(column.mean()), f"{name}_error": _standard_error(column)}


def _without_error(name: str, column: Tensor | None) -> Numbers:
    """A bound, whose distance to the true value no spread over images tells."""
    return {name: None if column is None else float(column.mean()), f"{name}_error": None}


def _standard_error(column: Tensor) -> float | None:
    """Of the mean of independent values: their standard deviation (by N − 1) over √N; None of one."""
    return float(column.std() / math.sqrt(len(column))) if len(column) > 1 else None


def _error_of_moments(mean: Tensor, second: Tensor, count: int) -> Tensor:
    """The standard error of means of N > 1 values, from these and the means of their squares."""
    return ((second - mean.square()).clamp(min=0) / (count - 1)).sqrt()


def _decibel(mean_squared_error: float) -> float:
    if math.isnan(mean_squared_error):
        return math.nan
    return -10 * math.log10(mean_squared_error) if mean_squared_error > 0 else math.inf
