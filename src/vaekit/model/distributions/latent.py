"""Distributions over latents: normals, mixtures of normals, normals transformed by a flow, and points.

All implement :class:`~vaekit.model.distributions.base.LatentDistribution`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Protocol, Self

import torch
from torch import Tensor

from vaekit.model.distributions.base import LatentDistribution, NormalDistribution

__all__ = ["DiagonalNormal", "FullNormal", "Mixture", "PointMass", "Transform", "Transformed", "kl_divergence", "wide"]

_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)
_FLOOR = 1e-6  # relative to the sum of the variances: float32 rounds the moments of a few images by about as much
_TINY = 1e-12  # of the unit interval


class DiagonalNormal(NormalDistribution):
    """N(mean, diag(exp(log_std)²)); ``mean`` and ``log_std`` of shape ``[..., L]``."""

    mean: Tensor

    def __init__(self, mean: Tensor, log_std: Tensor) -> None:
        self.mean, self.log_std = mean, log_std

    @property
    def variance(self) -> Tensor:
        """The standard deviation per dimension, in the shape of ``mean``."""
        return (2 * self.log_std).exp()

    def from_noise(self, noise: Tensor) -> Tensor:
        """``mean + std · noise`` (Kingma & Welling 2014, Sec. 2.4), of the shape of ``noise``."""
        return self.mean + self.log_std.exp() * noise

    def to_noise(self, z: Tensor) -> Tensor:
        """The inverse of :meth:`from_noise`."""
        return (z - self.mean) * (-self.log_std).exp()

    def log_prob_map(self, z: Tensor) -> Tensor:
        """Log density per dimension ``[..., L]``, nats."""
        return _normal_log_density(z, self.mean, self.log_std)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density per vector ``[...]``, nats."""
        return self.log_prob_map(z).sum(-1)

    def analytic_kl(self, pz: LatentDistribution) -> Tensor | None:
        """KL(self ‖ pz) per dimension, where ``pz`` is a normal."""
        return kl_divergence(self, pz) if isinstance(pz, DiagonalNormal | FullNormal) else None

    def detach(self) -> DiagonalNormal:
        """The same distribution, detached from the graph."""
        return DiagonalNormal(self.mean.detach(), self.log_std.detach())

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Join the posteriors of the pieces of a batch."""
        return cls(torch.cat([q.mean for q in parts]), torch.cat([q.log_std for q in parts]))


class PointMass(LatentDistribution):
    """All mass at ``mean`` ``[..., L]``: a deterministic latent. It has no density, so it has no ``log_prob``."""

    has_density = False
    mean: Tensor

    def __init__(self, mean: Tensor) -> None:
        self.mean = mean

    def from_noise(self, noise: Tensor) -> Tensor:
        """The point, repeated to the shape of ``noise``."""
        return self.mean.expand(noise.shape)

    def detach(self) -> PointMass:
        """The same point, detached from the graph."""
        return PointMass(self.mean.detach())


class FullNormal(NormalDistribution):
    """N(mean, F Fᵀ), ``mean`` ``[L]``, with a lower triangular ``factor`` F ``[L, L]``; or K of them, ``[K, ...]``."""

    mean: Tensor

    def __init__(self, mean: Tensor, factor: Tensor) -> None:
        self.mean, self.factor = mean, factor
        identity = torch.eye(mean.shape[-1]).to(factor).expand_as(factor)
        self.whitening = torch.linalg.solve_triangular(factor, identity, upper=False)

    @property
    def variance(self) -> Tensor:
        """The marginal standard deviations, in the shape of ``mean``: the root of the diagonal of F Fᵀ."""
        return self.factor.square().sum(-1)

    def from_noise(self, noise: Tensor) -> Tensor:
        """``mean + F · noise``, of the shape of ``noise`` ``[..., L]``."""
        return self.mean + _times(noise, self.factor)

    def to_noise(self, z: Tensor) -> Tensor:
        """The inverse of :meth:`from_noise`."""
        return _times(z - self.mean, self.whitening)

    @staticmethod
    def of(mean: Tensor, covariance: Tensor) -> FullNormal:
        """The normal with a mean ``[L]`` and a covariance ``[L, L]``, even if rounding to float32 made it singular.

        If a number is not finite, all parameters are NaN. The training loop then reports the divergence.
        """
        floor = _FLOOR * covariance.trace() * torch.eye(len(mean)).to(covariance)
        factor, failed = torch.linalg.cholesky_ex(covariance + floor)
        return FullNormal(mean, factor.masked_fill(failed != 0, torch.nan))

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density per vector ``[...]``, nats."""
        log_scales = self.whitening.diagonal(dim1=-2, dim2=-1).log()
        result: Tensor = (-0.5 * self.to_noise(z).square() - _HALF_LOG_TWO_PI + log_scales).sum(-1)
        return result

    def detach(self) -> FullNormal:
        """The same distribution, detached from the graph."""
        return FullNormal(self.mean.detach(), self.factor.detach())


class Mixture(LatentDistribution):
    """Σₖ πₖ pₖ(z), from ``log_weights`` ``[K]`` and one object with K normals ``[K, L]``."""

    def __init__(self, log_weights: Tensor, components: DiagonalNormal | FullNormal) -> None:
        self.log_weights, self.components = log_weights.log_softmax(0), components

    @property
    def mean(self) -> Tensor:
        """The expectation ``[L]``."""
        return (self.log_weights.exp().unsqueeze(-1) * self.components.mean).sum(0)

    @cached_property
    def moments(self) -> FullNormal:
        """The normal with the mean and the covariance of the mixture."""
        weights, mean = self.log_weights.exp().unsqueeze(-1), self.components.mean
        center = (weights * mean).sum(0)
        spread = (mean - center).mT @ (weights * (mean - center))
        if isinstance(self.components, FullNormal):
            factor = self.components.factor
            within = (weights.unsqueeze(-1) * (factor @ factor.mT)).sum(0)
        else:
            within = torch.diag((weights * self.components.variance).sum(0))
        return FullNormal.of(center, spread + within)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density per vector ``[..., L]`` → ``[...]``, nats."""
        return (self.log_weights + self.components.log_prob(z.unsqueeze(-2))).logsumexp(-1)

    def from_noise(self, noise: Tensor) -> Tensor:
        """Exact samples, of the shape of ``noise`` ``[..., L]``.

        Φ of the first number is uniform on the unit interval and selects a component. Its position within the interval
        of that component is uniform again, and becomes the first number of the component's noise.
        """
        ends = self.log_weights.detach().cpu().double().exp().cumsum(0)
        fraction = torch.special.ndtr(noise[..., 0].detach().cpu().double())
        chosen = torch.searchsorted(ends, fraction.contiguous()).clamp(max=len(ends) - 1)
        start = torch.cat([ends.new_zeros(1), ends])[chosen]
        within = ((fraction - start) / (ends[chosen] - start)).clamp(_TINY, 1 - _TINY)
        first = torch.special.ndtri(within).to(noise).unsqueeze(-1)
        e, chosen = torch.cat([first, noise[..., 1:]], -1), chosen.to(noise.device)
        return self.of_components(chosen, e)

    def of_components(self, chosen: Tensor, noise: Tensor) -> Tensor:
        """Samples ``[..., L]`` of the components with the given indices, int64 ``[...]``, from noise ``[..., L]``."""
        mean = self.components.mean[chosen]
        if isinstance(self.components, FullNormal):
            return mean + _times(noise, self.components.factor[chosen])
        return mean + self.components.log_std[chosen].exp() * noise


class Transform(Protocol):
    """An invertible map of latents ``[..., L]``, such as those of :mod:`zuko`; one direction may be slow."""

    def __call__(self, x: Tensor) -> Tensor:
        """T(x)."""

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """T(x), and log |det ∂T/∂x| ``[...]``."""

    @property
    def inv(self) -> Transform:
        """The inverse."""


class Transformed(LatentDistribution):
    """z = T(z₀) with z₀ ~ ``base``; log p(z) = log p₀(z₀) − log |det ∂T/∂z₀| (Rezende & Mohamed 2015, Eq. 5)."""

    def __init__(self, base: DiagonalNormal, transform: Transform) -> None:
        self.base, self.transform = base, transform
        self._drawn: tuple[Tensor, Tensor] | None = None

    @property
    def mean(self) -> Tensor:
        """T of the base's mean: the deterministic latent. The expectation has no closed form."""
        return self.transform(self.base.mean)

    def from_noise(self, noise: Tensor) -> Tensor:
        """T(mean + std · noise), in the shape of ``noise``. The density of this sample is kept."""
        start = self.base.from_noise(noise)
        z, log_volume = self.transform.call_and_ladj(start)
        self._drawn = z, self.base.log_prob(start) - log_volume
        return z

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density per vector ``[..., L]`` → ``[...]``, nats."""
        if self._drawn is not None and z is self._drawn[0]:
            return self._drawn[1]
        start, log_volume = self.transform.inv.call_and_ladj(z)
        return self.base.log_prob(start) + log_volume


def kl_divergence(q: DiagonalNormal, p: DiagonalNormal | FullNormal) -> Tensor:
    """KL(q‖p) per dimension ``[..., L]``, nats (Kingma & Welling 2014, Appendix B, for general p).

    With a full covariance, dimension i is conditioned on those before it: E_q KL(q_i ‖ p(z_i | z_<i)), never negative.

    >>> unit = DiagonalNormal(torch.zeros(1), torch.zeros(1))
    >>> kl_divergence(DiagonalNormal(torch.ones(1), torch.zeros(1)), unit)
    tensor([0.5000])
    """
    if isinstance(p, FullNormal):
        white_variance = (2 * q.log_std).exp() @ p.whitening.square().mT
        white_distance = ((q.mean - p.mean) @ p.whitening.mT).square()
        result: Tensor = 0.5 * (white_variance + white_distance - 1) - q.log_std - p.whitening.diagonal().log()
        return result
    variance_ratio = (2 * (q.log_std - p.log_std)).exp()
    distance = ((q.mean - p.mean) * (-p.log_std).exp()).square()
    return 0.5 * (variance_ratio + distance - 1) - (q.log_std - p.log_std)


def _times(vectors: Tensor, matrix: Tensor) -> Tensor:
    """M v for vectors ``[..., L]``, with one matrix ``[L, L]`` or one matrix per vector."""
    if matrix.ndim == 2:
        return vectors @ matrix.mT
    return (matrix @ vectors.unsqueeze(-1)).squeeze(-1)


def _normal_log_density(x: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """log N(x; mean, exp(log_std)²) for each value, nats."""
    return -0.5 * ((x - mean) * (-log_std).exp()).square() - log_std - _HALF_LOG_TWO_PI


def wide(tensor: Tensor) -> Tensor:
    """Return at least float32, which sums over thousands of pixels need; float64 stays float64."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()
