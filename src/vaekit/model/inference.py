"""The interface of a model: its input, and the record that objectives, evaluation and tools read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor

from vaekit.model.distributions.base import LatentDistribution, PixelDistribution

__all__ = ["Batch", "Inference", "Level", "sum_levels"]


@dataclass(frozen=True)
class Batch:
    """The input of a model: images ``[B, C, H, W]`` in [0, 1], and the target if it differs."""

    x: Tensor
    target: Tensor | None = None  #: the clean images when ``x`` is noisy
    condition: Tensor | None = None  #: ``[B, C]``: labels and attributes (:mod:`vaekit.model.conditioning`)

    def split(self, size: int) -> list[Batch]:
        """Split into pieces of at most ``size`` images; an empty batch gives one empty piece."""
        x = self.x.split(size)
        nothing: list[Tensor | None] = [None] * len(x)
        targets = nothing if self.target is None else self.target.split(size)
        conditions = nothing if self.condition is None else self.condition.split(size)
        return [Batch(*piece) for piece in zip(x, targets, conditions, strict=True)]


@dataclass(frozen=True)
class Level:
    """One level of the latent: a sample ``z`` ``[K, B, L]``, its posterior, and its prior (None for an autoencoder).

    Below the top level of a hierarchy, posterior and prior are conditioned on the sample of the levels above:
    q(zᵢ | z₍₁..ᵢ₋₁₎, x) and p(zᵢ | z₍₁..ᵢ₋₁₎), both over ``[K, B, L]``.
    """

    z: Tensor
    qz: LatentDistribution
    pz: LatentDistribution | None

    @property
    def log_qz(self) -> Tensor:
        """log q(z|x) ``[K, B]``."""
        return self.qz.log_prob(self.z)

    @property
    def log_pz(self) -> Tensor:
        """log p(z) ``[K, B]``."""
        return self.prior.log_prob(self.z)

    @property
    def kl(self) -> Tensor:
        """KL(q(z|x)‖p(z)) per dimension ``[B, L]`` if it has a closed form, otherwise a sampled one ``[B, 1]``.

        Below the top level, it is the mean over the K samples of the levels above.
        """
        analytic = self.qz.analytic_kl(self.prior)
        if analytic is None:
            return (self.log_qz - self.log_pz).mean(0).unsqueeze(-1)
        return analytic.mean(0) if analytic.ndim == self.z.ndim else analytic

    @property
    def prior(self) -> LatentDistribution:
        """The prior; only for models that have one."""
        assert self.pz is not None, "an autoencoder has no prior"
        return self.pz


@dataclass(frozen=True, eq=False)
class Inference:
    """The result of :meth:`~vaekit.model.latent_model.LatentModel.infer` for K samples of each of B images.

    Terms are computed on access, in nats per example, with all constants.
    """

    levels: tuple[Level, ...]
    px: PixelDistribution  #: p(x|z) over ``[K, B, C, H, W]``
    target: Tensor  #: the expected output ``[B, C, H, W]``
    noise: Tensor  #: the standard normal noise ``[K, B, L]`` behind the samples
    penalties: Mapping[str, Tensor] = field(default_factory=dict)  #: terms that parts add to any loss, nats ``[B]``

    @cached_property
    def log_px(self) -> Tensor:
        """log p(x|z) ``[K, B]``."""
        return self.px.log_prob(self.target)

    @cached_property
    def log_qz(self) -> Tensor:
        """log q(z|x) ``[K, B]``, summed over levels."""
        return sum_levels([level.log_qz for level in self.levels])

    @cached_property
    def log_pz(self) -> Tensor:
        """log p(z) ``[K, B]``, summed over levels."""
        return sum_levels([level.log_pz for level in self.levels])

    @cached_property
    def kl(self) -> tuple[Tensor, ...]:
        """:attr:`Level.kl` of each level."""
        return tuple(level.kl for level in self.levels)

    @property
    def has_density(self) -> bool:
        """Whether rate and bound exist; False for autoencoders."""
        return all(level.pz is not None and level.qz.has_density for level in self.levels)


def sum_levels(terms: list[Tensor]) -> Tensor:
    """The sum of one term per level, all of shape ``[K, B]``."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
