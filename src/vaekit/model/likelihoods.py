"""Likelihoods: the decoder's output → p(x|z).

A head states how many output channels it needs (``outputs``), turns them into a distribution (``forward``), and
computes the output that has a given mean image (``output_of``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from vaekit.config.recipe import Recipe
from vaekit.errors import argument
from vaekit.model.contracts import Likelihood, Shape
from vaekit.model.distributions.base import PixelDistribution
from vaekit.model.distributions.latent import wide
from vaekit.model.distributions.pixel import BernoulliImage, ContinuousBernoulli, Laplace, NormalImage
from vaekit.model.distributions.pixel_discrete import (
    Categorical256,
    DiscretizedLogistic,
    DiscretizedLogisticMixture,
    DiscretizedNormal,
)

__all__ = [
    "BernoulliHead",
    "CategoricalHead",
    "ContinuousBernoulliHead",
    "DiscretizedLogisticHead",
    "DiscretizedNormalHead",
    "LaplaceHead",
    "LocationScaleHead",
    "MixtureHead",
    "NormalHead",
]

#: The standard deviation of the rounding error of 8-bit values, and the floor of learned scales: a narrower density
#: describes the rounding, not the image, and its likelihood grows without bound.
QUANTIZATION_STD = 1 / (255 * math.sqrt(12))

#: Smallest and largest logarithm of a learned scale of a probability, which never exceeds 1 and needs no floor. With a
#: scale below an eighth of a level (Salimans et al. 2017: e⁻⁷ of [−1, 1]), distances in units of the scale exceed
#: float32. Scales above seven times the range of the images are indistinguishable.
DISCRETIZED_LOG_SCALES = (-7 - math.log(2), 2.0)

#: Adam moves each parameter by about the learning rate per step, and a learned scale is a single parameter. This factor
#: lets it keep pace with the network.
_SCALE_GAIN = 10.0

_FIRST_LOG_SCALE = math.log(0.25)
_FIRST_LOG_SCALE_OF_A_COMPONENT = math.log(0.1)


class LocationAndScale(Protocol):
    """The class of a likelihood with a location and the logarithm of a scale, ``[..., C, H, W]``."""

    def __call__(self, location: Tensor, log_scale: Tensor, /) -> PixelDistribution:
        """The distribution."""


class LocationScaleHead(Likelihood):
    """Decoder output → a likelihood ``kind(location, log_scale)`` with a fixed, shared or per-pixel scale.

    The location is ``0.5 + output`` or ``sigmoid(output)``. A sigmoid saturates: on mostly black images, a fast start
    can move it to where gradients vanish.
    """

    kind: ClassVar[LocationAndScale]
    log_scales: ClassVar[tuple[float, float]]  #: smallest and largest logarithm of a learned scale
    std_per_scale: ClassVar[float] = 1.0  #: the standard deviation of the density, in units of the scale
    can_start_at_mean = True
    fixed_log_scale: Tensor

    def __init__(self, scale: str, fixed_scale: float, mean: str = "linear") -> None:
        super().__init__()
        self.scale, self.mean = scale, mean
        if scale == "fixed":
            self.register_buffer("fixed_log_scale", torch.tensor(math.log(fixed_scale)), persistent=False)
        if scale == "shared":
            self.free_log_scale = nn.Parameter(torch.tensor(_FIRST_LOG_SCALE / _SCALE_GAIN))

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> Likelihood:
        return cls(recipe.scale, recipe.fixed_scale, recipe.mean)

    def outputs(self, channels: int) -> int:
        return 2 * channels if self.scale == "pixel" else channels

    def observation_std(self) -> float | None:
        if self.scale == "pixel":
            return None
        return float(self.log_scale().detach().exp()) * self.std_per_scale

    @classmethod
    def is_unbounded(cls, recipe: Recipe) -> bool:
        return not cls.is_discrete and recipe.scale != "fixed"

    @classmethod
    def refuses(cls, recipe: Recipe, shape: Shape) -> str | None:
        """Float32 cannot divide by the probabilities of bins that are far too wide or too narrow."""
        low, high = (math.exp(bound) for bound in DISCRETIZED_LOG_SCALES)
        if not cls.is_discrete or recipe.scale != "fixed" or low <= recipe.fixed_scale <= high:
            return None
        return (
            f"{argument('fixed_scale', f'{recipe.fixed_scale:g}')}: with likelihood={recipe.likelihood} give "
            f"{low:.2g} to {high:.2g}, on the [0, 1] scale of pixels, or {argument('scale', 'shared')}"
        )

    def log_scale(self) -> Tensor:
        """The logarithm of the scale of a fixed or shared head; a learned one is clamped to its range."""
        return self.fixed_log_scale if self.scale == "fixed" else self._in_range(self.free_log_scale * _SCALE_GAIN)

    def forward(self, output: Tensor) -> PixelDistribution:
        output = wide(output)
        if self.scale != "pixel":
            return self.kind(self._location(output), self.log_scale())
        location, log_scale = output.chunk(2, dim=-3)
        return self.kind(self._location(location), self._in_range(log_scale + _FIRST_LOG_SCALE))

    def output_of(self, mean: Tensor) -> Tensor:
        """The decoder output ``[outputs(C), H, W]`` whose mean is ``mean`` ``[C, H, W]``, at the first scale.

        For a sigmoid or a probability, the mean is clamped to [0.01, 0.99], because gradients vanish at 0 and 1.
        """
        location = mean
        if self.is_discrete:
            log_scale = self.log_scale().detach() if self.scale != "pixel" else mean.new_tensor(_FIRST_LOG_SCALE)
            location = _solve(lambda at: self.kind(at, log_scale).mean, mean.clamp(0.01, 0.99), 20.0)
        output = location.clamp(0.01, 0.99).logit() if self.mean == "sigmoid" else location - 0.5
        return torch.cat([output, torch.zeros_like(output)]) if self.scale == "pixel" else output

    def _location(self, output: Tensor) -> Tensor:
        return output.sigmoid() if self.mean == "sigmoid" else output + 0.5

    def _in_range(self, log_scale: Tensor) -> Tensor:
        return log_scale.clamp(*self.log_scales)


class NormalHead(LocationScaleHead):
    """Decoder output → normal likelihood."""

    kind = NormalImage
    log_scales = (math.log(QUANTIZATION_STD), math.inf)


class LaplaceHead(LocationScaleHead):
    """Decoder output → Laplace likelihood."""

    kind = Laplace
    std_per_scale = math.sqrt(2)
    log_scales = (math.log(QUANTIZATION_STD / math.sqrt(2)), math.inf)


class DiscretizedLogisticHead(LocationScaleHead):
    """Decoder output → logistic likelihood of the 256 values."""

    kind = DiscretizedLogistic
    std_per_scale = math.pi / math.sqrt(3)
    log_scales = DISCRETIZED_LOG_SCALES
    is_discrete = True


class DiscretizedNormalHead(LocationScaleHead):
    """Decoder output → normal likelihood of the 256 values."""

    kind = DiscretizedNormal
    log_scales = DISCRETIZED_LOG_SCALES
    is_discrete = True


class BernoulliHead(Likelihood):
    """Decoder output → Bernoulli likelihood with the output as logits."""

    is_discrete = is_binary = can_start_at_mean = True

    @classmethod
    def refuses(cls, recipe: Recipe, shape: Shape) -> str | None:
        if not recipe.jitter:
            return None
        return f"{argument('jitter')} makes pixels gray, likelihood=bernoulli is for binary ones; leave it out"

    def output_of(self, mean: Tensor) -> Tensor:
        """The logits ``[C, H, W]`` of a mean, clamped to [0.01, 0.99] because gradients vanish at 0 and 1."""
        return mean.clamp(0.01, 0.99).logit()

    def forward(self, output: Tensor) -> BernoulliImage:
        return BernoulliImage(output)


class ContinuousBernoulliHead(Likelihood):
    """Decoder output → continuous Bernoulli likelihood with the output as logits."""

    can_start_at_mean = True

    def output_of(self, mean: Tensor) -> Tensor:
        """The logits ``[C, H, W]`` of a mean, clamped to [0.01, 0.99] as for Bernoulli."""
        return _solve(lambda logits: ContinuousBernoulli(logits).mean, mean.clamp(0.01, 0.99), 200.0)

    def forward(self, output: Tensor) -> ContinuousBernoulli:
        return ContinuousBernoulli(output)


class CategoricalHead(Likelihood):
    """Decoder output → a separate probability for each value: output v · C + c is the logit of v in channel c."""

    is_discrete = can_start_at_mean = True

    def outputs(self, channels: int) -> int:
        return 256 * channels

    def output_of(self, mean: Tensor) -> Tensor:
        """Logits ``[256 · C, H, W]`` that rise or fall evenly over the values, with this mean."""
        values = torch.linspace(-0.5, 0.5, 256, device=mean.device).view(-1, 1, 1, 1)
        slope = _solve(lambda at: Categorical256(values * at).mean, mean.clamp(0.01, 0.99), 200.0)
        return (values * slope).flatten(0, 1)

    def forward(self, output: Tensor) -> Categorical256:
        return Categorical256(output.unflatten(-3, (256, output.shape[-3] // 256)))


class MixtureHead(Likelihood):
    """Decoder output → a mixture of K discretized logistics (Salimans et al. 2017, Sec. 2.1 and 2.2).

    The outputs are K logits, K · C locations, K · C log scales and, for color, 3 K coefficients (before tanh). The
    locations start evenly spaced over [0, 1]; from one common value they would stay equal.
    """

    is_discrete = can_start_at_mean = True
    first_location: Tensor

    def __init__(self, components: int) -> None:
        super().__init__()
        self.components = components
        first = (torch.arange(components) + 0.5) / components
        self.register_buffer("first_location", first.view(-1, 1, 1, 1), persistent=False)

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> Likelihood:
        return cls(recipe.mixture_components)

    def outputs(self, channels: int) -> int:
        return self.components * (1 + 2 * channels + (3 if channels >= 3 else 0))

    def output_of(self, mean: Tensor) -> Tensor:
        """An output ``[outputs(C), H, W]`` with this mean: the components are shifted by the same amount."""
        weights = mean.new_zeros(self.components, *mean.shape[1:])
        log_scale = mean.new_tensor(_FIRST_LOG_SCALE_OF_A_COMPONENT)
        moved = _solve(
            lambda by: DiscretizedLogisticMixture(weights, self.first_location + by, log_scale).mean,
            mean.clamp(0.01, 0.99),
            20.0,
        )
        locations = moved.repeat(self.components, 1, 1)
        others = self.outputs(len(mean)) - len(weights) - len(locations)
        return torch.cat([weights, locations, mean.new_zeros(others, *mean.shape[1:])])

    def forward(self, output: Tensor) -> DiscretizedLogisticMixture:
        output, count = wide(output), self.components
        channels = next(c for c in (1, 3, 4) if self.outputs(c) == output.shape[-3])
        rest = [3 * count] if channels >= 3 else []
        logits, location, log_scale, *coefficients = output.split(
            [count, count * channels, count * channels, *rest], -3
        )
        log_scale = log_scale.unflatten(-3, (count, channels)) + _FIRST_LOG_SCALE_OF_A_COMPONENT
        return DiscretizedLogisticMixture(
            logits,
            location.unflatten(-3, (count, channels)) + self.first_location,
            log_scale.clamp(*DISCRETIZED_LOG_SCALES),
            coefficients[0].unflatten(-3, (count, 3)).tanh() if coefficients else None,
        )


def _solve(rising: Callable[[Tensor], Tensor], target: Tensor, limit: float) -> Tensor:
    """Solve ``rising(t) = target`` for an increasing function by bisection, with t between ``-limit`` and ``limit``."""
    low, high = torch.full_like(target, -limit), torch.full_like(target, limit)
    for _ in range(40):
        middle = (low + high) / 2
        is_below = rising(middle) < target
        low, high = torch.where(is_below, middle, low), torch.where(is_below, high, middle)
    return (low + high) / 2
