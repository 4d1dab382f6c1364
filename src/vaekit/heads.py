"""Heads: features → distribution. Posteriors read the encoder's features, likelihoods the decoder's output."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vaekit.distributions import BernoulliImage, DiagonalNormal, NormalImage, PointMass, wide

__all__ = ["BernoulliHead", "NormalHead", "NormalPosterior", "PointPosterior"]

#: Eight-bit values are known to within a uniform error of this standard deviation: a density that is narrower
#: describes the rounding, not the image, and its likelihood grows without bound. The floor of learned scales.
QUANTISATION_STD = 1 / (255 * math.sqrt(12))

#: A learned scale is one number among millions that each move by about the learning rate per step; this factor lets
#: it keep pace with the network.
_SCALE_GAIN = 10.0


class PointPosterior(nn.Module):
    """Features ``[B, F]`` → a point ``[B, L]``: the encoder of a plain autoencoder."""

    def __init__(self, features: int, latent_dim: int) -> None:
        super().__init__()
        self.mean = nn.Linear(features, latent_dim)

    def forward(self, features: Tensor) -> PointMass:
        return PointMass(self.mean(features))


class NormalPosterior(nn.Module):
    """Features ``[B, F]`` → a diagonal normal over ``[B, L]``, ``std = exp(linear)``."""

    def __init__(self, features: int, latent_dim: int) -> None:
        super().__init__()
        self.mean = nn.Linear(features, latent_dim)
        self.log_std = nn.Linear(features, latent_dim)

    def forward(self, features: Tensor) -> DiagonalNormal:
        return DiagonalNormal(self.mean(features), self.log_std(features))


class NormalHead(nn.Module):
    """Decoder output → normal likelihood with a fixed, shared or per-pixel scale.

    The mean is ``0.5 + output``, or ``sigmoid(output)``: the latter saturates, and on mostly black images a fast start
    can leave it where no gradient comes back.
    """

    fixed_log_scale: Tensor

    def __init__(self, scale: str, fixed_scale: float, mean: str = "linear") -> None:
        super().__init__()
        self.scale, self.mean = scale, mean
        if scale == "fixed":
            self.register_buffer("fixed_log_scale", torch.tensor(math.log(fixed_scale)), persistent=False)
        if scale == "shared":
            self.free_log_scale = nn.Parameter(torch.tensor(math.log(0.25) / _SCALE_GAIN))

    @property
    def outputs_per_channel(self) -> int:
        return 2 if self.scale == "pixel" else 1

    def log_scale(self) -> Tensor:
        """The logarithm of the one scale of a fixed or shared head; a learned one is floored at the rounding error."""
        if self.scale == "fixed":
            return self.fixed_log_scale
        return (self.free_log_scale * _SCALE_GAIN).clamp(min=math.log(QUANTISATION_STD))

    def forward(self, output: Tensor) -> NormalImage:
        output = wide(output)
        if self.scale != "pixel":
            return NormalImage(self._mean(output), self.log_scale())
        mean, log_scale = output.chunk(2, dim=-3)
        return NormalImage(self._mean(mean), (log_scale + math.log(0.25)).clamp(min=math.log(QUANTISATION_STD)))

    def output_of(self, mean: Tensor) -> Tensor:
        """The decoder output ``[outputs_per_channel · C, H, W]`` whose mean is ``mean`` ``[C, H, W]``, at scale 1/4.

        A sigmoid's values are kept a hundredth away from 0 and 1, where it would no longer learn.
        """
        output = mean.clamp(0.01, 0.99).logit() if self.mean == "sigmoid" else mean - 0.5
        return torch.cat([output, torch.zeros_like(output)]) if self.scale == "pixel" else output

    def _mean(self, output: Tensor) -> Tensor:
        return output.sigmoid() if self.mean == "sigmoid" else output + 0.5


class BernoulliHead(nn.Module):
    """Decoder output → Bernoulli likelihood, the output being its logits."""

    outputs_per_channel = 1

    def output_of(self, mean: Tensor) -> Tensor:
        """The logits ``[C, H, W]`` of a mean, kept a hundredth away from 0 and 1, where they would no longer learn."""
        return mean.clamp(0.01, 0.99).logit()

    def forward(self, output: Tensor) -> BernoulliImage:
        return BernoulliImage(output)
