"""Each recipe's loss equals that of the plain PyTorch code on its page, for every image, with the same gradients.

Weights are moved away from their initial values, so that no term is zero and no flow is the identity.
"""

from __future__ import annotations

import ast
import runpy
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vaekit.config.table import RECIPES, Recipe, override
from vaekit.model.factory import build_model, build_objective, resolve
from vaekit.model.inference import Batch
from vaekit.model.latent_model import LatentModel
from vaekit.model.objectives import Step
from vaekit.system.rng import CORRUPTION, stream
from vaekit.training.batches import corrupt

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "recipes"
SHAPE, COUNT, SEED, STEP = (3, 16, 24), 4, 5, 7
NAMES = sorted(RECIPES)


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    """Use float64 everywhere, also for constants that the library keeps as tensors."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@cache
def page(name: str) -> Callable[..., Tensor]:
    found: Callable[..., Tensor] = runpy.run_path(str(PAGES / f"{name}.py"))["loss"]
    return found


def built(name: str) -> tuple[Recipe, LatentModel]:
    """Return the model of a recipe with a narrow network and weights away from their initial values."""
    told = 5 if RECIPES[name].is_conditional else 0
    row = resolve(replace(override(RECIPES[name], {"width": 8}), condition_size=told), SHAPE)
    model, generator = build_model(row, SHAPE).train(), torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for value in model.parameters():
            value += 0.1 * torch.randn(value.shape, generator=generator)
        if row.prior == "fitted-normal":
            mixing = torch.randn(model.prior.covariance.shape, generator=generator)
            model.prior.covariance.copy_(mixing @ mixing.mT + torch.eye(len(mixing)))
            model.prior.mean.copy_(torch.randn(len(mixing), generator=generator))
    return row, model


def drawn(row: Recipe, model: LatentModel) -> tuple[Tensor, Tensor, Batch, Any]:
    """Images and noise, as arguments of the library and of the page."""
    generator = torch.Generator().manual_seed(SEED + 1)
    x = torch.rand(COUNT, *SHAPE, generator=generator)
    noise = torch.randn(row.samples, COUNT, model.latent_dim, generator=generator)
    if row.is_conditional:
        told = torch.rand(COUNT, row.condition_size, generator=generator)
        return x, noise, Batch(x, condition=told), (noise, told)
    if not row.noise_std:
        return x, noise, Batch(x), noise
    same = stream(SEED, CORRUPTION, STEP)
    strength, coin = torch.rand(2, COUNT, 1, 1, 1, generator=same)
    grain = torch.randn(x.shape, generator=same)
    return x, noise, Batch(corrupt(x, COUNT, row.noise_std, SEED, STEP), x), (strength, grain, coin)


def both(row: Recipe, model: LatentModel, ramp: float) -> tuple[Tensor, Tensor]:
    """Return the losses ``[B]`` of the library and of the page, without updating parts that follow batches."""
    x, noise, batch, noise_of_page = drawn(row, model)
    with model.observed():
        ours = Step(model, build_objective(row))(batch, noise, torch.tensor(ramp)).loss
    weights = model.state_dict(keep_vars=True)
    return ours, page(row.name)(x, noise_of_page, ramp, model.encoder, model.decoder, weights)


def gradients(loss: Tensor, model: LatentModel) -> Tensor:
    """Return the gradients of all weights as one vector."""
    found = torch.autograd.grad(loss.mean(), list(model.parameters()), materialize_grads=True)
    return torch.cat([each.flatten() for each in found])


@pytest.mark.parametrize("ramp", [1.0, 0.3])
@pytest.mark.parametrize("name", NAMES)
def test_the_page_computes_what_the_library_does(name: str, ramp: float) -> None:
    row, model = built(name)
    ours, plain = both(row, model, ramp)
    assert ours.shape == (COUNT,) and len(set(ours.tolist())) == COUNT
    torch.testing.assert_close(plain, ours, rtol=1e-9, atol=0)
    expected = gradients(ours, model)
    torch.testing.assert_close(gradients(plain, model), expected, rtol=1e-6, atol=1e-10 * float(expected.abs().max()))


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_has_a_part_in_what_is_compared(name: str) -> None:
    row, model = built(name)
    loss = both(row, model, 0.3)[1].mean()
    found = torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)
    names = [name for name, _ in model.named_parameters()]
    assert [n for n, gradient in zip(names, found, strict=True) if not gradient.any()] == []


@pytest.mark.parametrize("name", [name for name in NAMES if RECIPES[name].scale == "shared"])
def test_a_learned_scale_stops_at_the_rounding_of_bytes(name: str) -> None:
    row, model = built(name)
    with torch.no_grad():
        model.likelihood.free_log_scale.fill_(-1.0)
    ours, plain = both(row, model, 1.0)
    torch.testing.assert_close(plain, ours, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", [name for name in NAMES if RECIPES[name].kl_warmup])
def test_what_comes_slowly_is_seen_on_the_page(name: str) -> None:
    row, model = built(name)
    early, late = both(row, model, 0.3)[1], both(row, model, 1.0)[1]
    assert ((late - early).abs() > 1e-6 * late.abs()).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_short_and_needs_nothing_but_torch(name: str) -> None:
    source = (PAGES / f"{name}.py").read_text(encoding="utf-8")
    tree = ast.parse(source)
    imported = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    imported += [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert {module.partition(".")[0] for module in imported} <= {"math", "torch"}
    code = [line for line in ast.unparse(tree.body[1:]).splitlines() if line]
    assert len(code) <= 45


def test_the_example_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    example = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8").split("```")[1].removeprefix("python")
    names: dict[str, Any] = {}
    exec(example, names)
    assert names["nats"].shape == (8,) and names["model"].encoder.stem[1].weight.grad.any()
