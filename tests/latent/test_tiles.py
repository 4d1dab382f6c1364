"""Images in tiles: what one pass over the whole image gives, up to rounding, with memory for one tile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor

import vaekit as vk
from vaekit.config.table import Recipe, get, override
from vaekit.data import to_float
from vaekit.errors import UserError
from vaekit.latent.tiles import decode_tiled, encode_tiled, reconstruct_tiled, windows
from vaekit.model.factory import build_model, resized, resolve
from vaekit.model.latent_model import LatentModel

SIDE = 120  # of a tile
#: Largest difference from one pass, relative to the latents' standard deviation, and of pictures in levels of 255.
LATENTS, LEVELS = 1e-4, 1


def built(channels: int = 3, **values: object) -> tuple[LatentModel, Recipe]:
    """A model of 24 × 24 pixels, with weights away from their start."""
    row = resolve(override(get("grid-vae"), {"width": 8, **values}), (channels, 24, 24))
    model, generator = build_model(row, (channels, 24, 24)).eval(), torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in (*model.encoder.parameters(), *model.decoder.parameters()):
            parameter += 0.03 * torch.randn(parameter.shape, generator=generator)
    return model, row


def random_images(count: int, shape: tuple[int, int, int]) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8))


def photo(rows: int, columns: int) -> Tensor:
    """A part of a real photo, ``[1, 3, rows, columns]``."""
    return torch.from_numpy(load_sample_image("china.jpg")[:rows, :columns].copy()).permute(2, 0, 1)[None]


@torch.inference_mode()
def in_one_pass(model: LatentModel, row: Recipe, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Latents and float pictures by a model of the images' own size."""
    whole = resized(model, row, tuple(pixels.shape[1:]))  # type: ignore[arg-type]
    z = whole.encode(to_float(pixels)).mean
    return z.unflatten(1, whole.latent_shapes[0]), whole.decode(z).picture


@given(cells=st.integers(1, 200), size=st.integers(1, 60), reach=st.integers(0, 12))
def test_windows_keep_every_cell_once_and_none_that_is_nearer_to_an_edge_than_the_reach(
    cells: int, size: int, reach: int
) -> None:
    if size <= 2 * reach and size < cells:
        with pytest.raises(UserError, match="smaller depth"):
            windows(cells, size, reach)
        return
    found = windows(cells, size, reach)
    kept = [cell for window in found for cell in range(window.first, window.last)]
    assert kept == list(range(cells))
    for window in found:
        end = window.start + window.size
        assert 0 <= window.start <= window.first < window.last <= end <= cells
        assert window.size == min(size, cells)
        assert window.start == 0 or window.first - window.start >= reach
        assert end == cells or end - window.last >= reach


@pytest.mark.parametrize("values", [{}, {"downsampling": 8}, {"downsampling": 8, "depth": 2, "patch": 8}])
@pytest.mark.parametrize("kind", ["random", "photo"])
def test_tiles_give_what_one_pass_gives(kind: str, values: dict[str, object]) -> None:
    """Not square, and not a multiple of a cell."""
    model, row = built(**values)
    pixels = random_images(1, (3, 203, 250)) if kind == "random" else photo(203, 250)
    latents, pictures = in_one_pass(model, row, pixels)
    found = encode_tiled(model, row, pixels, SIDE)
    assert found.shape == latents.shape
    assert float((found - latents).abs().max()) <= LATENTS * float(latents.std())
    levels = (pictures * 255).round()
    for made in (
        decode_tiled(model, row, latents, (203, 250), SIDE),
        reconstruct_tiled(model, row, pixels, SIDE),
    ):
        assert made.shape == pixels.shape and made.dtype == torch.uint8
        assert float((made - levels).abs().max()) <= LEVELS
        assert float((made != levels).double().mean()) < 1e-3
    assert float(levels.std()) > 1  # there is something to see


@pytest.mark.parametrize("scale", ["shared", "pixel"])
def test_tiles_of_any_likelihood_and_of_a_gray_image(scale: str) -> None:
    model, row = built(1, scale=scale, likelihood="discretized-logistic")
    pixels = random_images(2, (1, 130, 60))
    made = reconstruct_tiled(model, row, pixels, SIDE)
    assert float((made - (in_one_pass(model, row, pixels)[1] * 255).round()).abs().max()) <= LEVELS


def test_an_image_within_a_tile_is_one_pass() -> None:
    model, row = built()
    pixels = random_images(1, (3, 24, 24))
    torch.testing.assert_close(encode_tiled(model, row, pixels).flatten(1), model.encode(to_float(pixels)).mean)


def test_nothing_larger_than_a_few_tiles_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    model, row = built()
    seen: list[torch.Size] = []
    encode, decode = LatentModel.encode, LatentModel.decode
    monkeypatch.setattr(LatentModel, "encode", lambda self, x: seen.append(x.shape) or encode(self, x))
    monkeypatch.setattr(LatentModel, "decode", lambda self, z: seen.append(z.shape) or decode(self, z))
    reconstruct_tiled(model, row, random_images(1, (3, 400, 100)), SIDE)
    most = 4 * 3 * SIDE * SIDE
    assert len(seen) == 4 and max(size.numel() for size in seen) <= most


def test_the_weights_of_a_resized_model_are_copies() -> None:
    model, row = built()
    other = resized(model, row, (3, 40, 56))
    assert not other.training and other.image_shape == (3, 40, 56)
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
        assert other.state_dict()[name].data_ptr() != value.data_ptr()


def test_grids_of_another_size_are_refused() -> None:
    model, row = built()
    with pytest.raises(UserError, match=r"grids have shape \[1, 4, 5, 5\]; expected \[N, 4, 10, 5\]"):
        decode_tiled(model, row, torch.zeros(1, 4, 5, 5), (40, 20))


# Through a run, and the command


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> vk.Run:
    settings = {"width": 8, "batch_size": 16}
    folder = tmp_path_factory.mktemp("grid") / "run"
    return vk.train("portraits:60", "grid-vae", folder, size=32, images=64, settings=settings, quiet=True)


def test_a_run_reconstructs_a_large_photo_in_its_own_size(run: vk.Run, tmp_path: Path) -> None:
    pixels = photo(300, 420)
    Image.fromarray(pixels[0].permute(1, 2, 0).numpy()).save(tmp_path / "photo.png")
    for data in (tmp_path / "photo.png", pixels):
        made = run.reconstruct(data, tiled=True).pixels
        assert made.shape == pixels.shape
    grids = run.encode(pixels, tiled=True)
    assert grids.shape == (1, 4, 75, 105)
    assert torch.equal(run.decode(grids, size=(300, 420)).pixels, made)
    assert run.compare(pixels, tiled=True).figure.image().size[1] > 2 * 300
    assert run.reconstruct(pixels).pixels.shape == (1, 3, 32, 32)


def test_images_of_different_sizes_are_refused_with_what_to_do(run: vk.Run, tmp_path: Path) -> None:
    for name, side in (("a", 40), ("b", 50)):
        Image.new("RGB", (side, side), "teal").save(tmp_path / f"{name}.png")
    with pytest.raises(
        UserError, match=r"differ in size .* x width\); give images of one size, or one image at a time"
    ):
        run.reconstruct(tmp_path, tiled=True)


def test_a_vector_has_no_tiles(portraits_vae: str) -> None:
    run = vk.load(portraits_vae)
    for act in (lambda: run.reconstruct(photo(40, 40), tiled=True), lambda: run.encode(photo(40, 40), tiled=True)):
        with pytest.raises(
            UserError, match="^tiled: recipe 'vae' has a latent vector, and this needs a latent grid.*grid-vae"
        ):
            act()
    with pytest.raises(UserError, match="needs a latent grid"):
        run.decode(torch.zeros(1, 4, 10, 10), size=(40, 40))


def test_the_command_keeps_the_size_of_a_photo(run: vk.Run, tmp_path: Path, vaekit: Callable) -> None:
    Image.fromarray(photo(200, 150)[0].permute(1, 2, 0).numpy()).save(tmp_path / "photo.png")
    answer = vaekit("reconstruct", run.path, tmp_path / "photo.png", "--tiled", "--out", tmp_path / "out.png")
    assert (answer.code, answer.err) == (0, "")
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.width >= 150 and picture.height >= 2 * 200
