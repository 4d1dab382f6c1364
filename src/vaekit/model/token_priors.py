"""Priors over grids of P tokens, each an index into K codes (:mod:`vaekit.model.quantizers`).

independent      p(tokens) = Πᵢ p(tokenᵢ)
autoregressive   p(tokens) = Πᵢ p(tokenᵢ | tokens before i), row by row   van den Oord et al. 2017, Sec. 3.3
a sample         tokenᵢ = the first k with Σⱼ≤ₖ p(j | tokens before i) ≥ Φ(noiseᵢ)

The log probability of given tokens takes one pass over all cells. Sampling takes one step per cell. A key/value cache
avoids computing earlier cells again (:meth:`TokenPrior.predictor`).

The embedding of the tokens is called ``words`` because stored weights have that key.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit.config.recipe import Recipe
from vaekit.model.contracts import EncodingModel, Prior, Shape
from vaekit.model.distributions.base import LatentDistribution
from vaekit.model.meta_device import unless_meta
from vaekit.model.quantizers import CodePosterior, Quantizer

__all__ = ["AutoregressiveTokens", "IndependentTokens", "Predictor", "TokenDistribution", "TokenPrior"]

#: Tokens of the cell before ``[N]``, None for the first cell → log p(token = k) of the next cell ``[N, K]``, nats.
Predictor = Callable[[Tensor | None], Tensor]

_HEADS = 4  #: of the transformer


class TokenPrior(Prior):
    """A prior over the tokens of P cells, each one of K."""

    latents = ("codes",)

    def __init__(self, cells: int, count: int) -> None:
        super().__init__()

    @classmethod
    def from_recipe(cls, recipe: Recipe, shape: Shape) -> Prior:
        assert recipe.latent_dim is not None
        return cls(recipe.latent_dim // recipe.code_size, recipe.codebook_size)

    @abstractmethod
    def log_probs(self, tokens: Tensor) -> Tensor:
        """Return log p(tokenᵢ = k | tokens before i) ``[N, P', K]``, nats, of the first P' ≤ P tokens ``[N, P']``."""

    @abstractmethod
    def predictor(self, count: int) -> Predictor:
        """Return a function that predicts the cells of N = ``count`` grids in order, one per call.

        Its i-th result equals :meth:`log_probs` of cell i up to rounding, without computing earlier cells again. It is
        for sampling, and has no gradient.
        """

    def forward(self, model: EncodingModel, condition: Tensor | None = None) -> TokenDistribution:
        assert isinstance(model.posterior, CodePosterior)
        return TokenDistribution(self, model.posterior.quantiser)


class IndependentTokens(TokenPrior):
    """p(tokens) = Πᵢ p(tokenᵢ): each cell has its own token frequencies."""

    def __init__(self, cells: int, count: int) -> None:
        super().__init__(cells, count)
        self.logits = nn.Parameter(torch.zeros(cells, count))

    def log_probs(self, tokens: Tensor) -> Tensor:
        """Return log p(tokenᵢ = k) ``[N, P', K]``, nats, of the first P' ≤ P tokens ``[N, P']``."""
        return self.logits[: tokens.shape[1]].log_softmax(-1).expand(len(tokens), -1, -1)

    @torch.no_grad()
    def predictor(self, count: int) -> Predictor:
        """Return a function that returns the frequencies of one cell after another, whatever the tokens."""
        cells = iter(self.logits.log_softmax(-1))
        return lambda before: next(cells).expand(count, -1)


class AutoregressiveTokens(TokenPrior):
    """p(tokens) = Πᵢ p(tokenᵢ | tokens before i), row by row, by a small causal transformer (Vaswani et al. 2017).

    The prior of van den Oord et al. 2017, Sec. 3.3, with attention in place of their PixelCNN.
    """

    mask: Tensor

    def __init__(self, cells: int, count: int, width: int = 64, layers: int = 2) -> None:
        super().__init__(cells, count)
        table = unless_meta(torch.empty(count + 1, width), Tensor.normal_)
        self.words = nn.Embedding(count + 1, width, _weight=table)  # the last entry is the start symbol
        self.places = nn.Parameter(unless_meta(torch.empty(cells, width), lambda empty: 0.02 * empty.normal_()))
        layer = nn.TransformerEncoderLayer(width, _HEADS, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.last = nn.Linear(width, count)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        mask = unless_meta(torch.full((cells, cells), -math.inf), lambda hidden: hidden.triu(1))
        self.register_buffer("mask", mask, persistent=False)

    def log_probs(self, tokens: Tensor) -> Tensor:
        """Return log p(tokenᵢ = k | tokens before i) ``[N, P', K]``, nats, of the first P' ≤ P tokens ``[N, P']``."""
        before = torch.cat([self._start(len(tokens), 1), tokens[:, :-1]], dim=1)
        count = tokens.shape[1]
        mask = self.mask[:count, :count]
        hidden = self.layers(self.words(before) + self.places[:count], mask=mask, is_causal=True)
        log_probs: Tensor = self.last(hidden).log_softmax(-1)
        return log_probs

    def predictor(self, count: int) -> Predictor:
        """Return a function that passes one cell after another through the transformer, and caches keys and values.

        A cell attends only to itself and to earlier cells, so its keys and values do not depend on later tokens
        (Shazeer 2019, Sec. 2.4).
        """
        cells, width = self.places.shape
        # [layers, keys and values, N, heads, P, width of a head]; each entry is written before it is read
        kept = self.places.new_empty(len(self.layers.layers), 2, count, _HEADS, cells, width // _HEADS)
        places = iter(range(cells))

        @torch.no_grad()
        def predict(before: Tensor | None) -> Tensor:
            return self._next(self._start(count) if before is None else before, next(places), kept)

        return predict

    def _start(self, *shape: int) -> Tensor:
        """Return the start symbol in a given shape."""
        return torch.full(shape, self.words.num_embeddings - 1, device=self.places.device)

    def _next(self, before: Tensor, place: int, kept: Tensor) -> Tensor:
        """Return log p(token of cell ``place`` = k) ``[N, K]``, and cache its keys and values."""
        hidden = self.words(before) + self.places[place]
        for layer, of_layer in zip(self.layers.layers, kept, strict=True):
            assert isinstance(layer, nn.TransformerEncoderLayer)
            hidden = hidden + _attended(layer.self_attn, layer.norm1(hidden), place, of_layer)
            hidden = hidden + layer.linear2(layer.activation(layer.linear1(layer.norm2(hidden))))
        assert self.layers.norm is not None
        log_probs: Tensor = self.last(self.layers.norm(hidden)).log_softmax(-1)
        return log_probs


class TokenDistribution(LatentDistribution):
    """The distribution of the vectors of P cells; z ``[..., P · D]``."""

    def __init__(self, prior: TokenPrior, quantizer: Quantizer) -> None:
        self.prior, self.quantizer = prior, quantizer

    @property
    def moments(self) -> None:
        """None: tokens have no mean and covariance."""

    def log_prob(self, z: Tensor) -> Tensor:
        """Log probability of the tokens of z, nats ``[...]``. z itself gets no gradient from it."""
        tokens = self.quantizer.tokens_of(z.unflatten(-1, (-1, self.quantizer.size)))
        flat = tokens.flatten(0, -2)
        each = self.prior.log_probs(flat).gather(-1, flat.unsqueeze(-1))
        result: Tensor = each.sum((-2, -1)).unflatten(0, tokens.shape[:-1])
        return result

    def from_noise(self, noise: Tensor) -> Tensor:
        """Draw samples of the shape of ``noise`` ``[..., P · D]``: Φ of a cell's first number selects its token."""
        fractions = torch.special.ndtr(noise.flatten(0, -2)).unflatten(-1, (-1, self.quantizer.size))[..., 0]
        predict, tokens = self.prior.predictor(len(fractions)), fractions.new_empty(fractions.shape, dtype=torch.long)
        for place in range(fractions.shape[1]):
            ends = predict(tokens[:, place - 1] if place else None).exp().cumsum(-1)
            chosen = torch.searchsorted(ends, fractions[:, place, None].contiguous())[:, 0]
            tokens[:, place] = chosen.clamp(max=self.quantizer.count - 1)
        result: Tensor = self.quantizer.vectors_of(tokens).flatten(1).unflatten(0, noise.shape[:-1])
        return result


def _attended(attention: nn.MultiheadAttention, hidden: Tensor, place: int, kept: Tensor) -> Tensor:
    """Return the attention of a cell ``[N, width]`` to itself and to earlier cells (Vaswani et al. 2017, Eq. 1).

    Args:
        attention: Attention of a layer.
        hidden: The cell ``[N, width]``.
        place: Its index.
        kept: Keys and values of all cells ``[2, N, heads, P, width / heads]``; those of this cell are written.
    """
    projected = F.linear(hidden, attention.in_proj_weight, attention.in_proj_bias)
    query, key, value = projected.unflatten(-1, (3, attention.num_heads, -1)).unbind(1)
    kept[0, :, :, place], kept[1, :, :, place] = key, value
    keys, values = kept[:, :, :, : place + 1]
    mixed = F.scaled_dot_product_attention(query.unsqueeze(2), keys, values)
    result: Tensor = attention.out_proj(mixed.flatten(1))
    return result
