"""Priors over latents. A prior gives its distribution and turns standard normal noise into samples of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vaekit.distributions import DiagonalNormal, FullNormal
from vaekit.team import ALONE, Team

__all__ = ["FittedNormal", "StandardNormal"]


_KEEP = 0.99  # of the moments, per batch: an average over about a hundred batches
_FLOOR = 1e-6  # of a variance, relative to their sum: float32 rounds the moments of few images to no more than that
_LAG = 10  # after n batches n / (n + this) is kept, up to _KEEP


class StandardNormal(nn.Module):
    """N(0, I) over ``latent_dim`` numbers."""

    zeros: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.register_buffer("zeros", torch.zeros(latent_dim), persistent=False)

    def forward(self) -> DiagonalNormal:
        return DiagonalNormal(self.zeros, self.zeros)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density per latent: ``[..., L]`` → ``[...]``, nats."""
        return self().log_prob(z)

    def from_noise(self, noise: Tensor) -> Tensor:
        """Standard normal noise ``[..., L]`` → samples of the prior of the same shape."""
        return noise

    def to_noise(self, z: Tensor) -> Tensor:
        """The inverse of :meth:`from_noise`."""
        return z


class FittedNormal(nn.Module):
    """A normal whose mean and full covariance follow those of the aggregate posterior q(z) = E_x[q(z|x)].

    Among all normal priors the one with the moments of q(z) gives the highest bound (Tomczak & Welling 2018, Eq. 5:
    the bound is maximal where the prior meets q(z); for normals, where the moments meet). They are running averages
    over training batches, held constant in evaluation. A short training leaves the codes correlated; a standard
    normal then samples where no image is, this one does not.
    """

    mean: Tensor
    covariance: Tensor
    observed: Tensor
    team: Team = ALONE  #: the processes whose batches are one batch

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(latent_dim))
        self.register_buffer("covariance", torch.eye(latent_dim))
        self.register_buffer("observed", torch.zeros(()))

    def forward(self) -> FullNormal:
        floor = _FLOOR * self.covariance.trace() * torch.eye(len(self.mean)).to(self.covariance)
        factor, failed = torch.linalg.cholesky_ex(self.covariance + floor)
        # Weights that diverged then give a loss that is no number, which training reports by image and step.
        return FullNormal(self.mean, factor.masked_fill(failed != 0, torch.nan))

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density per latent: ``[..., L]`` → ``[...]``, nats."""
        return self().log_prob(z)

    def from_noise(self, noise: Tensor) -> Tensor:
        """Standard normal noise ``[..., L]`` → samples of the prior of the same shape."""
        return self().from_noise(noise)

    def to_noise(self, z: Tensor) -> Tensor:
        """The inverse of :meth:`from_noise`."""
        p = self()
        return (z - p.mean) @ p.whitening.mT

    @torch.no_grad()
    def observe(self, qz: DiagonalNormal) -> None:
        """Moves the moments towards those of a batch of posteriors over ``[B, L]``."""
        self.observed += 1
        keep = torch.clamp(self.observed / (self.observed + _LAG), max=_KEEP)
        count, total = qz.mean.new_tensor([len(qz.mean)]), qz.mean.sum(0)
        self.team.sum_(count, total)
        self.mean.lerp_(total / count, 1 - keep)
        centred = qz.mean - self.mean
        outer, variance = centred.mT @ centred, (2 * qz.log_std).exp().sum(0)
        self.team.sum_(outer, variance)
        self.covariance.lerp_((outer + torch.diag(variance)) / count, 1 - keep)
