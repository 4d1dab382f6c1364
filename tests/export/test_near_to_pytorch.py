"""Exported networks compute what PyTorch computes, for every recipe, likelihood and precision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import vaekit as vk
from vaekit.config.capabilities import serves
from vaekit.config.table import LIKELIHOODS, RECIPES, with_likelihood
from vaekit.data import Form
from vaekit.errors import UserError
from vaekit.export import onnx as exporting
from vaekit.export.bundle import TOLERANCES, Session, allowed_in, verify
from vaekit.model.distributions import pixel_discrete
from vaekit.model.factory import build_model, resolve

SMALL = {"seed-vae": (3, 32, 32), "seed-ae": (1, 28, 28), "fast-ae": (1, 28, 28)}


def model_of(recipe: Any, shape: tuple[int, int, int], seed: int = 0) -> Any:
    """A small model with random weights, because initial residual branches are zero."""
    row = resolve(replace(recipe, width=recipe.width or 16, level_groups=min(recipe.level_groups, 1)), shape)
    model = build_model(row, shape).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for weights in model.parameters():
        weights += 0.05 * torch.randn(weights.shape, generator=generator)
    if hasattr(model.prior, "covariance"):
        half = torch.randn(model.latent_dim, model.latent_dim, generator=generator) / model.latent_dim**0.5
        model.prior.covariance.copy_(half @ half.mT + 0.1 * torch.eye(model.latent_dim))
    return model


def images_of(shape: tuple[int, int, int], count: int = 100) -> torch.Tensor:
    channels, height, width = shape
    found = vk.open_images(f"portraits:{count}", size=(height, width), channels=channels)
    return found.pixels


def exported(model: Any, out: Path, precision: str) -> dict[str, Any]:
    shape = model.image_shape
    form = Form(size=shape[1:], channels=shape[0])
    return exporting.export(model, out, images_of(shape), form, {}, {"recipe": "test"}, precision)


@pytest.mark.parametrize("name", [name for name, row in RECIPES.items() if serves("export", row)])
def test_every_recipe_is_near_to_pytorch(name: str, tmp_path: Path) -> None:
    shape = SMALL.get(name, (3, 24, 16))
    model = model_of(RECIPES[name], shape)
    for precision in TOLERANCES:
        out = tmp_path / precision
        told = exported(model, out, precision)
        assert told["images"] == 100
        for kind, allowed in allowed_in(precision, model.latent == "codes").items():
            assert told["largest_difference"][kind] <= allowed
        assert verify(out, told["digest"])["precision"] == precision
        one = images_of(shape, 1).float().numpy() / 255  # any number of images
        session = Session(out)
        assert session.decode(session.encode(one)[0]).shape == (1, *shape)
    sizes = [(tmp_path / precision / "decoder.onnx").stat().st_size for precision in ("fp16", "fp32")]
    assert sizes[0] < 0.8 * sizes[1]


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_every_likelihood_is_near_to_pytorch(likelihood: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The mean of a mixture of colors is a sum over pairs of nodes; fewer of them make the same graph, only smaller.
    monkeypatch.setattr(pixel_discrete, "_GAUSS", pixel_discrete._GAUSS[:1])
    exported(model_of(with_likelihood(RECIPES["vae"], likelihood), (3, 16, 16)), tmp_path / "out", "fp32")
    assert verify(tmp_path / "out")["files"] == 6


def test_an_export_that_is_too_far_off_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TOLERANCES, "fp16", {"latents": 1e-9, "pictures": 1e-9})
    model = model_of(RECIPES["ae"], (1, 16, 16))
    with pytest.raises(UserError, match="use precision=fp32"):
        exported(model, tmp_path / "out", "fp16")
    assert not list(tmp_path.iterdir())
