"""Moving the first levels of a hierarchy: exact where it is linear and normal, and laws that hold for any weights."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from linear_ladder import LATENTS, PIXELS, TOP, images, linear
from torch import Tensor

from vaekit.config.table import get, override
from vaekit.latent.levels import Moved, follow, progression, top_size
from vaekit.latent.paths import points, spherical
from vaekit.model.factory import build_model
from vaekit.model.ladder import LadderModel

KEPT, FRESH = Moved(1, keeps_detail=True), Moved(1)
WEIGHTS = torch.linspace(0, 1, 5, dtype=torch.float64)


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def ladder() -> LadderModel:
    """A small hierarchy of three levels with weights that are not the initial ones."""
    row = override(get("ladder-vae"), {"width": 8, "top_latents": 5, "latent_channels": 2, "likelihood": "bernoulli"})
    model = build_model(row, (1, 16, 27)).double().eval()
    assert isinstance(model, LadderModel)
    generator = torch.Generator().manual_seed(3)
    for parameter in model.requires_grad_(False).parameters():
        parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def some(count: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed))


def test_finer_levels_follow_a_linear_model_exactly() -> None:
    model, truth = linear()
    model.eval()
    z, other = model.encode(images(truth, 4)).mean, some(4, LATENTS)
    mean = other[:, :TOP] @ truth.a.mT
    fresh, kept = follow(model, z, other, FRESH), follow(model, z, other, KEPT)
    torch.testing.assert_close(fresh, torch.cat([other[:, :TOP], mean], 1))
    residual = z[:, TOP:] - z[:, :TOP] @ truth.a.mT
    torch.testing.assert_close(kept, torch.cat([other[:, :TOP], mean + residual], 1))
    assert torch.equal(follow(model, z, other, Moved(2)), other), "nothing is left to follow"
    torch.testing.assert_close(follow(model, z[0], other, KEPT)[0], kept[0])


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_without_a_move_the_detail_is_the_images_own(levels: int) -> None:
    model = ladder()
    x = (torch.rand(200, 1, 16, 27, generator=torch.Generator().manual_seed(4)) < 0.4).double()
    z = model.encode(x).mean
    torch.testing.assert_close(follow(model, z, z, Moved(levels, keeps_detail=True)), z)
    fresh = follow(model, z, z, Moved(levels))
    size = top_size(model, levels)
    assert torch.equal(fresh[:, :size], z[:, :size])
    assert bool((fresh[:, size:] != z[:, size:]).any()) == (levels < 3)


def test_a_model_without_levels_moves_as_a_whole() -> None:
    model = build_model(get("vae"), (1, 16, 16)).eval()
    moved = some(2, model.latent_dim)
    assert follow(model, torch.zeros_like(moved), moved, KEPT) is moved


def test_rows_show_one_more_level_each() -> None:
    model, truth = linear()
    z = model.eval().encode(images(truth, 4)).mean
    first, whole = progression(model, z, [1, 2])
    torch.testing.assert_close(first, torch.cat([z[:, :TOP], z[:, :TOP] @ truth.a.mT], 1))
    assert torch.equal(whole, z)


@pytest.mark.parametrize("path", ["linear", "spherical"])
@pytest.mark.parametrize("what", [KEPT, FRESH])
def test_a_path_through_a_linear_model_is_known(path: str, what: Moved) -> None:
    model, truth = linear()
    a, b = some(2, LATENTS).unsqueeze(1)
    found = points(model.eval(), a, b, 5, path, what)
    assert found.shape == (5, 1, LATENTS)
    w, std = WEIGHTS[:, None, None], truth.prior_log_std.exp()
    top = (1 - w) * a[:, :TOP] + w * b[:, :TOP] if path == "linear" else spherical(a[:, :TOP], b[:, :TOP], w)
    noise_a, noise_b = ((z[:, TOP:] - z[:, :TOP] @ truth.a.mT) / std for z in (a, b))
    noise = spherical(noise_a, noise_b, w) if what.keeps_detail else torch.zeros(5, 1, PIXELS)
    torch.testing.assert_close(found, torch.cat([top, top @ truth.a.mT + std * noise], -1))


@pytest.mark.parametrize("path", ["linear", "spherical"])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_a_path_that_keeps_detail_begins_and_ends_at_its_ends(path: str, levels: int) -> None:
    model = ladder()
    a, b = some(2, model.latent_dim)
    found = points(model, a, b, 4, path, Moved(levels, keeps_detail=True))
    torch.testing.assert_close(found[[0, -1]], torch.stack([a, b]))
    still = points(model, a, a, 3, path, Moved(levels, keeps_detail=True))
    torch.testing.assert_close(still, a.expand(3, -1))


def test_detail_is_as_strong_on_the_way_as_at_the_ends() -> None:
    """A straight line between two samples would have half their variance in the middle."""
    model = ladder()
    a, b = model.drawn_from().from_noise(some(2, model.latent_dim))
    noise = model.drawn_from().to_noise(points(model, a, b, 5, "linear", KEPT))
    for level in model.split_levels(noise)[1:]:
        lengths = level.norm(dim=-1)
        torch.testing.assert_close(lengths, lengths[0] * (1 - WEIGHTS) + lengths[-1] * WEIGHTS)
        assert 0.8 < float(level[2].square().mean()) < 1.25
