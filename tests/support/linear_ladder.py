"""A hierarchy that is linear and normal, so that all is known of it; float64.

    p(z₁) = N(0, I)    p(z₂|z₁) = N(A z₁, S)    p(x|z) = N(W₁ z₁ + W₂ z₂ + b, s² I)

With M = W₁ + W₂ A, p(x) = N(b, M Mᵀ + W₂ S W₂ᵀ + s² I). W₂ has orthogonal columns and M is chosen such that both true
posteriors, q(z₁|x) and q(z₂|z₁, x), are diagonal: the bound can meet log p(x).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch import distributions as td

from vaekit.config.recipe import Recipe
from vaekit.model.contracts import Likelihood
from vaekit.model.distributions.pixel import NormalImage
from vaekit.model.ladder import LadderModel, LadderPosterior, LadderPrior
from vaekit.model.nets.ladder import LadderDecoder, Plan

__all__ = ["LATENTS", "PIXELS", "SCALE", "SHAPE", "SIGMA_POINTS", "TOP", "NormalOutput", "Truth", "images", "linear"]

SHAPE, TOP, PIXELS, SCALE = (1, 3, 2), 2, 6, 0.7
LATENTS = TOP + PIXELS
_SIDES = math.sqrt(LATENTS) * torch.eye(LATENTS, dtype=torch.float64)
SIGMA_POINTS = torch.cat([_SIDES, -_SIDES]).unsqueeze(1)  # with the first two moments of a standard normal: [2L, 1, L]
PLAN = Plan(Recipe("linear", width=1, patch=1, top_latents=TOP, latent_channels=1, level_groups=1), SHAPE)


class Truth:
    """The weights of the linear model, and what is known of it."""

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator)

        self.prior_log_std = 0.3 * normal(PIXELS)
        self.a, self.b = normal(PIXELS, TOP), normal(PIXELS)
        self.w2 = torch.linalg.qr(normal(PIXELS, PIXELS)).Q * torch.linspace(0.5, 2, PIXELS)
        below = self.w2 * (2 * self.prior_log_std).exp() @ self.w2.mT + SCALE**2 * torch.eye(PIXELS)
        root = torch.linalg.cholesky(below)
        self.m = root @ torch.linalg.qr(normal(PIXELS, TOP)).Q * torch.tensor([1.5, 0.8])
        self.w1 = self.m - self.w2 @ self.a
        self.covariance = self.m @ self.m.mT + below
        # z₁|x: precision I + Mᵀ B⁻¹ M, and z₂|z₁, x: precision S⁻¹ + W₂ᵀ W₂ / s², both diagonal
        pull = self.m.mT @ torch.linalg.inv(below)
        variance = 1 / (1 + (pull @ self.m).diagonal())
        self.top_mean, self.top_log_std = variance.unsqueeze(-1) * pull, 0.5 * variance.log()
        precision = (-2 * self.prior_log_std).exp() + self.w2.square().sum(0) / SCALE**2
        self.log_std = -0.5 * precision.log()

    def below_mean(self, z1: Tensor, x: Tensor) -> Tensor:
        """The mean of z₂ given z₁ and x."""
        prior = z1 @ self.a.mT * (-2 * self.prior_log_std).exp()
        return (2 * self.log_std).exp() * (prior + (x - self.b - z1 @ self.w1.mT) @ self.w2 / SCALE**2)

    def log_px(self, x: Tensor) -> Tensor:
        return td.MultivariateNormal(self.b, self.covariance).log_prob(x.flatten(1))


class LinearDecoder(LadderDecoder):
    """A map has all latents so far as channels of one cell."""

    def __init__(self, truth: Truth) -> None:
        super().__init__(SHAPE, PLAN)
        self.truth = truth

    def begin(self, z: Tensor) -> Tensor:
        return z[..., None, None]

    def before(self, number: int, h: Tensor) -> Tensor:
        return h

    def read(self, h: Tensor) -> Tensor:
        return h

    def merge(self, number: int, h: Tensor, z: Tensor) -> Tensor:
        return torch.cat([h, z[..., None, None]], dim=1)

    def finish(self, h: Tensor) -> Tensor:
        z1, z2 = h.flatten(1).split([TOP, PIXELS], dim=1)
        return (z1 @ self.truth.w1.mT + z2 @ self.truth.w2.mT + self.truth.b).unflatten(1, SHAPE)


class LinearPrior(nn.Module):
    def __init__(self, truth: Truth) -> None:
        super().__init__()
        self.truth = truth

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        mean = h.flatten(1) @ self.truth.a.mT
        return mean, self.truth.prior_log_std.expand_as(mean)


class LinearPosterior(nn.Module):
    """The residual: how the true posterior differs from the prior, moved by ``off``."""

    def __init__(self, truth: Truth, off: float) -> None:
        super().__init__()
        self.truth, self.off = truth, off

    def forward(self, h: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        z1, truth = h.flatten(1), self.truth
        rows = x.flatten(1).repeat(len(z1) // len(x), 1)
        mean = truth.below_mean(z1, rows) - z1 @ truth.a.mT
        return mean + self.off, (truth.log_std - truth.prior_log_std + self.off).expand_as(mean)


class NormalOutput(Likelihood):
    def forward(self, output: Tensor) -> NormalImage:
        return NormalImage(output, torch.tensor(math.log(SCALE)))


def linear(seed: int = 0, off: float = 0.0) -> tuple[LadderModel, Truth]:
    """The linear model with its true posterior, or one that is ``off`` from it at both levels."""
    truth, posterior, prior = Truth(seed), LadderPosterior(PLAN), LadderPrior(PLAN)
    prior.heads[0], posterior.heads[0], posterior.of_image[0] = (
        LinearPrior(truth),
        LinearPosterior(truth, off),
        nn.Identity(),
    )
    posterior.mean.weight.data = truth.top_mean.clone()
    posterior.mean.bias.data = off - truth.top_mean @ truth.b
    posterior.log_std.weight.data.zero_()
    posterior.log_std.bias.data = truth.top_log_std + off
    model = LadderModel(nn.Flatten(), posterior, prior, LinearDecoder(truth), NormalOutput(), LATENTS)
    return model.requires_grad_(False), truth


def images(truth: Truth, count: int = 30) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return (
        torch.randn(count, PIXELS, generator=generator) @ torch.linalg.cholesky(truth.covariance).mT + truth.b
    ).unflatten(1, SHAPE)
