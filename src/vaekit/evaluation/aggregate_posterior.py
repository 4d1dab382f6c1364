"""What the codes of many images are together: the aggregate posterior q(z) = 1/N Σₙ q(z|xₙ).

    E[KL(q(z|x) ‖ p(z))] = I(x; z) + KL(q(z) ‖ p(z))          Hoffman & Johnson 2016

I(x; z) = E[log q(z|x) − log q(z)] is what a latent says about which of the N images it came from, log N at most. Of
the set that the images are from it is a lower bound on average (van den Oord et al. 2018, Sec. 2.3). It is saturated,
and says little more than log N, where most of q(z) at a latent is the posterior of its own image.

A unit is active if its mean moves with the image: Var_x(E_q[z_i]) > 0.01 (Burda et al. 2016, Sec. 5), in units of the
prior's variance, which is 1 in their models.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vaekit.model.distributions.latent import DiagonalNormal

__all__ = ["ACTIVE_ABOVE", "Codes", "active_units", "aggregate_log_density", "is_saturated"]

ACTIVE_ABOVE = 0.01  #: of the variance of a unit's mean, relative to the prior's
#: Largest share of q(z) at a latent that its own image may add beyond 1/N. At a tenth, the estimate of I(x; z) is
#: about a tenth of a nat too low.
_MOST_OWN_SHARE = 0.1
_PAIRS_AT_ONCE = 1 << 22


@dataclass(frozen=True, eq=False)
class Codes:
    """Posteriors of N images and one sample of each; float64 ``[N, L]`` on the CPU."""

    mean: Tensor
    log_std: Tensor
    z: Tensor

    def log_ratios(self) -> Tensor:
        """log q(zₙ|xₙ) − log q(zₙ) of each image, float64 ``[N]``, nats; the mean estimates I(x; z)."""
        own = DiagonalNormal(self.mean, self.log_std).log_prob(self.z)
        return own - aggregate_log_density(self.z, self.mean, self.log_std)


def is_saturated(log_ratios: Tensor) -> bool:
    """Whether the mean of :meth:`Codes.log_ratios` says more about N than about the information.

    The ratio of image n is log N plus the logarithm of the share of its own posterior in q(zₙ).

    >>> is_saturated(torch.full((100,), math.log(100))), is_saturated(torch.zeros(100))
    (True, False)
    """
    own_share = log_ratios.exp().mean() / len(log_ratios)
    return bool(own_share - 1 / len(log_ratios) > _MOST_OWN_SHARE)


def aggregate_log_density(z: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """log 1/N Σₙ q(zₘ|xₙ) for points ``[M, L]`` and posteriors ``[N, L]``: ``[M]``, nats. Takes M · N · L operations.

    >>> one = torch.zeros(1, 1, dtype=torch.float64)
    >>> aggregate_log_density(one, one, one) + 0.5 * math.log(2 * math.pi)
    tensor([0.], dtype=torch.float64)
    """
    z, mean, log_std = z.double(), mean.double(), log_std.double()
    centre = mean.mean(0)  # differences of squares lose digits far from the origin
    z, mean = z - centre, mean - centre
    precision = (-2 * log_std).exp()
    weighted = mean * precision
    constant = DiagonalNormal(mean, log_std).log_prob(torch.zeros_like(mean))  # the rest depends on the point
    found = []
    for some in z.split(max(1, _PAIRS_AT_ONCE // len(mean))):
        pairs = torch.addmm(constant, some, weighted.mT).addmm_(some.square(), precision.mT, alpha=-0.5)
        found.append(pairs.logsumexp(1) - math.log(len(mean)))
    return torch.cat(found)


def active_units(variance_of_means: Tensor, variance_of_prior: Tensor) -> int:
    """How many of L units are active, from Var_x(E_q[z]) and the variance under the prior, both ``[L]``."""
    return int((variance_of_means > ACTIVE_ABOVE * variance_of_prior.cpu()).sum())
