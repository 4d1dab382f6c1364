"""The table of recipes. A recipe is a row of plain names and values: prior × posterior × likelihood × objective,
over two networks, and how to train them. ``build`` turns a row into a model; nothing here imports torch.

A value of ``None`` means "chosen from the size and the number of the images" (see ``build.resolve``).
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from vaekit.errors import UserError, nearest

__all__ = [
    "DENSITIES",
    "DESCRIPTIONS",
    "LIKELIHOODS",
    "RECIPES",
    "Recipe",
    "get",
    "override",
    "register",
    "unregister",
    "with_likelihood",
]


#: What describes a recipe and changes nothing of a training.
DESCRIPTIONS = ("summary", "paper", "cost")


@dataclass(frozen=True)
class Recipe:
    """One row: the parts of a model and the way it is trained."""

    name: str
    summary: str = ""  #: one line on what it is good for
    paper: str = ""  #: author, year and equation of the objective
    cost: str = "1"  #: time per image relative to ``vae``
    latent: str = "vector"  #: what a latent is: vector, or codes (words on a grid; posterior vq or fsq)

    net: str = "resnet"  #: mlp, seed-conv or resnet
    hidden: tuple[int, ...] = (200,)  #: widths of the hidden layers (mlp)
    activation: str = "relu"  #: after each of them: relu or tanh (mlp)
    width: int | None = None  #: channels at the finest level (resnet)
    depth: int = 1  #: residual blocks per level (resnet)
    patch: int | None = None  #: side of the pixel blocks that become channels at the input (resnet)
    latent_dim: int | None = None  #: numbers in a latent vector; of codes it follows from the grid
    is_conditional: bool = False  #: both networks are told labels and attributes where they are known
    condition_size: int = 0  #: in how many numbers; it follows from the images
    smallest_grid: int = 4  #: cells along the shorter side below which the grid is not halved (resnet)

    #: normal (diagonal), iaf (a normal moved by an autoregressive flow), point, vq (the nearest of learned vectors in
    #: each cell) or fsq (rounded numbers in each cell)
    posterior: str = "normal"
    code_count: int = 512  #: vectors of posterior=vq
    code_dim: int = 8  #: numbers in each of them
    code_levels: tuple[int, ...] = (8, 8, 8)  #: values of each number of a cell of posterior=fsq
    commitment: float = 0.25  #: weight of how far features are from their vectors, posterior=vq, per cell and variance
    posterior_std_gain: float = 1.0  #: below 1, the posterior's log standard deviation learns that much more slowly
    #: standard-normal, fitted-normal (learned mean and covariance), conditional-normal (of what the model is told),
    #: vamp (the posteriors of learned images), flow (learned and invertible), none (autoencoder); of codes words (each
    #: cell by itself) or autoregressive-words
    prior: str = "standard-normal"
    prior_components: int = 100  #: learned images of the vamp prior
    likelihood: str = "normal"  #: of pixel values: a density, a probability of bytes, or bernoulli (of binary pixels)
    mixture_components: int = 10  #: of the discretized-logistic-mixture
    scale: str = "shared"  #: of a likelihood that has one: fixed, shared (one learned number) or pixel (one per pixel)
    mean: str = "linear"  #: of a likelihood with a scale: linear (0.5 + the output; never saturates) or sigmoid
    fixed_scale: float = 0.5**0.5  #: standard deviation on the [0,1] scale when scale is fixed
    #: elbo, iwae, iwae-dreg (doubly reparameterised gradient), capacity, tc (total correlation), mmd, or distortion
    #: (autoencoder)
    objective: str = "elbo"
    samples: int = 1  #: codes drawn per image in training; the K of iwae
    beta: float = 1.0  #: weight of the rate (Higgins et al. 2017, Eq. 4); 1 is the evidence lower bound
    kl_warmup: float = 0.0  #: fraction of the run over which the weight of the rate rises from 0 to beta
    free_bits_nats: float = (
        0.0  #: rate per dimension, averaged over the batch, that costs nothing (Kingma et al. 2016, Eq. 15)
    )
    capacity_nats: float = 25.0  #: what the rate is led to by objective=capacity (Burgess et al. 2018, Eq. 8)
    capacity_weight: float = 100.0  #: γ, of its distance from there
    tc_weight: float = 6.0  #: β of the total correlation by objective=tc (Chen et al. 2018, Eq. 4)
    mmd_weight: float = 1000.0  #: λ of the squared maximum mean discrepancy by objective=mmd
    code_l2: float = 0.0  #: of half the squared length of a code, by objective=distortion (Ghosh et al. 2020, Eq. 5)
    decoder_l2: float = 0.0  #: of the squared length of the decoder's weights (Ghosh et al. 2020, Eq. 6)
    noise_std: float = 0.0  #: largest noise added to the input, on the [0,1] scale; the target stays clean
    flip: bool = False  #: half of the training images are mirrored left to right; wrong for digits and text
    shift: int = 0  #: training images are moved by up to this many pixels in each direction, their edges repeated
    jitter: float = 0.0  #: brightness, contrast and saturation of training images change by up to this fraction

    epochs: float | None = None  #: passes over the training images
    images_to_train: int = 300_000  #: where no epochs are named, they show about this many images
    fewest_epochs: int = 10  #: but no fewer than these
    start_at_mean: bool = False  #: the decoder of a dense net begins with the mean training image
    batch_size: int | None = None  #: images per step
    learning_rate: float = 1e-3
    schedule: str = "cosine"  #: constant, or cosine: a linear warm-up, then half a cosine down to a hundredth
    warmup: float = 0.02  #: fraction of the steps in which the cosine schedule's learning rate rises
    adam_beta2: float = 0.999  #: of the running mean of squared gradients; a short training wants a shorter memory
    weight_decay: float = 0.0  #: added to the gradient (L2, not decoupled)
    clip_norm: float = 0.0  #: largest norm of the gradient of the loss per pixel value; 0: no clipping
    ema_power: float = 0.0  #: of the weights' moving average (Karras et al. 2024, Eq. 2); 0: none
    reduction: str = "mean"  #: of the loss over the batch: mean, or sum (the seed systems)
    train_on_val: bool = False  #: the validation part is trained on as well

    @property
    def has_bound(self) -> bool:
        """Whether it trains on a bound of log p(x), and not on reconstruction alone."""
        return self.objective != "distortion" and self.posterior != "point"

    @property
    def code_size(self) -> int:
        """Numbers in the vector of a cell, where latents are codes."""
        return self.code_dim if self.posterior == "vq" else len(self.code_levels)

    @property
    def words(self) -> int:
        """How many vectors there are for a cell."""
        return self.code_count if self.posterior == "vq" else math.prod(self.code_levels)

    @property
    def latents(self) -> str:
        """What an image becomes, in words; of a resolved row."""
        if self.latent == "codes":
            return f"{(self.latent_dim or 0) // self.code_size} codes of {self.words} words"
        return f"{self.latent_dim} latent dimensions"

    @property
    def has_density(self) -> bool:
        """Whether images have a rate and a bound by it, whatever it trains on: not by an autoencoder."""
        return self.posterior != "point" and self.prior != "none"

    @property
    def bound_samples(self) -> int:
        """K of the importance-weighted bound that it trains on; 0: on another objective."""
        return self.samples if self.objective.startswith("iwae") else 0

    def to_dict(self) -> dict[str, Any]:
        """The row as plain JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Recipe:
        """The inverse of :meth:`to_dict`; an unknown name is a :class:`UserError`."""
        known = _types()
        for name in row:
            if name not in known:
                raise UserError(f"the recipe value {name!r} is not known; {nearest(name, known)}")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}
        return cls(**values)


#: Of every recipe with the residual net: no step is too large, and the weights are averaged.
_STEADY: dict[str, Any] = {"clip_norm": 1.0, "ema_power": 16.0}
#: Of most with a posterior: its spread learns slowly, the rate comes slowly.
_BOUND: dict[str, Any] = {"posterior_std_gain": 0.125, "kl_warmup": 0.3, **_STEADY}

_ROWS = [
    Recipe(
        "vae",
        summary="the default: a residual network and a learned observation scale; sharp, samples well",
        paper="Kingma & Welling 2014, Eq. 10; learned scale: Rybkin et al. 2021, Eq. 4",
        prior="fitted-normal",
        **_BOUND,
    ),
    Recipe(
        "beta-vae",
        summary="a stronger pull to the prior: smoother, more separate latent directions, blurrier images",
        paper="Higgins et al. 2017, Eq. 4",
        beta=4.0,
        scale="fixed",
        fixed_scale=0.1,
        **_BOUND,
    ),
    Recipe(
        "iwae",
        summary="a tighter bound, of five codes per image, under a standard normal prior; five times the decoding",
        paper="Burda et al. 2016, Eq. 8; gradient: Tucker et al. 2018",
        cost="3",
        posterior_std_gain=0.125,
        objective="iwae-dreg",
        samples=5,
        **_STEADY,
    ),
    Recipe(
        "capacity-vae",
        summary="beta-vae led to a rate of capacity_nats, which rises slowly: separate directions, less blur",
        paper="Burgess et al. 2018, Eq. 8",
        posterior_std_gain=0.125,
        objective="capacity",
        scale="fixed",
        fixed_scale=0.1,
        kl_warmup=0.8,
        **_STEADY,
    ),
    Recipe(
        "beta-tcvae",
        summary="latents that tell nothing of one another: directions that change one thing each",
        paper="Chen et al. 2018, Eq. 4",
        objective="tc",
        tc_weight=150.0,  # 6 where a pixel is Bernoulli, whose deviation is up to 0.5, not 0.1: 25 times as dear
        scale="fixed",
        fixed_scale=0.1,
        batch_size=64,
        **_BOUND,
    ),
    Recipe(
        "info-vae",
        summary="codes that keep what they know of the image: the codes of all images together are held to the prior",
        paper="Zhao et al. 2019, Eq. 6",
        objective="mmd",
        beta=0.1,
        batch_size=64,
        **_BOUND,
    ),
    Recipe(
        "vamp-vae",
        summary="a prior that is the mean of the posteriors of learned images: a better bound, samples of many kinds",
        paper="Tomczak & Welling 2018, Eq. 9",
        cost="2",
        prior="vamp",
        **_BOUND,
    ),
    Recipe(
        "flow-vae",
        summary="a learned, invertible prior: any shape of codes, exact densities, smooth samples",
        paper="Dinh et al. 2017, Eq. 7; as a prior: Chen et al. 2017, Sec. 3.2",
        cost="1.1",
        prior="flow",
        **_BOUND,
    ),
    Recipe(
        "iaf-vae",
        summary="posteriors of any shape, by an inverse autoregressive flow, under a standard normal prior",
        paper="Kingma et al. 2016, Eq. 10 and Algorithm 1",
        cost="1.2",
        posterior="iaf",
        **_BOUND,
    ),
    Recipe(
        "conditional-vae",
        summary="told labels and attributes, where they are known: draw images of a kind, generate --condition",
        paper="Kingma et al. 2014, Eq. 6; Sohn et al. 2015, Eq. 4; parts are hidden as in Ho & Salimans 2021, Sec. 3.2",
        prior="conditional-normal",
        is_conditional=True,
        **_BOUND,
    ),
    Recipe(
        "wae-mmd",
        summary="an autoencoder whose codes together are held to a normal: sharp, and it can be sampled",
        paper="Tolstikhin et al. 2018, Eq. 4 and Algorithm 2",
        posterior="point",
        objective="mmd",
        batch_size=64,
        **_STEADY,
    ),
    Recipe(
        "rae-l2",
        summary="an autoencoder with short codes and a tame decoder; sample it after vaekit fit-prior",
        paper="Ghosh et al. 2020, Eq. 4 to 7",
        posterior="point",
        prior="none",
        objective="distortion",
        code_l2=1.0,
        decoder_l2=1e-3,
        **_STEADY,
    ),
    Recipe(
        "vq-vae",
        summary="each patch one of 512 learned vectors: sharp, compact; samples come from a prior over the words",
        paper="van den Oord et al. 2017, Eq. 3 and Appendix A.1; codes of length 1: Yu et al. 2022, Sec. 3.2",
        cost="1.3",
        latent="codes",
        posterior="vq",
        prior="autoregressive-words",
        smallest_grid=7,
        **_STEADY,
    ),
    Recipe(
        "fsq-vae",
        summary="vq-vae without a codebook: a few numbers per patch, each rounded to a few values; all words get used",
        paper="Mentzer et al. 2024, Sec. 3.1",
        cost="1.3",
        latent="codes",
        posterior="fsq",
        prior="autoregressive-words",
        smallest_grid=7,
        **_STEADY,
    ),
    Recipe(
        "ae",
        summary="a plain autoencoder: the best reconstructions, no density, no samples to trust",
        paper="Hinton & Salakhutdinov 2006",
        posterior="point",
        prior="none",
        objective="distortion",
        **_STEADY,
    ),
    Recipe(
        "denoising-ae",
        summary="an autoencoder that learns to remove noise of any strength up to noise_std",
        paper="Vincent et al. 2010, Eq. 10",
        posterior="point",
        prior="none",
        objective="distortion",
        noise_std=0.5,
        **_STEADY,
    ),
    Recipe(
        "seed-ae",
        summary="founding system A: a dense 784-200-20-200-784 autoencoder for handwritten digits",
        paper="Hinton & Salakhutdinov 2006",
        cost="0.1",
        net="mlp",
        hidden=(200,),
        latent_dim=20,
        posterior="point",
        prior="none",
        scale="fixed",
        mean="sigmoid",
        objective="distortion",
        epochs=10.0,
        batch_size=32,
        learning_rate=2.5e-4,
        schedule="constant",
        reduction="sum",
        train_on_val=True,
    ),
    Recipe(
        "fast-ae",
        summary="the network of seed-ae, trained for speed: one epoch of MNIST is as good as ten of seed-ae",
        paper="Hinton & Salakhutdinov 2006; schedule: Smith & Topin 2019",
        cost="0.1",
        net="mlp",
        hidden=(200,),
        latent_dim=20,
        posterior="point",
        prior="none",
        scale="fixed",
        mean="sigmoid",
        objective="distortion",
        images_to_train=60_000,
        fewest_epochs=1,
        start_at_mean=True,
        batch_size=64,
        learning_rate=0.011,
        warmup=0.2,
        adam_beta2=0.95,
        train_on_val=True,
    ),
    Recipe(
        "seed-vae",
        summary="founding system B: a convolutional VAE for 256x256 faces; blurs, by its fixed scale",
        paper="Kingma & Welling 2014, Eq. 10 and Appendix B",
        cost="3",
        net="seed-conv",
        latent_dim=100,
        scale="fixed",
        mean="sigmoid",
        epochs=10.0,
        batch_size=16,
        learning_rate=1e-4,
        schedule="constant",
        weight_decay=1e-5,
        reduction="sum",
        train_on_val=True,
    ),
]

RECIPES: dict[str, Recipe] = {row.name: row for row in _ROWS}

#: Those that give a density and not a probability: their nats are no bits of anything.
DENSITIES = ("normal", "laplace", "continuous-bernoulli")
LIKELIHOODS = (
    *DENSITIES,
    *("bernoulli", "discretized-logistic", "discretized-logistic-mixture", "discretized-normal", "categorical"),
)

_CHOICES = {
    "latent": ("vector", "codes"),
    "net": ("mlp", "seed-conv", "resnet"),
    "posterior": ("normal", "iaf", "point", "vq", "fsq"),
    "prior": (
        "standard-normal",
        "fitted-normal",
        "conditional-normal",
        "vamp",
        "flow",
        "words",
        "autoregressive-words",
        "none",
    ),
    "likelihood": LIKELIHOODS,
    "scale": ("fixed", "shared", "pixel"),
    "mean": ("linear", "sigmoid"),
    "objective": ("elbo", "iwae", "iwae-dreg", "capacity", "tc", "mmd", "distortion"),
    "activation": ("relu", "tanh"),
    "schedule": ("constant", "cosine"),
    "reduction": ("mean", "sum"),
}
_POSITIVE = (
    *("samples", "prior_components", "smallest_grid", "code_count", "code_dim", "width", "depth", "patch"),
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
    *("condition_size", "noise_std", "shift", "weight_decay", "clip_norm", "ema_power"),
)


def get(name: str) -> Recipe:
    """The row called ``name``; raises :class:`UserError` with the nearest name if there is none.

    >>> get("seed-ae").latent_dim
    20
    """
    if name not in RECIPES:
        raise UserError(f"there is no recipe {name!r}; {nearest(name, RECIPES)}")
    return RECIPES[name]


def register(recipe: Recipe, replace_existing: bool = False) -> Recipe:
    """Adds a row to the table, so that every verb, flag and test knows it; returns it."""
    if recipe.name in RECIPES and not replace_existing:
        raise UserError(f"a recipe {recipe.name!r} exists; give yours another name or pass replace_existing=True")
    RECIPES[recipe.name] = check(recipe)
    return recipe


def unregister(name: str) -> None:
    """Takes a row out of the table."""
    RECIPES.pop(get(name).name)


def override(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """A copy of the row with some values replaced; text is parsed by the type of the field.

    >>> override(get("vae"), {"beta": "4", "hidden": "64,32"}).hidden
    (64, 32)
    """
    known = _types()
    settable = [name for name in known if name not in ("name", *DESCRIPTIONS)]
    parsed = {}
    for name, value in values.items():
        if name not in settable:
            raise UserError(
                f"--set {name}={value}: recipe {recipe.name!r} has no value {name!r}; {nearest(name, settable)}"
            )
        text = ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
        parsed[name] = _parse(name, text, known[name])
    return check(replace(recipe, **parsed))


def with_likelihood(recipe: Recipe, name: str) -> Recipe:
    """A copy of the row with another likelihood, whose scale is learned and whose mean is linear.

    What the row fixes was chosen for its own: a normal of variance 1/2 makes nats of squared errors, a probability of
    that width makes grey pictures.

    >>> with_likelihood(get("seed-vae"), "laplace").scale
    'shared'
    """
    if name == recipe.likelihood:
        return recipe
    scale = "shared" if recipe.scale == "fixed" else recipe.scale
    return check(replace(recipe, likelihood=name, scale=scale, mean="linear"))


def check(recipe: Recipe) -> Recipe:
    """Returns the row if each of its values is within range, else raises :class:`UserError`."""
    for name, choices in _CHOICES.items():
        value = getattr(recipe, name)
        if value not in choices:
            raise UserError(f"{name}={value}: {nearest(str(value), choices)}")
    for name in (*_POSITIVE, *_NOT_NEGATIVE, *_FRACTION):
        _check_range(name, getattr(recipe, name))
    if recipe.adam_beta2 == 1:
        raise UserError("adam_beta2=1: must be below 1, or squared gradients are never averaged")
    if recipe.jitter == 1:
        raise UserError("jitter=1: must be below 1, or an image may turn black")
    if not recipe.hidden or not all(isinstance(h, int) and h > 0 for h in recipe.hidden):
        raise UserError(
            f"hidden={recipe.hidden}: give the widths as positive whole numbers, for example hidden=200,100"
        )
    if not recipe.code_levels or not all(isinstance(n, int) and n > 1 for n in recipe.code_levels):
        raise UserError(
            f"code_levels={recipe.code_levels}: give whole numbers of 2 or more, for example code_levels=8,8,8"
        )
    return recipe


def _check_range(name: str, value: float | None) -> None:
    if value is None:
        return
    if value != value or value in (float("inf"), float("-inf")):
        raise UserError(f"{name}={value}: must be a finite number")
    if name in _POSITIVE and value <= 0:
        raise UserError(f"{name}={value}: must be greater than 0")
    if name in _NOT_NEGATIVE and value < 0:
        raise UserError(f"{name}={value}: must not be negative")
    if name in _FRACTION and not 0 <= value <= 1:
        raise UserError(f"{name}={value}: must lie between 0 and 1")


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
        raise UserError(f"--set {name}={text}: expected {expected}") from error
