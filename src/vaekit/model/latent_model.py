"""The one model class, and the narrow waist.

    x → encoder → q(z|x) → z → decoder → p(x|z)

``infer`` returns an :class:`Inference`; objectives, the evaluator and the tools read only that record.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from vaekit.model.distributions.latent import DiagonalNormal, FullNormal, kl_divergence, wide

__all__ = ["Batch", "Inference", "LatentModel", "Level"]

_OUTPUTS_AT_ONCE = 1 << 26  # of the decoder: 256 MiB of float32


@dataclass(frozen=True)
class Batch:
    """What goes in: images ``[B, C, H, W]`` in [0, 1], and what should come out if it is not the same."""

    x: Tensor
    target: Tensor | None = None  #: the clean images when ``x`` is noisy
    condition: Tensor | None = None  #: ``[B, C]``: what a conditional model is told (:mod:`vaekit.model.conditioning`)

    def split(self, size: int) -> list[Batch]:
        """In pieces of at most ``size`` images; no images are one empty piece."""
        parts = (None if t is None else t.split(size) for t in (self.x, self.target, self.condition))
        x, target, condition = ([None] * len(self.x.split(size)) if part is None else part for part in parts)
        return [Batch(*piece) for piece in zip(x, target, condition, strict=True)]


@dataclass(frozen=True)
class Level:
    """One latent variable: a sample ``z`` ``[K, B, L]``, its posterior and its prior (None: no density)."""

    z: Tensor
    qz: Any
    pz: Any


@dataclass(frozen=True, eq=False)
class Inference:
    """What inference returns. Terms are derived when read: nats, per example, constants kept."""

    levels: tuple[Level, ...]
    px: Any
    target: Tensor
    noise: Tensor  #: standard normal ``[K, B, L]``: what was drawn to make the samples of
    penalties: dict[str, Tensor] = field(default_factory=dict)

    @cached_property
    def log_px(self) -> Tensor:
        """log p(x|z) ``[K, B]``."""
        return self.px.log_prob(self.target)

    @cached_property
    def log_qz(self) -> Tensor:
        """log q(z|x) ``[K, B]``, summed over levels."""
        return sum_levels([level.qz.log_prob(level.z) for level in self.levels])

    @cached_property
    def log_pz(self) -> Tensor:
        """log p(z) ``[K, B]``, summed over levels."""
        return sum_levels([level.pz.log_prob(level.z) for level in self.levels])

    @cached_property
    def kl(self) -> tuple[Tensor, ...]:
        """KL(q(z|x)‖p(z)) per level and dimension: ``[B, L]`` where it is analytic, else the sampled ``[B, 1]``."""
        return tuple(_kl(level) for level in self.levels)

    @property
    def has_density(self) -> bool:
        """Whether rate and bound exist: not for an autoencoder."""
        return all(level.pz is not None and level.qz.has_density for level in self.levels)


class LatentModel(nn.Module):
    """prior × posterior × likelihood over two networks; an autoencoder has a point posterior and no prior."""

    posterior: Any  # these are modules, but callers need what they offer beside that
    prior: Any
    decoder: Any
    likelihood: Any

    def __init__(
        self,
        encoder: nn.Module,
        posterior: nn.Module,
        prior: nn.Module | None,
        decoder: nn.Module,
        likelihood: nn.Module,
        latent_dim: int,
    ) -> None:
        super().__init__()
        self.encoder, self.posterior, self.prior = encoder, posterior, prior
        self.decoder, self.likelihood = decoder, likelihood
        self.latent_dim = latent_dim
        self.latent = "vector"  #: what a latent is, as recipes name it
        self.condition_size = 0  #: numbers that both networks are told of an image; without them all are zero: unknown
        self.decoder_l2 = 0.0  #: weight of the squared norm of the decoder's weights, in nats per image
        self.fitted_prior: Any = None  #: fitted to the codes after training: what is then drawn from
        self.image_shape: tuple[int, int, int] | None = None  #: (C, H, W) of what it is built for
        self.compute_dtype: torch.dtype | None = None  #: of the two networks in training; None: that of the weights
        self._is_observed = False

    def at_once(self, most: int) -> int:
        """How many images, ``most`` or fewer, to decode together: some likelihoods have many outputs per pixel."""
        if self.image_shape is None:
            return most
        channels, height, width = self.image_shape
        return max(1, min(most, _OUTPUTS_AT_ONCE // (self.likelihood.outputs(channels) * height * width)))

    def encode(self, x: Tensor, condition: Tensor | None = None) -> Any:
        """Images ``[B, C, H, W]`` in [0, 1] → posterior over ``[B, L]``; its ``mean`` is the deterministic code."""
        return self.posterior(self._told(self._through(self.encoder, x), condition))

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Any:
        """Latents ``[..., L]`` → likelihood over ``[..., C, H, W]``; its ``mean`` is the picture."""
        output = self._through(self.decoder, self._told(z, condition).flatten(0, -2))
        return self.likelihood(output.unflatten(0, z.shape[:-1]))

    def infer(self, batch: Batch, noise: Tensor) -> Inference:
        """The waist: ``noise`` is standard normal ``[K, B, L]`` for K samples per image."""
        qz = self.encode(batch.x, batch.condition)
        observers = self._observers() if self.training and not self._is_observed else []
        for part in observers:
            part.observe(qz)
        if observers and hasattr(self.posterior, "renewed"):
            qz = self.posterior.renewed(qz)
        pz = None if self.prior is None else self.prior(self, batch.condition)
        z = qz.from_noise(noise)
        target = batch.x if batch.target is None else batch.target
        px = self.decode(z, batch.condition)
        return Inference((Level(z, qz, pz),), px, target, noise, self._penalties(qz, len(batch.x)))

    @torch.no_grad()
    def observe_all(self, pieces: Sequence[Batch]) -> None:
        """Shows the parts that follow the posteriors all of a batch that is trained on piece by piece."""
        observers = self._observers()
        if observers:
            posteriors = [self.encode(piece.x, piece.condition) for piece in pieces]
            for part in observers:
                part.observe(type(posteriors[0]).join(posteriors))

    @contextmanager
    def observed(self) -> Iterator[None]:
        """While the pieces of a batch pass that :meth:`observe_all` has shown."""
        self._is_observed = True
        try:
            yield
        finally:
            self._is_observed = False

    def drawn_from(self, condition: Tensor | None = None) -> Any:
        """The distribution of new latents: what was fitted to the codes, else the prior; None without either."""
        prior = self.prior if self.fitted_prior is None else self.fitted_prior
        return None if prior is None else prior(self, condition)

    def sample(self, noise: Tensor, condition: Tensor | None = None) -> Any:
        """Standard normal noise ``[N, L]`` → likelihoods of N images of latents from :meth:`drawn_from`."""
        source = self.drawn_from(condition)
        return self.decode(noise if source is None else source.from_noise(noise), condition)

    def _observers(self) -> list[Any]:
        """The parts whose state follows the posteriors of training batches."""
        return [part for part in (self.posterior, self.prior) if hasattr(part, "observe")]

    def _penalties(self, qz: Any, count: int) -> dict[str, Tensor]:
        """What the parts add to any loss, nats per example ``[B]``."""
        found: dict[str, Tensor] = {}
        if hasattr(qz, "commitment"):
            found["commitment"] = qz.commitment
        if self.decoder_l2:
            squares = torch.stack([p.square().sum() for p in self.decoder.parameters()]).sum()
            found["decoder_l2"] = (self.decoder_l2 * squares).expand(count)
        return found

    def _told(self, tensor: Tensor, condition: Tensor | None) -> Tensor:
        """Vectors ``[..., F]`` with what is told of their images ``[B, C]`` behind them."""
        if not self.condition_size:
            return tensor
        told = tensor.new_zeros(self.condition_size) if condition is None else condition.to(tensor)
        return torch.cat([tensor, told.expand(*tensor.shape[:-1], self.condition_size)], dim=-1)

    def _through(self, net: nn.Module, tensor: Tensor) -> Tensor:
        """One of the networks, in the precision of training; what reads its output computes in float32 again."""
        if self.compute_dtype is None or not self.training:
            return net(tensor)
        with torch.autocast(tensor.device.type, self.compute_dtype):
            output = net(tensor)
        return wide(output)


def sum_levels(terms: list[Tensor]) -> Tensor:
    """The sum of one term per level, all of shape ``[K, B]``."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _kl(level: Level) -> Tensor:
    if isinstance(level.qz, DiagonalNormal) and isinstance(level.pz, DiagonalNormal | FullNormal):
        return kl_divergence(level.qz, level.pz)
    return (level.qz.log_prob(level.z) - level.pz.log_prob(level.z)).mean(0).unsqueeze(-1)
