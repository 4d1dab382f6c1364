"""Discrete latents: tokens and vectors are inverse, gradients pass straight through, and a codebook follows its
features."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from vaekit.config.table import get, override
from vaekit.model.factory import build_model, build_objective, resolve
from vaekit.model.inference import Batch
from vaekit.model.objectives import Step
from vaekit.model.quantizers import CodePosterior, ScalarQuantizer, VectorQuantizer

LEVELS = st.lists(st.integers(2, 9), min_size=1, max_size=4)


def randoms(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def vectors(count: int = 12, size: int = 3) -> VectorQuantizer:
    torch.manual_seed(0)
    return VectorQuantizer(count, size)


@given(LEVELS)
def test_every_word_of_rounded_numbers_has_a_vector_and_every_vector_its_word(levels: list[int]) -> None:
    quantizer = ScalarQuantizer(levels)
    tokens = torch.arange(quantizer.count)
    found = quantizer.vectors_of(tokens)
    assert torch.equal(quantizer.tokens_of(found), tokens)
    assert len(found.unique(dim=0)) == quantizer.count and found.abs().max() <= 1


@given(LEVELS, st.integers(0, 100))
def test_rounding_reaches_every_level_and_no_other(levels: list[int], seed: int) -> None:
    quantizer = ScalarQuantizer(levels)
    z, tokens, apart = quantizer(8 * randoms(200, len(levels), seed=seed))
    assert torch.equal(z, quantizer.vectors_of(tokens)), "to the last bit"
    assert not apart.any() and tokens.min() >= 0 and tokens.max() < quantizer.count


def test_features_of_nothing_are_rounded_to_the_middle() -> None:
    """Mentzer et al. 2024, Sec. 3.1: an odd number of levels has 0 in the middle, an even one is shifted by half."""
    z, _, _ = ScalarQuantizer([5, 3])(torch.zeros(1, 2))
    assert z.tolist() == [[0, 0]]
    far, _, _ = ScalarQuantizer([4])(torch.tensor([[-50.0], [50.0]]))
    assert far.tolist() == [[-1.0], [0.5]]


def test_all_tokens_of_rounded_numbers_are_used_by_spread_features() -> None:
    quantizer = ScalarQuantizer([8, 8, 8])
    tokens = quantizer(2 * randoms(20_000, 3))[1]
    assert len(tokens.unique()) > 0.9 * 512


def _features_of(levels: list[int]) -> Tensor:
    """Return a feature for each token, halfway between the thresholds of Mentzer et al. 2024, Sec. 3.1."""
    columns = []
    for count in levels:
        half = (count - 1) * 1.001 / 2
        offset = 0.5 if count % 2 == 0 else 0.0
        shift = math.atanh(offset / half) if count > 2 else 0.0
        values = torch.arange(count) - count // 2 + offset
        columns.append((values / half).clamp(-1 + 1e-6, 1 - 1e-6).atanh() - shift)
    return torch.cartesian_prod(*columns).view(-1, len(levels))


@given(LEVELS)
def test_all_tokens_of_any_list_of_levels_are_reached(levels: list[int]) -> None:
    assert len(ScalarQuantizer(levels)(_features_of(levels))[1].unique()) == math.prod(levels)


@given(LEVELS)
def test_normal_features_use_all_levels_of_any_list(levels: list[int]) -> None:
    quantizer = ScalarQuantizer(levels)
    z = quantizer(randoms(4000, len(levels)))[0]
    for place, count in enumerate(levels):
        share = torch.unique(z[:, place].detach(), return_counts=True)[1] / 4000
        assert len(share) == count and share.min() > 0.25 / count


def test_two_levels_are_used_alike() -> None:
    tokens = ScalarQuantizer([2, 2])(randoms(10_000, 2))[1]
    torch.testing.assert_close(tokens.bincount(minlength=4) / 10_000, torch.full((4,), 0.25), rtol=0, atol=0.02)


@pytest.mark.parametrize("count", [1001, 1002, 5000])
def test_thousands_of_levels_have_no_word_beyond_the_last(count: int) -> None:
    tokens = ScalarQuantizer([count])(torch.tensor([[-50.0], [50.0]]))[1]
    assert tokens.tolist() == [0, count - 1]


@pytest.mark.parametrize("levels", [[8, 8, 8], [5, 4], [3, 2], [2]])
def test_stored_codes_keep_their_meaning(levels: list[int]) -> None:
    """The earlier formula; runs that were stored with it have no shift."""
    quantizer, features = ScalarQuantizer(levels), 3 * randoms(2000, len(levels))
    quantizer.load_state_dict({})
    count = torch.tensor(levels)
    half, offset = (count - 1) * (1 + 1e-3) / 2, 0.5 * (count % 2 == 0)
    before = ((features + (offset / half).atanh()).tanh() * half - offset).round()
    z, tokens, _ = quantizer(features)
    torch.testing.assert_close(z, before / (count // 2))
    places = torch.tensor([1, *levels[:-1]]).cumprod(0)
    assert torch.equal(tokens, ((before.long() + count // 2) * places).sum(-1))
    again = ScalarQuantizer(levels)
    again.load_state_dict(quantizer.state_dict())
    assert torch.equal(again(features)[1], quantizer(features)[1])


@pytest.mark.parametrize("kind", ["vq", "fsq"])
def test_the_gradient_passes_straight_through(kind: str) -> None:
    quantizer = vectors() if kind == "vq" else ScalarQuantizer([5, 5, 5])
    features, pull = randoms(7, 3).requires_grad_(), randoms(7, 3, seed=1)
    z, tokens, _ = quantizer(features)
    assert torch.equal(z.detach(), quantizer.vectors_of(tokens)), "to the last bit"
    (found,) = torch.autograd.grad((z * pull).sum(), features)
    smooth = F.normalize(features, dim=-1) if kind == "vq" else features.tanh()  # half width 2 by 2 levels: tanh · 2/2
    (expected,) = torch.autograd.grad((smooth * pull).sum(), features)
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=1e-5)


def test_a_word_is_the_nearest_vector() -> None:
    quantizer, features = vectors(), randoms(50, 3, seed=2)
    unit, codes = F.normalize(features, dim=-1), F.normalize(quantizer.vectors, dim=-1)
    _, tokens, apart = quantizer(features)
    distances = (unit.unsqueeze(1) - codes).square().sum(-1)
    assert torch.equal(tokens, distances.argmin(1))
    torch.testing.assert_close(apart, distances.min(1).values, rtol=1e-4, atol=1e-6)


def test_a_codebook_goes_to_where_its_features_are() -> None:
    """Three tight clusters of features and twelve vectors: every vector ends up in a cluster, and none is empty."""
    quantizer, centers = vectors(), torch.eye(3)
    for step in range(600):
        features = centers[torch.arange(90) % 3] + 0.02 * randoms(90, 3, seed=step)
        quantizer.observe(features, quantizer(features)[1])
    similarity = (quantizer.vectors @ centers.mT).max(1).values
    assert similarity.min() > 0.99
    assert set((quantizer.vectors @ centers.mT).argmax(1).tolist()) == {0, 1, 2}


def test_a_batch_moves_the_codebook_by_a_hundredth() -> None:
    quantizer = vectors(3, 2)
    quantizer.sums.copy_(torch.tensor([[2.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]))
    quantizer.uses.copy_(torch.tensor([2.0, 1.0, 1.0]))
    features, tokens = (
        torch.tensor([[[3.0, 4.0], [0.0, 0.5]], [[10.0, 0.0], [-7.0, 0.0]]]),
        torch.tensor([[0, 1], [0, 2]]),
    )
    quantizer.observe(features, tokens)
    torch.testing.assert_close(quantizer.uses, torch.tensor([2.0, 1.0, 1.0]))
    sums = torch.tensor([[1.98 + 0.016, 0.008], [0.0, 1.0], [-0.99 - 0.01, -0.99]])
    torch.testing.assert_close(quantizer.sums, sums)
    torch.testing.assert_close(quantizer.vectors, F.normalize(sums, dim=1))
    quantizer.observe(features[:, :1], torch.zeros(2, 1, dtype=torch.long))
    torch.testing.assert_close(quantizer.uses, torch.tensor([2.0, 0.99, 0.99]))


def test_a_dead_vector_takes_half_of_the_one_that_is_used_most() -> None:
    quantizer = vectors(3, 2)
    start = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    quantizer.vectors.copy_(start)
    quantizer.uses.copy_(torch.tensor([8.0, 4.0, 0.01]))
    quantizer.sums.copy_(torch.tensor([[6.0, 2.0], [0.0, 4.0], [0.0, -0.01]]))
    quantizer._revive()
    torch.testing.assert_close(quantizer.uses, torch.tensor([4.0, 4.0, 4.0]))
    torch.testing.assert_close(quantizer.sums, torch.tensor([[3.0, 1.0], [0.0, 4.0], [3.0, 1.0 - 0.4]]))


def test_vectors_that_nobody_uses_come_back() -> None:
    """All vectors except one start where no features are."""
    quantizer = vectors(64, 4)
    quantizer.vectors.copy_(F.normalize(-torch.ones(64, 4) + 0.01 * randoms(64, 4), dim=-1))
    quantizer.vectors[0] = 0.5
    quantizer.sums.copy_(quantizer.vectors)
    for step in range(400):
        features = torch.ones(256, 4) + randoms(256, 4, seed=step)
        tokens = quantizer(features)[1]
        quantizer.observe(features, tokens)
    assert len(tokens.unique()) > 32


def test_the_commitment_is_of_each_image_by_itself() -> None:
    """Losses do not depend on which images share a batch."""
    torch.manual_seed(0)
    head, features = CodePosterior((4, 2, 2), vectors(), 0.5), randoms(6, 16)
    whole = head(features)
    for i in range(6):
        torch.testing.assert_close(head(features[i : i + 1]).commitment, whole.commitment[i : i + 1])
    cells = head.project(features.unflatten(1, (4, 2, 2))).flatten(2).mT
    apart = (F.normalize(cells, dim=-1) - head.quantiser.vectors_of(whole.tokens)).square().sum((1, 2))
    torch.testing.assert_close(whole.commitment, 0.5 * apart)


@pytest.mark.parametrize("recipe", ["vq-vae", "fsq-vae"])
def test_losses_do_not_depend_on_the_size_of_the_batch(recipe: str) -> None:
    row = resolve(override(get(recipe), {"width": 8, "code_count": 16}), (1, 16, 16))
    model = build_model(row, (1, 16, 16)).train()
    step, x = Step(model, build_objective(row)), torch.rand(6, 1, 16, 16)
    noise, one = torch.zeros(1, 6, model.latent_dim), torch.tensor(1.0)
    with model.observed():
        whole = step(Batch(x), noise, one).loss
        parts = [step(Batch(some), e, one).loss for some, e in zip(x.split(2), noise.split(2, 1), strict=True)]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-4, atol=1e-3)


def test_in_training_a_codebook_has_moved_before_it_is_used() -> None:
    row = resolve(override(get("vq-vae"), {"width": 8, "code_count": 16}), (1, 16, 16))
    model = build_model(row, (1, 16, 16)).train()
    before = model.posterior.quantiser.vectors.clone()
    qz = model.infer(Batch(torch.rand(4, 1, 16, 16)), torch.zeros(1, 4, model.latent_dim)).levels[0].qz
    assert not torch.equal(model.posterior.quantiser.vectors, before)
    vectors = model.posterior.quantiser.vectors_of(qz.tokens).flatten(1)
    torch.testing.assert_close(qz.mean, vectors)


@pytest.mark.parametrize("recipe", ["vq-vae", "fsq-vae"])
def test_tokens_have_the_latents_that_they_came_from(recipe: str) -> None:
    model = build_model(override(get(recipe), {"width": 8}), (1, 16, 24)).eval()
    qz = model.encode(torch.rand(3, 1, 16, 24))
    tokens = qz.tokens.unflatten(1, model.posterior.grid[1:])
    assert torch.equal(model.posterior.latents_of(tokens), qz.mean)
    assert torch.equal(model.posterior.tokens_of(qz.mean), tokens)
    assert len(qz.tokens.unique()) > 1
