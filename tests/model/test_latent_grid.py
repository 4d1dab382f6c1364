"""A latent grid: shapes for images of any size, cells that look no further than their reach, and the bound by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor, nn

from vaekit.config.table import get, override
from vaekit.errors import UserError
from vaekit.latent import ops
from vaekit.model.contracts import Reach
from vaekit.model.factory import build_model, build_objective, resolve
from vaekit.model.inference import Batch
from vaekit.model.latent_model import LatentModel
from vaekit.model.nets.grid import GridNet, default_downsampling
from vaekit.model.objectives import Step
from vaekit.model.posteriors import GridPosterior

SIZES = [(4, 1, 1), (4, 4, 2), (8, 4, 1), (8, 2, 1), (8, 8, 2), (16, 4, 1), (16, 16, 1)]  # downsampling, patch, depth


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def built(shape: tuple[int, int, int], **values: object) -> LatentModel:
    return build_model(override(get("grid-vae"), {"width": 8, "latent_channels": 3, **values}), shape).eval()


def moved(net: nn.Module) -> nn.Module:
    """With all weights away from zero, in float64."""
    generator = torch.Generator().manual_seed(1)
    for parameter in net.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    return net.double()


def network(downsampling: int, patch: int, depth: int) -> GridNet:
    values = {"width": 4, "downsampling": downsampling, "patch": patch, "depth": depth, "latent_channels": 2}
    return GridNet(override(get("grid-vae"), values))


# Sizes


@given(
    channels=st.sampled_from([1, 3]),
    height=st.integers(8, 512),
    width=st.integers(8, 512),
    sizes=st.sampled_from([None, *SIZES]),
)
@example(channels=3, height=8, width=8, sizes=None)
@example(channels=3, height=16, width=512, sizes=(16, 4, 1))
@example(channels=1, height=512, width=512, sizes=None)
@example(channels=1, height=33, width=57, sizes=(8, 4, 1))
def test_an_image_of_any_size_comes_back_in_that_size(
    channels: int, height: int, width: int, sizes: tuple[int, int, int] | None
) -> None:
    shape = (channels, height, width)
    values = {} if sizes is None else dict(zip(("downsampling", "patch", "depth"), sizes, strict=True))
    if values and values["downsampling"] > min(height, width):
        return
    with torch.device("meta"):
        model = built(shape, **values)
        qz = model.encode(torch.zeros(2, *shape))
        assert model.decode(qz.mean).mean.shape == (2, *shape)
    f = values.get("downsampling") or default_downsampling(height, width)
    assert model.latent_shapes == ((3, math.ceil(height / f), math.ceil(width / f)),)
    assert qz.mean.shape == (2, model.latent_dim) == (2, math.prod(model.latent_shapes[0]))
    assert model.latent == "grid"


def test_what_is_left_open_depends_on_the_size_of_the_images() -> None:
    found = {side: resolve(get("grid-vae"), (3, side, side)) for side in (8, 16, 64, 128, 256, 512)}
    assert [row.downsampling for row in found.values()] == [4, 4, 4, 8, 8, 16]
    assert [row.latent_channels for row in found.values()] == [4, 4, 4, 8, 8, 16]
    assert [row.latent_dim for row in found.values()] == [16, 64, 1024, 2048, 8192, 16384]
    assert resolve(found[64], (3, 64, 64)) == found[64]
    # A resolved row keeps its cells for images of another size.
    assert resolve(replace(found[64], latent_dim=None), (3, 512, 512)).downsampling == 4


def test_no_weight_depends_on_the_size_of_the_images() -> None:
    values = {"downsampling": 8, "scale": "pixel"}
    small, large = (built(shape, **values).state_dict() for shape in ((3, 16, 24), (3, 100, 64)))
    assert {name: tensor.shape for name, tensor in small.items()} == {name: t.shape for name, t in large.items()}


def test_a_grid_has_as_many_parameters_as_its_layers() -> None:
    """8 px, one channel, downsampling 4, patch 4, width 8, depth 1, latent channels 3: every convolution by hand."""
    block = 2 * (8 * 8 * 9 + 8)
    encoder = (16 * 8 * 9 + 8) + block + (8 * 6 * 9 + 6)
    decoder = (3 * 8 * 9 + 8) + block + (8 * 16 * 9 + 16)
    model = built((1, 8, 8), downsampling=4)
    assert sum(p.numel() for p in model.encoder.parameters()) == encoder
    assert sum(p.numel() for p in model.decoder.parameters()) == decoder


# What a cell sees


@pytest.mark.parametrize("sizes", SIZES)
def test_a_cell_looks_as_far_as_its_reach_and_no_further(sizes: tuple[int, int, int]) -> None:
    """By gradients: of the cell in the middle by the pixels, and of the pixels in the middle by the cells."""
    net = network(*sizes)
    reach = net.reach()
    assert reach == Reach(sizes[0], reach.encoder, reach.decoder)
    middle = max(reach.encoder, reach.decoder) + 2
    cells, side = 2 * middle + 1, (2 * middle + 1) * sizes[0]
    encoder, decoder = moved(net.encoder((1, side, side))), moved(net.decoder((1, side, side), 0))

    x = torch.rand(1, 1, side, side, dtype=torch.float64, requires_grad=True)
    found = encoder(x).unflatten(1, (4, cells, cells))[0, :, middle, middle].square().sum()
    seen = torch.autograd.grad(found, x)[0][0, 0].unflatten(0, (cells, -1)).unflatten(2, (cells, -1))
    assert _radius((seen != 0).any(3).any(1), middle) == reach.encoder

    z = torch.randn(1, 2, cells, cells, dtype=torch.float64, requires_grad=True)
    block = slice(middle * sizes[0], (middle + 1) * sizes[0])
    found = decoder(z.flatten(1))[..., block, block].square().sum()
    assert _radius((torch.autograd.grad(found, z)[0] != 0).any(1)[0], middle) == reach.decoder


def _radius(seen: Tensor, middle: int) -> int:
    """How many cells from the middle one the farthest that is seen is."""
    return int((seen.nonzero() - middle).abs().max())


@pytest.mark.parametrize("sizes", SIZES)
def test_an_image_moved_by_a_cell_has_its_latent_moved_by_one(sizes: tuple[int, int, int]) -> None:
    net, f = network(*sizes), sizes[0]
    margin = max(net.reach().encoder, net.reach().decoder) + 1
    rows, columns = 2 * margin + 1, 2 * margin + 3
    x = torch.rand(1, 1, rows * f, columns * f, dtype=torch.float64)
    encoder = moved(net.encoder((1, rows * f, columns * f)))
    here, there = (encoder(each).unflatten(1, (4, rows, columns)) for each in (x, x.roll(f, dims=3)))
    inner = (..., slice(margin, -margin), slice(margin, -margin))
    torch.testing.assert_close(there.roll(-1, dims=3)[inner], here[inner], rtol=1e-10, atol=1e-10)
    z = torch.randn(1, 2, rows, columns, dtype=torch.float64)
    decoder = moved(net.decoder((1, rows * f, columns * f), 0))
    here, there = (decoder(each.flatten(1)) for each in (z, z.roll(1, dims=3)))
    inner = (..., slice(margin * f, -margin * f), slice(margin * f, -margin * f))
    torch.testing.assert_close(there.roll(-f, dims=3)[inner], here[inner], rtol=1e-10, atol=1e-10)


def test_images_are_padded_with_their_own_border() -> None:
    model, larger = built((1, 21, 30), downsampling=8), built((1, 24, 32), downsampling=8)
    larger.load_state_dict(model.state_dict())
    x = torch.rand(2, 1, 21, 30)
    padded = torch.cat([x, x[:, :, -1:].expand(-1, -1, 3, -1)], 2)
    padded = torch.cat([padded, padded[..., -1:].expand(-1, -1, -1, 2)], 3)
    torch.testing.assert_close(model.encode(x).mean, larger.encode(padded).mean)
    z = torch.randn(2, model.latent_dim)
    torch.testing.assert_close(model.decode(z).mean, larger.decode(z).mean[..., :21, :30])


def test_every_image_is_treated_on_its_own() -> None:
    model, x = built((1, 16, 16)).train(), torch.rand(3, 1, 16, 16)
    torch.testing.assert_close(model.encode(x).mean[1:2], model.encode(x[1:2]).mean)


# The bound


def test_the_bound_of_a_grid_by_hand() -> None:
    """−log p(x|z) of a normal, and KL = ½ Σ (μ² + σ² − log σ² − 1) (Kingma & Welling 2014, Appendix B), in numpy."""
    model = moved(built((1, 16, 24), downsampling=8, posterior_std_gain=0.5))
    x, noise = torch.rand(2, 1, 16, 24).double(), torch.randn(1, 2, model.latent_dim).double()
    with torch.no_grad():
        terms = Step(model, build_objective(get("grid-vae")))(Batch(x), noise, torch.tensor(1.0))
        features = model.encoder(x).numpy().reshape(2, 2, 3, 2, 3)
        mean, std = features[:, 0], np.exp(0.5 * features[:, 1])
        z = mean + std * noise[0].numpy().reshape(2, 3, 2, 3)
        picture = model.decoder(torch.from_numpy(z).flatten(1)).numpy() + 0.5
    kl = 0.5 * (mean**2 + std**2 - np.log(std**2) - 1).sum((1, 2, 3))
    scale = math.exp(10 * float(model.likelihood.free_log_scale.detach()))
    density = -0.5 * ((x.numpy() - picture) / scale) ** 2 - math.log(scale) - 0.5 * math.log(2 * math.pi)
    np.testing.assert_allclose(terms.rate, kl, rtol=1e-10)
    np.testing.assert_allclose(terms.elbo, density.sum((1, 2, 3)) - kl, rtol=1e-10)


def test_free_bits_count_every_number_of_the_grid() -> None:
    row = override(get("grid-vae"), {"width": 8, "free_bits_nats": 0.25})
    model, objective = build_model(row, (1, 16, 16)), build_objective(row)
    x, noise = torch.rand(5, 1, 16, 16), torch.randn(1, 5, model.latent_dim)
    inference = model.infer(Batch(x), noise)
    charged = objective(inference, torch.tensor(1.0)).loss + inference.log_px[0]
    torch.testing.assert_close(charged, inference.kl[0].mean(0).clamp(min=0.25).sum().expand(5), rtol=1e-4, atol=1e-2)


# What images are compared by


def test_the_summary_of_a_grid_is_the_mean_of_blocks_of_cells() -> None:
    model = built((1, 64, 96), downsampling=8)
    z = torch.randn(5, model.latent_dim)
    cells = z.numpy().reshape(5, 3, 8, 12)
    by_hand = cells.reshape(5, 3, 4, 2, 4, 3).mean((3, 5)).reshape(5, 48)
    np.testing.assert_allclose(model.summary(z).numpy(), by_hand, rtol=1e-5, atol=1e-6)


def test_a_small_grid_and_a_vector_are_their_own_summary() -> None:
    for model in (built((1, 16, 12), downsampling=4), build_model(override(get("vae"), {"width": 8}), (1, 16, 16))):
        z = torch.randn(3, model.latent_dim)
        torch.testing.assert_close(model.summary(z), z)


def test_images_are_encoded_to_their_summaries_without_keeping_their_latents() -> None:
    model = built((1, 64, 64), downsampling=4)
    pixels = torch.randint(0, 256, (9, 1, 64, 64), dtype=torch.uint8)
    found = ops.encode(model, pixels, 4, view=model.summary)
    assert found.shape == (9, 48)
    torch.testing.assert_close(found, model.summary(ops.encode(model, pixels, 4)))


# What is refused


@pytest.mark.parametrize(
    ("recipe", "values", "shape", "message"),
    [
        ("vae", {"latent": "grid"}, (1, 16, 16), "latent=grid does not go .* net=resnet and posterior=normal"),
        ("grid-vae", {"net": "resnet"}, (1, 16, 16), "latent=grid does not go .* net=resnet; begin with recipe="),
        ("grid-vae", {"prior": "flow"}, (1, 16, 16), "latent=grid does not go together with prior=flow"),
        ("grid-vae", {"downsampling": 12}, (1, 64, 64), "downsampling=12: expected 4, 8 or 16"),
        ("grid-vae", {"downsampling": 16}, (1, 12, 64), "larger than an image.* 12x64; give downsampling=4"),
        ("grid-vae", {"patch": 3}, (1, 64, 64), "patch=3: does not divide downsampling=4; leave it out"),
        ("grid-vae", {"latent_dim": 64}, (1, 64, 64), "4×16×16 numbers make 1024; leave it out, and set dow"),
        ("grid-vae", {}, (3, 7, 64), "from 8 to 512 pixels, but the images are 7x64"),
        ("grid-vae", {}, (3, 64, 513), "64x513"),
        ("grid-vae", {"is_conditional": "true"}, (1, 16, 16), "latent=grid cannot be conditional"),
        ("vae", {"downsampling": 8}, (1, 16, 16), "net=resnet does not use it; leave it out; begin with"),
        ("seed-ae", {"latent_channels": 4}, (1, 28, 28), "latent_channels=4: net=mlp does not use it"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(
    recipe: str, values: dict[str, object], shape: tuple[int, int, int], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        build_model(override(get(recipe), values), shape)


@pytest.mark.parametrize("value", [0, -1, 1025])
def test_a_size_out_of_range_is_refused_even_if_nobody_checked_it_before(value: int) -> None:
    for name in ("downsampling", "latent_channels"):
        with pytest.raises(UserError, match=f"{name}={value}: must be"):
            build_model(replace(get("grid-vae"), **{name: value}), (1, 16, 16))


def test_an_encoder_of_another_size_is_refused_by_the_posterior() -> None:
    with pytest.raises(UserError, match="returns 5 features per image; expected 8"):
        GridPosterior.from_recipe(replace(get("grid-vae"), latent_dim=4), 5, (1, 8, 8))


def test_latents_from_a_summary_have_that_summary_and_no_more() -> None:
    model = built((1, 24, 36), downsampling=4, latent_channels=2)  # 6 × 9 cells: parts of the summary overlap
    summaries = torch.randn(3, 2 * 4 * 4, dtype=torch.float64)
    grids = model.from_summary(summaries)
    torch.testing.assert_close(model.summary(grids), summaries)
    within = torch.randn_like(grids)
    within -= model.from_summary(model.summary(within))  # what a summary does not see
    torch.testing.assert_close((within * grids).sum(1), torch.zeros(3, dtype=torch.float64), atol=1e-9, rtol=0)
