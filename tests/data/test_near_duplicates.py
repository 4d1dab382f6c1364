"""Near duplicates: what is found and what is not, independence of the order, and limited work."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from vaekit.data import open_images, summary
from vaekit.data.inspect import near_duplicates as alike
from vaekit.data.inspect.near_duplicates import near_duplicates


def faces(count: int = 30) -> torch.Tensor:
    return open_images(f"portraits:{count}", 64).pixels


def each(pixels: torch.Tensor, change) -> torch.Tensor:
    """Apply ``change``, a function of PIL images, to each image."""
    changed = [np.asarray(change(Image.fromarray(image.permute(1, 2, 0).numpy()))) for image in pixels]
    return torch.from_numpy(np.stack(changed)).permute(0, 3, 1, 2)


def saved_again(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=60)
    return Image.open(file)


CHANGES = {
    "JPEG": lambda pixels: each(pixels, saved_again),
    "scaled": lambda pixels: each(pixels, lambda image: image.resize((60, 60)).resize((64, 64))),
    "brighter": lambda pixels: (pixels.int() + 5).clamp(max=255).to(torch.uint8),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_copy_is_found(name: str) -> None:
    pixels = faces()
    groups = near_duplicates(torch.cat([pixels, CHANGES[name](pixels)])).groups
    assert all(second == first + 30 for first, second in groups)
    assert len(groups) >= 27


def test_what_is_another_picture_is_not_near() -> None:
    pixels = faces()
    assert near_duplicates(torch.cat([pixels, pixels.flip(3)])).groups == []
    much = (pixels[:1].int() + torch.tensor([0, 30]).view(2, 1, 1, 1)).clamp(max=255).to(torch.uint8)
    assert near_duplicates(much).groups == []
    found = near_duplicates(open_images("digits").pixels)
    assert found.groups == [] and found.is_complete


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (5, 9), (40, 23)])
def test_every_shape(channels: int, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks and selections of rows do not matter, and equal images are near."""
    pixels = torch.randint(0, 256, (7, channels, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    pixels[5] = pixels[2]
    assert any({2, 5} <= set(group) for group in near_duplicates(pixels).groups)
    whole = alike._descriptors(pixels, np.arange(7))
    monkeypatch.setattr(alike, "_PIECE_BYTES", 1)
    pieces = alike._descriptors(pixels, np.arange(7))
    assert all((first == second).all() for first, second in zip(whole, pieces, strict=True))
    assert near_duplicates(pixels, np.array([1, 2, 5])).groups == [[2, 5]]


def test_areas_are_exact() -> None:
    for pixels, areas in ((8, 9), (64, 16), (5, 16), (100, 9)):
        weights = alike._areas(pixels, areas)
        assert (weights.sum(1) == pixels).all() and (weights.sum(0) == areas).all()
    image = torch.arange(16.0).repeat(32, 1).mul(16).to(torch.uint8).view(1, 1, 32, 16)
    _, thumbnail = alike._descriptors(image, np.arange(1))
    assert (thumbnail.reshape(16, 16) == np.arange(16) * 16).all()


def test_the_hash_is_of_the_gradient() -> None:
    rising = torch.arange(72, dtype=torch.uint8).repeat(8, 1).view(1, 1, 8, 72)
    hashes, _ = alike._descriptors(torch.cat([rising, rising.flip(3), torch.full_like(rising, 255)]), np.arange(3))
    assert hashes.tolist() == [2**64 - 1, 0, 0]
    assert alike._ones(hashes).tolist() == [64, 0, 0]


def test_any_order_gives_the_same_groups() -> None:
    pixels = faces(12)
    pixels = torch.cat([pixels, CHANGES["JPEG"](pixels), CHANGES["brighter"](pixels), CHANGES["scaled"](pixels)])
    known = {tuple(group) for group in near_duplicates(pixels).groups}
    assert len(known) > 9
    for seed in range(5):
        order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(seed))
        found = near_duplicates(pixels[order]).groups
        assert {tuple(sorted(order[group].tolist())) for group in found} == known


def test_pairs_are_those_of_the_definition() -> None:
    """Compare with a search over all pairs."""
    rng = np.random.default_rng(0)
    hashes = np.array([0, 7, 15, 1 << 63, 0xFFFF], np.uint64)[rng.integers(0, 5, 60)] ^ np.uint64(1 << 20)
    bits = np.unpackbits((hashes[:, None] ^ hashes).view(np.uint8).reshape(60, 60, 8), axis=2).sum(2)
    assert (alike._ones((hashes[:, None] ^ hashes).ravel()).reshape(60, 60) == bits).all()
    pixels = open_images("portraits:80", 32).pixels
    pixels = torch.cat([pixels, CHANGES["brighter"](pixels)[::2], CHANGES["JPEG"](pixels)[::3]])
    hashes, thumbnails = alike._descriptors(pixels, np.arange(len(pixels)))
    centered = thumbnails - thumbnails.mean(1, keepdims=True)
    near = alike._ones((hashes[:, None] ^ hashes).ravel()).reshape(len(pixels), -1) <= 3
    near &= np.abs(centered[:, None] - centered).mean(2) <= 2
    near &= np.abs(thumbnails.mean(1)[:, None] - thumbnails.mean(1)) <= 8
    for _ in range(8):
        near = near @ near
    groups = {tuple(np.flatnonzero(row)) for row in near if row.sum() > 1}
    assert len(groups) > 40 and {tuple(group) for group in near_duplicates(pixels).groups} == groups


def test_the_work_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (20_000, 1, 9, 8), dtype=torch.uint8, generator=generator)
    found = near_duplicates(noise)
    assert found.groups == [] and found.is_complete and found.compared < 50_000  # of 200,000,000 pairs
    monkeypatch.setattr(alike, "_ENOUGH", 0)
    flat = torch.randint(0, 256, (3000, 1, 1, 1), dtype=torch.uint8, generator=generator).expand(-1, 1, 8, 8)
    found = near_duplicates(flat)
    assert not found.is_complete and found.compared <= 4 * 64 * 3000
    assert [len(group) for group in found.groups] == [3000]


def test_few_images() -> None:
    for count in (0, 1):
        found = near_duplicates(torch.zeros(count, 3, 8, 8, dtype=torch.uint8))
        assert (found.groups, found.compared, found.is_complete) == ([], 0, True)


def test_the_summary_counts_equal_images_once() -> None:
    pixels = faces(6)
    both = torch.cat([pixels, pixels[:2], CHANGES["brighter"](pixels[:1])])
    found = summary(open_images(both))
    assert found["duplicates"] == {"images": 2, "alike": [["000000", "000006"], ["000001", "000007"]]}
    assert found["near_duplicates"] == {"images": 1, "alike": [["000000", "000008"]], "complete": True}
    many = (torch.arange(9) + 100).view(9, 1, 1, 1).expand(9, 1, 8, 8).to(torch.uint8)
    assert summary(open_images(many))["near_duplicates"]["alike"] == [[f"{i:06d}" for i in range(5)]]
