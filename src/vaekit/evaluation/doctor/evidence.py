"""The numbers that a verdict on a training rests on, and the thresholds they are compared with.

Nothing here opens a file or a model; :mod:`vaekit.evaluation.doctor.examine` gathers the numbers. ``docs/numbers.md``
says which runs the thresholds were chosen on and which they were judged on.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vaekit.errors import NotFinite, UserError
from vaekit.system.schema import record

__all__ = ["LIMITS", "Evidence"]


@dataclass(frozen=True)
class Thresholds:
    """Where health ends, each with its reason."""

    #: Levels of 255, of the standard deviation about the mean image: below two, images differ by rounding alone.
    least_std_levels: float = 2.0
    #: Levels of 255 that an image stands out from the mean image at its brightest or darkest pixel, in standard
    #: deviations about the mean image: 2 to 6 in noise and in photographs, 10 and more where most pixels are empty.
    sparse_peak: float = 10.0
    #: Standard deviation about the mean image over that of all pixel values: below a twentieth, images are one picture
    #: with small changes.
    least_own_contrast: float = 0.05
    #: Training images where none is held out: with fewer nothing can be told but that they are few.
    fewest_images: int = 10
    #: Training images: of fewer, about three are held out, so that no number of held-out images means anything.
    fewest_trained: int = 25
    #: Share of validation or test images that equal a training image: one or two are an accident, more are a mistake in
    #: the split, and held-out numbers are partly those of training images.
    most_leaked: float = 0.02
    #: Share of different images among those trained on: below half, most are copies, and held-out images are few.
    least_distinct: float = 0.5
    #: Correlation of pixels side by side: 0 in noise, 0.3 and more even in digits of 8 by 8 pixels.
    noise_correlation: float = 0.05
    #: ‖mean of training images − mean of held-out‖² over the variance of an image: a little above 0 where both are of
    #: one set; 0.5 is a difference of seven tenths of a standard deviation in every pixel.
    most_part_shift: float = 0.5
    #: How many times the average shift of sets of this size is still chance: few images may differ in brightness alone.
    chances: float = 5.0
    #: Share of held-out variance that reconstructions explain: below this they are the mean image.
    mean_image: float = 0.1
    #: … and below this they lack much, which is an illness where the loss is what keeps it away.
    least_explained: float = 0.7
    #: … and below this most is missing, which is an illness where a linear code of more numbers has it.
    half_explained: float = 0.5
    #: Share of the variance that a linear code of the same size must explain beyond the model before the model is to
    #: blame; a larger one must explain twice that.
    linear_margin: float = 0.1
    #: Numbers of that linear code: so many times those of the latent …
    wider: int = 4
    #: … and so many at least.
    least_wider: int = 16
    #: Share of the variance that L numbers explain of noise of D pixel values, beyond L/D, by chance.
    noise_margin: float = 0.02
    #: Nats per image: a code that says less could not tell three images apart (log 3 is 1.1).
    least_rate_nats: float = 1.0
    #: Share of the units of a code that are active.
    few_active: float = 0.25
    #: ‖mean image − mean of samples‖² over the variance of an image: up to 0.02 where samples are like images (128 of
    #: them give 0.008 by chance), 0.36 and more where the prior is elsewhere than the codes.
    most_sample_shift: float = 0.1
    #: Squared distance of samples to the nearest training image, over that of reconstructions: 1 to 2.8 where they are
    #: alike, 3.8 and more where the prior is elsewhere than the codes.
    most_sample_distance: float = 3.3
    #: Variance of samples about their mean over that of reconstructions: 0.6 to 1.3 where they are alike.
    least_sample_variety: float = 0.25
    #: What samples show of the condition they were drawn with, over what real images show of theirs: 0.9 and more where
    #: a model obeys, 0.4 where the prior draws codes of another kind of image than was asked for.
    least_obedience: float = 0.6
    #: β s² over the mean squared error: the noise that the loss allows for over what there is. 1 where the scale s is
    #: learned and β is 1.
    most_over_weight: float = 4.0
    #: … and where β makes it so large, no code holds what it could, however much is still explained.
    far_over_weight: float = 10.0
    #: dB of PSNR by which training images are reconstructed better than held-out ones.
    most_gap_db: float = 3.0
    #: … and by which they are so after any number of steps: no beginning looks like that.
    far_gap_db: float = 6.0
    #: Times the recipe's learning rate below which a model that has learnt nothing was not given the chance to.
    slow_rate: float = 0.25
    #: dB of quality on held-out images that the weights in use are behind the best epoch.
    most_rise_db: float = 0.5
    #: Share of held-out variance that the second half of a run may have added to what reconstructions explain: what the
    #: last doubling of the length was worth. The last epochs add little however short a run was: a cosine ends there.
    most_gain: float = 0.04
    #: Share of that gain which counts where a cosine ends without averaged weights: the rest is noise of the weights,
    #: which the falling learning rate takes away. Such runs showed 7 points; twice the length was worth 2 to 3.
    share_of_unaveraged_gain: float = 0.5
    #: Fewer steps are a beginning.
    fewest_steps: int = 300
    #: Fewer passes over the images give no curve to judge from, and nothing can have been learnt by heart.
    fewest_epochs: float = 2.0
    #: After so many passes, more of the same are no remedy.
    most_epochs: float = 500.0
    #: Times the length of a run that may be asked for at once.
    most_longer: float = 10.0


LIMITS = Thresholds()

#: Which numbers of the evidence may be negative, and which are at least 1. All others are not negative.
_SIGNED = (
    *("neighbour_correlation", "explained", "psnr_db", "train_psnr_db", "gain", "rise_db"),
    *("elbo_nats", "train_elbo_nats", "rate_nats", "kl_per_dim_nats"),
    *("mutual_information_nats", "mutual_information_at_least_nats", "marginal_kl_nats", "marginal_kl_at_most_nats"),
)
_POSITIVE = ("latent_dim", "values")
_MOST, _MOST_DB = 1e15, 1000.0
_PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Evidence:
    """The numbers that a verdict rests on. None: the model or the run has no such number."""

    # Of the recipe
    has_density: bool  #: not of an autoencoder
    beta: float  #: weight of the rate
    latent_dim: int
    learning_rate: float
    is_scale_fixed: bool  #: that of a likelihood which has one
    free_bits_nats: float
    shift: int
    has_patience: bool
    # Of the run
    images_seen: int  #: in training, repeats counted
    total_images: int  #: that the run was to see
    steps: int  #: taken
    epochs: float  #: passes over the training images
    is_finished: bool
    # Of the data: uint8 pixels on the [0, 1] scale
    part: str  #: that is held out: val, test, or train where there is none
    train_count: int  #: training images measured
    held_out_count: int  #: held-out images measured
    data_mean: float
    data_std: float  #: of all pixel values
    std_about_mean_image: float  #: √ of the mean over pixels of the variance over images
    distinct: float  #: share of different images among those trained on
    neighbour_correlation: float  #: of deviations from the mean image, of pixels side by side
    part_shift: float | None  #: ‖mean of training images − mean of another part‖² / variance of an image, the largest
    part_count: int  #: images of that part that were looked at
    # Of the fit
    explained: float  #: 1 − SSE / Σ(x − mean training image)², on held-out images
    psnr_db: float  #: on held-out images
    train_psnr_db: float
    gain: float | None  #: what the second half of the run added to ``explained``
    rise_db: float | None  #: that the best epoch was better on held-out images than the weights in use
    observation_std: float | None  #: of the likelihood, where it is one number
    # Of a model with a density, on held-out images
    elbo_nats: float | None = None
    train_elbo_nats: float | None = None
    rate_nats: float | None = None
    kl_per_dim_nats: tuple[float, ...] | None = None
    active_units: int | None = None
    mutual_information_nats: float | None = None
    marginal_kl_nats: float | None = None
    mutual_information_at_least_nats: float | None = None  #: where the images are too few to tell it
    marginal_kl_at_most_nats: float | None = None  #: likewise
    # Of samples of the prior
    sample_mean: float | None = None
    sample_std: float | None = None
    sample_shift: float | None = None  #: ‖mean of training images − mean of samples‖² / variance of an image
    sample_distance: float | None = None  #: squared, to the nearest training image, over that of reconstructions
    sample_variety: float | None = None  #: variance about their mean, over that of reconstructions
    obedience: float | None = None  #: what samples show of their condition over what images do; the median
    # Of the table of recipes
    usual_learning_rate: float | None = None
    # What a remedy must know of the recipe
    is_grid: bool = False  #: latents are codes on a grid, whose number follows from the image
    is_conditional: bool = False
    has_conditional_prior: bool = False
    is_prior_fitted: bool = False  #: by ``fit-prior``
    can_free_bits: bool = True  #: the objective has free bits
    # Of the data again
    values: int | None = None  #: pixel values of an image: C · H · W
    peak: float | None = None  #: mean over images of the largest |x − mean image|
    leaked: float | None = None  #: share of validation or test images that equal a training image, the larger
    linear_explained: float | None = None  #: of held-out images, by principal components, as many as the latent has
    wider_explained: float | None = None  #: … by four times as many, 16 at least

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; raises :class:`NotFinite` if a number is not finite."""
        self.check_finite()
        return json.loads(json.dumps(dataclasses.asdict(self), allow_nan=False))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "the evidence") -> Evidence:
        """The inverse of :meth:`to_dict`; raises :class:`UserError` for other names, types and ranges."""
        found = record(cls, values, where)
        for name, value in dataclasses.asdict(found).items():
            for each in value if isinstance(value, tuple) else (value,):
                is_number = isinstance(each, int | float)
                least = -_MOST if name in _SIGNED else 1 if name in _POSITIVE else 0
                if is_number and not least <= each <= _MOST:
                    raise UserError(f"{where} has {name} = {each}, expected a number from {least:g} to {_MOST:g}")
        if max(abs(found.psnr_db), abs(found.train_psnr_db)) > _MOST_DB or found.part not in _PARTS:
            raise UserError(f"{where} has a part or a PSNR that no run has")
        return found

    def check_finite(self) -> None:
        """Raises :class:`NotFinite` if a number is not finite: no rule could judge it."""
        for value in vars(self).values():
            parts = value if isinstance(value, tuple) else (value,)
            if any(isinstance(each, float) and not math.isfinite(each) for each in parts):
                raise NotFinite("numbers")

    @property
    def gap_db(self) -> float | None:
        """PSNR of training images less that of held-out ones."""
        return None if self.part == "train" else self.train_psnr_db - self.psnr_db

    @property
    def over_weight(self) -> float | None:
        """β s² / mean squared error of training images: the noise that the loss allows for over what there is."""
        if not self.has_density:
            return None
        if self.observation_std is None:  # a likelihood without one scale says itself how sure it is
            return self.beta
        return self.beta * self.observation_std**2 * 10 ** (self.train_psnr_db / 10)

    @property
    def is_mean_image(self) -> bool:
        """Whether reconstructions are no better than the mean image, though there is more to explain."""
        is_learnable = self.linear_explained is None or self.linear_explained > self.explained + LIMITS.linear_margin
        return self.explained < LIMITS.mean_image and is_learnable

    @property
    def is_sparse(self) -> bool:
        """Whether single pixels stand out from the mean image, and most do not."""
        return (self.peak or 0.0) > LIMITS.sparse_peak * self.std_about_mean_image

    @property
    def wider_size(self) -> int:
        """Numbers of the linear code that :attr:`wider_explained` is of."""
        return max(LIMITS.least_wider, LIMITS.wider * self.latent_dim)

    @property
    def is_plain(self) -> bool:
        """Whether images are all but equal: they differ by little, and not as dim or sparse pictures do."""
        is_related = abs(self.neighbour_correlation) >= LIMITS.noise_correlation
        is_picture = is_related and self.own_contrast >= LIMITS.least_own_contrast
        return self.std_about_mean_image * 255 < LIMITS.least_std_levels and not (is_picture or self.is_sparse)

    @property
    def is_noise(self) -> bool:
        """Whether pixels have nothing to do with their neighbors, and reconstructions show no more than by chance."""
        chance = LIMITS.mean_image if self.values is None else self.latent_dim / self.values + LIMITS.noise_margin
        is_unrelated = abs(self.neighbour_correlation) < LIMITS.noise_correlation
        return is_unrelated and self.explained < chance and not self.is_sparse

    @property
    def own_contrast(self) -> float:
        """Standard deviation about the mean image over that of all pixel values; 0 where nothing varies."""
        return self.std_about_mean_image / self.data_std if self.data_std else 0.0

    @property
    def trained_images(self) -> float:
        """Training images, those that were not measured too."""
        return self.images_seen / self.epochs if self.epochs else float(self.train_count)

    @property
    def planned_epochs(self) -> float:
        """Passes over the training images that the run was to make."""
        return self.total_images / max(1.0, self.trained_images)

    @property
    def was_patient(self) -> bool:
        """Whether ``patience`` ended the run early: held-out images got no better."""
        return self.has_patience and self.is_finished and self.images_seen < self.total_images

    @property
    def is_slow(self) -> bool:
        """Whether the learning rate is far below what the recipe has by itself."""
        return self.learning_rate < LIMITS.slow_rate * (self.usual_learning_rate or 0.0)

    @property
    def most_part_shift(self) -> float:
        """The largest :attr:`part_shift` that may be chance: on average it is 1/n + 1/m for n and m images."""
        by_chance = 1 / max(1, self.train_count) + 1 / max(1, self.part_count)
        return LIMITS.most_part_shift + LIMITS.chances * by_chance

    @property
    def active_share(self) -> float | None:
        """Share of the units that are active."""
        return None if self.active_units is None else self.active_units / self.latent_dim
