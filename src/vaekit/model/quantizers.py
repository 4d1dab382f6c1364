"""Discrete latents: each cell of a grid takes one of K vectors, and its token is the index of that vector.

vector quantization   token = argmaxₖ ⟨f/‖f‖, eₖ⟩, eₖ of length 1      van den Oord et al. 2017, Eq. 1; Yu et al. 2022
its codebook          eₖ ← running mean of the features that chose k   van den Oord et al. 2017, Appendix A.1
finite scalars        each of a few numbers is rounded to a few levels  Mentzer et al. 2024, Sec. 3

Rounding has no gradient, so the gradient of the vector passes to the features unchanged (straight-through). The
posterior is deterministic and has no entropy. Therefore KL(q(z|x)‖p(z)) = −log p(tokens), and the ELBO bounds a
probability, not a density. Priors over tokens are in :mod:`vaekit.model.token_priors`.

The attribute ``quantiser`` keeps its name because stored weights are keyed by it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit.config.recipe import Recipe
from vaekit.errors import argument
from vaekit.model.contracts import Posterior, Shape
from vaekit.model.distributions.base import LatentDistribution
from vaekit.model.meta_device import unless_meta
from vaekit.model.nets.resnet import Grid
from vaekit.system.distributed import ALONE, Team

__all__ = ["CodePosterior", "CodebookPosterior", "Quantizer", "ScalarQuantizer", "Tokens", "VectorQuantizer"]

_KEEP = 0.99  # decay of the running means per batch (van den Oord et al. 2017, Appendix A.1)
_DEAD_SHARE = 0.03  # a vector used less than this share of the mean use is dead
_APART = 0.1  # distance of a revived vector from the one it is placed beside


class Tokens(LatentDistribution):
    """The posterior: all mass is on one token in each of P cells. ``z`` ``[B, P · D]`` holds the vectors by cell."""

    mean: Tensor

    def __init__(self, z: Tensor, features: Tensor, tokens: Tensor, commitment: Tensor) -> None:
        self.mean, self.features, self.tokens, self.commitment = z, features, tokens, commitment

    def from_noise(self, noise: Tensor) -> Tensor:
        """The vectors, repeated to the shape of ``noise``."""
        return self.mean.expand(noise.shape)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log probability of z ``[..., B, P · D]``: always 0 nats, because z can only be these tokens."""
        return z.new_zeros(z.shape[:-1])

    @property
    def penalties(self) -> Mapping[str, Tensor]:
        """The commitment loss, nats ``[B]``."""
        return {"commitment": self.commitment}

    @property
    def moments(self) -> None:
        """None: tokens have no mean and covariance."""

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Join the posteriors of the pieces of a batch."""
        parts_of = [(q.mean, q.features, q.tokens, q.commitment) for q in parts]
        return cls(*(torch.cat(tensors) for tensors in zip(*parts_of, strict=True)))


class Quantizer(nn.Module, ABC):
    """Map the features of cells ``[..., D]`` to one of ``count`` tokens each, and to its vector ``[..., D]``."""

    count: int  #: number of tokens, K
    size: int  #: dimensions of a vector, D

    @abstractmethod
    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantize features ``[..., D]``.

        Returns:
            The vectors ``[..., D]``, with the gradient of the features; the tokens ``[...]``; and the squared distances
            ``[...]`` between vectors and features.
        """

    @abstractmethod
    def tokens_of(self, vectors: Tensor) -> Tensor:
        """Return the tokens ``[...]`` of vectors ``[..., D]``."""

    @abstractmethod
    def vectors_of(self, tokens: Tensor) -> Tensor:
        """Return the vectors ``[..., D]`` of tokens ``[...]``: the inverse of :meth:`tokens_of`."""


class VectorQuantizer(Quantizer):
    """A codebook of K vectors of length 1 in D dimensions, compared with features by angle (Yu et al. 2022)."""

    vectors: Tensor
    uses: Tensor
    sums: Tensor

    def __init__(self, count: int, size: int) -> None:
        super().__init__()
        self.count, self.size = count, size
        start = unless_meta(torch.empty(count, size), lambda empty: F.normalize(empty.normal_(), dim=-1))
        self.register_buffer("vectors", start)
        self.register_buffer("uses", torch.ones(count))
        self.register_buffer("sums", start.clone())

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantize features, scaled to length 1: see :meth:`Quantizer.forward`."""
        unit = F.normalize(features, dim=-1)
        tokens = self.tokens_of(unit)
        chosen = self.vectors_of(tokens)
        return _straight_through(chosen, unit), tokens, (unit - chosen.detach()).square().sum(-1)

    def tokens_of(self, vectors: Tensor) -> Tensor:
        """Return the tokens ``[...]`` of the codebook's vectors nearest to ``vectors`` ``[..., D]``."""
        return (vectors.detach() @ F.normalize(self.vectors, dim=-1).mT).argmax(-1)

    def vectors_of(self, tokens: Tensor) -> Tensor:
        """Return the codebook's vectors ``[..., D]`` of tokens ``[...]``."""
        return F.normalize(self.vectors, dim=-1)[tokens]

    @torch.no_grad()
    def observe(self, features: Tensor, tokens: Tensor, team: Team = ALONE) -> None:
        """Move the codebook toward the features of a batch, and revive the vectors that no feature uses.

        Args:
            features: ``[..., D]``.
            tokens: ``[...]``: the tokens of the features.
            team: The processes that share the batch.
        """
        unit = F.normalize(features.detach(), dim=-1).flatten(0, -2)
        chosen = F.one_hot(tokens.flatten(), self.count).to(unit)
        uses, sums = chosen.sum(0), chosen.mT @ unit
        team.sum_(uses, sums)
        self.uses.lerp_(uses, 1 - _KEEP)
        self.sums.lerp_(sums, 1 - _KEEP)
        self._revive()
        self.vectors.copy_(F.normalize(self.sums, dim=-1))

    def _revive(self) -> None:
        """Let each dead vector share the features of a frequently used one (Linde, Buzo & Gray 1980)."""
        order = self.uses.argsort(descending=True, stable=True)
        is_dead = self.uses[order.flip(0)] < _DEAD_SHARE * self.uses.mean()
        dead = order.flip(0)[is_dead][: self.count // 2]
        often = order[: len(dead)]
        self.uses[often] /= 2
        self.sums[often] /= 2
        self.uses[dead] = self.uses[often]
        aside = _APART * self.vectors[dead] * self.uses[dead].unsqueeze(-1)
        self.sums[dead] = self.sums[often] + aside


class ScalarQuantizer(Quantizer):
    """Round D numbers, the i-th to ``levels[i]`` values in [−1, 1]; each combination is a token (Mentzer et al. 2024).

    A feature of 0 becomes the middle level if their number is odd, and the first level above the middle if it is even.
    Two levels are separated at 0. The paper's formula would separate them at −3.8, which features never reach.
    """

    levels: Tensor
    places: Tensor
    shift: Tensor

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        self.count, self.size = math.prod(levels), len(levels)
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        places = [math.prod(levels[:i]) for i in range(len(levels))]
        self.register_buffer("places", torch.tensor(places), persistent=False)
        # Stored if some number has two levels: older runs used another shift there.
        shift = unless_meta(torch.zeros(len(levels)), self._starting_shift)
        self.register_buffer("shift", shift, persistent=2 in levels)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantize features: see :meth:`Quantizer.forward`. The distances are zero, so there is no commitment."""
        bounded = (features + self.shift).tanh() * self._half() - self._offset()
        vectors = _straight_through(self._rounded(bounded), bounded) / (self.levels // 2)
        return vectors, self.tokens_of(vectors), features.new_zeros(features.shape[:-1])

    def _half(self) -> Tensor:
        """Half the width of all levels, plus a little so that the outer levels are reached."""
        return (self.levels - 1) * (1 + 1e-3) / 2

    def _offset(self) -> Tensor:
        """Half a level if their number is even: then no level is in the middle."""
        return 0.5 * (self.levels % 2 == 0)

    def _starting_shift(self, nothing: Tensor) -> Tensor:
        """The shift of the paper; for two levels, nothing."""
        return self._shift_of_the_paper().where(self.levels != 2, nothing)

    def _shift_of_the_paper(self) -> Tensor:
        """The shift that puts a feature of 0 on a level (Mentzer et al. 2024, App. A.1, tan corrected)."""
        return (self._offset() / self._half()).atanh()

    def _rounded(self, bounded: Tensor) -> Tensor:
        """The nearest level, clamped: with more than a thousand levels, the extra width would add one."""
        return torch.minimum(torch.maximum(bounded.round(), -(self.levels // 2)), (self.levels - 1) // 2)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: object) -> None:
        """Keep the tokens of runs from before two levels were separated at 0."""
        if "shift" in self.state_dict():
            state_dict.setdefault(f"{prefix}shift", self._shift_of_the_paper())
        super()._load_from_state_dict(state_dict, prefix, *args)

    def tokens_of(self, vectors: Tensor) -> Tensor:
        """Return the tokens ``[...]`` of vectors ``[..., D]``."""
        half = self.levels // 2
        digits = (vectors.detach() * half).round().long() + half
        return (digits * self.places).sum(-1)

    def vectors_of(self, tokens: Tensor) -> Tensor:
        """Return the vectors ``[..., D]`` of tokens ``[...]``."""
        half = self.levels // 2
        digits = tokens.unsqueeze(-1) // self.places % self.levels
        return (digits - half) / half


class CodePosterior(Posterior):
    """Map the features of a grid, flat ``[B, C · H · W]``, to :class:`Tokens` of its P = H · W cells.

    ``commitment`` is the weight, in nats, of the squared distance between features and their vectors (van den Oord et
    al. 2017, Eq. 3, last term; the running mean takes the place of the second term).
    """

    latent = "codes"
    uses_noise = False

    def __init__(self, grid: tuple[int, int, int], quantizer: Quantizer, commitment: float) -> None:
        super().__init__()
        self.grid, self.commitment = grid, commitment
        self.quantiser = quantizer
        self.project = nn.Conv2d(grid[0], quantizer.size, 1)

    @classmethod
    def from_recipe(cls, recipe: Recipe, features: int, shape: Shape) -> Posterior:
        return cls(_coarsest_grid(recipe, shape), ScalarQuantizer(recipe.code_levels), recipe.commitment)

    @classmethod
    def refuses(cls, recipe: Recipe, shape: Shape) -> str | None:
        name = f"recipe {recipe.name!r}"
        if (recipe.net, recipe.objective) != ("resnet", "elbo"):
            return f"{name}: latent=codes needs net=resnet and objective=elbo; set both"
        if recipe.prior not in ("words", "autoregressive-words"):
            return (
                f"{name}: prior={recipe.prior} is a prior over vectors, not over codes; "
                f"give {argument('prior', 'autoregressive-words')} or words"
            )
        if recipe.is_conditional:
            return f"{name}: latent=codes cannot be conditional; give {argument('is_conditional', 'false')}"
        if recipe.samples > 1:
            return (
                f"{argument('samples', recipe.samples)}: the posterior over codes is deterministic; "
                f"give {argument('samples', 1)}"
            )
        return None

    def forward(self, features: Tensor) -> Tokens:
        return self._of(self.project(features.unflatten(1, self.grid)).flatten(2).mT.contiguous())

    def tokens_of(self, z: Tensor) -> Tensor:
        """Return the tokens ``[..., H, W]`` of latents ``[..., H · W · D]``."""
        return self.quantiser.tokens_of(z.unflatten(-1, (*self.grid[1:], self.quantiser.size)))

    def latents_of(self, tokens: Tensor) -> Tensor:
        """Return the latents ``[..., H · W · D]`` of tokens ``[..., H, W]``."""
        return self.quantiser.vectors_of(tokens).flatten(-3)

    def _of(self, cells: Tensor) -> Tokens:
        vectors, tokens, squares = self.quantiser(cells)
        return Tokens(vectors.flatten(1), cells, tokens, self.commitment * squares.sum(-1))


class CodebookPosterior(CodePosterior):
    """A code posterior whose codebook follows the features of the training batches."""

    observes = True
    quantiser: VectorQuantizer

    @classmethod
    def from_recipe(cls, recipe: Recipe, features: int, shape: Shape) -> Posterior:
        quantizer = VectorQuantizer(recipe.code_count, recipe.code_dim)
        return cls(_coarsest_grid(recipe, shape), quantizer, recipe.commitment)

    def observe(self, qz: LatentDistribution) -> None:
        """Move the codebook toward the features of a batch."""
        assert isinstance(qz, Tokens)
        self.quantiser.observe(qz.features, qz.tokens, self.team)

    def renewed(self, qz: LatentDistribution) -> Tokens:
        """Quantize the same features again, with the codebook as it is after :meth:`observe`."""
        assert isinstance(qz, Tokens)
        return self._of(qz.features)


def _straight_through(rounded: Tensor, given: Tensor) -> Tensor:
    """``rounded`` to the last bit, with the gradient of ``given`` (Bengio et al. 2013, Sec. 2.3)."""
    return rounded.detach() + (given - given.detach())


def _coarsest_grid(recipe: Recipe, shape: Shape) -> tuple[int, int, int]:
    """Channels, rows and columns of the residual network's last level."""
    assert recipe.width is not None and recipe.patch is not None
    return Grid(shape, recipe.width, recipe.patch, recipe.smallest_grid).coarsest
