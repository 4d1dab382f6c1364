"""Posteriors: features of the encoder → a distribution of latents."""

from __future__ import annotations

from torch import Tensor, nn

from vaekit.config.recipe import Recipe
from vaekit.errors import UserError, argument
from vaekit.model.contracts import Posterior, Shape
from vaekit.model.distributions.latent import DiagonalNormal, PointMass, Transformed
from vaekit.model.flows import autoregressive_flow, refused_by_flows

__all__ = ["FlowPosterior", "GridPosterior", "NormalPosterior", "PointPosterior"]


class PointPosterior(Posterior):
    """Features ``[B, F]`` → a point ``[B, L]``: the encoder of a plain autoencoder."""

    uses_noise = False

    @classmethod
    def refuses(cls, recipe: Recipe, shape: Shape) -> str | None:
        if recipe.samples == 1:
            return None
        return (
            f"{argument('samples', recipe.samples)}: an autoencoder has one latent vector per image; "
            f"give {argument('samples', 1)}"
        )

    def __init__(self, features: int, latent_dim: int) -> None:
        super().__init__()
        self.mean = nn.Linear(features, latent_dim)

    def forward(self, features: Tensor) -> PointMass:
        return PointMass(self.mean(features))


class NormalPosterior(Posterior):
    """Features ``[B, F]`` → a diagonal normal over ``[B, L]``, ``std = exp(gain · linear)``.

    An early step of Adam moves all F weights of a log standard deviation by the learning rate, possibly in one
    direction: with 4,096 features and a rate of 0.001, a standard deviation can grow by a factor of e⁴ in one step. A
    ``std_gain`` below 1 slows this down.
    """

    def __init__(self, features: int, latent_dim: int, std_gain: float = 1.0) -> None:
        super().__init__()
        self.mean = nn.Linear(features, latent_dim)
        self.log_std = nn.Linear(features, latent_dim)
        self.std_gain = std_gain

    @classmethod
    def from_recipe(cls, recipe: Recipe, features: int, shape: Shape) -> Posterior:
        assert recipe.latent_dim is not None
        return cls(features, recipe.latent_dim, recipe.posterior_std_gain)

    def forward(self, features: Tensor) -> DiagonalNormal:
        return DiagonalNormal(self.mean(features), self.log_std(features) * self.std_gain)


class GridPosterior(Posterior):
    """Features ``[B, 2 · L]``, the means and then the ``log_std / std_gain`` of a grid → a diagonal normal over it."""

    latent = "grid"

    def __init__(self, features: int, latent_dim: int, std_gain: float = 1.0) -> None:
        super().__init__()
        assert features == 2 * latent_dim, "two numbers for each of the latent"
        self.std_gain = std_gain

    @classmethod
    def from_recipe(cls, recipe: Recipe, features: int, shape: Shape) -> Posterior:
        assert recipe.latent_dim is not None
        if features != 2 * recipe.latent_dim:
            raise UserError(
                f"net={recipe.net}: its encoder returns {features} features per image; expected "
                f"{2 * recipe.latent_dim}: a mean and a log standard deviation for each of {recipe.latent_dim} numbers"
            )
        return cls(features, recipe.latent_dim, recipe.posterior_std_gain)

    @classmethod
    def refuses(cls, recipe: Recipe, shape: Shape) -> str | None:
        if not recipe.is_conditional:
            return None
        return f"recipe {recipe.name!r}: latent=grid cannot be conditional; give {argument('is_conditional', 'false')}"

    def forward(self, features: Tensor) -> DiagonalNormal:
        mean, log_std = features.chunk(2, dim=-1)
        return DiagonalNormal(mean, log_std * self.std_gain)


class FlowPosterior(Posterior):
    """Features ``[B, F]`` → a normal and an inverse autoregressive flow (Kingma et al. 2016, Algorithm 1)."""

    def __init__(
        self, features: int, latent_dim: int, std_gain: float = 1.0, layers: int = 2, hidden: int = 128
    ) -> None:
        super().__init__()
        self.base = NormalPosterior(features, latent_dim, std_gain)
        self.context = nn.Linear(features, hidden)
        self.flow = autoregressive_flow(latent_dim, hidden, layers, hidden)

    @classmethod
    def from_recipe(cls, recipe: Recipe, features: int, shape: Shape) -> Posterior:
        assert recipe.latent_dim is not None
        return cls(features, recipe.latent_dim, recipe.posterior_std_gain)

    @classmethod
    def refuses(cls, recipe: Recipe, shape: Shape) -> str | None:
        return refused_by_flows(recipe)

    def forward(self, features: Tensor) -> Transformed:
        return Transformed(self.base(features), self.flow(self.context(features).relu()))
