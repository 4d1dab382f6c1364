"""Inpainting: exact if the answer is known, visible pixels unchanged, and no effect on the model."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from linear_ladder import LATENTS as LADDER_LATENTS
from linear_ladder import SCALE as LADDER_SCALE
from linear_ladder import SHAPE as LADDER
from linear_ladder import TOP, Truth, linear
from torch import Tensor, nn

from vaekit.config import table as recipes
from vaekit.config.capabilities import serves
from vaekit.errors import UserError
from vaekit.latent import inpaint as inpainting
from vaekit.latent.inpaint import _misfit, inpaint
from vaekit.latent.masks import random_rectangle
from vaekit.model.contracts import Likelihood, Posterior
from vaekit.model.distributions.latent import DiagonalNormal
from vaekit.model.distributions.pixel import Laplace, NormalImage
from vaekit.model.factory import build_model
from vaekit.model.ladder import LadderModel
from vaekit.model.latent_model import LatentModel
from vaekit.model.priors import StandardNormal

SHAPE, LATENTS, SCALE = (1, 4, 4), 3, 0.6


class SamePosterior(Posterior):
    def forward(self, features: Tensor) -> DiagonalNormal:
        return DiagonalNormal(features, torch.zeros_like(features))


class FixedNormal(Likelihood):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, output: Tensor) -> NormalImage:
        return NormalImage(output + 0.5, torch.tensor(math.log(self.scale)))


def linear_model(scale: float = SCALE) -> LatentModel:
    """x = 0.5 + W z + scale · noise with standard normal z: all conditionals are known."""
    generator = torch.Generator().manual_seed(0)
    encoder, decoder = nn.Linear(16, LATENTS), nn.Linear(LATENTS, 16, bias=False)
    with torch.no_grad():
        encoder.weight.copy_(torch.randn(LATENTS, 16, generator=generator) * 0.3)
        decoder.weight.copy_(torch.randn(16, LATENTS, generator=generator) * 0.08)
    nets = nn.Sequential(nn.Flatten(), encoder), nn.Sequential(decoder, nn.Unflatten(-1, SHAPE))
    return LatentModel(nets[0], SamePosterior(), StandardNormal(LATENTS), nets[1], FixedNormal(scale), LATENTS).eval()


def weights(model: LatentModel) -> Tensor:
    return model.decoder[0].weight.detach()  # type: ignore[index,union-attr,return-value]


def exact(model: LatentModel, x: Tensor, hidden: Tensor, scale: float) -> Tensor:
    """E[x|ẑ] at the maximum a posteriori latent given the visible pixels: a ridge regression per image."""
    filled = x.clone()
    for row in range(len(x)):
        gone = hidden[row].flatten()
        w = weights(model)
        seen = w[~gone]
        precision = seen.mT @ seen / scale**2 + torch.eye(LATENTS)
        z = torch.linalg.solve(precision, seen.mT @ (x[row].flatten()[~gone] - 0.5) / scale**2)
        filled[row].flatten()[gone] = (0.5 + w @ z)[gone]
    return filled


@pytest.fixture
def images() -> tuple[Tensor, Tensor]:
    return torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(1)), random_rectangle(5, 4, 4, 2)


@pytest.mark.parametrize("kind", [NormalImage, Laplace])
def test_a_sharp_likelihood_is_widened_as_its_tails_fall(kind: type) -> None:
    """A likelihood of scale 0.05 is weighted like one of scale 0.5."""
    mean, hidden = torch.zeros(1, 1, 1), torch.zeros(2, 1, 1, 1, dtype=torch.bool)
    x = torch.tensor([0.3, 0.7]).view(2, 1, 1, 1)
    sharp, wide = (_misfit(kind(mean, torch.tensor(math.log(scale))), x, hidden) for scale in (0.05, 0.5))
    torch.testing.assert_close(sharp.diff(), wide.diff(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("scale", "trusted"), [(SCALE, SCALE), (0.05, 0.5)])
@pytest.mark.parametrize("starts", [1, 2, 5])
def test_it_is_exact_on_a_linear_model(
    images: tuple[Tensor, Tensor], starts: int, scale: float, trusted: float
) -> None:
    """A scale of at least 0.5 is used unchanged; a smaller one counts as 0.5."""
    model = linear_model(scale)
    filled = inpaint(model, *images, steps=300, starts=starts)
    torch.testing.assert_close(filled, exact(model, *images, trusted), rtol=0, atol=2e-4)


def linear_ladder_map(center: Tensor, spread: Tensor, x: Tensor, hidden: Tensor, truth: Truth) -> Tensor:
    """E[x|ε̂] where hidden, for ε ~ N(center, spread): a ridge regression per image, in double precision."""
    seed = truth.prior_log_std.exp().diag()
    decoder = torch.cat([truth.w1 + truth.w2 @ truth.a, truth.w2 @ seed], dim=1)  # of the noise of both levels
    filled = x.clone()
    for row in range(len(x)):
        gone = hidden[row].flatten()
        seen = decoder[~gone]
        precision = seen.mT @ seen / LADDER_SCALE**2 + torch.linalg.inv(spread)
        off = x[row].flatten()[~gone] - truth.b[~gone] - seen @ center[row]
        noise = center[row] + torch.linalg.solve(precision, seen.mT @ off / LADDER_SCALE**2)
        filled[row].flatten()[gone] = (truth.b + decoder @ noise)[gone].clamp(0, 1)
    return filled


@pytest.fixture
def _double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def ladder(_double: None) -> tuple[LadderModel, Truth, Tensor, Tensor]:
    """A linear hierarchy whose pictures are in [0, 1], and images of it with hidden pixels."""
    model, truth = linear()
    truth.b = 0.4 + 0.02 * truth.b
    x = 0.5 + 0.1 * torch.randn(4, *LADDER, generator=torch.Generator().manual_seed(6))
    return model.eval(), truth, x.clamp(0, 1), random_rectangle(4, 3, 2, 1)


@pytest.mark.parametrize("starts", [1, 3])
def test_it_is_exact_on_a_linear_hierarchy(ladder: tuple[LadderModel, Truth, Tensor, Tensor], starts: int) -> None:
    model, truth, x, hidden = ladder
    filled = inpaint(model, x, hidden, steps=400, starts=starts)
    center, spread = torch.zeros(4, LADDER_LATENTS), torch.eye(LADDER_LATENTS)
    torch.testing.assert_close(filled, linear_ladder_map(center, spread, x, hidden, truth), rtol=0, atol=2e-4)


def test_known_latents_hold_the_top_level_of_a_hierarchy_only(
    ladder: tuple[LadderModel, Truth, Tensor, Tensor],
) -> None:
    model, truth, x, hidden = ladder
    latents = torch.randn(30, LADDER_LATENTS, generator=torch.Generator().manual_seed(2)) * 0.5
    filled = inpaint(model, x, hidden, steps=400, starts=1, latents=latents)
    rows = inpainting._nearest(model, x, hidden, latents, 1)[0]
    spread, top = torch.eye(LADDER_LATENTS), latents[:, :TOP]
    cov = torch.cov(top.mT, correction=0)
    spread[:TOP, :TOP] = cov + 1e-3 * cov.diagonal().mean() * torch.eye(TOP)
    center = torch.cat([top[rows], torch.zeros(4, LADDER_LATENTS - TOP)], dim=1)
    torch.testing.assert_close(filled, linear_ladder_map(center, spread, x, hidden, truth), rtol=0, atol=2e-4)


def test_with_latents_each_search_is_held_by_the_latent_it_starts_from(images: tuple[Tensor, Tensor]) -> None:
    """One start, chosen among many, is exact: the images are pictures of stored latents."""
    model, latents = linear_model(0.5), torch.randn(50, LATENTS, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        truth = model.decode(latents[[7, 30]]).mean
    hidden = images[1][:2]
    filled = inpaint(model, truth.masked_fill(hidden, 0.0), hidden, starts=1, latents=latents)
    torch.testing.assert_close(filled, truth, rtol=0, atol=1e-4)


def test_visible_pixels_are_unchanged_and_hidden_ones_unread(images: tuple[Tensor, Tensor]) -> None:
    model, (x, hidden) = linear_model(), images
    spoilt = x.masked_fill(hidden, float("nan"))
    filled = inpaint(model, spoilt, hidden, steps=5)
    assert torch.equal(filled[~hidden], x[~hidden])
    assert torch.equal(filled, inpaint(model, x, hidden, steps=5)), "and it is deterministic"
    assert filled.min() >= 0 and filled.max() <= 1


def test_an_image_is_filled_the_same_in_any_company(images: tuple[Tensor, Tensor]) -> None:
    model, (x, hidden) = linear_model(), images
    latents = torch.randn(20, LATENTS, generator=torch.Generator().manual_seed(3))
    for known in (None, latents):
        together = inpaint(model, x, hidden, steps=20, latents=known)
        for size in (1, 2):
            chunked = inpaint(model, x, hidden, steps=20, latents=known, batch_size=size)
            torch.testing.assert_close(chunked, together, rtol=1e-5, atol=1e-6)
        turned = inpaint(model, x.flip(0), hidden.flip(0), steps=20, latents=known)
        torch.testing.assert_close(turned.flip(0), together, rtol=1e-5, atol=1e-6)


def test_the_model_is_left_as_it_was_even_without_gradients() -> None:
    """Parameters, BatchNorm statistics and gradients do not change; the caller may have disabled gradients."""
    model = build_model(recipes.get("seed-vae"), (1, 16, 16)).eval()
    x, hidden = torch.rand(2, 1, 16, 16), random_rectangle(2, 16, 16, 6)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    with torch.inference_mode():
        first = inpaint(model, x.clone(), hidden.clone(), steps=3)
    with torch.no_grad():
        second = inpaint(model, x, hidden, steps=3)
    assert torch.equal(first, second)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    with pytest.raises(AssertionError, match="eval"):
        inpaint(model.train(), x, hidden)


@pytest.mark.parametrize("name", [name for name, row in recipes.RECIPES.items() if serves("inpaint", row)])
def test_every_recipe_fills(name: str) -> None:
    model = build_model(recipes.get(name), (3, 16, 16)).eval().requires_grad_(False)
    x, hidden = torch.rand(2, 3, 16, 16), random_rectangle(2, 16, 16, 6)
    latents = torch.randn(5, model.latent_dim)
    for known in (latents,) if model.latent == "codes" else (None, latents):
        filled = inpaint(model, x, hidden, steps=2, latents=known)
        everywhere = hidden.expand_as(x)
        assert torch.equal(filled[~everywhere], x[~everywhere]) and filled.isfinite().all()
        assert not torch.equal(filled[everywhere], x[everywhere])


def test_latents_of_thousands_of_numbers_are_searched_with_their_variances_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Uncorrelated latents have the same penalty either way."""
    latents = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 2.0, 0.5])
    rows = torch.tensor([[0, 1], [2, 3]])
    whole = inpainting._from_latents(latents, rows)
    monkeypatch.setattr(inpainting, "_MOST_CORRELATED", 2)
    alone = inpainting._from_latents(latents, rows)
    torch.testing.assert_close(alone.unit, whole.unit)
    z = whole.z + torch.tensor([0.3, -0.4, 0.2])
    torch.testing.assert_close(alone.energy(z), whole.energy(z), rtol=0.02, atol=0)
    assert torch.equal(alone.z, whole.z)
    assert len(inpainting._thinned(torch.zeros(3000, 8192))) == 1024
    assert len(inpainting._thinned(torch.zeros(20_000, 2))) == 10_000


def test_mistakes(images: tuple[Tensor, Tensor]) -> None:
    model, (x, hidden) = linear_model(), images
    for wrong in (hidden.float(), hidden[:2], hidden[:, :, :2]):
        with pytest.raises(UserError, match="expected bool"):
            inpaint(model, x, wrong)
    for numbers in ({"steps": 0}, {"starts": 0}):
        with pytest.raises(UserError, match="at least 1"):
            inpaint(model, x, hidden, **numbers)  # type: ignore[arg-type]
    for latents in (torch.zeros(0, LATENTS), torch.zeros(4, LATENTS + 1)):
        with pytest.raises(UserError, match="latents is"):
            inpaint(model, x, hidden, latents=latents)
    discrete = build_model(recipes.get("fsq-vae"), (1, 16, 16)).eval()
    with pytest.raises(UserError, match="latents is None; a model of discrete codes needs latents of training images"):
        inpaint(discrete, torch.rand(2, 1, 16, 16), random_rectangle(2, 16, 16, 6))
    assert inpaint(model, x[:0], hidden[:0]).shape == (0, *SHAPE)
