"""Images compared by latents: neighbors against a search by hand, the plane against numpy's decomposition."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vaekit as vk
from vaekit.data import write_folder
from vaekit.errors import UserError
from vaekit.figures.mosaic import CELLS, COLORS, Atlas, chosen_cells
from vaekit.latent.neighbors import components, nearest, plane, standardized


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 50), st.integers(0, 1000))
def test_neighbors_are_those_of_a_search_by_hand(count: int, size: int, wanted: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    latents, queries = rng.integers(-2, 3, (count, size)).astype(float), rng.normal(size=(3, size))
    distances, rows = nearest(torch.from_numpy(latents), torch.from_numpy(queries), wanted)
    for query, distance, row in zip(queries, distances, rows, strict=True):
        by_hand = np.sqrt(((latents - query) ** 2).sum(1))
        order = sorted(range(count), key=lambda i: (by_hand[i], i))[:wanted]
        assert row.tolist() == order  # equal latents in their own order
        np.testing.assert_allclose(distance.numpy(), by_hand[order], rtol=1e-12, atol=1e-12)


def test_the_plane_is_that_of_a_singular_value_decomposition() -> None:
    latents = np.random.default_rng(0).normal(size=(200, 6)) * [5, 3, 1, 1, 0.5, 0.1] + 7
    found = plane(torch.from_numpy(latents))
    left, singular, right = np.linalg.svd(latents - latents.mean(0), full_matrices=False)
    np.testing.assert_allclose(np.abs(found.coordinates.numpy()), np.abs(left[:, :2] * singular[:2]), atol=1e-9)
    np.testing.assert_allclose(found.shares, (singular[:2] ** 2 / (singular**2).sum()), rtol=1e-9)
    turned = plane(torch.from_numpy(-latents + 3))
    torch.testing.assert_close(turned.coordinates, -found.coordinates)  # its largest loadings are positive again
    assert plane(torch.ones(1, 4)).coordinates.tolist() == [[0.0, 0.0]]
    assert plane(torch.tensor([[1.0], [3.0]])).shares == (1.0, 0.0)


@pytest.mark.parametrize("count", [2, 5, 11])
def test_components_of_few_latents_with_many_dimensions_are_those_of_numpy(count: int) -> None:
    """As many axes as latents, computed from their products; those without variance are zero."""
    latents = np.random.default_rng(1).normal(size=(count, 12)) * np.arange(1, 13) + 3
    axes, variances = components(torch.from_numpy(latents))
    _, singular, right = np.linalg.svd(latents - latents.mean(0), full_matrices=False)
    assert axes.shape == (count, 12) and variances.shape == (count,)
    np.testing.assert_allclose(variances.numpy(), singular**2 / count, atol=1e-9)
    rank = count - 1
    np.testing.assert_allclose(np.abs(axes[:rank].numpy()), np.abs(right[:rank]), atol=1e-9)
    assert not axes[rank:].any() and bool((axes[:rank].amax(1) == axes[:rank].abs().amax(1)).all())
    whole = components(torch.from_numpy(np.concatenate([latents] * 12)))  # repeated, they have the same components
    torch.testing.assert_close(whole[0][:rank], axes[:rank], rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(whole[1][:rank], variances[:rank])


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 300), st.integers(0, 1000), st.sampled_from([(1.0, 1.0), (1.0, 0.0), (0.0, 0.0), (0.1, 30.0)]))
def test_a_cell_shows_the_image_nearest_to_its_middle(count: int, seed: int, spread: tuple[float, float]) -> None:
    points = torch.from_numpy(np.random.default_rng(seed).normal(size=(count, 2)) * spread)
    rows, places = chosen_cells(points)
    assert len({tuple(place) for place in places.tolist()}) == len(rows) >= 1
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert int(places.min()) >= 0 and int(places.max()) < CELLS
    low, size = points.amin(0), float((points.amax(0) - points.amin(0)).max()) / CELLS or 1.0
    height = int(places[:, 1].max())
    for row, (column, line) in zip(rows.tolist(), places.tolist(), strict=True):
        middle = low + size * torch.tensor([column + 0.5, height - line + 0.5], dtype=torch.float64)
        inside = ((points - middle).abs() <= size / 2 + 1e-9).all(1)
        off = (points - middle).square().sum(1)
        assert off[row] <= off[inside].min() + 1e-9


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("classes", [0, 2, len(COLORS) + 1])
def test_an_atlas_has_frames_where_colors_suffice(channels: int, classes: int) -> None:
    places = torch.tensor([[0, 0], [2, 1]])
    pixels = torch.full((2, channels, 8, 4), 128, dtype=torch.uint8)
    labels = torch.tensor([0, 1]) if classes else None
    image = np.asarray(Atlas(pixels, places, labels, tuple(f"class {i}" for i in range(classes))).image())
    assert image.shape[1] == 2 * 16 + 3 * 48
    is_framed = classes == 2
    corner = image[16, 16].tolist()
    assert corner == ([0xE6, 0x9F, 0x00] if is_framed else [255, 255, 255])
    assert (image.shape[0] > 2 * 16 + 2 * 48) == is_framed  # the legend


def test_an_image_is_its_own_neighbor_and_distances_do_not_depend_on_the_scale_of_latents(portraits_vae: str) -> None:
    run = vk.load(portraits_vae)
    images = run.images("test")
    sheet, numbers = run.neighbors(images.pixels[:2], images, count=3)
    found = numbers["neighbors"]
    assert [row[0]["name"] for row in found] == list(images.names[:2])
    assert all(row[0]["distance"] < 1e-3 and row[0]["distance"] <= row[1]["distance"] for row in found)
    assert len(sheet) == 2 * 4 and torch.equal(sheet.pixels[0], sheet.pixels[1])
    latents = run.encode(images)
    noise = standardized(run.model, latents)
    assert found[0][1]["distance"] == pytest.approx(float((noise[1:] - noise[0]).norm(dim=1).min()), rel=1e-3)
    with pytest.raises(UserError, match="give at most 10"):
        run.neighbors(torch.zeros(11, *run.shape, dtype=torch.uint8))


def test_a_file_among_the_images_is_not_its_own_neighbor(tmp_path: Path, portraits_vae: Path) -> None:
    """Its copy under another name is one, at distance 0; so is the image itself if it is given as pixels."""
    run = vk.load(portraits_vae)
    write_folder(vk.open_images("portraits:4", size=16), tmp_path / "faces")
    first, second, *_ = sorted((tmp_path / "faces").glob("*.png"))
    shutil.copy(first, tmp_path / "faces" / "copy.png")
    by_file = run.neighbors(str(first), tmp_path / "faces", count=9)["neighbors"][0]
    assert len(by_file) == 4 and first.name not in [each["name"] for each in by_file]
    assert by_file[0]["name"] == "copy.png" and by_file[0]["distance"] < 1e-6
    by_pixels = run.neighbors(run.pixels([first]), tmp_path / "faces", count=9)["neighbors"][0]
    assert len(by_pixels) == 5 and max(each["distance"] for each in by_pixels[:2]) < 1e-6
    two = run.neighbors([first, second], tmp_path / "faces", count=2)["neighbors"]
    assert [len(row) for row in two] == [2, 2] and second.name not in [each["name"] for each in two[1]]
    folder = run.neighbors(tmp_path / "faces", tmp_path / "faces", count=1)["neighbors"]
    names = sorted(path.name for path in (tmp_path / "faces").glob("*.png"))
    assert len(folder) == 5 and all(row[0]["name"] != name for row, name in zip(folder, names, strict=True))
    elsewhere = shutil.copy(second, tmp_path / "elsewhere.png")
    assert run.neighbors(elsewhere, tmp_path / "faces", count=1)["neighbors"][0][0]["name"] == second.name
    (tmp_path / "one").mkdir()
    alone = shutil.copy(first, tmp_path / "one" / "a.png")
    with pytest.raises(UserError, match="the only one to search"):
        run.neighbors(alone, tmp_path / "one")
    with pytest.raises(UserError, match="at least 1 neighbor"):
        run.neighbors(first, tmp_path / "faces", count=0)
