"""The contracts of distributions: over latents, q(z|x) and p(z), and over images, p(x|z).

Everything is in nats, per example, with normalizing constants. ``from_noise(e)`` maps standard normal noise to a
sample, so that the same noise gives the same sample on every device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

__all__ = ["IMAGE_DIMS", "LatentDistribution", "NormalDistribution", "PixelDistribution"]

IMAGE_DIMS = (-3, -2, -1)  #: channels, height and width

_MOMENTS_OF = 64  # samples per dimension


class LatentDistribution(ABC):
    """A distribution over latents z ``[..., L]``: the posterior of a batch of images, or a prior.

    A subclass needs ``mean`` and :meth:`from_noise`, and :meth:`log_prob` unless ``has_density`` is False. The other
    members have defaults.
    """

    has_density: bool = True  #: whether :meth:`log_prob` exists

    if TYPE_CHECKING:

        @property
        def mean(self) -> Tensor:
            """The deterministic latent ``[..., L]``; an attribute or a property."""

    @abstractmethod
    def from_noise(self, noise: Tensor) -> Tensor:
        """Standard normal ``noise`` ``[..., L]`` → a sample of the same shape, reparameterized if possible."""

    def log_prob(self, z: Tensor) -> Tensor:
        """The log density of z ``[..., L]``, nats ``[...]``."""
        raise NotImplementedError(f"{type(self).__name__} has no density")

    def analytic_kl(self, pz: LatentDistribution) -> Tensor | None:
        """KL(self ‖ pz) per dimension ``[B, L]``, nats; None without a closed form, and then it is sampled."""
        return None

    @property
    def moments(self) -> NormalDistribution | None:
        """The normal with the same mean and covariance, for a distribution over ``[L]``; None for codes.

        By default, both are estimated from samples with a fixed seed.
        """
        from vaekit.model.distributions.latent import FullNormal  # it is a subclass of this module's class

        size = self.mean.shape[-1]
        noise = torch.randn(_MOMENTS_OF * size, size, generator=torch.Generator().manual_seed(0)).to(self.mean)
        z = self.from_noise(noise)
        centered = z - z.mean(0)
        return FullNormal.of(z.mean(0), centered.mT @ centered / len(z))

    @property
    def penalties(self) -> Mapping[str, Tensor]:
        """Terms that this posterior adds to any loss, by name: nats per example ``[B]``."""
        return {}

    def detach(self) -> LatentDistribution:
        """The same distribution, detached from the graph; only ``objective=iwae-dreg`` needs it."""
        raise NotImplementedError(f"{type(self).__name__} cannot be detached")

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Join the posteriors of the pieces of a batch; needed if a part observes posteriors."""
        raise NotImplementedError(f"{cls.__name__} cannot be joined")


class NormalDistribution(LatentDistribution):
    """A normal distribution, which maps noise to latents and latents to noise."""

    @property
    @abstractmethod
    def variance(self) -> Tensor:
        """The standard deviation per dimension, in the shape of ``mean``."""

    @abstractmethod
    def to_noise(self, z: Tensor) -> Tensor:
        """The inverse of :meth:`from_noise`."""

    @property
    def moments(self) -> NormalDistribution:
        """The distribution itself."""
        return self


class PixelDistribution(ABC):
    """A distribution over images x ``[..., C, H, W]``, given a batch of latents ``[...]``.

    A subclass needs ``mean``, :meth:`log_prob_map`, and ``is_discrete``.
    """

    #: True: a probability of the 256 values v/255 (or of 0 and 1), reported in bits per dimension. False: a density.
    is_discrete: bool = False
    values_per_pixel: int = 1  #: parameters per pixel value, such as the components of a mixture

    if TYPE_CHECKING:

        @property
        def mean(self) -> Tensor:
            """The expectation of x ``[..., C, H, W]``; an attribute or a property."""

    @abstractmethod
    def log_prob_map(self, x: Tensor) -> Tensor:
        """The log density or log probability of ``x`` in [0, 1] at every pixel value ``[..., C, H, W]``, nats."""

    @property
    def picture(self) -> Tensor:
        """The mean as an image in [0, 1]."""
        return self.mean.clamp(0, 1)

    def log_prob(self, x: Tensor) -> Tensor:
        """The log density or log probability of whole images ``[...]``, nats."""
        return self.log_prob_map(x).sum(IMAGE_DIMS)

    def widening(self, least_scale: float) -> Tensor:
        """The weight of ``log_prob_map``, at most 1, that corresponds to scales of at least ``least_scale``.

        Inpainting uses it to limit the influence of single pixels. It is 1 for a distribution without scales.
        """
        return torch.ones(())
