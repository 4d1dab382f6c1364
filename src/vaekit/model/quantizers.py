"""Latents that are codes: each cell of a grid takes one of K vectors, and is one of K words.

vector quantisation   word = argmaxₖ ⟨f/‖f‖, eₖ⟩, eₖ of length 1      van den Oord et al. 2017, Eq. 1; Yu et al. 2022
its codebook          eₖ ← running mean of the features that chose k   van den Oord et al. 2017, Appendix A.1
finite scalars        each of a few numbers is rounded to a few levels  Mentzer et al. 2024, Sec. 3

Rounding has no gradient: that of the vector passes to the features as it is (straight through). A posterior that is
sure of its words has no entropy, so KL(q(z|x)‖p(z)) = −log p(words), and the bound is one of a probability.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit.config.recipe import Recipe
from vaekit.model.contracts import EncodingModel, Posterior, Prior, Shape
from vaekit.model.distributions.base import LatentDistribution
from vaekit.model.nets.resnet import Grid
from vaekit.system.distributed import ALONE, Team

__all__ = [
    "AutoregressiveWords",
    "CodePosterior",
    "CodebookPosterior",
    "IndependentWords",
    "Quantiser",
    "ScalarQuantiser",
    "VectorQuantiser",
    "Words",
    "WordsDistribution",
    "WordsPrior",
]

_KEEP = 0.99  # of the running means, per batch (van den Oord et al. 2017, Appendix A.1)
_DEAD_SHARE = 0.03  # of the mean use, below which a vector is set beside one that is used most
_APART = 0.1  # how far beside


class Words(LatentDistribution):
    """The posterior: all mass at the word of each of P cells. ``z`` ``[B, P · D]`` are their vectors, cell by cell."""

    mean: Tensor

    def __init__(self, z: Tensor, features: Tensor, words: Tensor, commitment: Tensor) -> None:
        self.mean, self.features, self.words, self.commitment = z, features, words, commitment

    def from_noise(self, noise: Tensor) -> Tensor:
        """The vectors, repeated to the shape of ``noise``."""
        return self.mean.expand(noise.shape)

    def log_prob(self, z: Tensor) -> Tensor:
        """Of z ``[..., B, P · D]``, which can only be the words: a probability of one, 0 nats."""
        return z.new_zeros(z.shape[:-1])

    @property
    def penalties(self) -> Mapping[str, Tensor]:
        """The commitment."""
        return {"commitment": self.commitment}

    @property
    def moments(self) -> None:
        """Codes are not in a space of vectors."""

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Those of several pieces of a batch as those of the whole."""
        parts_of = [(q.mean, q.features, q.words, q.commitment) for q in parts]
        return cls(*(torch.cat(tensors) for tensors in zip(*parts_of, strict=True)))


class Quantiser(nn.Module, ABC):
    """Features of cells ``[..., D]`` → one of ``count`` words each, and its vector ``[..., D]``."""

    count: int  #: words
    size: int  #: D

    @abstractmethod
    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features ``[..., D]`` → vectors with the gradient of features, words, and the squared distance of both."""

    @abstractmethod
    def words_of(self, vectors: Tensor) -> Tensor:
        """The word ``[...]`` of each of some vectors ``[..., D]``."""

    @abstractmethod
    def vectors_of(self, words: Tensor) -> Tensor:
        """The inverse of :meth:`words_of`."""


class VectorQuantiser(Quantiser):
    """K vectors of length 1 in D dimensions; features are compared with them by their angle (Yu et al. 2022)."""

    vectors: Tensor
    uses: Tensor
    sums: Tensor

    def __init__(self, count: int, size: int) -> None:
        super().__init__()
        self.count, self.size = count, size
        start = F.normalize(torch.randn(count, size), dim=-1)
        self.register_buffer("vectors", start)
        self.register_buffer("uses", torch.ones(count))
        self.register_buffer("sums", start.clone())

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features ``[..., D]`` → vectors with the gradient of features, words, and the squared distance of both."""
        unit = F.normalize(features, dim=-1)
        words = self.words_of(unit)
        chosen = self.vectors_of(words)
        return unit + (chosen - unit).detach(), words, (unit - chosen.detach()).square().sum(-1)

    def words_of(self, vectors: Tensor) -> Tensor:
        """The nearest word ``[...]`` of each of some vectors ``[..., D]``."""
        return (vectors.detach() @ F.normalize(self.vectors, dim=-1).mT).argmax(-1)

    def vectors_of(self, words: Tensor) -> Tensor:
        """The inverse of :meth:`words_of`."""
        return F.normalize(self.vectors, dim=-1)[words]

    @torch.no_grad()
    def observe(self, features: Tensor, words: Tensor, team: Team = ALONE) -> None:
        """Moves the vectors to where the features of a batch are; those that nobody uses go to where many are.

        ``team``: the processes whose batches are one batch.
        """
        unit = F.normalize(features.detach(), dim=-1).flatten(0, -2)
        chosen = F.one_hot(words.flatten(), self.count).to(unit)
        uses, sums = chosen.sum(0), chosen.mT @ unit
        team.sum_(uses, sums)
        self.uses.lerp_(uses, 1 - _KEEP)
        self.sums.lerp_(sums, 1 - _KEEP)
        self._revive()
        self.vectors.copy_(F.normalize(self.sums, dim=-1))

    def _revive(self) -> None:
        """The vectors that are used least share the features of those used most (Linde, Buzo & Gray 1980)."""
        order = self.uses.argsort(descending=True, stable=True)
        is_dead = self.uses[order.flip(0)] < _DEAD_SHARE * self.uses.mean()
        dead = order.flip(0)[is_dead][: self.count // 2]
        often = order[: len(dead)]
        self.uses[often] /= 2
        self.sums[often] /= 2
        self.uses[dead] = self.uses[often]
        aside = _APART * self.vectors[dead] * self.uses[dead].unsqueeze(-1)
        self.sums[dead] = self.sums[often] + aside


class ScalarQuantiser(Quantiser):
    """D numbers, the i-th rounded to ``levels[i]`` values in [−1, 1]; a combination is a word (Mentzer et al. 2024).

    A feature of 0 is the middle one of an odd number of levels, and the first one above the middle of an even number.
    Two levels are parted at 0: the formula of the paper would part them at −3.8, where no feature comes.
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
        # It is stored where some number has two levels, for a run from before has another one.
        shift = self._shift_of_the_paper().masked_fill(self.levels == 2, 0.0)
        self.register_buffer("shift", shift, persistent=2 in levels)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features ``[..., D]`` → vectors with the gradient of features, words, and a distance of zero."""
        bounded = (features + self.shift).tanh() * self._half() - self._offset()
        vectors = (bounded + (self._rounded(bounded) - bounded).detach()) / (self.levels // 2)
        return vectors, self.words_of(vectors), features.new_zeros(features.shape[:-1])

    def _half(self) -> Tensor:
        """Half of the width of all levels, and a little more, so that the outer ones are reached."""
        return (self.levels - 1) * (1 + 1e-3) / 2

    def _offset(self) -> Tensor:
        """An even number of levels has none in the middle."""
        return 0.5 * (self.levels % 2 == 0)

    def _shift_of_the_paper(self) -> Tensor:
        """What is added to features, so that those of 0 have a level: Mentzer et al. 2024, App. A.1, tan corrected."""
        return (self._offset() / self._half()).atanh()

    def _rounded(self, bounded: Tensor) -> Tensor:
        """The nearest level; of more than a thousand, the little more would be another level."""
        return torch.minimum(torch.maximum(bounded.round(), -(self.levels // 2)), (self.levels - 1) // 2)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        """Runs from before two levels were parted at 0 keep their codes."""
        if "shift" in self.state_dict():
            state_dict.setdefault(f"{prefix}shift", self._shift_of_the_paper())
        super()._load_from_state_dict(state_dict, prefix, *args)

    def words_of(self, vectors: Tensor) -> Tensor:
        """The word ``[...]`` of each of some vectors ``[..., D]``."""
        half = self.levels // 2
        digits = (vectors.detach() * half).round().long() + half
        return (digits * self.places).sum(-1)

    def vectors_of(self, words: Tensor) -> Tensor:
        """The inverse of :meth:`words_of`."""
        half = self.levels // 2
        digits = words.unsqueeze(-1) // self.places % self.levels
        return (digits - half) / half


class CodePosterior(Posterior):
    """Features of a grid, flat ``[B, C · H · W]`` → :class:`Words` of its P = H · W cells.

    ``commitment`` weighs, in nats, the squared distance of the features from their vectors (van den Oord et al. 2017,
    Eq. 3, the last term; the second is the running mean).
    """

    latent = "codes"
    uses_noise = False

    def __init__(self, grid: tuple[int, int, int], quantiser: Quantiser, commitment: float) -> None:
        super().__init__()
        self.grid, self.commitment = grid, commitment
        self.quantiser = quantiser
        self.project = nn.Conv2d(grid[0], quantiser.size, 1)

    @classmethod
    def from_recipe(cls, recipe: Recipe, features: int, shape: Shape) -> Posterior:
        return cls(_coarsest_grid(recipe, shape), ScalarQuantiser(recipe.code_levels), recipe.commitment)

    @classmethod
    def refuses(cls, recipe: Recipe, shape: Shape) -> str | None:
        name = f"recipe {recipe.name!r}"
        if (recipe.net, recipe.objective) != ("resnet", "elbo"):
            return f"{name}: codes lie on the grid of net=resnet and train by objective=elbo; set both"
        if recipe.prior not in ("words", "autoregressive-words"):
            return f"{name}: prior={recipe.prior} is of vectors; set prior=autoregressive-words or words"
        if recipe.is_conditional:
            return f"{name}: codes are of images that nothing is told of; set is_conditional=false"
        if recipe.samples > 1:
            return f"samples={recipe.samples}: an image has one code per cell; set samples=1"
        return None

    def forward(self, features: Tensor) -> Words:
        return self._of(self.project(features.unflatten(1, self.grid)).flatten(2).mT.contiguous())

    def _of(self, cells: Tensor) -> Words:
        vectors, words, squares = self.quantiser(cells)
        return Words(vectors.flatten(1), cells, words, self.commitment * squares.sum(-1))


class CodebookPosterior(CodePosterior):
    """One whose vectors follow the features that training shows them."""

    observes = True
    quantiser: VectorQuantiser

    @classmethod
    def from_recipe(cls, recipe: Recipe, features: int, shape: Shape) -> Posterior:
        quantiser = VectorQuantiser(recipe.code_count, recipe.code_dim)
        return cls(_coarsest_grid(recipe, shape), quantiser, recipe.commitment)

    def observe(self, qz: LatentDistribution) -> None:
        """Lets the codebook see the features of a batch."""
        assert isinstance(qz, Words)
        self.quantiser.observe(qz.features, qz.words, self.team)

    def renewed(self, qz: LatentDistribution) -> Words:
        """The same features in the words of the codebook as it is now, after :meth:`observe`."""
        assert isinstance(qz, Words)
        return self._of(qz.features)


class WordsPrior(Prior):
    """A prior over the words of P cells."""

    latents = "codes"

    def __init__(self, cells: int, count: int) -> None:
        super().__init__()

    @classmethod
    def from_recipe(cls, recipe: Recipe, shape: Shape) -> Prior:
        assert recipe.latent_dim is not None
        return cls(recipe.latent_dim // recipe.code_size, recipe.words)

    @abstractmethod
    def log_probs(self, words: Tensor) -> Tensor:
        """Words ``[N, P]``, or the first of them, → log p(wordᵢ = k | words before i) ``[N, P, K]``, nats."""

    def forward(self, model: EncodingModel, condition: Tensor | None = None) -> WordsDistribution:
        assert isinstance(model.posterior, CodePosterior)
        return WordsDistribution(self, model.posterior.quantiser)


class IndependentWords(WordsPrior):
    """p(words) = Πᵢ p(wordᵢ): for each cell the frequencies of its words."""

    def __init__(self, cells: int, count: int) -> None:
        super().__init__(cells, count)
        self.logits = nn.Parameter(torch.zeros(cells, count))

    def log_probs(self, words: Tensor) -> Tensor:
        """Words ``[N, P]`` → log p(wordᵢ = k | words before i) ``[N, P, K]``, nats."""
        return self.logits[: words.shape[1]].log_softmax(-1).expand(len(words), -1, -1)


class AutoregressiveWords(WordsPrior):
    """p(words) = Πᵢ p(wordᵢ | words before i), row by row, by a small causal transformer (Vaswani et al. 2017).

    The prior of van den Oord et al. 2017, Sec. 3.3, with attention in place of their PixelCNN.
    """

    mask: Tensor

    def __init__(self, cells: int, count: int, width: int = 64, layers: int = 2) -> None:
        super().__init__(cells, count)
        self.words = nn.Embedding(count + 1, width)  # the last one stands before the first word
        self.places = nn.Parameter(0.02 * torch.randn(cells, width))
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.last = nn.Linear(width, count)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        mask = nn.Transformer.generate_square_subsequent_mask(cells)
        self.register_buffer("mask", mask, persistent=False)

    def log_probs(self, words: Tensor) -> Tensor:
        """Words ``[N, P]``, or the first of them, → log p(wordᵢ = k | words before i) ``[N, P, K]``, nats."""
        first = words.new_full((len(words), 1), self.words.num_embeddings - 1)
        before = torch.cat([first, words[:, :-1]], dim=1)
        count = words.shape[1]
        mask = self.mask[:count, :count]
        hidden = self.layers(self.words(before) + self.places[:count], mask=mask, is_causal=True)
        log_probs: Tensor = self.last(hidden).log_softmax(-1)
        return log_probs


class WordsDistribution(LatentDistribution):
    """The distribution of the vectors of P cells; z ``[..., P · D]``."""

    def __init__(self, words: WordsPrior, quantiser: Quantiser) -> None:
        self.words, self.quantiser = words, quantiser

    @property
    def moments(self) -> None:
        """Codes are not in a space of vectors."""

    def log_prob(self, z: Tensor) -> Tensor:
        """Log probability of the words ``[...]``, nats; z itself has no gradient from it."""
        found = self.quantiser.words_of(z.unflatten(-1, (-1, self.quantiser.size)))
        flat = found.flatten(0, -2)
        each = self.words.log_probs(flat).gather(-1, flat.unsqueeze(-1))
        result: Tensor = each.sum((-2, -1)).unflatten(0, found.shape[:-1])
        return result

    def from_noise(self, noise: Tensor) -> Tensor:
        """Samples, of the shape of ``noise`` ``[..., P · D]``: word i is where Φ of its i-th number falls."""
        fractions = torch.special.ndtr(noise.flatten(0, -2)).unflatten(-1, (-1, self.quantiser.size))[..., 0]
        words = torch.zeros(fractions.shape, dtype=torch.long, device=noise.device)
        for place in range(fractions.shape[1]):
            ends = self.words.log_probs(words[:, : place + 1])[:, place].exp().cumsum(-1)
            chosen = torch.searchsorted(ends, fractions[:, place, None].contiguous())[:, 0]
            words[:, place] = chosen.clamp(max=self.quantiser.count - 1)
        result: Tensor = self.quantiser.vectors_of(words).flatten(1).unflatten(0, noise.shape[:-1])
        return result


def _coarsest_grid(recipe: Recipe, shape: Shape) -> tuple[int, int, int]:
    """Channels, rows and columns of the residual network's last level."""
    assert recipe.width is not None and recipe.patch is not None
    return Grid(shape, recipe.width, recipe.patch, recipe.smallest_grid).coarsest
