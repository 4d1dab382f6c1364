"""The contract of each part that a recipe names: network, posterior, prior, likelihood and objective.

    x (uint8) → encoder → posterior q(z|x) → z → decoder → likelihood p(x|z)

A part is a class. ``from_recipe`` makes one from a resolved recipe. ``refuses`` says in one sentence why the part does
not work with a recipe or an image shape. Class attributes declare what the part needs. Everything except the abstract
methods has a default.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor, nn

from vaekit.config.recipe import Recipe
from vaekit.errors import UserError
from vaekit.model.distributions.base import LatentDistribution, PixelDistribution
from vaekit.model.dry_run import output_for
from vaekit.model.inference import Inference
from vaekit.system.distributed import ALONE, Team

__all__ = [
    "EncodingModel",
    "LatentShape",
    "Likelihood",
    "Network",
    "Objective",
    "Posterior",
    "Prior",
    "Reach",
    "Shape",
    "Terms",
]

Shape = tuple[int, int, int]  #: channels, height and width
#: Of one level: a vector ``(L,)``, a grid ``(channels, rows, columns)``, or vectors of codes ``(rows, columns, D)``.
LatentShape = tuple[int, ...]


@dataclass(frozen=True)
class Reach:
    """How far a network whose latent is a grid looks beyond a cell; its weights do not depend on the image size."""

    downsampling: int  #: side in pixels of the block that a cell stands for
    encoder: int  #: a cell of the latent depends on the pixels of so many cells on each side of it, at most
    decoder: int  #: a pixel depends on so many cells of the latent on each side of its own, at most


class Network(ABC):
    """An encoder and a decoder: two :class:`torch.nn.Module` s from tensors to tensors.

    Args:
        recipe: the resolved recipe, whose values such as ``width`` and ``hidden`` may be used.
    """

    latents: tuple[str, ...] = ("vector",)  #: the kinds of latent it is built for
    latent_settings: tuple[str, ...] = ()  #: the values of a recipe that decide the shapes of grids
    has_batch_norm: bool = False  #: whether it mixes the images of a batch in training
    can_start_at_mean: bool = False  #: whether the decoder is an :class:`~vaekit.model.nets.mlp.MLPDecoder`
    can_be_recorded: bool = False  #: whether its steps are faster when repeated from a recording (vaekit's own only)
    prefers_channels_last: bool = False  #: whether its convolutions are faster in the channels-last format

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    @abstractmethod
    def encoder(self, shape: Shape) -> nn.Module:
        """The module that maps images ``[B, *shape]`` in [0, 1] to features ``[B, F]``."""

    @abstractmethod
    def decoder(self, shape: Shape, latent_dim: int) -> nn.Module:
        """The module that maps latents ``[B, latent_dim]`` to real numbers ``[B, *shape]``.

        ``shape`` has as many channels as the likelihood needs, usually those of the images. ``latent_dim`` includes the
        condition.
        """

    def latent_shapes(self, shape: Shape) -> tuple[LatentShape, ...]:
        """The shape of each level of the latent of an image of ``shape``, top first.

        By default, there is one level, a vector of ``recipe.latent_dim`` numbers. A network whose latents are grids
        returns their sizes. Everywhere else, latents are flat: all levels concatenated, each in row-major order.
        """
        assert self.recipe.latent_dim is not None, "the recipe is resolved"
        return ((self.recipe.latent_dim,),)

    def features(self, encoder: nn.Module, shape: Shape) -> int:
        """The number of features per image of ``shape``. By default, ``encoder`` is called on zeros in eval mode."""
        features = output_for(encoder, shape, f"the encoder of net={self.recipe.net}")
        if features.ndim != 2 or len(features) != 1:
            raise UserError(
                f"net={self.recipe.net}: its encoder returns {list(features.shape)} for images {[1, *shape]}; expected "
                "features [B, F], one row per image: end it with nn.Flatten()"
            )
        return features.shape[1]

    def reach(self) -> Reach | None:
        """Return how far it looks beyond a cell of the grid; by default None, which means as far as the image goes."""
        return None

    @classmethod
    def resolved(cls, recipe: Recipe, shape: Shape) -> Recipe:
        """Fill in the values that the recipe leaves open and this network chooses itself for images of ``shape``."""
        return recipe

    @classmethod
    def refuses(cls, recipe: Recipe, shape: Shape) -> str | None:
        """Say in one sentence why this network does not work with the recipe or with ``shape``; None if it does."""
        return None


class EncodingModel(Protocol):
    """The members of a model that its prior may use."""

    posterior: Posterior

    def encode(self, x: Tensor, condition: Tensor | None = None) -> LatentDistribution:
        """Images ``[B, C, H, W]`` in [0, 1] → their posterior over ``[B, L]``."""


class Posterior(nn.Module, ABC):
    """Features of the encoder ``[B, F]`` → the posterior q(z|x) over latents ``[B, L]``."""

    latent: str = "vector"  #: the kind of latent: vector, grid, levels or codes
    observes: bool = False  #: whether :meth:`observe` does anything
    uses_noise: bool = True  #: whether samples depend on noise
    team: Team = ALONE  #: the processes that share each batch

    @classmethod
    def from_recipe(cls, recipe: Recipe, features: int, shape: Shape) -> Posterior:
        """The posterior of a resolved recipe, for an encoder with ``features`` features per image of ``shape``."""
        return cls(features, recipe.latent_dim)

    @abstractmethod
    def forward(self, features: Tensor) -> LatentDistribution:
        """Features ``[B, F]`` → q(z|x) over ``[B, L]``."""

    def observe(self, qz: LatentDistribution) -> None:
        """Update the state from the posterior of a training batch; called before the loss is computed."""

    def renewed(self, qz: LatentDistribution) -> LatentDistribution:
        """The posterior of the same features after :meth:`observe`."""
        return qz

    @classmethod
    def refuses(cls, recipe: Recipe, shape: Shape) -> str | None:
        """Say in one sentence why this posterior does not work with the recipe or with ``shape``; None if it does."""
        return None


class Prior(nn.Module, ABC):
    """The prior p(z) over latents ``[L]``, or p(z|c) over ``[B, L]``."""

    latents: tuple[str, ...] = ("vector",)  #: the kinds of latent it can be a distribution of
    is_learned: bool = True  #: whether the bound trains it
    is_normal: bool = False  #: whether it is a normal distribution, so that each dimension has a rate
    observes: bool = False  #: whether :meth:`observe` does anything
    starting_images: int = 0  #: number of training images that :meth:`start_from` takes
    team: Team = ALONE  #: the processes that share each batch

    @classmethod
    def from_recipe(cls, recipe: Recipe, shape: Shape) -> Prior:
        """The prior of a resolved recipe for images of ``shape``; by default ``cls(latent_dim)``."""
        return cls(recipe.latent_dim)

    @abstractmethod
    def forward(self, model: EncodingModel, condition: Tensor | None = None) -> LatentDistribution:
        """Return the distribution p(z), or p(z|c).

        Args:
            model: the model, for priors that are computed from its posteriors or codes.
            condition: the conditions of B images ``[B, C]``, or one condition ``[C]``; None if nothing is known.
        """

    def observe(self, qz: LatentDistribution) -> None:
        """Update the state from the posterior of a training batch; called before the loss is computed."""

    def start_from(self, x: Tensor) -> None:
        """Initialize from ``starting_images`` training images ``[N, C, H, W]`` in [0, 1], before the first step."""

    @classmethod
    def refuses(cls, recipe: Recipe, shape: Shape) -> str | None:
        """Say in one sentence why this prior does not work with the recipe or with ``shape``; None if it does."""
        return None


class Likelihood(nn.Module, ABC):
    """The head of the decoder: its output → the likelihood p(x|z)."""

    is_discrete: bool = False  #: as :attr:`PixelDistribution.is_discrete`
    is_binary: bool = False  #: whether it is defined for black and white pixels only
    can_start_at_mean: bool = False  #: whether :meth:`output_of` exists

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> Likelihood:
        """The likelihood of a resolved recipe; by default ``cls()``."""
        return cls()

    @abstractmethod
    def forward(self, output: Tensor) -> PixelDistribution:
        """The decoder's output ``[..., outputs(C), H, W]`` → p(x|z) over ``[..., C, H, W]``."""

    def outputs(self, channels: int) -> int:
        """The number of decoder channels for images with ``channels`` channels."""
        return channels

    def output_of(self, mean: Tensor) -> Tensor:
        """The output ``[outputs(C), H, W]`` whose likelihood has the given mean ``[C, H, W]``."""
        raise NotImplementedError(f"{type(self).__name__} does not know the output of a mean")

    def observation_std(self) -> float | None:
        """The standard deviation on the [0, 1] scale if all pixel values share one; otherwise None."""
        return None

    @classmethod
    def is_unbounded(cls, recipe: Recipe) -> bool:
        """Whether log p(x|z) grows without bound on binary images."""
        return not cls.is_discrete

    @classmethod
    def refuses(cls, recipe: Recipe, shape: Shape) -> str | None:
        """Say in one sentence why this likelihood does not work with the recipe or with ``shape``; None if it does."""
        return None


@dataclass(frozen=True)
class Terms:
    """The loss and its terms per example ``[B]``, in nats; ``rate`` is None without densities."""

    loss: Tensor
    distortion: Tensor
    rate: Tensor | None

    @property
    def elbo(self) -> Tensor | None:
        """−distortion − rate, without the weights of the loss; None without a rate."""
        return None if self.rate is None else -self.distortion - self.rate

    def detach(self) -> Terms:
        """The same values, detached from the graph."""
        return Terms(self.loss.detach(), self.distortion.detach(), None if self.rate is None else self.rate.detach())

    @staticmethod
    def join(parts: Sequence[Terms]) -> Terms:
        """Join the terms of the pieces of a batch."""
        rates = [part.rate for part in parts if part.rate is not None]
        loss, distortion = torch.cat([part.loss for part in parts]), torch.cat([part.distortion for part in parts])
        return Terms(loss, distortion, torch.cat(rates) if rates else None)


class Objective(nn.Module, ABC):
    """An :class:`Inference` → its :class:`Terms`. The penalties of the parts are added to every loss."""

    has_rate: bool = True  #: whether it has a rate; autoencoders have none
    needs_density: bool = True  #: whether posterior and prior must have densities
    uses_beta: bool = False  #: whether it reads ``recipe.beta``
    uses_noise: bool = False  #: whether it reads ``inference.noise``, even if the posterior does not
    compile_remedy: str = ""  #: what to set instead, if ``torch.compile`` breaks its gradient; otherwise empty
    couples_batch: str = ""  #: how it mixes the images of a batch, as the predicate of a sentence; otherwise empty

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> Self:
        """The objective of a resolved recipe; by default ``cls()``."""
        return cls()

    def forward(self, inference: Inference, ramp: Tensor) -> Terms:
        distortion = -over_samples(inference.log_px)
        rate = torch.cat(inference.kl, dim=-1).sum(-1) if self.has_rate and inference.has_density else None
        loss = self.loss(inference, distortion, rate, ramp)
        for penalty in inference.penalties.values():
            loss = loss + penalty
        return Terms(loss, distortion, rate)

    @abstractmethod
    def loss(self, inference: Inference, distortion: Tensor, rate: Tensor | None, ramp: Tensor) -> Tensor:
        """Compute the loss of each example ``[B]``, in nats.

        Args:
            inference: K samples of each of B images.
            distortion: −log p(x|z) ``[B]``, averaged over samples.
            rate: KL(q(z|x)‖p(z)) ``[B]``; None without densities.
            ramp: rises from 0 to 1 over ``recipe.kl_warmup``: the weight of terms that are introduced gradually.
        """

    def loss_of_means(self, distortion: float, rate: float) -> float:
        """The loss after the warm-up for a mean distortion and a mean rate, without terms that depend on more."""
        return distortion + rate

    @classmethod
    def refuses(cls, recipe: Recipe, shape: Shape) -> str | None:
        """Say in one sentence why this objective does not work with the recipe or with ``shape``; None if it does."""
        return None


def over_samples(terms: Tensor) -> Tensor:
    """The mean over the K samples of ``[K, B]``."""
    return terms.squeeze(0) if len(terms) == 1 else terms.mean(0)
