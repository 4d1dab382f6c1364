"""Flow matching: a velocity field that carries standard normal noise to latents.

    z_t = (1 − t) ε + t z        ε ~ N(0, I), z a latent, t in [0, 1]
    loss = ‖v(z_t, t, c) − (z − ε)‖² / L        Lipman et al. 2023, Eq. 23 with σ_min = 0; Liu et al. 2023, Eq. 1
    dz/dt = v(z, t, c) from t = 0 to 1          maps noise to a new latent
    v = v(∅) + w (v(c) − v(∅))                  guidance of weight w (Ho & Salimans 2021, Eq. 6)

The times of training are sigmoids of normal numbers, so most lie in the middle (Esser et al. 2024, Eq. 19). Latents are
standardized, per dimension of a vector and per channel of a grid. The field draws latents, but gives no density: a
bound would need an integral of its divergence, which vaekit does not compute.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vaekit.config.run_config import Condition
from vaekit.errors import UserError
from vaekit.model.contracts import EncodingModel, LatentShape, Prior, Terms
from vaekit.model.distributions.base import LatentDistribution
from vaekit.model.distributions.latent import DiagonalNormal, wide
from vaekit.model.inference import Batch
from vaekit.model.nets.velocity import velocity_of
from vaekit.model.trainable import Trainable

__all__ = [
    "FlowMatchingPrior",
    "FlowSamples",
    "Sampling",
    "VelocityStep",
    "channel_moments",
    "integrate",
    "normal_error",
    "velocity_error",
]

_MOST_STEPS = 1000
_LEAST_SPREAD = 1e-6  # standard deviation of a dimension in which the latents are equal


@dataclass(frozen=True)
class Sampling:
    """How latents are drawn from a velocity field."""

    steps: int = 20  #: of the solver
    guidance: float = 1.0  #: weight w of the condition: 0 ignores it, 1 is the learned field, more exaggerates it

    def check(self) -> None:
        """Raise :class:`UserError` for values out of range."""
        if not 1 <= self.steps <= _MOST_STEPS:
            raise UserError(f"steps {self.steps}: expected 1 to {_MOST_STEPS:,}", "steps")
        if not 0 <= self.guidance <= 100:
            raise UserError(f"guidance {self.guidance:g}: expected 0 to 100, such as 2", "guidance")


def integrate(
    field: Callable[[Tensor, Tensor], Tensor],
    z: Tensor,
    steps: int,
    start: float = 0.0,
    end: float = 1.0,
    solver: str = "heun",
) -> Tensor:
    """Follow a velocity field in equal steps of time.

    Args:
        field: Maps z ``[B, L]`` and times ``[B]`` to velocities ``[B, L]``.
        z: Points ``[B, L]`` at time ``start``.
        steps: Number of steps.
        start: First time.
        end: Last time.
        solver: ``"heun"``, of second order with two evaluations per step, or ``"euler"``, of first order with one.

    Returns:
        Points ``[B, L]`` at time ``end``.
    """
    size = (end - start) / steps
    for step in range(steps):
        now, then = (z.new_full((len(z),), start + size * (step + i)) for i in (0, 1))
        velocity = field(z, now)
        if solver == "heun":
            velocity = (velocity + field(z + size * velocity, then)) / 2
        z = z + size * velocity
    return z


class FlowMatchingPrior(Prior):
    """A velocity field over latents of ``shape``, fitted after training; it has no density."""

    latents = ("vector", "grid")
    mean: Tensor
    std: Tensor

    def __init__(self, shape: LatentShape, width: int, depth: int, condition_size: int = 0) -> None:
        super().__init__()
        self.net = velocity_of(shape, width, depth, condition_size)
        self.shape, self.condition_size = shape, condition_size
        self.conditions: tuple[Condition, ...] = ()
        self.register_buffer("mean", torch.zeros(shape[0]))
        self.register_buffer("std", torch.ones(shape[0]))

    def scale(self, mean: Tensor, std: Tensor) -> None:
        """Set mean and standard deviation ``[C]`` of each dimension of a vector, or of each channel of a grid."""
        self.mean.copy_(mean)
        self.std.copy_(std.clamp(min=_LEAST_SPREAD))

    def standardized(self, z: Tensor) -> Tensor:
        """Standardize latents ``[..., L]``; the field works on these."""
        return (z - self.spread(self.mean)) / self.spread(self.std)

    def restored(self, z: Tensor) -> Tensor:
        """The inverse of :meth:`standardized`."""
        return z * self.spread(self.std) + self.spread(self.mean)

    def forward(self, model: EncodingModel | None = None, condition: Tensor | None = None) -> FlowSamples:
        return FlowSamples(self, condition, Sampling())

    def field(self, condition: Tensor | None, guidance: float) -> Callable[[Tensor, Tensor], Tensor]:
        """The guided velocity of standardized latents, under one condition ``[C]``."""
        if condition is None or guidance == 0:
            return self.net
        condition = condition.to(self.mean)
        if guidance == 1:
            return lambda z, t: self.net(z, t, condition.expand(len(z), -1))

        def guided(z: Tensor, t: Tensor) -> Tensor:
            known = condition.expand(len(z), -1)
            both = self.net(z.repeat(2, 1), t.repeat(2), torch.cat([torch.zeros_like(known), known]))
            without, with_ = both.chunk(2)
            result: Tensor = without + guidance * (with_ - without)
            return result

        return guided

    def spread(self, values: Tensor) -> Tensor:
        """Repeat a value per channel ``[C]`` for every number of the latent, ``[L]``."""
        return values.repeat_interleave(self.numbers_per_channel)

    @property
    def numbers_per_channel(self) -> int:
        """The numbers that share a mean and a standard deviation: the cells of a grid, or 1."""
        return 1 if len(self.shape) == 1 else self.shape[1] * self.shape[2]


class FlowSamples(LatentDistribution):
    """The distribution of latents ``[L]`` that the field generates from noise, or from a latent with noise.

    It has no density.
    """

    has_density = False

    def __init__(
        self,
        prior: FlowMatchingPrior,
        condition: Tensor | None,
        sampling: Sampling,
        origin: Tensor | None = None,
        strength: float = 1.0,
    ) -> None:
        self.prior, self.condition, self.sampling = prior, condition, sampling
        self.origin, self.strength = origin, strength

    @property
    def mean(self) -> Tensor:
        """The latent ``[L]`` that zero noise becomes."""
        return self.from_noise(self.prior.mean.new_zeros(1, self.prior.numbers_per_channel * len(self.prior.mean)))[0]

    def from_noise(self, noise: Tensor) -> Tensor:
        z, start = noise.reshape(-1, noise.shape[-1]), 1 - self.strength
        if self.origin is not None:
            z = self.strength * z + start * self.prior.standardized(self.origin)
        field = self.prior.field(self.condition, self.sampling.guidance)
        steps = max(1, round(self.strength * self.sampling.steps))
        z = integrate(field, z, steps, start)
        return self.prior.restored(z).reshape(noise.shape)

    @property
    def moments(self) -> DiagonalNormal:
        """The normal with the means and variances of the latents that the field was fitted to; no covariances."""
        return DiagonalNormal(self.prior.spread(self.prior.mean), self.prior.spread(self.prior.std).log())

    def with_sampling(self, steps: int | None = None, guidance: float | None = None) -> FlowSamples:
        """The same field, drawn from in another way."""
        before = self.sampling
        sampling = replace(
            before,
            steps=before.steps if steps is None else steps,
            guidance=before.guidance if guidance is None else guidance,
        )
        sampling.check()
        return FlowSamples(self.prior, self.condition, sampling, self.origin, self.strength)

    def variations_of(self, origin: Tensor, strength: float) -> FlowSamples:
        """Variations of a latent ``[L]``: noised up to time 1 − ``strength``, and carried back from there.

        This is SDEdit (Meng et al. 2022, Sec. 3) with a flow. At strength 0, all are the latent itself; at 1, they are
        independent of it.
        """
        if not 0 <= strength <= 1:
            raise UserError(f"strength {strength:g}: expected 0 (the image itself) to 1 (any image)", "strength")
        return FlowSamples(self.prior, self.condition, self.sampling, origin, strength)


class VelocityStep(Trainable[FlowMatchingPrior]):
    """The training of a field on standardized latents ``batch.x`` ``[B, L]``, with noise ``[1, B, L + 1]``.

    The noise is ε, and the number whose sigmoid is the time.
    """

    name = "the prior"

    def __init__(self, prior: FlowMatchingPrior) -> None:
        super().__init__(prior)
        self.dtype: torch.dtype | None = None

    def forward(self, batch: Batch, noise: Tensor, ramp: Tensor) -> Terms:
        with nullcontext() if self.dtype is None else torch.autocast(batch.x.device.type, self.dtype):
            errors = velocity_error(self.model, batch.x, noise[0], batch.condition)
        return Terms(errors, errors, None)

    def compute_in(self, dtype: torch.dtype) -> None:
        self.dtype = dtype


def velocity_error(prior: FlowMatchingPrior, z: Tensor, noise: Tensor, condition: Tensor | None = None) -> Tensor:
    """The mean squared error of the velocity ``[B]``, over the dimensions.

    Args:
        prior: The field.
        z: Standardized latents ``[B, L]``.
        noise: Standard normal ``[B, L + 1]``: ε, and the number whose sigmoid is the time.
        condition: Conditions ``[B, C]``.
    """
    start, t = noise[:, :-1], noise[:, -1].sigmoid()
    here = (1 - t)[:, None] * start + t[:, None] * z
    errors: Tensor = (wide(prior.net(here, t, condition)) - (z - start)).square().mean(1)
    return errors


def normal_error(noise: Tensor) -> Tensor:
    """The error of the best field for latents that are standard normal: the variance of z − ε given z_t, ``[B]``.

    With s = (1 − t)² + t² the variance of z_t, it is 2 − (2t − 1)² / s = 1 / s. ``noise`` is as in
    :func:`velocity_error`. A field can only be below it if the latents are not standard normal.
    """
    t = noise[:, -1].sigmoid()
    return 1 / ((1 - t).square() + t.square())


def channel_moments(mean: Tensor, std: Tensor, shape: LatentShape) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation ``[C]`` of all samples of N posteriors, per dimension or per channel.

    Args:
        mean: Posterior means ``[N, L]``.
        std: Posterior standard deviations ``[N, L]``.
        shape: Shape of the latent.
    """
    means, stds = (each.unflatten(1, (shape[0], -1)) for each in (mean, std))
    found = []
    for channel in range(shape[0]):  # one at a time, because float64 needs twice the memory
        rows, noise = means[:, channel].double(), stds[:, channel].double()
        found.append(torch.stack([rows.mean(), (rows.var(correction=0) + noise.square().mean()).sqrt()]))
    channels = torch.stack(found)
    return channels[:, 0], channels[:, 1]
