"""Priors over tokens: they are probabilities, samples follow them, and each cell of a sample is computed once."""

from __future__ import annotations

import itertools

import pytest
import torch
import uncached
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit.config.table import get, override
from vaekit.latent import ops
from vaekit.model.factory import build_model, build_objective, resolve
from vaekit.model.inference import Batch
from vaekit.model.objectives import Step
from vaekit.model.quantizers import ScalarQuantizer
from vaekit.model.token_priors import (
    AutoregressiveTokens,
    IndependentTokens,
    Predictor,
    TokenDistribution,
    TokenPrior,
)

KINDS = [IndependentTokens, AutoregressiveTokens]


def randoms(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def stirred(prior: TokenPrior, seed: int = 0) -> TokenPrior:
    """With weights that are not those of the start, so that each cell depends on those before it."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return prior.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_a_prior_over_tokens_sums_to_one(kind: type) -> None:
    torch.manual_seed(0)
    prior = kind(3, 4)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(torch.randn(parameter.shape))
        tokens = torch.tensor(list(itertools.product(range(4), repeat=3)))
        each = prior.log_probs(tokens).gather(-1, tokens.unsqueeze(-1)).sum((1, 2))
    assert each.exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert each.exp().max() < 0.9


def test_a_word_hangs_on_those_before_it_alone() -> None:
    torch.manual_seed(0)
    prior = AutoregressiveTokens(5, 4).eval()
    with torch.no_grad():
        prior.last.weight.normal_()
        tokens = torch.randint(4, (2, 5))
        changed = tokens.clone()
        changed[:, 2] = (changed[:, 2] + 1) % 4
        before, after = prior.log_probs(tokens), prior.log_probs(changed)
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert (before[:, 3:] - after[:, 3:]).abs().amax(-1).min() > 1e-3


def test_no_token_stands_before_the_first_cell() -> None:
    """The start symbol has a vector of its own, so the first cell depends on that vector alone."""
    prior = stirred(AutoregressiveTokens(2, 4))
    with torch.no_grad():
        before = prior.log_probs(torch.zeros(1, 1, dtype=torch.long))
        prior.words.weight[:4] += 1
        assert torch.equal(prior.log_probs(torch.zeros(1, 1, dtype=torch.long)), before)
        prior.words.weight[4] += randoms(64)
        assert not torch.allclose(prior.log_probs(torch.zeros(1, 1, dtype=torch.long)), before)


@pytest.mark.parametrize("recipe", ["vq-vae", "fsq-vae"])
def test_samples_of_tokens_are_as_frequent_as_they_are_probable(recipe: str) -> None:
    values = {"width": 8, "code_count": 4, "code_dim": 3, "code_levels": "2,2", "smallest_grid": 4}
    row = resolve(override(get(recipe), {**values, "prior": "words"}), (1, 8, 8))
    model = build_model(row, (1, 8, 8)).eval()
    with torch.no_grad():
        model.prior.logits.copy_(randoms(*model.prior.logits.shape))
        pz = model.drawn_from()
        z = pz.from_noise(randoms(4000, model.latent_dim, seed=3))
        tokens = pz.quantizer.tokens_of(z.unflatten(-1, (-1, pz.quantizer.size)))
        found = F.one_hot(tokens, 4).float().mean(0)
        torch.testing.assert_close(found, model.prior.logits.softmax(-1), rtol=0, atol=0.035)
        each = model.prior.logits.log_softmax(-1).expand(4000, -1, -1).gather(-1, tokens.unsqueeze(-1)).sum((1, 2))
        torch.testing.assert_close(pz.log_prob(z), each)


def test_tokens_are_drawn_given_those_before_them() -> None:
    """All 4³ sentences of three tokens, as often as they are probable."""
    torch.manual_seed(0)
    prior, quantizer = AutoregressiveTokens(3, 4, width=16, layers=1).eval(), ScalarQuantizer([2, 2])
    with torch.no_grad():
        prior.last.weight.normal_(0, 0.7)
        pz = TokenDistribution(prior, quantizer)
        tokens = quantizer.tokens_of(pz.from_noise(randoms(20_000, 6)).unflatten(1, (3, 2)))
        found = (tokens * torch.tensor([16, 4, 1])).sum(1).bincount(minlength=64) / len(tokens)
        sentences = torch.tensor(list(itertools.product(range(4), repeat=3)))
        expected = pz.log_prob(quantizer.vectors_of(sentences).flatten(1)).exp()
    assert expected.sum().item() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.01)
    assert expected.max() > 4 * expected.min()


@pytest.mark.parametrize("is_training", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_cell_is_predicted_as_by_a_pass_over_all(kind: type, is_training: bool) -> None:
    prior = stirred(kind(9, 7)).double().train(is_training)
    tokens = torch.randint(7, (5, 9), generator=torch.Generator().manual_seed(1))
    predict = prior.predictor(5)
    each = [predict(tokens[:, place - 1] if place else None) for place in range(9)]
    expected = prior.log_probs(tokens)
    torch.testing.assert_close(torch.stack(each, 1), expected.detach(), rtol=0, atol=1e-12)
    assert not any(row.requires_grad for row in each)
    assert (expected[:, 1:] - expected[:, :-1]).abs().amax(-1).min() > 0.1, "cells differ"


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 3), (4, 4), (7, 7)])
@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_those_of_passes_over_all_cells(kind: type, rows: int, columns: int) -> None:
    """In float64: in float32, rounding moves one in thousands of draws across the end of a token."""
    quantizer = ScalarQuantizer([4, 3, 2])
    for seed, count in ((0, 1), (1, 2), (2, 16), (3, 33)):
        pz = TokenDistribution(stirred(kind(rows * columns, quantizer.count), seed).double(), quantizer)
        noise = randoms(count, rows * columns * 3, seed=seed).double()
        with torch.no_grad():
            assert torch.equal(pz.from_noise(noise), uncached.from_noise(pz, noise)), (seed, count)


class Recorded(AutoregressiveTokens):
    """Keeps what the sampler is told."""

    def predictor(self, count: int) -> Predictor:
        predict, self.told = super().predictor(count), []

        def recorded(before: Tensor | None) -> Tensor:
            self.told.append(predict(before))
            return self.told[-1]

        return recorded


@pytest.mark.parametrize("seed", range(3))
def test_the_log_probability_of_a_sample_is_what_it_was_drawn_by(seed: int) -> None:
    quantizer = ScalarQuantizer([3, 3])
    prior = stirred(Recorded(12, 9), seed).double()
    pz = TokenDistribution(prior, quantizer)
    with torch.no_grad():
        z = pz.from_noise(randoms(6, 24, seed=seed).double())
        tokens = quantizer.tokens_of(z.unflatten(1, (12, 2)))
        used = torch.stack(prior.told, 1).gather(-1, tokens.unsqueeze(-1)).sum((1, 2))
        torch.testing.assert_close(used, pz.log_prob(z), rtol=0, atol=1e-11)
    assert used.std() > 1 and len(tokens.unique()) > 3


@pytest.mark.parametrize("cells", [4, 25])
def test_each_cell_passes_each_layer_once(cells: int) -> None:
    """So the cost of the network grows with the number of cells, not with its square."""
    prior, passed = AutoregressiveTokens(cells, 4, layers=3), []

    def count(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        passed.append(inputs[0][..., 0].numel())

    for layer in prior.layers.layers:
        layer.linear1.register_forward_pre_hook(count)
    with torch.no_grad():
        TokenDistribution(prior, ScalarQuantizer([2, 2])).from_noise(randoms(5, 2 * cells))
    assert sum(passed) == 3 * 5 * cells


def test_two_samplings_of_one_prior_keep_apart() -> None:
    prior = stirred(AutoregressiveTokens(4, 5)).double()
    tokens = torch.tensor([[0, 1, 2, 3], [4, 3, 2, 1]])
    first, second = prior.predictor(1), prior.predictor(1)
    with torch.no_grad():
        for place in range(4):
            for predict, row in ((first, tokens[:1]), (second, tokens[1:])):
                found = predict(row[:, place - 1] if place else None)
                torch.testing.assert_close(found, prior.log_probs(row)[:, place], rtol=0, atol=1e-12)


@pytest.mark.parametrize("recipe", ["vq-vae", "fsq-vae"])
def test_image_i_of_a_seed_is_the_same_whatever_the_count(recipe: str) -> None:
    model = build_model(override(get(recipe), {"width": 8, "code_count": 16}), (1, 16, 16)).eval()
    stirred(model.prior)
    many = ops.generate(model, 19, seed=3)
    for count in (1, 2, 16, 17):
        assert torch.equal(ops.generate(model, count, seed=3), many[:count])
    assert len({picture.numpy().tobytes() for picture in many}) == 19


@pytest.mark.parametrize("recipe", ["vq-vae", "fsq-vae"])
def test_the_rate_is_the_surprise_of_the_tokens_and_teaches_the_prior_alone(recipe: str) -> None:
    row = resolve(override(get(recipe), {"width": 8, "code_count": 16}), (1, 16, 16))
    model = build_model(row, (1, 16, 16)).train()
    terms = Step(model, build_objective(row))(
        Batch(torch.rand(4, 1, 16, 16)), torch.zeros(1, 4, model.latent_dim), torch.tensor(1.0)
    )
    assert terms.rate is not None
    terms.rate.sum().backward()
    assert all(p.grad is None for name, p in model.named_parameters() if not name.startswith("prior"))
    tokens = model.encode(torch.rand(4, 1, 16, 16)).tokens
    assert tokens.shape == (4, model.latent_dim // model.posterior.quantiser.size)
