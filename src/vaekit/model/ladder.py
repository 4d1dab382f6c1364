"""A hierarchy of latents whose posterior shares the top-down network with its prior.

    p(z) = p(z₁) ∏ᵢ p(zᵢ | z₍₁..ᵢ₋₁₎)        q(z|x) = q(z₁|x) ∏ᵢ q(zᵢ | z₍₁..ᵢ₋₁₎, x)

One pass of the top-down network computes both. The prior of a group of latents depends on the groups above it. Its
posterior also depends on the encoder's feature map (Sønderby et al. 2016, Sec. 2.2; Vahdat & Kautz 2020, Sec. 3).

Flat latents and flat noise are the groups concatenated from the top. z and the noise ε of the prior determine each
other: εᵢ = (zᵢ − μᵢ) / σᵢ, with mean and standard deviation of the prior given the groups above.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit.config.recipe import Recipe
from vaekit.errors import UserError, argument
from vaekit.model.contracts import EncodingModel, Likelihood, Posterior, Prior, Shape
from vaekit.model.distributions.base import LatentDistribution
from vaekit.model.distributions.latent import DiagonalNormal, wide
from vaekit.model.inference import Batch, Inference, Level
from vaekit.model.latent_model import LatentModel
from vaekit.model.nets.ladder import Group, LadderDecoder, Plan

__all__ = ["Descent", "Hierarchy", "LadderModel", "LadderPosterior", "LadderPrior"]

_FIRST_LOG_RATIO = -2.0  #: initial log(Δσ), before the bound, if ``mean_gain`` is not 0
_MOST_LOG = 5.0  #: bound of the log of a standard deviation, and of the log of its ratio to the prior's


class LadderPrior(Prior):
    """p(z₁) = N(0, I), and p(zᵢ | z₍₁..ᵢ₋₁₎), a diagonal normal for every finer group."""

    latents = ("levels",)
    is_normal = True
    zeros: Tensor

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.register_buffer("zeros", torch.zeros(plan.top_size), persistent=False)
        self.heads = nn.ModuleList(_Head(group) for group in plan.groups)

    @classmethod
    def from_recipe(cls, recipe: Recipe, shape: Shape) -> Prior:
        return cls(Plan(recipe, shape))

    def forward(self, model: EncodingModel | None = None, condition: Tensor | None = None) -> DiagonalNormal:
        """The prior of the top vector only."""
        return DiagonalNormal(self.zeros, self.zeros)

    def below(self, number: int, h: Tensor) -> DiagonalNormal:
        """p(zᵢ | z₍₁..ᵢ₋₁₎) of group ``number`` over ``[N, Lᵢ]``, from the map above it."""
        return DiagonalNormal(*self.heads[number](h))


class LadderPosterior(Posterior):
    """q(z₁|x), and q(zᵢ | z₍₁..ᵢ₋₁₎, x) relative to the prior of the group: N(μ + Δμ, (σ Δσ)²).

    The posterior is a residual of the prior (Vahdat & Kautz 2020, Eq. 2). With ``mean_gain`` 0, both start equal.
    Otherwise, Δμ starts as a random function of the image and Δσ starts small, so that the decoder receives image
    detail from the first step. Likelihoods that reward exact pixel values need this.
    """

    latent = "levels"

    def __init__(self, plan: Plan, std_gain: float = 1.0, mean_gain: float = 0.0) -> None:
        super().__init__()
        self.std_gain = std_gain
        self.map_shapes, self.grids = plan.map_shapes, [group.grid for group in plan.groups]
        coarsest = plan.map_shapes[-1]
        features = coarsest[0] * coarsest[1] * coarsest[2]
        self.mean, self.log_std = nn.Linear(features, plan.top_size), nn.Linear(features, plan.top_size)
        self.of_image = nn.ModuleList(nn.Conv2d(g.width, _hidden(g), 3, padding=1) for g in plan.groups)
        self.heads = nn.ModuleList(_Head(group, mean_gain) for group in plan.groups)

    @classmethod
    def from_recipe(cls, recipe: Recipe, features: int, shape: Shape) -> Posterior:
        assert recipe.posterior_mean_gain is not None, "the recipe is resolved"
        return cls(Plan(recipe, shape), recipe.posterior_std_gain, recipe.posterior_mean_gain)

    @classmethod
    def refuses(cls, recipe: Recipe, shape: Shape) -> str | None:
        if recipe.is_conditional:
            conditional = argument("is_conditional", "false")
            return f"recipe {recipe.name!r}: latent=levels cannot be conditional; give {conditional}"
        if recipe.objective == "iwae-dreg":
            return (
                f"recipe {recipe.name!r}: objective=iwae-dreg needs posteriors that do not depend on other latents; "
                f"give {argument('objective', 'iwae')}"
            )
        return None

    def forward(self, features: Tensor) -> DiagonalNormal:
        """q(z₁|x), the posterior of the top vector only."""
        coarsest = wide(self._split(features)[-1])
        # without the limit, one unusual image can make the latents, and then all weights, infinite
        log_std = (self.log_std(coarsest) * self.std_gain).clamp(-_MOST_LOG, _MOST_LOG)
        return DiagonalNormal(self.mean(coarsest), log_std)

    def maps(self, features: Tensor) -> list[Tensor]:
        """Features ``[B, F]`` → for every group, the map of the image for its posterior ``[B, C, rows, columns]``."""
        maps = [m.unflatten(1, shape) for m, shape in zip(self._split(features), self.map_shapes, strict=True)]
        return [conv(maps[grid]) for conv, grid in zip(self.of_image, self.grids, strict=True)]

    def below(self, number: int, h: Tensor, of_image: Tensor, pz: DiagonalNormal) -> DiagonalNormal:
        """q(zᵢ | z₍₁..ᵢ₋₁₎, x) of group ``number`` over ``[N, Lᵢ]``.

        Args:
            number: Number of the group.
            h: The map above it ``[N, C, rows, columns]``, N a multiple of B.
            of_image: Its result of :meth:`maps` for B images.
            pz: The prior of the group.
        """
        mean, log_std = self.heads[number](h, of_image)
        return DiagonalNormal(pz.mean + mean, pz.log_std + log_std)

    def _split(self, features: Tensor) -> tuple[Tensor, ...]:
        maps: tuple[Tensor, ...] = features.split([math.prod(shape) for shape in self.map_shapes], dim=-1)
        return maps


@dataclass(frozen=True)
class Descent:
    """The result of a pass of the top-down network: the top vector, then every group."""

    z: list[Tensor]  #: ``[..., Lᵢ]``
    priors: list[DiagonalNormal]
    posteriors: list[DiagonalNormal]  #: empty without an image
    last_map: Tensor  #: likelihood of all rows

    @property
    def flat(self) -> Tensor:
        """All latents ``[..., L]``."""
        return torch.cat(self.z, dim=-1)


#: Maps a number (0 for the top vector, n for the n-th group), its prior and its posterior to latents [..., Lᵢ].
Choice = Callable[[int, DiagonalNormal, DiagonalNormal | None], Tensor]


class LadderModel(LatentModel):
    """A hierarchy: prior × posterior × likelihood over a bottom-up encoder and a top-down decoder."""

    decoder: LadderDecoder
    posterior: LadderPosterior
    prior: LadderPrior

    def __init__(
        self,
        encoder: nn.Module,
        posterior: Posterior,
        prior: Prior | None,
        decoder: nn.Module,
        likelihood: Likelihood,
        latent_dim: int,
    ) -> None:
        if not isinstance(decoder, LadderDecoder):
            raise UserError(f"latent=levels: the decoder is a {type(decoder).__name__}; expected that of net=ladder")
        super().__init__(encoder, posterior, prior, decoder, likelihood, latent_dim)
        self.latent_shapes = decoder.plan.latent_shapes

    def encode(self, x: Tensor, condition: Tensor | None = None) -> Hierarchy:
        """Images ``[B, C, H, W]`` in [0, 1] → posterior over ``[B, L]``; its ``mean`` is the deterministic latent."""
        with self._precision(x.device):
            features: Tensor = self.encoder(x)
        return Hierarchy(self, features)

    def infer(self, batch: Batch, noise: Tensor) -> Inference:
        """The interface of a model: ``noise`` is standard normal ``[K, B, L]`` for K samples per image."""
        qz, rows = self.encode(batch.x), noise.shape[:-1]
        found = self.descend(_from_noise(self._pieces(noise)), rows, qz.features)
        with self._precision(noise.device):
            output = wide(self.decoder.finish(found.last_map))
        px = self.likelihood(output.unflatten(0, rows))
        target = batch.x if batch.target is None else batch.target
        return Inference(self._levels(found), px, target, noise, self._penalties(qz, len(batch.x)))

    def drawn_from(self, condition: Tensor | None = None) -> Hierarchy:
        """The prior of all levels; its ``mean`` is the mean of each level given those above."""
        return Hierarchy(self)

    def completed(
        self, z: Tensor, kept_levels: int, noise: Tensor | None = None, temperature: float | Sequence[float] = 1.0
    ) -> Tensor:
        """Keep the first levels, and sample the others from their prior given these.

        Args:
            z: Latents ``[..., L]``; those after the first ``kept_levels`` levels are not read.
            kept_levels: Number of levels to keep, from the top; may be 0.
            noise: Standard normal ``[..., L]``; None takes the mean of each prior.
            temperature: Factor of the noise, for all levels or for each.

        Returns:
            Latents ``[..., L]``.
        """
        kept, given = sum(level < kept_levels for level in self.decoder.plan.levels), self._pieces(z)
        pieces = None if noise is None else self._pieces(self.tempered(noise, temperature))

        def choose(number: int, p: DiagonalNormal, _: DiagonalNormal | None) -> Tensor:
            if number < kept:
                return given[number]
            return p.mean if pieces is None else p.from_noise(pieces[number])

        return self.descend(choose, z.shape[:-1]).flat

    def with_top(self, z: Tensor, top: Tensor, keep_detail: bool = True, noise: Tensor | None = None) -> Tensor:
        """Replace the first levels.

        Args:
            z: Latents ``[..., L]``.
            top: The first levels ``[..., T]``, where T is the size of one or more whole levels.
            keep_detail: Whether the other levels keep their (z − μ) / σ under their prior, or are sampled anew.
            noise: Standard normal ``[..., L]`` for sampling; None takes the mean of each prior.

        Returns:
            Latents ``[..., L]``.
        """
        ends = [sum(self.level_sizes[: count + 1]) for count in range(len(self.level_sizes))]
        assert top.shape[-1] in ends, "the values of whole levels"
        changed = torch.cat([top.expand(*z.shape[:-1], -1), z[..., top.shape[-1] :]], dim=-1)
        detail = self.drawn_from().to_noise(z) if keep_detail else noise
        return self.completed(changed, ends.index(top.shape[-1]) + 1, detail)

    def descend(self, choose: Choice, rows: Sequence[int], features: Tensor | None = None) -> Descent:
        """Run the top-down network once.

        Args:
            choose: Chooses the latents of every group.
            rows: Leading shape of the latents, ``[..., B]`` if there are features.
            features: Features of B images; None for no posteriors.
        """
        p, q = self.prior(), None if features is None else self.posterior(features)
        z, priors, posteriors = [choose(0, p, q).expand(*rows, -1)], [p], [] if q is None else [q]
        with self._precision(z[0].device):
            maps = None if features is None else self.posterior.maps(features)
            h = self.decoder.begin(z[0].flatten(0, -2))
            for group in range(len(self.decoder.plan.groups)):
                h = self.decoder.before(group, h)
                read = self.decoder.read(h)
                p = self.prior.below(group, read)
                priors.append(_with_rows(p, rows))
                if maps is not None:
                    posteriors.append(_with_rows(self.posterior.below(group, read, maps[group], p), rows))
                z.append(choose(group + 1, priors[-1], posteriors[-1] if posteriors else None).expand(*rows, -1))
                h = self.decoder.merge(group, h, z[-1].flatten(0, -2))
        return Descent(z, priors, posteriors, h)

    def _pieces(self, z: Tensor) -> tuple[Tensor, ...]:
        """Flat latents or noise ``[..., L]`` → those of the top vector and of every group."""
        pieces: tuple[Tensor, ...] = z.split(self.decoder.plan.sizes, dim=-1)
        return pieces

    def _levels(self, found: Descent) -> tuple[Level, ...]:
        """Join the groups of each level."""
        levels = self.decoder.plan.levels
        members = [[n for n, level in enumerate(levels) if level == wanted] for wanted in range(max(levels) + 1)]
        return tuple(
            Level(
                torch.cat([found.z[n] for n in some], dim=-1),
                _joined([found.posteriors[n] for n in some]),
                _joined([found.priors[n] for n in some]),
            )
            for some in members
        )


class Hierarchy(LatentDistribution):
    """The posterior of B images over ``[B, L]``, or the prior over ``[L]``, computed on demand by the model."""

    def __init__(self, model: LadderModel, features: Tensor | None = None) -> None:
        self.model, self.features = model, features

    @property
    def mean(self) -> Tensor:
        """The mean of each level given the means above."""
        found = self._at_mean.flat
        return found[0] if self.features is None else found

    @property
    def noise_of_mean(self) -> Tensor:
        """The noise ``[B, L]`` that the prior maps to the mean of a posterior."""
        found = self._at_mean
        return torch.cat([p.to_noise(z) for p, z in zip(found.priors, found.z, strict=True)], dim=-1)

    @cached_property
    def _at_mean(self) -> Descent:
        rows = (1,) if self.features is None else self.features.shape[:1]
        return self.model.descend(lambda _, p, q: (p if q is None else q).mean, rows, self.features)

    def from_noise(self, noise: Tensor) -> Tensor:
        """Samples, of the shape of ``noise`` ``[..., L]``."""
        choose, rows = _from_noise(self.model._pieces(noise)), noise.shape[:-1] or (1,)
        return self.model.descend(choose, rows, self.features).flat.reshape(noise.shape)

    def to_noise(self, z: Tensor) -> Tensor:
        """The inverse of :meth:`from_noise`, for z ``[..., L]``."""
        return torch.cat([own.to_noise(part) for own, part in self._met(z)], dim=-1).reshape(z.shape)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density of z ``[..., L]`` → ``[...]``, nats: the sum over levels."""
        return torch.stack([own.log_prob(part) for own, part in self._met(z)]).sum(0).reshape(z.shape[:-1])

    @property
    def moments(self) -> None:
        """None: its covariance would need a sample for every latent."""
        return None

    def _met(self, z: Tensor) -> list[tuple[DiagonalNormal, Tensor]]:
        """Return the distribution of each group given the latents above it, and its latents."""
        pieces = self.model._pieces(z)
        found = self.model.descend(lambda number, p, q: pieces[number], z.shape[:-1] or (1,), self.features)
        return list(zip(found.posteriors or found.priors, found.z, strict=True))


class _Head(nn.Module):
    """The map above a group ``[N, C, rows, columns]`` → mean and log standard deviation of each latent.

    Without ``mean_gain``, both start at 0. Otherwise the mean starts random, scaled by the gain, and the log standard
    deviation at ``_FIRST_LOG_RATIO``.
    """

    def __init__(self, group: Group, mean_gain: float = 0.0) -> None:
        super().__init__()
        hidden = _hidden(group)
        self.conv = nn.Conv2d(group.width, hidden, 3, padding=1)
        self.last = nn.Conv2d(hidden, 2 * group.channels, 1)
        mean_rows, std_rows = slice(group.channels), slice(group.channels, None)
        assert self.last.bias is not None
        with torch.no_grad():
            self.last.weight[mean_rows] *= mean_gain
            self.last.weight[std_rows] = 0.0
            self.last.bias[mean_rows] = 0.0
            self.last.bias[std_rows] = _FIRST_LOG_RATIO if mean_gain else 0.0

    def forward(self, h: Tensor, of_image: Tensor | None = None) -> tuple[Tensor, Tensor]:
        hidden = self.conv(h)
        if of_image is not None and of_image.shape[0] == hidden.shape[0]:
            hidden = hidden + of_image
        elif of_image is not None:  # several samples of each image
            hidden = (hidden.unflatten(0, (-1, of_image.shape[0])) + of_image).flatten(0, 1)
        mean, log_std = wide(self.last(F.silu(hidden))).flatten(1).chunk(2, dim=1)
        return mean, _MOST_LOG * (log_std / _MOST_LOG).tanh()


def _hidden(group: Group) -> int:
    """Channels of the hidden layer of a head."""
    return max(1, group.width // 2)


def _from_noise(pieces: Sequence[Tensor]) -> Choice:
    """Sample from the posterior, or from the prior if there is none."""
    return lambda number, p, q: (p if q is None else q).from_noise(pieces[number])


def _with_rows(normal: DiagonalNormal, rows: Sequence[int]) -> DiagonalNormal:
    return DiagonalNormal(normal.mean.unflatten(0, tuple(rows)), normal.log_std.unflatten(0, tuple(rows)))


def _joined(parts: list[DiagonalNormal]) -> DiagonalNormal:
    """Join independent normals."""
    if len(parts) == 1:
        return parts[0]
    return DiagonalNormal(torch.cat([p.mean for p in parts], dim=-1), torch.cat([p.log_std for p in parts], dim=-1))
