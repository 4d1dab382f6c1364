"""Objectives: an :class:`Inference` → terms per example → a loss per example, in nats.

elbo       = E_q[log p(x|z)] − KL(q(z|x)‖p(z))        Kingma & Welling 2014, Eq. 3
loss       = distortion + β · rate                     Higgins et al. 2017, Eq. 4 (its negative)
distortion = −E_q[log p(x|z)]
iwae       = E log 1/K Σₖ wₖ,  wₖ = p(x, zₖ) / q(zₖ|x)  Burda et al. 2016, Eq. 8
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vaekit.models import Batch, Inference, LatentModel, sum_levels

__all__ = ["ELBO", "IWAE", "Distortion", "Step", "Terms"]


@dataclass(frozen=True)
class Terms:
    """Per example ``[B]``, nats: what is minimised, and what it is made of. ``rate`` is None without densities."""

    loss: Tensor
    distortion: Tensor
    rate: Tensor | None

    @property
    def elbo(self) -> Tensor | None:
        """The bound itself, whatever the loss weighs: −distortion − rate; None where it is no bound."""
        return None if self.rate is None else -self.distortion - self.rate

    def detach(self) -> Terms:
        """The same values, cut from the graph."""
        return Terms(self.loss.detach(), self.distortion.detach(), None if self.rate is None else self.rate.detach())

    @staticmethod
    def join(parts: Sequence[Terms]) -> Terms:
        """The terms of several pieces of a batch as those of the whole."""
        rates = [part.rate for part in parts if part.rate is not None]
        loss, distortion = (torch.cat([getattr(part, name) for part in parts]) for name in ("loss", "distortion"))
        return Terms(loss, distortion, torch.cat(rates) if rates else None)


class ELBO(nn.Module):
    """``distortion + weight · rate``; ``free_bits_nats`` of rate per dimension, averaged over the batch, are free."""

    def __init__(self, free_bits_nats: float = 0.0) -> None:
        super().__init__()
        self.free_bits_nats = free_bits_nats

    def forward(self, inference: Inference, weight: Tensor) -> Terms:
        distortion = -_over_samples(inference.log_px)
        rate = torch.cat(inference.kl, dim=-1).sum(-1)
        charged = self._charged(inference.kl) if self.free_bits_nats else rate
        loss = distortion + weight * charged
        return Terms(_add_penalties(loss, inference), distortion, rate)

    def _charged(self, kl: tuple[Tensor, ...]) -> Tensor:
        mean_kl = torch.cat(kl, dim=-1).mean(0, keepdim=True)  # Kingma et al. 2016, Eq. 15: groups are dimensions
        return mean_kl.clamp(min=self.free_bits_nats).sum(-1)


class IWAE(nn.Module):
    """The importance-weighted bound of the K codes that were drawn; it takes no weight of the rate.

    Doubly reparameterised, the gradient of the encoder is Σₖ w̃ₖ² ∂log wₖ/∂zₖ ∂zₖ/∂φ with w̃ₖ = wₖ / Σⱼ wⱼ (Tucker et al.
    2018): the same on average, and its signal does not drown in noise as K grows. That of all else is as it was.
    """

    def __init__(self, is_doubly_reparameterised: bool = False) -> None:
        super().__init__()
        self.is_doubly_reparameterised = is_doubly_reparameterised

    def forward(self, inference: Inference, weight: Tensor) -> Terms:
        log_w = inference.log_px + inference.log_pz
        if self.is_doubly_reparameterised:
            log_w = log_w - sum_levels([level.qz.detach().log_prob(level.z) for level in inference.levels])
            shares = log_w.detach().softmax(0)
            for level in inference.levels:
                if level.z.requires_grad:  # the gradient that comes back to z has been multiplied by w̃ once already
                    level.z.register_hook(lambda gradient: gradient * shares.unsqueeze(-1))
        else:
            log_w = log_w - inference.log_qz
        bound = log_w.logsumexp(0) - math.log(len(log_w))
        distortion = -_over_samples(inference.log_px)
        rate = torch.cat(inference.kl, dim=-1).sum(-1)
        return Terms(_add_penalties(-bound, inference), distortion, rate)


class Distortion(nn.Module):
    """Reconstruction alone: the objective of an autoencoder. Nothing in it is called a bound."""

    def forward(self, inference: Inference, weight: Tensor) -> Terms:
        distortion = -_over_samples(inference.log_px)
        return Terms(_add_penalties(distortion, inference), distortion, None)


class Step(nn.Module):
    """Model and objective as the one small module that is compiled or run in parallel."""

    def __init__(self, model: LatentModel, objective: nn.Module) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, batch: Batch, noise: Tensor, weight: Tensor) -> Terms:
        terms = self.objective(self.model.infer(batch, noise), weight)
        assert isinstance(terms, Terms)
        return terms


def _over_samples(terms: Tensor) -> Tensor:
    """The mean over the K samples of ``[K, B]``."""
    return terms.squeeze(0) if len(terms) == 1 else terms.mean(0)


def _add_penalties(loss: Tensor, inference: Inference) -> Tensor:
    for penalty in inference.penalties.values():
        loss = loss + penalty
    return loss
