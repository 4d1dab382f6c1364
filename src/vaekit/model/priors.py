"""Priors over latents. A prior computes the distribution p(z), some of them from the model."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vaekit.config.recipe import Recipe
from vaekit.errors import argument
from vaekit.model.contracts import EncodingModel, Prior, Shape
from vaekit.model.distributions.base import LatentDistribution
from vaekit.model.distributions.latent import DiagonalNormal, FullNormal, Mixture, Transformed
from vaekit.model.flows import coupling_flow, refused_by_flows
from vaekit.model.registry import network

__all__ = ["ConditionalNormal", "FittedNormal", "FlowPrior", "MixturePrior", "StandardNormal", "VampPrior"]


_KEEP = 0.99  # decay of the moments per batch: an average over about a hundred batches
_LAG = 10  # after n batches, the decay is n / (n + this), up to _KEEP


class StandardNormal(Prior):
    """N(0, I) over ``latent_dim`` numbers."""

    latents = ("vector", "grid")
    is_learned = False
    is_normal = True
    zeros: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.register_buffer("zeros", torch.zeros(latent_dim), persistent=False)

    def forward(self, model: EncodingModel | None = None, condition: Tensor | None = None) -> DiagonalNormal:
        return DiagonalNormal(self.zeros, self.zeros)


class FittedNormal(Prior):
    """A normal whose mean and full covariance follow those of the aggregate posterior q(z) = E_x[q(z|x)].

    Among normal priors, the one with the moments of q(z) gives the highest bound (Tomczak & Welling 2018, Eq. 5: the
    bound is maximal for the prior q(z)). The moments are running averages over training batches, constant in
    evaluation. After a short training, latents are correlated, and a standard normal would sample where no images are.
    """

    is_learned = False
    is_normal = True
    observes = True
    mean: Tensor
    covariance: Tensor
    observed: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(latent_dim))
        self.register_buffer("covariance", _identity(latent_dim))
        self.register_buffer("observed", torch.zeros(()))

    def forward(self, model: EncodingModel | None = None, condition: Tensor | None = None) -> FullNormal:
        return FullNormal.of(self.mean, self.covariance)

    @classmethod
    def refuses(cls, recipe: Recipe, shape: Shape) -> str | None:
        return _without_normal_posteriors(recipe)

    @torch.no_grad()
    def observe(self, qz: LatentDistribution) -> None:
        """Move the moments toward those of a batch of normal posteriors over ``[B, L]``."""
        assert isinstance(qz, DiagonalNormal)
        self.observed += 1
        keep = torch.clamp(self.observed / (self.observed + _LAG), max=_KEEP)
        count, total = qz.mean.new_tensor([len(qz.mean)]), qz.mean.sum(0)
        self.team.sum_(count, total)
        self.mean.lerp_(total / count, 1 - keep)
        centered = qz.mean - self.mean
        outer, variance = centered.mT @ centered, (2 * qz.log_std).exp().sum(0)
        self.team.sum_(outer, variance)
        self.covariance.lerp_((outer + torch.diag(variance)) / count, 1 - keep)


class ConditionalNormal(Prior):
    """p(z|c): a diagonal normal computed by a network from the condition (Sohn et al. 2015, Eq. 4); at first N(0, I).

    Latents need not encode a known condition. One prior for all conditions would fit none of them.
    """

    is_normal = True

    def __init__(self, condition_size: int, latent_dim: int, hidden: int = 64) -> None:
        super().__init__()
        self.size = condition_size
        self.first, self.last = nn.Linear(condition_size, hidden), nn.Linear(hidden, 2 * latent_dim)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    @classmethod
    def from_recipe(cls, recipe: Recipe, shape: Shape) -> Prior:
        assert recipe.latent_dim is not None
        return cls(recipe.condition_size, recipe.latent_dim)

    @classmethod
    def refuses(cls, recipe: Recipe, shape: Shape) -> str | None:
        if recipe.is_conditional:
            return None
        return (
            f"recipe {recipe.name!r}: prior={recipe.prior} needs a conditional model; "
            f"give {argument('is_conditional', 'true')}"
        )

    def forward(self, model: EncodingModel | None = None, condition: Tensor | None = None) -> DiagonalNormal:
        told = self.last.weight.new_zeros(self.size) if condition is None else condition.to(self.last.weight)
        mean, log_std = self.last(self.first(told).relu()).chunk(2, dim=-1)
        return DiagonalNormal(mean, log_std)


class VampPrior(Prior):
    """1/K Σₖ q(z|uₖ): the mean of the posteriors of K learned images uₖ (Tomczak & Welling 2018, Eq. 9)."""

    def __init__(self, shape: tuple[int, int, int], components: int) -> None:
        super().__init__()
        self.images = nn.Parameter(torch.rand(components, *shape))
        self.starting_images = components

    @classmethod
    def from_recipe(cls, recipe: Recipe, shape: Shape) -> Prior:
        return cls(shape, recipe.prior_components)

    @classmethod
    def refuses(cls, recipe: Recipe, shape: Shape) -> str | None:
        if recipe.is_conditional:
            conditional = argument("is_conditional", "false")
            return f"recipe {recipe.name!r}: prior=vamp cannot be conditional; give {conditional}"
        if network(recipe.net).has_batch_norm:
            return (
                f"recipe {recipe.name!r}: prior=vamp encodes learned images, which would enter the batch "
                f"statistics of net={recipe.net}; give {argument('net', 'resnet')} or {argument('net', 'mlp')}"
            )
        return _without_normal_posteriors(recipe)

    @torch.no_grad()
    def start_from(self, x: Tensor) -> None:
        """Initialize the K learned images with ``x`` ``[K, C, H, W]`` in [0, 1]."""
        self.images.copy_(x)

    def forward(self, model: EncodingModel, condition: Tensor | None = None) -> Mixture:
        q = model.encode(self.images.clamp(0, 1))
        assert isinstance(q, DiagonalNormal)
        return Mixture(q.mean.new_zeros(len(self.images)), DiagonalNormal(q.mean, q.log_std))


class FlowPrior(Prior):
    """Standard normal noise through affine couplings (Dinh et al. 2017, Eq. 7 and 8), initially the identity."""

    zeros: Tensor

    def __init__(self, latent_dim: int, layers: int = 6, hidden: int = 128) -> None:
        super().__init__()
        self.register_buffer("zeros", torch.zeros(latent_dim), persistent=False)
        self.flow = coupling_flow(latent_dim, layers, hidden)

    @classmethod
    def refuses(cls, recipe: Recipe, shape: Shape) -> str | None:
        return refused_by_flows(recipe)

    def forward(self, model: EncodingModel | None = None, condition: Tensor | None = None) -> Transformed:
        return Transformed(DiagonalNormal(self.zeros, self.zeros), self.flow())


class MixturePrior(Prior):
    """A mixture of K normals with full covariances, fitted to latents after training, without trainable parameters."""

    log_weights: Tensor
    mean: Tensor
    factor: Tensor

    def __init__(self, latent_dim: int, components: int) -> None:
        super().__init__()
        self.register_buffer("log_weights", torch.full((components,), -math.log(components)))
        self.register_buffer("mean", torch.zeros(components, latent_dim))
        self.register_buffer("factor", _identity(latent_dim).repeat(components, 1, 1))

    def scale(self, mean: Tensor, std: Tensor) -> None:
        """Undo the standardization of the latents by ``mean`` and ``std`` in the fitted normals."""
        self.mean.copy_(self.mean * std + mean)
        self.factor.copy_(std.unsqueeze(-1) * self.factor)

    def forward(self, model: EncodingModel | None = None, condition: Tensor | None = None) -> Mixture:
        return Mixture(self.log_weights, FullNormal(self.mean, self.factor))


def _identity(size: int) -> Tensor:
    """An identity matrix. On the meta device, ``torch.eye`` would import torch._dynamo, which takes a second."""
    return torch.zeros(size, size).fill_diagonal_(1)


def _without_normal_posteriors(recipe: Recipe) -> str | None:
    if recipe.posterior == "normal":
        return None
    return (
        f"recipe {recipe.name!r}: prior={recipe.prior} is computed from normal posteriors; "
        f"give {argument('posterior', 'normal')}, or {argument('prior', 'standard-normal')}"
    )
