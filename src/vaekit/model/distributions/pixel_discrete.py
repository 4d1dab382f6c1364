"""Likelihoods of bytes: a probability for each of the 256 values v/255 that a pixel value can have.

    P(v) = F((v + ½)/255) − F((v − ½)/255)        F: the distribution function of a density around a location
    P(0) = F(½/255),  P(255) = 1 − F(254½/255)    the edges include the tails

Images are floats v/255, and the byte is recovered by rounding. The 256 probabilities sum to one, so bits per dimension
are comparable among these likelihoods. ``mean`` is the expectation of v/255, in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from vaekit.model.distributions.base import PixelDistribution
from vaekit.model.distributions.latent import wide
from vaekit.model.distributions.pixel import PixelsWithScale

__all__ = ["Categorical256", "DiscretizedLogistic", "DiscretizedLogisticMixture", "DiscretizedNormal"]

_SQRT_TWO = math.sqrt(2)
_HARDLY = 0.02 / 255  # levels: components that move the mean of a pixel by less are left out
_COMPONENTS_AT_ONCE = 1 << 15  # fits into the cache of a core
_EDGE = 1e-6  # the smallest probability with a finite logit in float32
_ROOTS = (math.sqrt(5 - 2 * math.sqrt(10 / 7)) / 3, math.sqrt(5 + 2 * math.sqrt(10 / 7)) / 3)
#: Five Gauss-Legendre nodes and weights on [0, 1] (Abramowitz & Stegun 1964, Eq. 25.4.29)
_GAUSS = (
    (0.5, 64 / 225),
    *((0.5 + side * _ROOTS[0] / 2, (322 + 13 * math.sqrt(70)) / 1800) for side in (-1, 1)),
    *((0.5 + side * _ROOTS[1] / 2, (322 - 13 * math.sqrt(70)) / 1800) for side in (-1, 1)),
)


class DiscretizedLogistic(PixelsWithScale):
    """The bins of a logistic density, F = σ((x − location)/scale) (Salimans et al. 2017, Eq. 2 for K = 1).

    ``location`` and ``log_scale`` of shape ``[..., C, H, W]``, on the [0, 1] scale.
    """

    is_discrete = True
    tail_power = 1

    def __init__(self, location: Tensor, log_scale: Tensor) -> None:
        self.location, self.log_scale = wide(location), wide(log_scale)

    @property
    def mean(self) -> Tensor:
        """The mean of the density clamped to [0, 1], in closed form; within half a level of the mean over the bins."""
        return _clamped_mean(F.softplus, self.location, self.log_scale)

    def log_prob_map(self, x: Tensor) -> Tensor:
        """Log probability of ``x`` (in {0, 1/255, …, 1}) per pixel value ``[..., C, H, W]``, nats."""
        return _log_logistic_bin(x, self.location, self.log_scale)


class DiscretizedNormal(DiscretizedLogistic):
    """The bins of a normal density, F = Φ((x − location)/scale); the arguments are those of the logistic."""

    tail_power = 2

    @property
    def mean(self) -> Tensor:
        """The mean of the density clamped to [0, 1], in closed form; within half a level of the mean over the bins."""
        return _clamped_mean(_integral_of_ndtr, self.location, self.log_scale)

    def log_prob_map(self, x: Tensor) -> Tensor:
        """Log probability of ``x`` (in {0, 1/255, …, 1}) per pixel value ``[..., C, H, W]``, nats."""
        return _log_normal_bin(x, self.location, self.log_scale)


class DiscretizedLogisticMixture(PixelDistribution):
    """A mixture over whole pixels: K components with a logistic per channel (Salimans et al. 2017, Eq. 1 to 3).

    For color, the locations of green and blue depend on earlier channels, with ``coefficients`` α, β, γ in (−1, 1):

        green + α (x_red − ½),    blue + β (x_red − ½) + γ (x_green − ½)

    (the paper's images are on [−1, 1]). A fourth channel, opacity, shares the component and depends on no color.

    ``logits`` ``[..., K, H, W]``; ``location`` and ``log_scale`` ``[..., K, C, H, W]``; ``coefficients``
    ``[..., K, 3, H, W]``, or None for gray.
    """

    is_discrete = True

    def __init__(self, logits: Tensor, location: Tensor, log_scale: Tensor, coefficients: Tensor | None = None) -> None:
        self.log_weight = wide(logits).log_softmax(-3)
        self.location, self.component_log_scale = wide(location), wide(log_scale)
        self.coefficients = None if coefficients is None else wide(coefficients)
        self.values_per_pixel = self.location.shape[-4]

    @property
    def mean(self) -> Tensor:
        """The expectation ``[..., C, H, W]``, within one level of the sum over all values of a pixel.

        Gray, red and opacity have a closed form. Green is averaged over red, and blue over both.
        """
        weight = self.log_weight.exp()
        if self.coefficients is None:
            means = _clamped_mean(F.softplus, self.location, self.component_log_scale)
        else:
            means = self._means_of_colors(weight)
        return (weight.unsqueeze(-3) * means).sum(-4)

    def _means_of_colors(self, weight: Tensor) -> Tensor:
        """The expectation ``[..., K, C, H, W]`` under each component.

        Where a color hardly varies, later colors depend on its expectation alone. After training, that is nearly
        everywhere.
        """
        assert self.coefficients is not None
        shape = torch.broadcast_shapes(self.location.shape, self.component_log_scale.shape)
        locations = self.location.expand(shape).unbind(-3)
        log_scales = self.component_log_scale.expand(shape).unbind(-3)
        alpha, beta, gamma = self.coefficients.unbind(-3)
        red, *opacity = (_clamped_mean(F.softplus, locations[i], log_scales[i]) for i in (0, *range(3, len(locations))))
        green = _clamped_mean(F.softplus, locations[1] + alpha * (red - 0.5), log_scales[1])
        follows = beta * (red - 0.5) + gamma * (green - 0.5)
        blue = _clamped_mean(F.softplus, locations[2] + follows, log_scales[2])
        scale_of_red, scale_of_green = log_scales[0].exp(), log_scales[1].exp()
        moves = (alpha.abs() + beta.abs()) * scale_of_red + gamma.abs() * (scale_of_green + alpha.abs() * scale_of_red)
        varies = weight * moves > _HARDLY
        parts = [*locations[:3], *log_scales[:3], alpha, beta, gamma]
        if torch.compiler.is_compiling():  # a traced graph has fixed shapes
            found = _green_and_blue(parts[:3], parts[3:6], parts[6:])
            green, blue = torch.where(varies, found[0], green), torch.where(varies, found[1], blue)
        else:
            parts, green, blue = [t.flatten() for t in parts], green.flatten(), blue.flatten()
            for rows in varies.flatten().nonzero()[:, 0].split(_COMPONENTS_AT_ONCE):
                some = [t[rows] for t in parts]
                found = _green_and_blue(some[:3], some[3:6], some[6:])
                green, blue = green.index_copy(0, rows, found[0]), blue.index_copy(0, rows, found[1])
            green, blue = green.view_as(red), blue.view_as(red)
        return torch.stack([red, green, blue, *opacity], dim=-3)

    def log_prob_map(self, x: Tensor) -> Tensor:
        """Log probability per pixel value ``[..., C, H, W]``, nats, each channel conditioned on those before it."""
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


class Categorical256(PixelDistribution):
    """A separate probability for each value: ``logits`` ``[..., 256, C, H, W]``."""

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

    This equals log[σ(a) − σ(b)], but does not subtract numbers that are nearly equal far from the location.
    """
    level, rate = _byte(x), (-log_scale).exp()
    center, width = (level / 255 - location) * rate, rate / 255
    below = F.logsigmoid(center + width / 2).masked_fill(level == 255, 0)
    above = F.logsigmoid(width / 2 - center).masked_fill(level == 0, 0)
    between = torch.log(-torch.expm1(-width))
    return below + above + torch.where(_is_edge(level), torch.zeros_like(between), between)


def _log_normal_bin(x: Tensor, location: Tensor, log_scale: Tensor) -> Tensor:
    """Return log P(v) of a normal.

    With l the end of the bin that is nearer to the location, and l + w the other end, both in units of the scale:

        l < 0 (within the bin)   log ½[erf((l + w)/√2) − erf(l/√2)]
        l ≥ 0                    −l²/2 + log ½[erfcx(l/√2) − erfcx((l + w)/√2) e^(−w (l + w/2))]

    erfcx(t) = e^(t²) erfc(t) is the scaled tail. The bins at the edges have no other end.
    """
    level, rate = _byte(x), (-log_scale).exp()
    center, width = (level / 255 - location) * rate, rate / 255
    outward = torch.where(level == 0, -center, torch.where(level == 255, center, center.abs()))
    near = outward - width / 2
    inner, outer = near.clamp(max=0), near.clamp(min=0)  # keeps each branch finite where the other is used
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


def _green_and_blue(
    location: Sequence[Tensor], log_scale: Sequence[Tensor], coefficients: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Means of the colors under components: green is averaged over red, and blue over both, by quadrature."""
    (red_at, green_at, blue_at), (alpha, beta, gamma) = location, coefficients
    red_scale, green_scale, blue_scale = (each.exp() for each in log_scale)
    rate = 1 / blue_scale
    slope = gamma * rate
    green, blue = torch.zeros_like(green_at), torch.zeros_like(blue_at)
    for red, share in _nodes(red_at, red_scale):
        follows = green_at + alpha * (red - 0.5)
        start = (blue_at + beta * (red - 0.5) - 0.5 * gamma) * rate
        inner_green, inner_blue = torch.zeros_like(green), torch.zeros_like(blue)
        for value, weight in _nodes(follows, green_scale):
            place = start + slope * value
            inner_green = inner_green + weight * value
            inner_blue = inner_blue + weight * _softplus_between(place - rate, place)
        green, blue = green + share * inner_green, blue + share * inner_blue
    return green.clamp(0, 1), (blue * blue_scale).clamp(0, 1)


def _softplus_between(low: Tensor, high: Tensor) -> Tensor:
    """softplus(high) − softplus(low), in half the time."""
    ratio = (1 + (-high.abs()).exp()) / (1 + (-low.abs()).exp())
    return high.clamp(min=0) - low.clamp(min=0) + ratio.log()


def _nodes(location: Tensor, scale: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Nodes in [0, 1] and weights of a quadrature over a logistic clamped to [0, 1].

    0 and 1 have the mass of the tails. The nodes between are Gauss-Legendre nodes of the distribution function.
    """
    below, above = (-location / scale).sigmoid(), ((location - 1) / scale).sigmoid()
    between = (1 - below - above).clamp(min=0)
    yield torch.zeros_like(location), below
    yield torch.ones_like(location), above
    for node, weight in _GAUSS:
        yield (location + scale * (below + node * between).logit(_EDGE)).clamp(0, 1), weight * between


def _integral_of_ndtr(z: Tensor) -> Tensor:
    """∫ Φ = z Φ(z) + φ(z)."""
    result: Tensor = z * torch.special.ndtr(z) + (-0.5 * z.square()).exp() / math.sqrt(2 * math.pi)
    return result
