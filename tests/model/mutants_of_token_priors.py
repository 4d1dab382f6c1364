"""Mistakes in the formulas of ``vaekit.model.token_priors``: see ``tests/support/mutant.py``."""

from mutant import Mutant, Table

from vaekit.model import token_priors

TABLE = Table(
    token_priors,
    tests=["model/test_token_priors.py"],
    mutants=[
        Mutant("self.logits[: tokens.shape[1]].log_softmax(-1)", "self.logits[: tokens.shape[1]].log_softmax(0)", "frequencies of tokens that sum to one over cells"),
        Mutant("iter(self.logits.log_softmax(-1))", "iter(self.logits.log_softmax(0))", "frequencies of the sampler that sum to one over cells"),
        Mutant("iter(self.logits.log_softmax(-1))", "iter(self.logits.log_softmax(-1).flip(0))", "cells are drawn from the last to the first"),
        Mutant("before = torch.cat([self._start(len(tokens), 1), tokens[:, :-1]], dim=1)", "before = tokens", "a token is told itself"),
        Mutant("tokens[:, :-1]], dim=1)", "tokens[:, 1:]], dim=1)", "a token is told itself, but for the first"),
        Mutant("mask=mask, is_causal=True)", "mask=None, is_causal=False)", "a token is told those after it"),
        Mutant(" + self.places[:count], mask", ", mask", "tokens that do not know where they are"),
        Mutant("self.words.num_embeddings - 1", "0", "the first token stands before the first token"),
        Mutant("self.last(hidden).log_softmax(-1)", "self.last(hidden)", "log probabilities that do not sum to one"),
        Mutant("each.sum((-2, -1))", "each.mean((-2, -1))", "log p(tokens) is a mean over cells"),
        # one cell at a time
        Mutant("self._start(count) if before is None else before", "self._start(count)", "tokens are drawn without those before them"),
        Mutant("self.words(before) + self.places[place]", "self.words(before)", "cells of a sample do not know where they are"),
        Mutant("self.words(before) + self.places[place]", "self.words(before) + self.places[place - 1]", "each cell of a sample has the place of the one before"),
        Mutant("hidden = hidden + _attended(", "hidden = _attended(", "attention takes the place of the cell, in samples"),
        Mutant("layer.norm1(hidden), place", "hidden, place", "attention of samples to what is not normalized"),
        Mutant("layer.linear1(layer.norm2(hidden))", "layer.linear1(layer.norm1(hidden))", "the wrong norm in samples"),
        Mutant("hidden + layer.linear2(layer.activation(", "hidden + layer.linear2((", "a layer of samples without its nonlinearity"),
        Mutant("self.last(self.layers.norm(hidden))", "self.last(hidden)", "samples without the last norm"),
        Mutant("self.last(self.layers.norm(hidden)).log_softmax(-1)", "self.last(self.layers.norm(hidden)).log_softmax(0)", "probabilities of samples that sum to one over images"),
        Mutant("zip(self.layers.layers, kept, strict=True)", "zip(self.layers.layers, kept[:1].expand_as(kept), strict=True)", "the layers share their keys and values"),
        Mutant("query, key, value = projected", "key, query, value = projected", "queries and keys change places"),
        Mutant("query, key, value = projected", "query, value, key = projected", "keys and values change places"),
        Mutant("(3, attention.num_heads, -1)", "(3, -1, attention.num_heads)", "other heads in samples than in training"),
        Mutant("kept[:, :, :, : place + 1]", "kept[:, :, :, :place].nan_to_num() if place else kept[:, :, :, :1]", "a cell does not attend to itself"),
        Mutant("kept[:, :, :, : place + 1]", "kept[:, :, :, place : place + 1]", "a cell attends to itself alone"),
        Mutant("attention.out_proj(mixed.flatten(1))", "mixed.flatten(1)", "attention of samples without its last layer"),
        # samples
        Mutant("predict(tokens[:, place - 1] if place else None)", "predict(0 * tokens[:, place - 1] if place else None)", "all cells before are taken for the first token"),
        Mutant("predict(tokens[:, place - 1] if place else None)", "predict(tokens[:, max(place - 2, 0)] if place else None)", "a cell is told the one before the last"),
        Mutant("fractions[:, place, None]", "fractions[:, 0, None]", "all cells have the noise of the first"),
        Mutant(".exp().cumsum(-1)", ".exp()", "tokens that are not as frequent as they are probable"),
    ],
)
