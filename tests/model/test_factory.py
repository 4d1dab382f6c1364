"""Recipes become the models that they describe; impossible combinations are refused with a remedy."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from vaekit.config.table import RECIPES, get, override
from vaekit.errors import UserError
from vaekit.model.factory import build_model, build_objective, parameter_count, resolve
from vaekit.model.inference import Batch
from vaekit.model.latent_model import LatentModel
from vaekit.model.likelihoods import BernoulliHead
from vaekit.model.objectives import ELBO, Distortion, Step
from vaekit.model.posteriors import NormalPosterior, PointPosterior
from vaekit.model.priors import FittedNormal, StandardNormal
from vaekit.system.memory import resident_bytes

SIZES = [(8, 8), (28, 28), (32, 32), (64, 48), (33, 57)]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_seed_vae_has_exactly_the_specified_number_of_parameters() -> None:
    with torch.device("meta"):
        model = build_model(get("seed-vae"), (3, 256, 256))
        picture = model.decode(model.encode(torch.zeros(2, 3, 256, 256)).mean).mean
    assert parameter_count(model) == 63_332_411
    assert picture.shape == (2, 3, 256, 256)


def test_no_model_is_built_with_the_compiler_of_torch() -> None:
    """Importing it, or sympy, would take longer than building the model."""
    code = (
        "import sys; from vaekit.config.table import RECIPES; from vaekit.model.factory import build_model\n"
        "for row in RECIPES.values():\n"
        "    build_model(row, (1, 32, 32))\n"
        "    assert not {'torch._dynamo', 'sympy'} & set(sys.modules), row.name"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_seed_ae_has_exactly_the_specified_layers() -> None:
    model = build_model(get("seed-ae"), (1, 28, 28))
    linear = [(m.in_features, m.out_features) for m in model.modules() if isinstance(m, nn.Linear)]
    assert sorted(linear) == [(20, 200), (200, 20), (200, 784), (784, 200)]
    assert parameter_count(model) == 784 * 200 + 200 + 200 * 20 + 20 + 20 * 200 + 200 + 200 * 784 + 784
    x = torch.rand(3, 1, 28, 28)
    first, second, last = model.encoder[1], model.decoder[0], model.decoder[2]
    code = model.posterior.mean(first(x.flatten(1)).relu())
    by_hand = last(second(code).relu()).sigmoid().view(3, 1, 28, 28)
    torch.testing.assert_close(model.decode(model.encode(x).mean).mean, by_hand)


@pytest.mark.parametrize("name", sorted(RECIPES))
@pytest.mark.parametrize("sides", SIZES)
def test_every_recipe_serves_every_size_or_refuses_it(name: str, sides: tuple[int, int]) -> None:
    shape = (3, *sides)
    if RECIPES[name].net == "seed-conv" and not all(side >= 16 and side % 8 == 0 for side in sides):
        with pytest.raises(UserError, match=f"{name}.*multiples of 8.*{sides[0]}x{sides[1]}.*give size=256"):
            build_model(RECIPES[name], shape)
        return
    row = resolve(replace(RECIPES[name], condition_size=3 * RECIPES[name].is_conditional), shape)
    model = build_model(row, shape)
    step = Step(model, build_objective(row))
    x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    told = torch.ones(2, 3) if row.is_conditional else None
    terms = step(Batch(x, condition=told), torch.randn(1, 2, model.latent_dim), torch.tensor(1.0))
    assert terms.loss.shape == (2,) and bool(torch.isfinite(terms.loss).all())
    terms.loss.mean().backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None and bool(torch.isfinite(parameter.grad).all()), parameter_name
    # Of a branch that starts at zero, only the last layer has a gradient in the first step; rounded codes are zero.
    later = (".conv1.", ".flow.", ".context.", "prior.layers.", "prior.words", "prior.places", "prior.first.")
    later += ("decoder.first.",) * (row.posterior == "fsq") + ("posterior.of_image.", ".conv.") * (row.net == "ladder")
    idle = [n for n, p in model.named_parameters() if not p.grad.any() and not any(part in n for part in later)]
    assert not idle


def test_a_model_follows_its_seed_alone() -> None:
    def weights(seed: int) -> torch.Tensor:
        return torch.cat([p.flatten() for p in build_model(get("vae"), (1, 8, 8), seed).parameters()])

    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = weights(1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert torch.equal(first, weights(1))
    assert not torch.equal(first, weights(2))


def test_a_row_says_what_the_parts_are() -> None:
    def built(**values: object) -> LatentModel:
        return build_model(override(get("vae"), values), (1, 8, 8))

    model = built(prior="fitted-normal")
    assert isinstance(model.prior, FittedNormal) and isinstance(model.posterior, NormalPosterior)
    assert isinstance(built(prior="standard-normal").prior, StandardNormal)
    assert isinstance(built(likelihood="bernoulli").likelihood, BernoulliHead)
    autoencoder = build_model(get("ae"), (1, 8, 8))
    assert autoencoder.prior is None and isinstance(autoencoder.posterior, PointPosterior)
    assert isinstance(build_objective(get("vae")), ELBO) and isinstance(build_objective(get("ae")), Distortion)
    assert build_objective(override(get("vae"), {"free_bits_nats": 0.5})).free_bits_nats == 0.5
    assert float(built(scale="fixed", fixed_scale=0.2).likelihood.log_scale()) == pytest.approx(math.log(0.2))


@pytest.mark.parametrize("net", ["mlp", "seed-conv", "resnet"])
def test_a_scale_per_pixel_works_with_every_net(net: str) -> None:
    model = build_model(override(get("vae"), {"net": net, "scale": "pixel", "latent_dim": 4}), (3, 16, 24))
    px = model.decode(torch.randn(2, 4))
    assert px.mean.shape == px.log_scale.shape == (2, 3, 16, 24)


def test_what_is_left_open_depends_on_the_images() -> None:
    digits, faces = resolve(get("vae"), (1, 8, 8), 1000), resolve(get("vae"), (3, 64, 64), 100_000)
    assert (digits.latent_dim, faces.latent_dim) == (16, 128)
    assert (digits.patch, faces.patch) == (1, 4)
    assert (digits.batch_size, faces.batch_size) == (32, 16)
    assert (digits.epochs, faces.epochs) == (300, 10)
    assert resolve(get("vae"), (1, 8, 8), 3).epochs == 500
    assert resolve(faces, (3, 64, 64), 100_000) == faces
    chosen = override(get("vae"), {"latent_dim": 7, "epochs": 2.5, "width": 9, "patch": 3, "batch_size": 5})
    assert resolve(chosen, (3, 64, 64)) == chosen


@pytest.mark.parametrize(
    ("name", "values", "shape", "message"),
    [
        ("vae", {"posterior": "point"}, (1, 8, 8), "posterior=normal"),
        ("vae", {"prior": "none"}, (1, 8, 8), "objective=distortion"),
        ("ae", {"objective": "elbo"}, (1, 8, 8), "objective=elbo"),
        ("ae", {"prior": "fitted-normal"}, (1, 8, 8), "prior=fitted-normal"),
        ("seed-vae", {}, (3, 250, 256), "250x256.*give size=256"),
        ("seed-vae", {}, (3, 8, 8), "at least 16"),
        ("vae", {}, (3, 7, 64), "from 8 to 512"),
        ("vae", {}, (3, 64, 513), "64x513"),
    ],
)
def test_impossible_pairs_are_refused_by_name(
    name: str, values: dict[str, str], shape: tuple[int, int, int], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        build_model(override(get(name), values), shape)


def test_a_row_out_of_range_is_refused_even_if_nobody_checked_it_before() -> None:
    with pytest.raises(UserError, match="beta=-1"):
        build_model(dataclasses.replace(get("vae"), beta=-1.0), (1, 8, 8))


@pytest.mark.parametrize(
    ("name", "values"),
    [("vae", {"latent_dim": 2**20}), ("seed-ae", {"hidden": [2**16] * 100}), ("vae", {"width": 4096, "depth": 100})],
)
def test_a_network_that_memory_cannot_hold_is_refused_before_it_is_made(name: str, values: dict[str, object]) -> None:
    before = resident_bytes() or 0
    with pytest.raises(UserError, match=r"does not fit into memory: it needs .* GB, this machine has .* GB"):
        build_model(override(get(name), values), (1, 16, 16))
    assert (resident_bytes() or 0) - before < 2e8
