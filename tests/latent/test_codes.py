"""Discrete codes: images are encoded to integers, written, read back and decoded to the same pictures."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vaekit as vk
from vaekit.data import to_float
from vaekit.errors import UserError
from vaekit.evaluation.metrics import psnr_db
from vaekit.latent import neighbors as search
from vaekit.latent.codes import code_grid, encode_codes, latents_of
from vaekit.latent.masks import random_rectangle
from vaekit.system.distributed import Team

RECIPES = ["vq-vae", "fsq-vae"]
SMALL = {"width": 8, "code_count": 20, "code_levels": "5,4", "batch_size": 16}


@pytest.fixture(scope="module", params=RECIPES)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> vk.Run:
    folder = tmp_path_factory.mktemp(request.param) / "run"
    return vk.train("digits", request.param, folder, images=6400, settings=SMALL, quiet=True)


def test_codes_are_decoded_to_the_reconstructions(run: vk.Run) -> None:
    images = run.images("test").pixels[:30]
    codes = run.codes(images)
    assert codes.shape == (30, 8, 8) and codes.dtype == torch.int64
    assert len(codes.unique()) > 3 and codes.min() >= 0 and codes.max() < 20
    for given in (codes, codes.int(), codes.numpy(), codes.tolist()):
        assert torch.equal(run.decode(given).pixels, run.reconstruct(images).pixels)
    assert torch.equal(latents_of(run.model, codes), run.encode(images)), "to the last bit"


def test_codes_do_not_depend_on_the_batch_and_each_is_of_its_cell(run: vk.Run) -> None:
    images = run.images("test").pixels[:9]
    codes = encode_codes(run.model, images, batch_size=4)
    assert torch.equal(codes, run.codes(images))
    moved = codes.clone()
    moved[0, 0, 3] = (moved[0, 0, 3] + 1) % 20
    apart = (run.decode(codes).pixels[0].int() - run.decode(moved).pixels[0].int()).abs()[0]
    assert apart.max() > 0 and apart.amax(0).argmax() in (2, 3, 4) and apart.amax(1).argmax() < 3


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda codes: codes + 20, "^latents are from .* expected codes from 0 to 19"),
        (lambda codes: torch.full_like(codes, 20), "^latents are from 20 to 20; expected codes from 0 to 19"),
        (lambda codes: torch.full_like(codes, -1), "^latents are from -1 to -1; expected codes from 0 to 19"),
        (lambda codes: codes - 20, "^latents are from -.* expected codes from 0 to 19"),
        (lambda codes: codes.float(), r"^latents are torch.float32 \(4, 8, 8\); expected integers"),
        (lambda codes: codes[:, :7], r"^latents have shape \(4, 7, 8\); expected \[N, 8, 8\]"),
        (lambda codes: codes[0], r"^latents have shape \(8, 8\); expected \[N, "),
    ],
)
def test_what_are_no_codes_is_refused(run: vk.Run, wrong: Callable[[torch.Tensor], torch.Tensor], said: str) -> None:
    codes = run.codes(run.images("test").pixels[:4])
    with pytest.raises(UserError, match=said):
        run.decode(wrong(codes))


def test_a_vector_has_no_codes(digits_vae: Path) -> None:
    run = vk.load(digits_vae)
    with pytest.raises(UserError, match="^codes: recipe 'vae' has a latent vector.* train one of vq-vae, fsq-vae$"):
        run.codes(run.images("test").pixels[:1])


def read(path: Path) -> tuple[list[str], list[str], np.ndarray]:
    if path.suffix == ".npz":
        found = np.load(path, allow_pickle=False)
        return list(found["names"]), list(found["labels"]), found["codes"]
    if path.suffix == ".parquet":
        from pyarrow import parquet

        table = parquet.read_table(path)
        return table["name"].to_pylist(), table["label"].to_pylist(), np.array(table["codes"].to_pylist())
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["name", "label", *(f"c{i}" for i in range(64))]
    codes = np.array([row[2:] for row in rows]).astype(int)
    return [row[0] for row in rows], [row[1] for row in rows], codes.reshape(-1, 8, 8)


@pytest.mark.parametrize("ending", [".npz", ".csv", ".parquet"])
def test_encode_writes_integers_that_are_read_back(
    run: vk.Run, vaekit: Callable[..., Any], tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"codes{ending}"
    done = vaekit("encode", run.path, "--split", "test", "--out", path, "--json")
    assert done.code == 0, done.err
    facts = {"written": str(path), "images": 186, "rows": 8, "columns": 8, "number_of_codes": 20}
    assert json.loads(done.out) == facts
    images = run.images("test")
    names, labels, codes = read(path)
    assert names == list(images.names) and labels == [images.classes[i] for i in images.labels.tolist()]
    assert torch.equal(run.decode(codes).pixels, run.reconstruct(images).pixels)


def test_the_summary_of_codes_is_the_mean_of_the_vectors_of_blocks(run: vk.Run) -> None:
    codes = torch.randint(0, 20, (5, 8, 8), generator=torch.Generator().manual_seed(0))
    size = run.model.latent_dim // 64
    vectors = run.model.posterior.quantiser.vectors_of(codes).numpy()
    by_hand = vectors.reshape(5, 4, 2, 4, 2, size).mean((2, 4)).transpose(0, 3, 1, 2).reshape(5, -1)
    found = run.model.summary(latents_of(run.model, codes))
    np.testing.assert_allclose(found.numpy(), by_hand, rtol=1e-5, atol=1e-6)


def test_neighbors_and_the_map_compare_pooled_vectors(run: vk.Run) -> None:
    images = run.images()
    summaries = run.model.summary(run.encode(images))
    distances, rows = search.nearest(summaries, summaries[40:41], 4)
    found = run.neighbors(images.pixels[40:41], count=4)
    assert [each["name"] for each in found["neighbors"][0]] == [images.names[i] for i in rows[0].tolist()]
    assert [each["distance"] for each in found["neighbors"][0]] == pytest.approx(distances[0].tolist(), abs=1e-6)
    assert run.map()["variance_shares"] == pytest.approx(search.plane(summaries).shares, rel=1e-4)


def test_hidden_pixels_are_filled_better_than_by_the_mean(run: vk.Run) -> None:
    """With stored latents, or with those of the run's images where the file is missing."""
    x = to_float(run.images("test").pixels[:40])
    hidden = random_rectangle(len(x), 8, 8, 4)
    filled = run.inpaint(x.masked_fill(hidden, math.nan), hidden)
    visible = ~hidden
    assert torch.equal(filled[visible], x[visible])
    mean = to_float(run.images("train").pixels).mean(0).expand_as(x)
    assert psnr_db(filled, x, hidden) > psnr_db(mean, x, hidden) + 1
    (run.path / "latents.safetensors").rename(run.path / "aside")
    try:
        again = run.inpaint(x[:2], hidden[:2])
    finally:
        (run.path / "aside").rename(run.path / "latents.safetensors")
    torch.testing.assert_close(again, filled[:2], rtol=0, atol=0.02)


def test_the_grid_is_that_of_the_model(run: vk.Run) -> None:
    grid, model = code_grid(run.model), run.model
    assert (grid.rows, grid.columns, grid.count) == (8, 8, 20)
    assert model.latent_shapes == ((8, 8, model.latent_dim // 64),)


class Silent(Team):
    """One of several processes, which sends nothing to the others."""

    def sum_(self, *tensors: torch.Tensor) -> None:
        """Keep the share of this process."""


def test_each_process_encodes_its_batches_and_the_rest_is_zero(run: vk.Run) -> None:
    images = run.images("test").pixels[:9]
    first, second = (encode_codes(run.model, images, 2, Silent(rank, 2)) for rank in range(2))
    assert torch.equal(first + second, run.codes(images))
    assert not first[2:4].any() and second[2:4].any() and not second[4:6].any()
