"""The numbers that a verdict is based on, and their thresholds.

This module opens no files and no models; :mod:`vaekit.evaluation.doctor.examine` collects the numbers.
``docs/numbers.md`` describes the runs that the thresholds were chosen on and the runs that they were tested on.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

from vaekit.errors import NotFinite, UserError
from vaekit.system.schema import JsonValue, record

__all__ = ["LIMITS", "Evidence"]


@dataclass(frozen=True)
class Thresholds:
    """Limits of healthy values, with reasons."""

    #: Standard deviation about the mean image in levels of 255. Below two levels, images differ only by rounding.
    least_std_levels: float = 2.0
    #: Largest deviation of an image from the mean image, in standard deviations about the mean image: 2 to 6 for noise
    #: and photographs, 10 or more if most pixels are empty.
    sparse_peak: float = 10.0
    #: Standard deviation about the mean image, relative to that of all pixel values. Below 0.05, all images are one
    #: picture with small changes.
    least_own_contrast: float = 0.05
    #: Training images if none are held out. With fewer, the only conclusion is that there are too few.
    fewest_images: int = 10
    #: Training images. With fewer, about three are held out, and metrics on them are meaningless.
    fewest_trained: int = 25
    #: Share of validation or test images that equal a training image. A few are an accident; more indicate a mistake in
    #: the split, and held-out metrics are then partly those of training images.
    most_leaked: float = 0.02
    #: Share of distinct training images. Below half, most are copies.
    least_distinct: float = 0.5
    #: Correlation of adjacent pixels: 0 for noise, at least 0.3 even for digits of 8x8 pixels.
    noise_correlation: float = 0.05
    #: ‖mean of training images − mean of held-out images‖² / variance of an image: slightly above 0 if both come from
    #: one distribution; 0.5 is a difference of 0.7 standard deviations in every pixel.
    most_part_shift: float = 0.5
    #: Multiple of the average shift of sets of this size that is still chance. Few images may differ in brightness
    #: alone.
    chances: float = 5.0
    #: Share of held-out variance that reconstructions explain. Below this, they are the mean image.
    mean_image: float = 0.1
    #: The same; below this much is missing, which is a problem if the loss causes it.
    least_explained: float = 0.7
    #: The same; below this most is missing, which is a problem if PCA with more components explains it.
    half_explained: float = 0.5
    #: Share of the variance by which PCA of the same size must exceed the model before the model is to blame.
    #: With more components, it must exceed it by twice as much.
    linear_margin: float = 0.1
    #: Number of components of the larger PCA, as a multiple of the latent dimension.
    wider: int = 4
    #: Its smallest size.
    least_wider: int = 16
    #: Share of the variance of noise with D pixel values that L numbers explain by chance, beyond L/D.
    noise_margin: float = 0.02
    #: Nats per image. A latent that carries less could not distinguish three images (log 3 is 1.1).
    least_rate_nats: float = 1.0
    #: The same, of one level of a hierarchy. A level that carries less could not distinguish two images (log 2 is 0.7).
    least_level_nats: float = 0.7
    #: Share of the run over which the weight of the rate rises. A longer warm-up is not recommended.
    longest_warmup: float = 0.5
    #: Share of active units.
    few_active: float = 0.25
    #: ‖mean image − mean of samples‖² / variance of an image: up to 0.02 if samples resemble images (0.008 by chance
    #: for 128 samples), 0.36 or more if the prior does not match the latents.
    most_sample_shift: float = 0.1
    #: Squared distance of samples to the nearest training image, relative to that of reconstructions: 1 to 2.8 if they
    #: resemble each other, 3.8 or more if the prior does not match the latents.
    most_sample_distance: float = 3.3
    #: Variance of samples about their mean, relative to that of reconstructions: 0.6 to 1.3 if they resemble each
    #: other.
    least_sample_variety: float = 0.25
    #: How strongly samples show their condition, relative to real images: 0.9 or more if the model follows the
    #: condition, 0.4 if the prior draws latents of other images than requested.
    least_obedience: float = 0.6
    #: β s² / mean squared error: the noise that the loss assumes, relative to the actual noise. It is 1 if the scale s
    #: is learned and β is 1.
    most_over_weight: float = 4.0
    #: The same; if β makes it this large, the latent holds less than it could, however much is still explained.
    far_over_weight: float = 10.0
    #: PSNR gap between training and held-out images in dB.
    most_gap_db: float = 3.0
    #: The same; this large, it counts after any number of steps.
    far_gap_db: float = 6.0
    #: Learning rate relative to the recipe's. Below this, a model that has learned nothing was trained too slowly.
    slow_rate: float = 0.25
    #: Quality on held-out images in dB by which the current weights are behind the best epoch.
    most_rise_db: float = 0.5
    #: Share of held-out variance by which the second half of a run improved reconstructions, which is what the last
    #: doubling of the length was worth. The last epochs never add much, because a cosine schedule ends there.
    most_gain: float = 0.04
    #: Share of that gain that counts if a cosine schedule ends without averaged weights. The rest is noise of the
    #: weights that the falling learning rate removes: such runs gained 7 points, where twice the length was worth 2 to
    #: 3.
    share_of_unaveraged_gain: float = 0.5
    #: With fewer steps, training has only begun.
    fewest_steps: int = 300
    #: With fewer passes over the images there is no curve to judge, and overfitting is impossible.
    fewest_epochs: float = 2.0
    #: After this many passes, training longer is not recommended.
    most_epochs: float = 500.0
    #: Largest factor by which a longer run is recommended at once.
    most_longer: float = 10.0


LIMITS = Thresholds()

#: Fields that may be negative, and fields that are at least 1. All others are at least 0.
_SIGNED = (
    *("neighbour_correlation", "explained", "psnr_db", "train_psnr_db", "gain", "rise_db", "obedience"),
    *("elbo_nats", "train_elbo_nats", "rate_nats", "kl_per_dim_nats", "level_rates_nats"),
    *("mutual_information_nats", "mutual_information_at_least_nats", "marginal_kl_nats", "marginal_kl_at_most_nats"),
)
_POSITIVE = ("latent_dim", "values")
_MOST, _MOST_DB = 1e15, 1000.0
_PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Evidence:
    """The numbers that a verdict is based on. None means that the model or the run does not have the number."""

    # Recipe
    has_density: bool  #: False for an autoencoder
    beta: float  #: weight of the rate
    latent_dim: int
    learning_rate: float
    is_scale_fixed: bool  #: for a likelihood with a scale
    free_bits_nats: float
    shift: int
    has_patience: bool
    # Run
    images_seen: int  #: in training, including repeats
    total_images: int  #: planned
    steps: int  #: done
    epochs: float  #: passes over the training images
    is_finished: bool
    # Data: uint8 pixels on the [0, 1] scale
    part: str  #: the part that is held out: val, test, or train if there is none
    train_count: int  #: training images measured
    held_out_count: int  #: held-out images measured
    data_mean: float
    data_std: float  #: of all pixel values
    std_about_mean_image: float  #: square root of the mean over pixels of the variance over images
    distinct: float  #: share of distinct training images
    neighbour_correlation: float  #: of adjacent pixels, in deviations from the mean image
    part_shift: float | None  #: ‖mean of training images − mean of another part‖² / variance of an image; the largest
    part_count: int  #: images of that part that were measured
    # Fit
    explained: float  #: 1 − SSE / Σ(x − mean training image)², on held-out images
    psnr_db: float  #: on held-out images
    train_psnr_db: float
    gain: float | None  #: increase of ``explained`` in the second half of the run
    rise_db: float | None  #: by how much the best epoch was better on held-out images than the current weights
    observation_std: float | None  #: of the likelihood, if it is a single number
    # Models with a density, on held-out images
    elbo_nats: float | None = None
    train_elbo_nats: float | None = None
    rate_nats: float | None = None
    kl_per_dim_nats: tuple[float, ...] | None = None
    level_rates_nats: tuple[float, ...] | None = None  #: of a hierarchy, top first
    active_units: int | None = None
    mutual_information_nats: float | None = None
    marginal_kl_nats: float | None = None
    mutual_information_at_least_nats: float | None = None  #: if there are too few images for an estimate
    marginal_kl_at_most_nats: float | None = None  #: likewise
    # Samples of the prior
    sample_mean: float | None = None
    sample_std: float | None = None
    sample_shift: float | None = None  #: ‖mean of training images − mean of samples‖² / variance of an image
    sample_distance: float | None = None  #: squared, to the nearest training image, relative to reconstructions
    sample_variety: float | None = None  #: variance about their mean, relative to reconstructions
    obedience: float | None = None  #: how strongly samples show their condition, relative to images; the median
    # Table of recipes
    usual_learning_rate: float | None = None
    # Properties of the recipe that a remedy depends on
    is_grid: bool = False  #: latents are on a grid or on levels, so their number depends on the image size
    draws_texture: bool = False  #: the prior draws each number of a latent grid by itself
    is_conditional: bool = False
    has_conditional_prior: bool = False
    is_prior_fitted: bool = False  #: by ``fit-prior``
    can_free_bits: bool = True  #: whether the objective supports free bits
    kl_warmup: float = 0.0  #: share of the run over which the weight of the rate rises
    # More about the data
    values: int | None = None  #: pixel values of an image: C · H · W
    peak: float | None = None  #: mean over images of the largest |x − mean image|
    leaked: float | None = None  #: share of validation or test images that equal a training image; the larger one
    linear_explained: float | None = None  #: by as many principal components as the latent has dimensions, held-out
    wider_explained: float | None = None  #: by four times as many, at least 16

    def to_dict(self) -> dict[str, JsonValue]:
        """Convert to plain JSON values; raises :class:`NotFinite` if a number is not finite."""
        self.check_finite()
        result: dict[str, JsonValue] = json.loads(json.dumps(dataclasses.asdict(self), allow_nan=False))
        return result

    @classmethod
    def from_dict(cls, values: Mapping[str, JsonValue], where: str = "the evidence") -> Evidence:
        """Invert :meth:`to_dict`; raises :class:`UserError` for unknown names, wrong types and values out of range."""
        evidence = record(cls, values, where)
        for name, value in dataclasses.asdict(evidence).items():
            for number in value if isinstance(value, tuple) else (value,):
                is_number = isinstance(number, int | float)
                least = -_MOST if name in _SIGNED else 1 if name in _POSITIVE else 0
                if is_number and not least <= number <= _MOST:
                    raise UserError(f"{where} has {name} = {number}, expected a number from {least:g} to {_MOST:g}")
        if max(abs(evidence.psnr_db), abs(evidence.train_psnr_db)) > _MOST_DB or evidence.part not in _PARTS:
            raise UserError(f"{where} has an impossible part or PSNR")
        return evidence

    def check_finite(self) -> None:
        """Raise :class:`NotFinite` if a number is not finite, because no rule could judge it."""
        for value in vars(self).values():
            parts = value if isinstance(value, tuple) else (value,)
            if any(isinstance(part, float) and not math.isfinite(part) for part in parts):
                raise NotFinite("numbers")

    @property
    def gap_db(self) -> float | None:
        """PSNR of training images minus that of held-out images."""
        return None if self.part == "train" else self.train_psnr_db - self.psnr_db

    @property
    def over_weight(self) -> float | None:
        """β s² / mean squared error of training images: the noise assumed by the loss, relative to the actual noise."""
        if not self.has_density:
            return None
        if self.observation_std is None:  # a likelihood without a single scale states its own uncertainty
            return self.beta
        return self.beta * self.observation_std**2 * 10 ** (self.train_psnr_db / 10)

    @property
    def is_mean_image(self) -> bool:
        """Whether reconstructions are no better than the mean image, although PCA is."""
        is_learnable = self.linear_explained is None or self.linear_explained > self.explained + LIMITS.linear_margin
        return self.explained < LIMITS.mean_image and is_learnable

    @property
    def is_sparse(self) -> bool:
        """Whether a few pixels deviate strongly from the mean image and most do not."""
        return (self.peak or 0.0) > LIMITS.sparse_peak * self.std_about_mean_image

    @property
    def wider_size(self) -> int:
        """Number of principal components of :attr:`wider_explained`."""
        most = min(self.values or math.inf, self.trained_images or math.inf)  # no more can differ
        return int(min(max(LIMITS.least_wider, LIMITS.wider * self.latent_dim), most))

    @property
    def is_plain(self) -> bool:
        """Whether images are almost equal: they differ little, and are neither dim nor sparse."""
        is_related = abs(self.neighbour_correlation) >= LIMITS.noise_correlation
        is_picture = is_related and self.own_contrast >= LIMITS.least_own_contrast
        return self.std_about_mean_image * 255 < LIMITS.least_std_levels and not (is_picture or self.is_sparse)

    @property
    def is_noise(self) -> bool:
        """Whether adjacent pixels are unrelated, and reconstructions explain no more than by chance."""
        chance = LIMITS.mean_image if self.values is None else self.latent_dim / self.values + LIMITS.noise_margin
        is_unrelated = abs(self.neighbour_correlation) < LIMITS.noise_correlation
        return is_unrelated and self.explained < chance and not self.is_sparse

    @property
    def own_contrast(self) -> float:
        """Standard deviation about the mean image relative to that of all pixel values; 0 if constant."""
        return self.std_about_mean_image / self.data_std if self.data_std else 0.0

    @property
    def trained_images(self) -> float:
        """Number of training images, including those that were not measured."""
        return self.images_seen / self.epochs if self.epochs else float(self.train_count)

    @property
    def planned_epochs(self) -> float:
        """Planned passes over the training images."""
        return self.total_images / max(1.0, self.trained_images)

    @property
    def was_patient(self) -> bool:
        """Whether early stopping ended the run because held-out images no longer improved."""
        return self.has_patience and self.is_finished and self.images_seen < self.total_images

    @property
    def is_slow(self) -> bool:
        """Whether the learning rate is far below the recipe's default."""
        return self.learning_rate < LIMITS.slow_rate * (self.usual_learning_rate or 0.0)

    @property
    def most_part_shift(self) -> float:
        """The largest :attr:`part_shift` that may be chance; its average is 1/n + 1/m for n and m images."""
        by_chance = 1 / max(1, self.train_count) + 1 / max(1, self.part_count)
        return LIMITS.most_part_shift + LIMITS.chances * by_chance

    @property
    def unused_levels(self) -> list[int]:
        """Numbers of the levels that carry almost nothing, 1 being the top."""
        rates = self.level_rates_nats or ()
        return [number for number, rate in enumerate(rates, 1) if rate < LIMITS.least_level_nats]

    @property
    def active_share(self) -> float | None:
        """Share of active units."""
        return None if self.active_units is None else self.active_units / self.latent_dim
