"""Likelihoods of bytes: a probability for each of the 256 values v/255 that a pixel value can have.

    P(v) = F((v + ½)/255) − F((v − ½)/255)        F: the distribution function of a density around a location
    P(0) = F(½/255),  P(255) = 1 − F(254½/255)    the edges take the tails

Images come as floats v/255, and the byte is recovered by rounding. The 256 probabilities sum to one, so bits per
dimension mean the same for all of these. Their ``mean`` is the expectation of v/255, already in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from vaekit.distributions import PixelLikelihood, wide

__all__ = ["Categorical256", "DiscretizedLogistic", "DiscretizedLogisticMixture", "DiscretizedNormal"]

_SQRT_TWO = math.sqrt(2)


class DiscretizedLogistic(PixelLikelihood):
    """The bins of a logistic density, F = σ((x − location)/scale) (Salimans et al. 2017, Eq. 2 for K = 1).

    ``location`` and ``log_scale`` of shape ``[..., C, H, W]``, on the [0, 1] scale.
    """

    is_discrete = True
    tail_power = 1

    def __init__(self, location: Tensor, log_scale: Tensor) -> None:
        self.location, self.log_scale = wide(location), wide(log_scale)

    @property
    def mean(self) -> Tensor:
        """The expectation in closed form: of the density clamped to [0, 1], less than half a level from the bins'."""
        return _clamped_mean(F.softplus, self.location, self.log_scale)

    def log_prob_map(self, x: Tensor) -> Tensor:
        """Log probability of ``x`` (in {0, 1/255, …, 1}) per pixel value ``[..., C, H, W]``, nats."""
        return _log_logistic_bin(x, self.location, self.log_scale)


class DiscretizedNormal(DiscretizedLogistic):
    """The bins of a normal density, F = Φ((x − location)/scale); arguments as those of the logistic."""

    tail_power = 2

    @property
    def mean(self) -> Tensor:
        """The expectation in closed form: of the density clamped to [0, 1], less than half a level from the bins'."""
        return _clamped_mean(_integral_of_ndtr, self.location, self.log_scale)

    def log_prob_map(self, x: Tensor) -> Tensor:
        """Log probability of ``x`` (in {0, 1/255, …, 1}) per pixel value ``[..., C, H, W]``, nats."""
        return _log_normal_bin(x, self.location, self.log_scale)


class DiscretizedLogisticMixture(PixelLikelihood):
    """Whole pixels from one of K components, each a logistic per channel (Salimans et al. 2017, Eq. 1 to 3).

    In colour, the locations of green and blue follow what came before, with ``coefficients`` α, β, γ in (−1, 1):

        green + α (x_red − ½),    blue + β (x_red − ½) + γ (x_green − ½)

    (the paper's images are on [−1, 1]). A fourth channel, opacity, shares the component and follows no colour.

    ``logits`` ``[..., K, H, W]``; ``location`` and ``log_scale`` ``[..., K, C, H, W]``; ``coefficients``
    ``[..., K, 3, H, W]``, or None for gray.
    """

    is_discrete = True

    def __init__(self, logits: Tensor, location: Tensor, log_scale: Tensor, coefficients: Tensor | None = None) -> None:
        self.log_weight = wide(logits).log_softmax(-3)
        self.location, self.component_log_scale = wide(location), wide(log_scale)
        self.coefficients = None if coefficients is None else wide(coefficients)

    @property
    def components(self) -> int:
        """K."""
        return self.location.shape[-4]

    @property
    def mean(self) -> Tensor:
        """The expectation ``[..., C, H, W]`` in closed form: as that of one logistic, weighted over components.

        Colours follow the expectations of those before them. Where a component is wide or near 0 or 1, what is clamped
        makes that an approximation, by a level or two.
        """
        seen = _clamped_mean(F.softplus, self.location, self.component_log_scale)
        if self.coefficients is not None:
            for _ in range(2):  # first green, then blue, which follows it
                seen = _clamped_mean(F.softplus, self._locations(seen), self.component_log_scale)
        return (self.log_weight.exp().unsqueeze(-3) * seen).sum(-4)

    def log_prob_map(self, x: Tensor) -> Tensor:
        """Log probability per pixel value ``[..., C, H, W]``, nats, of each channel given those before it."""
        joint = self._log_bins(x).cumsum(-3) + self.log_weight.unsqueeze(-3)
        marginals = joint.logsumexp(-4)
        return torch.cat([marginals[..., :1, :, :], marginals.diff(dim=-3)], dim=-3)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log probability per image ``[...]``, nats."""
        return (self._log_bins(x).sum(-3) + self.log_weight).logsumexp(-3).sum((-2, -1))

    def _log_bins(self, x: Tensor) -> Tensor:
        """Log probability ``[..., K, C, H, W]`` under each component, given the channels before."""
        x = x.unsqueeze(-4)
        return _log_logistic_bin(x, self._locations(_byte(x) / 255), self.component_log_scale)

    def _locations(self, seen: Tensor) -> Tensor:
        """Locations ``[..., K, C, H, W]`` where the channels before have the values ``seen``."""
        if self.coefficients is None:
            return self.location
        alpha, beta, gamma = self.coefficients.split(1, -3)
        red, green = (seen[..., :2, :, :] - 0.5).split(1, -3)
        first, second, third, *opacity = self.location.split(1, -3)
        moved = torch.broadcast_tensors(first, second + alpha * red, third + beta * red + gamma * green, *opacity)
        return torch.cat(moved, dim=-3)


class Categorical256(PixelLikelihood):
    """A free probability for every value: ``logits`` ``[..., 256, C, H, W]``."""

    is_discrete = True

    def __init__(self, logits: Tensor) -> None:
        self.logits = wide(logits)

    @property
    def mean(self) -> Tensor:
        """The expectation: the sum over the 256 values."""
        values = torch.arange(256, device=self.logits.device).to(self.logits) / 255
        return (self.logits.softmax(-4) * values.view(-1, 1, 1, 1)).sum(-4)

    def log_prob_map(self, x: Tensor) -> Tensor:
        """Log probability of ``x`` (in {0, 1/255, …, 1}) per pixel value ``[..., C, H, W]``, nats."""
        total = self.logits.logsumexp(-4)
        level = _byte(x).long().expand(torch.broadcast_shapes(x.shape, total.shape)).unsqueeze(-4)
        logits = self.logits.expand(*level.shape[:-4], *self.logits.shape[-4:])
        return logits.gather(-4, level).squeeze(-4) - total


def _byte(x: Tensor) -> Tensor:
    """The byte v of a value v/255, as a float."""
    return (x * 255).round()


def _log_logistic_bin(x: Tensor, location: Tensor, log_scale: Tensor) -> Tensor:
    """log P(v) of a logistic: log σ(a) + log σ(−b) + log(1 − e^(b−a)) for the bin from b to a, in scales.

    That is log[σ(a) − σ(b)] without the difference, which far from the location is one of equal numbers.
    """
    level, rate = _byte(x), (-log_scale).exp()
    centre, width = (level / 255 - location) * rate, rate / 255
    below = F.logsigmoid(centre + width / 2).masked_fill(level == 255, 0)
    above = F.logsigmoid(width / 2 - centre).masked_fill(level == 0, 0)
    between = torch.log(-torch.expm1(-width))
    return below + above + torch.where(_is_edge(level), torch.zeros_like(between), between)


def _log_normal_bin(x: Tensor, location: Tensor, log_scale: Tensor) -> Tensor:
    """log P(v) of a normal, from the end of the bin that is nearer to the location, l, and the other, l + w, in scales:

        l < 0 (within the bin)   log ½[erf((l + w)/√2) − erf(l/√2)]
        l ≥ 0                    −l²/2 + log ½[erfcx(l/√2) − erfcx((l + w)/√2) e^(−w (l + w/2))]

    erfcx(t) = e^(t²) erfc(t) is what is left of a tail without its size. The tails of the edges have no other end.
    """
    level, rate = _byte(x), (-log_scale).exp()
    centre, width = (level / 255 - location) * rate, rate / 255
    outward = torch.where(level == 0, -centre, torch.where(level == 255, centre, centre.abs()))
    near = outward - width / 2
    inner, outer = near.clamp(max=0), near.clamp(min=0)  # each branch is finite where the other is taken
    is_edge = _is_edge(level)
    until = torch.erf((inner + width) / _SQRT_TWO).masked_fill(is_edge, 1)
    within = torch.log(0.5 * (until - torch.erf(inner / _SQRT_TWO)))
    behind = torch.special.erfcx((outer + width) / _SQRT_TWO) * (-width * (outer + width / 2)).exp()
    rest = torch.special.erfcx(outer / _SQRT_TWO) - behind.masked_fill(is_edge, 0)
    return torch.where(near < 0, within, torch.log(0.5 * rest) - outer.square() / 2)


def _is_edge(level: Tensor) -> Tensor:
    return (level == 0) | (level == 255)


def _clamped_mean(integral: Callable[[Tensor], Tensor], location: Tensor, log_scale: Tensor) -> Tensor:
    """E[clamp(X, 0, 1)] = ∫₀¹ P(X > t) dt, from the ``integral`` of the standard distribution function."""
    scale = log_scale.exp()
    return (scale * (integral(location / scale) - integral((location - 1) / scale))).clamp(0, 1)


def _integral_of_ndtr(z: Tensor) -> Tensor:
    """∫ Φ = z Φ(z) + φ(z)."""
    return z * torch.special.ndtr(z) + (-0.5 * z.square()).exp() / math.sqrt(2 * math.pi)
