"""Networks: the original ones layer by layer, and a residual network whose output has the size of its input."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit.model.nets import (
    MLPDecoder,
    MLPEncoder,
    ResNetDecoder,
    ResNetEncoder,
    SeedConvDecoder,
    SeedConvEncoder,
    default_patch,
    linear,
)
from vaekit.model.nets.resnet import Fold, ResBlock, level_widths


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def shapes_through(net: nn.Sequential, x: Tensor) -> list[tuple[str, tuple[int, ...]]]:
    shapes = []
    for layer in net:
        x = layer(x)
        shapes.append((type(layer).__name__, tuple(x.shape[1:])))
    return shapes


def test_the_dense_net_of_seed_a_has_the_specified_layers() -> None:
    encoder, decoder = MLPEncoder((1, 28, 28), (200,)), MLPDecoder((1, 28, 28), (200,), 20)
    assert shapes_through(encoder, torch.zeros(2, 1, 28, 28)) == [
        ("Flatten", (784,)),
        ("Linear", (200,)),
        ("ReLU", (200,)),
    ]
    assert shapes_through(decoder, torch.zeros(2, 20)) == [
        ("Linear", (200,)),
        ("ReLU", (200,)),
        ("Linear", (784,)),
        ("Unflatten", (1, 28, 28)),
    ]


def test_a_deep_dense_decoder_mirrors_its_encoder() -> None:
    widths = [layer.out_features for layer in MLPDecoder((1, 4, 4), (30, 20), 5) if isinstance(layer, nn.Linear)]
    assert widths == [20, 30, 16]


def test_the_convolutions_of_seed_b_have_the_specified_sizes() -> None:
    with torch.device("meta"):
        down = shapes_through(SeedConvEncoder((3, 256, 256)), torch.zeros(2, 3, 256, 256))
        up = shapes_through(SeedConvDecoder((3, 256, 256), 100), torch.zeros(2, 100))
    assert down == [
        ("Conv2d", (8, 128, 128)),
        ("ReLU", (8, 128, 128)),
        ("Conv2d", (16, 64, 64)),
        ("BatchNorm2d", (16, 64, 64)),
        ("ReLU", (16, 64, 64)),
        ("Conv2d", (32, 31, 31)),
        ("ReLU", (32, 31, 31)),
        ("Flatten", (31 * 31 * 32,)),
        ("Linear", (1024,)),
        ("ReLU", (1024,)),
    ]
    assert up == [
        ("Linear", (1024,)),
        ("ReLU", (1024,)),
        ("Linear", (31 * 31 * 32,)),
        ("ReLU", (31 * 31 * 32,)),
        ("Unflatten", (32, 31, 31)),
        ("ConvTranspose2d", (16, 64, 64)),
        ("BatchNorm2d", (16, 64, 64)),
        ("ReLU", (16, 64, 64)),
        ("ConvTranspose2d", (8, 128, 128)),
        ("BatchNorm2d", (8, 128, 128)),
        ("ReLU", (8, 128, 128)),
        ("ConvTranspose2d", (3, 256, 256)),
    ]


@pytest.mark.parametrize("sides", [(16, 16), (24, 64), (48, 40), (128, 96)])
def test_the_seed_net_restores_every_side_that_is_a_multiple_of_eight(sides: tuple[int, int]) -> None:
    with torch.device("meta"):
        assert SeedConvEncoder((1, *sides))(torch.zeros(2, 1, *sides)).shape == (2, 1024)
        assert SeedConvDecoder((1, *sides), 7)(torch.zeros(2, 7)).shape == (2, 1, *sides)


@given(
    channels=st.sampled_from([1, 3]),
    height=st.integers(8, 512),
    width=st.integers(8, 512),
    patch=st.sampled_from([None, 1, 2, 3, 8, 32]),
    depth=st.integers(1, 2),
)
@example(channels=3, height=8, width=8, patch=None, depth=1)
@example(channels=3, height=8, width=512, patch=None, depth=1)
@example(channels=1, height=512, width=512, patch=None, depth=1)
@example(channels=1, height=33, width=57, patch=None, depth=1)
def test_the_residual_net_gives_back_exactly_the_size_it_took(
    channels: int, height: int, width: int, patch: int | None, depth: int
) -> None:
    shape, folded = (channels, height, width), patch or default_patch(height, width)
    with torch.device("meta"):
        encoder = ResNetEncoder(shape, 8, depth, folded)
        features = encoder(torch.zeros(2, *shape))
        assert features.shape == (2, encoder.features)
        assert ResNetDecoder(shape, 8, depth, folded, 5)(torch.zeros(2, 5)).shape == (2, *shape)


@given(side=st.integers(8, 512))
def test_the_default_patch_folds_to_a_grid_of_nine_to_sixteen_cells(side: int) -> None:
    cells = math.ceil(side / default_patch(side, 8))
    assert (cells >= 9 or side <= 16) and cells <= 16
    assert default_patch(8, side) == default_patch(side, 8)


def test_levels_halve_down_to_about_four_cells_and_widen_at_most_fourfold() -> None:
    assert [level_widths(cells, 10) for cells in (1, 4, 7, 8, 16, 31)] == [
        [10],
        [10],
        [10],
        [10, 20],
        [10, 20, 40],
        [10, 20, 40],
    ]
    assert level_widths(128, 10) == [10, 20, 40, 40, 40, 40]


def test_a_residual_block_starts_as_the_identity_up_to_its_bias() -> None:
    block, x = ResBlock(4), torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(block(x), x + block.conv2.bias.view(1, 4, 1, 1))


def test_every_pixel_reaches_the_features_and_every_latent_every_pixel() -> None:
    torch.manual_seed(0)
    shape = (3, 19, 26)
    x, z = torch.rand(1, *shape, requires_grad=True), torch.randn(1, 5, requires_grad=True)
    encoder, decoder = ResNetEncoder(shape, 8, 1, 2), ResNetDecoder(shape, 8, 1, 2, 5)
    encoder(x).square().sum().backward()
    assert x.grad is not None and bool((x.grad != 0).all())
    moved = decoder(z + torch.tensor([0.5, 0, 0, 0, 0])) - decoder(z)
    assert bool((moved != 0).all())


def test_images_are_padded_with_their_own_border() -> None:
    torch.manual_seed(0)
    small, large = ResNetEncoder((1, 10, 14), 8, 1, 8), ResNetEncoder((1, 16, 16), 8, 1, 8)
    large.load_state_dict(small.state_dict())
    x = torch.rand(2, 1, 10, 14)
    torch.testing.assert_close(small(x), large(F.pad(x, (0, 2, 0, 6), mode="replicate")))


def test_the_residual_net_treats_every_image_on_its_own() -> None:
    torch.manual_seed(0)
    net, x = ResNetEncoder((1, 16, 16), 8, 1, 1).train(), torch.rand(3, 1, 16, 16)
    torch.testing.assert_close(net(x)[1:2], net(x[1:2]))


@pytest.mark.parametrize("inputs", [3, 784])
@pytest.mark.parametrize("is_onednn", [True, False])
def test_a_dense_layer_and_its_gradients_are_those_of_torch(
    monkeypatch: pytest.MonkeyPatch, inputs: int, is_onednn: bool
) -> None:
    monkeypatch.setattr(linear, "_onednn_is_faster", lambda: is_onednn)
    asked: list[tuple[int, ...]] = []
    product = linear._product
    monkeypatch.setattr(linear, "_product", lambda x, *more: asked.append(tuple(x.shape)) or product(x, *more))
    torch.manual_seed(0)
    mine, theirs, x = linear.Linear(inputs, 200), torch.nn.Linear(inputs, 200), torch.randn(32, inputs)
    theirs.load_state_dict(mine.state_dict())
    sides = []
    for layer in (mine, theirs):
        seen = x.clone().requires_grad_()
        output = layer(seen)
        output.square().sum().backward()
        sides.append([output, seen.grad, layer.weight.grad, layer.bias.grad])
    for a, b in zip(*sides, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3)
    assert len(asked) == (3 if is_onednn and inputs == 784 else 0)
    exact = mine.double()(x.double()), theirs.double()(x.double())
    torch.testing.assert_close(*exact, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_folded_pixels_are_those_of_torch(dtype: torch.dtype) -> None:
    x = torch.rand(2, 3, 8, 12, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        mine = Fold(4)(x)
    theirs = F.pixel_unshuffle(x.detach().to(dtype), 4)
    assert torch.equal(mine, theirs) and mine.dtype == dtype
    assert mine.is_contiguous(memory_format=torch.channels_last)
    weights = torch.rand_like(theirs)
    (mine * weights).sum().backward()
    assert torch.equal(x.grad, F.pixel_shuffle(weights, 4).float())  # type: ignore[arg-type]
