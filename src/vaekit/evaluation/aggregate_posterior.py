"""The aggregate posterior q(z) = 1/N Σₙ q(z|xₙ) of many images, mutual information and active units.

    E[KL(q(z|x) ‖ p(z))] = I(x; z) + KL(q(z) ‖ p(z))          Hoffman & Johnson 2016

I(x; z) = E[log q(z|x) − log q(z)] measures how much a latent reveals about which of the N images it belongs to; it is
at most log N. It is a lower bound, on average, for the distribution that the images are drawn from (van den Oord et al.
2018, Sec. 2.3). Where most of q(z) at a latent comes from the posterior of its own image, the estimate is saturated: it
says little more than log N.

A unit is active if its mean varies with the image: Var_x(E_q[z_i]) > 0.01 (Burda et al. 2016, Sec. 5), relative to the
variance of the prior, which is 1 in their models.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vaekit.model.distributions.latent import DiagonalNormal

__all__ = ["ACTIVE_ABOVE", "AggregatePosterior", "active_units", "aggregate_log_density", "is_saturated"]

ACTIVE_ABOVE = 0.01  #: variance of a unit's mean, relative to that of the prior
#: Largest share of q(z) at a latent that its own image may contribute beyond 1/N. At 0.1, the estimate of I(x; z) is
#: about 0.1 nats too low.
_MOST_OWN_SHARE = 0.1
_PAIRS_AT_ONCE = 1 << 22


@dataclass(frozen=True, eq=False)
class AggregatePosterior:
    """Posteriors of N images and one sample of each, float64 ``[N, L]`` on the CPU."""

    mean: Tensor
    log_std: Tensor
    z: Tensor

    def log_ratios(self) -> Tensor:
        """Return log q(zₙ|xₙ) − log q(zₙ) in nats, float64 ``[N]``; the mean estimates I(x; z)."""
        own = DiagonalNormal(self.mean, self.log_std).log_prob(self.z)
        return own - aggregate_log_density(self.z, self.mean, self.log_std)


def is_saturated(log_ratios: Tensor) -> bool:
    """Whether the mean of :meth:`AggregatePosterior.log_ratios` reflects N rather than the information.

    The ratio of image n is log N plus the logarithm of the share of its own posterior in q(zₙ).

    >>> is_saturated(torch.full((100,), math.log(100))), is_saturated(torch.zeros(100))
    (True, False)
    """
    own_share = log_ratios.exp().mean() / len(log_ratios)
    return bool(own_share - 1 / len(log_ratios) > _MOST_OWN_SHARE)


def aggregate_log_density(z: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Return log 1/N Σₙ q(zₘ|xₙ) in nats, ``[M]``, for points ``[M, L]`` and posteriors ``[N, L]``; costs M · N · L.

    >>> one = torch.zeros(1, 1, dtype=torch.float64)
    >>> aggregate_log_density(one, one, one) + 0.5 * math.log(2 * math.pi)
    tensor([0.], dtype=torch.float64)
    """
    z, mean, log_std = z.double(), mean.double(), log_std.double()
    center = mean.mean(0)  # centering avoids cancellation in differences of squares
    z, mean = z - center, mean - center
    precision = (-2 * log_std).exp()
    weighted = mean * precision
    constant = DiagonalNormal(mean, log_std).log_prob(torch.zeros_like(mean))  # terms independent of the point
    densities = []
    for some in z.split(max(1, _PAIRS_AT_ONCE // len(mean))):
        pairs = torch.addmm(constant, some, weighted.mT).addmm_(some.square(), precision.mT, alpha=-0.5)
        densities.append(pairs.logsumexp(1) - math.log(len(mean)))
    return torch.cat(densities)


def active_units(variance_of_means: Tensor, variance_of_prior: Tensor) -> int:
    """Count active units from Var_x(E_q[z]) and the variance under the prior, both ``[L]``."""
    return int((variance_of_means > ACTIVE_ABOVE * variance_of_prior.cpu()).sum())
