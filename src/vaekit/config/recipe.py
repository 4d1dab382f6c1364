"""A recipe: plain values that name prior, posterior, likelihood, objective and networks, and how they are trained.

``None`` means that the value follows from the images and the other values (:func:`vaekit.model.factory.resolve`).
This module does not import torch.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from vaekit.config import parts
from vaekit.errors import UserError, argument, nearest
from vaekit.system.arguments import checked, checked_fields
from vaekit.system.schema import record

__all__ = ["DENSITIES", "DESCRIPTIONS", "LATENTS", "LIKELIHOODS", "Recipe", "check", "override", "with_likelihood"]


#: Fields that describe a recipe and do not change a training.
DESCRIPTIONS = ("summary", "paper", "cost")


@dataclass(frozen=True)
class Recipe:
    """One row: the parts of a model, and how it is trained."""

    name: str
    summary: str = ""  #: one line on what it is good for
    paper: str = ""  #: author, year and equation of the objective
    cost: str = "1"  #: time per image relative to ``vae``
    #: vector, grid (a vector in each cell of a grid), levels (a hierarchy: a small latent, then finer grids) or codes
    #: (a grid of indices into a codebook; needs posterior vq or fsq)
    latent: str = "vector"

    net: str = "resnet"  #: mlp, seed-conv, resnet, ladder or grid
    hidden: tuple[int, ...] = (200,)  #: widths of the hidden layers (mlp)
    activation: str = "relu"  #: of the hidden layers: relu or tanh (mlp)
    width: int | None = None  #: channels at the finest level (resnet, ladder, grid)
    depth: int = 1  #: residual blocks per level (resnet, grid), or before each group of latents (ladder)
    patch: int | None = None  #: side of the pixel blocks that become channels at the input (resnet, ladder, grid)
    latent_dim: int | None = None  #: dimensions of the latent vector; it follows for other kinds of latent
    is_conditional: bool = False  #: encoder and decoder are conditioned on the labels and attributes that are known
    condition_size: int = 0  #: numbers in that condition; it follows from the images
    smallest_grid: int = 4  #: cells along the shorter side below which the grid is not halved (resnet, ladder)
    downsampling: int | None = None  #: pixels along a side of what a cell of the latent stands for: 4, 8 or 16 (grid)
    latent_channels: int | None = None  #: numbers in each cell of the latent (grid), or of a group of latents (ladder)
    top_latents: int = 32  #: dimensions of the vector at the top of a hierarchy (ladder)
    level_groups: int = 2  #: groups of latents on each grid, each conditioned on those before it (ladder)

    #: normal (diagonal), grid-normal (diagonal, in each cell of a grid), ladder (diagonal, on each level given those
    #: above), iaf (a normal transformed by an inverse autoregressive flow), point (one point, without a density), vq
    #: (the nearest vector of a codebook in each cell) or fsq (rounded numbers in each cell)
    posterior: str = "normal"
    code_count: int = 512  #: vectors in the codebook (vq)
    code_dim: int = 8  #: dimensions of each vector (vq)
    code_levels: tuple[int, ...] = (8, 8, 8)  #: levels of each number in a cell (fsq)
    commitment: float = 0.25  #: nats per cell and squared distance of its features from their vector (vq)
    posterior_std_gain: float = 1.0  #: factor of the learning rate of the posterior's log standard deviation
    #: scale of the initial weights of the posterior's mean below the top level; 0 starts at the prior (ladder)
    posterior_mean_gain: float | None = 0.0
    #: standard-normal, fitted-normal (learned mean and covariance), conditional-normal (depends on the condition),
    #: ladder (a normal on each level, given those above), vamp (a mixture of the posteriors of learned images), flow (a
    #: normalizing flow) or none (autoencoder); for codes words (independent cells) or autoregressive-words
    prior: str = "standard-normal"
    prior_components: int = 100  #: learned images (vamp)
    likelihood: str = "normal"  #: of the pixel values: a density, a probability of bytes, or bernoulli (binary pixels)
    mixture_components: int = 10  #: components of the discretized-logistic-mixture
    scale: str = "shared"  #: of the likelihood: fixed, shared (one learned number) or pixel (one per pixel)
    mean: str = "linear"  #: of the likelihood: linear (0.5 + the output, never saturates) or sigmoid
    fixed_scale: float = 0.5**0.5  #: standard deviation on the [0, 1] scale (scale=fixed)
    #: elbo, iwae, iwae-dreg (doubly reparameterized gradient), capacity, tc (total correlation), mmd, or distortion
    #: (autoencoder)
    objective: str = "elbo"
    samples: int = 1  #: posterior samples per image in training; the K of iwae
    beta: float = 1.0  #: weight of the rate (Higgins et al. 2017, Eq. 4); 1 gives the evidence lower bound
    kl_warmup: float = 0.0  #: fraction of the run over which the weight of the rate rises from 0 to beta
    #: mean rate that costs nothing, per dimension (Kingma et al. 2016, Eq. 15), or per level of a hierarchy
    free_bits_nats: float = 0.0
    capacity_nats: float = 25.0  #: target of the rate (capacity; Burgess et al. 2018, Eq. 8)
    capacity_weight: float = 100.0  #: γ, the weight of the distance from that target (capacity)
    tc_weight: float = 6.0  #: β, the weight of the total correlation (tc; Chen et al. 2018, Eq. 4)
    mmd_weight: float = 1000.0  #: λ, the weight of the squared maximum mean discrepancy (mmd)
    code_l2: float = 0.0  #: weight of half the squared length of a latent (distortion; Ghosh et al. 2020, Eq. 5)
    decoder_l2: float = 0.0  #: weight of the squared length of the decoder's weights (Ghosh et al. 2020, Eq. 6)
    noise_std: float = 0.0  #: largest noise added to the input, on the [0, 1] scale; the target stays clean
    flip: bool = False  #: mirror half of the training images left to right; wrong for digits and text
    shift: int = 0  #: move training images by up to this many pixels in each direction, repeating their edges
    jitter: float = 0.0  #: change brightness, contrast and saturation of training images by up to this fraction

    epochs: float | None = None  #: passes over the training images
    images_to_train: int = 300_000  #: without epochs, about this many images are seen
    fewest_epochs: int = 10  #: but at least this many epochs
    start_at_mean: bool = False  #: start the decoder at the mean training image (mlp)
    batch_size: int | None = None  #: images per step
    learning_rate: float = 1e-3  #: peak learning rate of Adam
    schedule: str = "cosine"  #: constant, or cosine: a linear warm-up, then half a cosine down to a hundredth
    warmup: float = 0.02  #: fraction of the steps in which the learning rate rises (cosine)
    adam_beta2: float = 0.999  #: Adam's β₂; a short training needs a smaller one
    weight_decay: float = 0.0  #: L2 penalty added to the gradient, not decoupled
    clip_norm: float = 0.0  #: largest norm of the gradient of the loss per pixel value; 0 turns clipping off
    ema_power: float = 0.0  #: power of the moving average of the weights (Karras et al. 2024, Eq. 2); 0 turns it off
    reduction: str = "mean"  #: of the loss over the batch: mean, or sum (the original systems)
    train_on_val: bool = False  #: train on the validation part too

    @property
    def has_bound(self) -> bool:
        """Whether the loss is based on a bound on log p(x), not on reconstruction only."""
        return parts.trains_on_bound(self.objective) and self.posterior != "point"

    @property
    def code_size(self) -> int:
        """Dimensions of the vector in a cell, for codes."""
        return self.code_dim if self.posterior == "vq" else len(self.code_levels)

    @property
    def codebook_size(self) -> int:
        """The number of vectors that a cell can take."""
        return self.code_count if self.posterior == "vq" else math.prod(self.code_levels)

    @property
    def latents(self) -> str:
        """A description of the latent; the recipe must be resolved."""
        if self.latent == "codes":
            return f"{(self.latent_dim or 0) // self.code_size} codes, each one of {self.codebook_size:,}"
        where = {"grid": " on a grid", "levels": " on several levels"}
        return f"{self.latent_dim} latent dimensions{where.get(self.latent, '')}"

    @property
    def can_draw(self) -> bool:
        """Whether it has a prior to sample new latents from."""
        return self.prior != "none"

    @property
    def has_normal_prior(self) -> bool:
        """Whether its prior is one of vaekit's normal distributions, or normal at each level."""
        return self.prior in ("standard-normal", "fitted-normal", "conditional-normal", "ladder")

    @property
    def has_density(self) -> bool:
        """Whether images have a rate and a bound, whatever the objective; False for autoencoders."""
        return self.posterior != "point" and self.prior != "none"

    @property
    def bound_samples(self) -> int:
        """K of the importance-weighted bound; 0 for other objectives."""
        return self.samples if self.objective in ("iwae", "iwae-dreg") else 0

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any], where: str = "the recipe") -> Recipe:
        """Invert :meth:`to_dict`.

        Raises:
            UserError: If a name is unknown, or a value has another type or is out of range. It names ``where``.
        """
        recipe = record(cls, row, where, "recipe.")
        try:
            return check(recipe)
        except UserError as error:
            raise UserError(f"{where}: recipe.{error}") from error


#: Likelihoods of vaekit, and those that are densities, which have no bits per dimension.
LIKELIHOODS = parts.names("likelihood")
DENSITIES = LIKELIHOODS[:3]

LATENTS = ("vector", "grid", "levels", "codes")  #: kinds of latent

_CHOICES = {
    "latent": LATENTS,
    "scale": ("fixed", "shared", "pixel"),
    "mean": ("linear", "sigmoid"),
    "activation": ("relu", "tanh"),
    "schedule": ("constant", "cosine"),
    "reduction": ("mean", "sum"),
}
_PARTS = ("net", "posterior", "prior", "likelihood", "objective")
_POSITIVE = (
    *("samples", "prior_components", "smallest_grid", "code_count", "code_dim", "width", "depth", "patch"),
    *("downsampling", "latent_channels", "top_latents", "level_groups"),
    *("latent_dim", "posterior_std_gain", "fixed_scale", "mixture_components"),
    *("epochs", "images_to_train", "fewest_epochs", "batch_size", "learning_rate"),
)
_FRACTION = ("kl_warmup", "warmup", "adam_beta2", "jitter")
_NOT_NEGATIVE = (
    "condition_size",
    *(
        "beta",
        "commitment",
        "free_bits_nats",
        "capacity_nats",
        "capacity_weight",
        "tc_weight",
        "mmd_weight",
        "code_l2",
        "decoder_l2",
    ),
    *("posterior_mean_gain", "noise_std", "shift", "weight_decay", "clip_norm", "ema_power"),
)
#: The largest values. Sizes beyond these are a mistake or a damaged file: a network of a million layers would take
#: hours to build before it ran out of memory. Numbers beyond these leave float32 when they are multiplied.
_MOST: dict[str, float] = {
    "samples": 10_000,
    "prior_components": 10_000,
    "smallest_grid": 512,
    "code_count": 2**20,
    "code_dim": 1024,
    "width": 4096,
    "depth": 100,
    "patch": 512,
    "downsampling": 512,
    "latent_dim": 2**20,
    "latent_channels": 1024,
    "top_latents": 2**16,
    "level_groups": 100,
    "condition_size": 2**20,
    "mixture_components": 256,
    "shift": 2**16,
    "learning_rate": 10,  # a step of Adam changes each weight by about this much; useful values are far smaller
    "noise_std": 10,  # pixel values are between 0 and 1; useful values are far smaller
    **dict.fromkeys(("images_to_train", "fewest_epochs", "batch_size"), 2**53),
    **dict.fromkeys(("posterior_std_gain", "posterior_mean_gain", "fixed_scale"), 1000.0),
    **dict.fromkeys(("epochs", "beta", "commitment", "free_bits_nats", "capacity_nats"), 1e9),
    **dict.fromkeys(("capacity_weight", "tc_weight", "mmd_weight", "code_l2", "decoder_l2"), 1e9),
    **dict.fromkeys(("weight_decay", "clip_norm", "ema_power"), 1e9),
}
_MOST_LAYERS, _WIDEST_LAYER = 100, 2**16  # of a dense network
_MOST_LEVELS, _MOST_CODES = 1024, 2**20  # levels of a number, and codes in all (posterior=fsq)


@checked
def override(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """Return a copy with some values replaced; text is parsed by the type of the field.

    >>> override(Recipe("mine"), {"beta": "4", "hidden": "64,32"}).hidden
    (64, 32)
    """
    known = _types()
    settable = [name for name in known if name not in ("name", "condition_size", *DESCRIPTIONS)]
    parsed = {}
    for name, value in values.items():
        if name not in settable:
            raise UserError(
                f"{argument('settings')} {name}={value}: a recipe has no value {name!r}; {nearest(name, settable)}"
            )
        text = ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
        parsed[name] = _parse(name, text, known[name])
    return check(replace(recipe, **parsed))


@checked
def with_likelihood(recipe: Recipe, name: str) -> Recipe:
    """Return a copy with another likelihood, whose scale is learned and whose mean is linear.

    A fixed scale fits only one likelihood: a normal with variance 1/2 turns squared errors into nats, but a probability
    of that width gives gray pictures.

    >>> with_likelihood(Recipe("mine", scale="fixed"), "laplace").scale
    'shared'
    """
    if name == recipe.likelihood:
        return recipe
    scale = "shared" if recipe.scale == "fixed" else recipe.scale
    return check(replace(recipe, likelihood=name, scale=scale, mean="linear"))


@checked
def check(recipe: Recipe) -> Recipe:
    """Return the recipe; raises :class:`UserError` if a value has another type or is out of range."""
    recipe = checked_fields(recipe)
    for name in (*_CHOICES, *_PARTS):
        value = getattr(recipe, name)
        if name in _CHOICES and value not in _CHOICES[name]:
            raise UserError(f"{argument(name, value)}: {nearest(str(value), _CHOICES[name])}")
        if name in _PARTS and value not in parts.names(name):
            raise UserError(f"{argument(name, value)}: {parts.expected(name, str(value))}")
    for name in (*_POSITIVE, *_NOT_NEGATIVE, *_FRACTION):
        _check_range(name, getattr(recipe, name))
    if recipe.adam_beta2 == 1:
        raise UserError(
            f"{argument('adam_beta2', 1)}: must be below 1, because squared gradients would never be averaged"
        )
    if recipe.jitter == 1:
        raise UserError(f"{argument('jitter', 1)}: must be below 1, because an image could turn black")
    hidden, levels = recipe.hidden, recipe.code_levels
    if (
        not hidden
        or not all(isinstance(h, int) and 0 < h <= _WIDEST_LAYER for h in hidden)
        or len(hidden) > _MOST_LAYERS
    ):
        raise UserError(
            f"{argument('hidden', _short(hidden))}: expected positive widths, for example hidden=200,100; at most "
            f"{_MOST_LAYERS} layers of {_WIDEST_LAYER:,}"
        )
    are_levels = all(isinstance(n, int) and 1 < n <= _MOST_LEVELS for n in levels)
    if not levels or not are_levels or math.prod(levels) > _MOST_CODES:
        raise UserError(
            f"{argument('code_levels', _short(levels))}: expected whole numbers of 2 or more, for example "
            "code_levels=8,8,8; at most "
            f"{_MOST_CODES:,} codes"
        )
    return recipe


def _check_range(name: str, value: float | None) -> None:
    if value is None:
        return
    if value != value or value in (float("inf"), float("-inf")):
        raise UserError(f"{argument(name, value)}: must be a finite number")
    if name in _POSITIVE and value <= 0:
        raise UserError(f"{argument(name, value)}: must be greater than 0")
    if name in _NOT_NEGATIVE and value < 0:
        raise UserError(f"{argument(name, value)}: must not be negative")
    if name in _FRACTION and not 0 <= value <= 1:
        raise UserError(f"{argument(name, value)}: must be between 0 and 1")
    if name in _MOST and value > _MOST[name]:
        raise UserError(f"{argument(name, _short(value))}: must be at most {_MOST[name]:,}")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:60] + "…"


def _types() -> dict[str, Any]:
    return typing.get_type_hints(Recipe)


def _parse(name: str, text: str, kind: Any) -> Any:
    if typing.get_origin(kind) is types.UnionType:
        if text.lower() in ("none", "auto"):
            return None
        kind = next(k for k in typing.get_args(kind) if k is not type(None))
    try:
        if typing.get_origin(kind) is tuple:
            return tuple(int(part) for part in text.split(",") if part.strip())
        if kind is bool:
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]
        return kind(text)
    except (ValueError, KeyError) as error:
        expected = {int: "a whole number", float: "a number", bool: "true or false"}.get(
            kind, "whole numbers, as in 200,100"
        )
        raise UserError(f"{argument(name, text)}: expected {expected}") from error
