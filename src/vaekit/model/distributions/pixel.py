"""Likelihoods of pixels on a continuous or binary scale."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from vaekit.model.distributions.base import IMAGE_DIMS, PixelDistribution
from vaekit.model.distributions.latent import _HALF_LOG_TWO_PI, _normal_log_density, wide

__all__ = ["BernoulliImage", "ContinuousBernoulli", "Laplace", "NormalImage", "PixelsWithScale"]


#: |logits|/2: below, the closed forms of the continuous Bernoulli lose digits, and a series is used.
_SERIES_BELOW = 0.25


class PixelsWithScale(PixelDistribution):
    """A location and a scale per pixel value; log p falls with a power of the distance in units of the scale."""

    log_scale: Tensor  #: broadcastable to ``[..., C, H, W]``
    tail_power: int  #: the power

    def widening(self, least_scale: float) -> Tensor:
        """Increasing the scale by a factor t weights log p by t^−power."""
        return (self.tail_power * (self.log_scale.detach() - math.log(least_scale))).exp().clamp(max=1)


class NormalImage(PixelsWithScale):
    """A normal density on the reals at every pixel value: ``mean`` and ``log_scale`` of shape ``[..., C, H, W]``."""

    tail_power = 2

    mean: Tensor

    def __init__(self, mean: Tensor, log_scale: Tensor) -> None:
        self.mean, self.log_scale = wide(mean), wide(log_scale)

    def log_prob_map(self, x: Tensor) -> Tensor:
        """Log density of ``x`` (in [0, 1]) per pixel value ``[..., C, H, W]``, nats."""
        return _normal_log_density(x, self.mean, self.log_scale)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density per image ``[...]``, nats."""
        if self.log_scale.numel() > 1:
            return super().log_prob(x)
        # With one shared scale, constants outside of the sum save two thirds of the memory traffic.
        mean, target = torch.broadcast_tensors(self.mean, x)
        sse = F.mse_loss(mean, target, reduction="none").sum(IMAGE_DIMS)
        log_scale = self.log_scale.reshape(())
        constant = math.prod(mean.shape[-3:]) * (log_scale + _HALF_LOG_TWO_PI)
        result: Tensor = -constant - sse * (0.5 * (-2 * log_scale).exp())
        return result


class Laplace(PixelsWithScale):
    """The density e^(−|x − mean|/scale) / (2 scale) on the reals; ``mean`` and ``log_scale`` ``[..., C, H, W]``."""

    tail_power = 1

    mean: Tensor

    def __init__(self, mean: Tensor, log_scale: Tensor) -> None:
        self.mean, self.log_scale = wide(mean), wide(log_scale)

    def log_prob_map(self, x: Tensor) -> Tensor:
        """Log density of ``x`` (in [0, 1]) per pixel value ``[..., C, H, W]``, nats."""
        return -(x - self.mean).abs() * (-self.log_scale).exp() - self.log_scale - math.log(2)


class ContinuousBernoulli(PixelDistribution):
    """The density λ^x (1 − λ)^(1 − x) on [0, 1], normalized (Loaiza-Ganem & Cunningham 2019, Sec. 3).

    With ``logits`` η = log(λ/(1 − λ)) ``[..., C, H, W]`` it is e^(ηx) η / (e^η − 1), which is uniform at η = 0.
    """

    def __init__(self, logits: Tensor) -> None:
        self.logits = wide(logits)

    @property
    def mean(self) -> Tensor:
        """½ + ½ (coth(η/2) − 2/η), in (0, 1)."""
        u = self.logits / 2
        is_small = u.abs() < _SERIES_BELOW
        large = torch.where(is_small, torch.full_like(u, _SERIES_BELOW), u)
        square = u.square().clamp(max=_SERIES_BELOW**2)
        series = u * (1 / 3 - square * (1 / 45 - square * (2 / 945 - square * (1 / 4725 - square * 2 / 93555))))
        return 0.5 + 0.5 * torch.where(is_small, series, 1 / large.tanh() - 1 / large)

    def log_prob_map(self, x: Tensor) -> Tensor:
        """Log density of ``x`` (in [0, 1]) per pixel value ``[..., C, H, W]``, nats."""
        return (x - 0.5) * self.logits - _log_sinhc(self.logits / 2)


class BernoulliImage(PixelDistribution):
    """Independent binary pixels with the given ``logits`` ``[..., C, H, W]``; its support is {0, 1}."""

    is_discrete = True

    def __init__(self, logits: Tensor) -> None:
        self.logits = wide(logits)

    @property
    def mean(self) -> Tensor:
        return self.logits.sigmoid()

    def log_prob_map(self, x: Tensor) -> Tensor:
        """Log probability of ``x`` (0 or 1) per pixel value, nats."""
        target = x.expand(torch.broadcast_shapes(x.shape, self.logits.shape))
        return -F.binary_cross_entropy_with_logits(self.logits.expand_as(target), target, reduction="none")


def _log_sinhc(u: Tensor) -> Tensor:
    """log(sinh(u)/u), so that ∫₀¹ e^(ηx) dx = e^(η/2) sinh(η/2)/(η/2)."""
    size = u.abs()
    is_small = size < _SERIES_BELOW
    large = torch.where(is_small, torch.full_like(u, _SERIES_BELOW), size)
    square = size.clamp(max=_SERIES_BELOW).square()
    series = square * (1 / 6 - square * (1 / 180 - square * (1 / 2835 - square * (1 / 37800 - square / 467775))))
    return torch.where(is_small, series, large + torch.log(-torch.expm1(-2 * large) / (2 * large)))
