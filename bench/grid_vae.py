"""How much sharper are reconstructions from a grid of latents than from one vector, after the same time of training?

    python bench/grid_vae.py SMILES --size 64 --budget 10m
    python bench/grid_vae.py portraits:10000 --size 64 --budget 10m
    python bench/grid_vae.py portraits:4000 --size 256 --budget 10m

Every recipe trains for the same wall time on the same images, with horizontal flips. Other settings are the defaults,
unless --set changes those of ``grid-vae``. The measure is the PSNR of held-out images, reconstructed from the mean of
the posterior. A grid has many more latents than a vector, so the result also reports the rate, and four baselines put
the PSNR in context. ``shrunk`` and ``webp`` match the size of the grid, and ``pca`` that of the vector:

    mean            the mean training image in place of each reconstruction
    pca             principal components, as many as the vector has latents
    shrunk          images reduced to about as many numbers as the grid has latents, and enlarged again
    webp            lossy WebP files of about the rate of the grid (headers of the container not counted)

A finished run is not trained again; the same command resumes.
"""

from __future__ import annotations

import argparse
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from headline import Headline
from machine import RESULTS, write_result
from PIL import Image
from results_of import describe_run
from torch import Tensor
from torch.nn import functional as F

import vaekit as vk
from vaekit.figures.grid import Sheet

__all__ = ["headlines", "measured", "webp"]

NAME = "grid_vae"
RECIPES = ("vae", "grid-vae")
COMPONENT_ROUNDS = 6  # of subspace iteration
SPARE = 20  # axes of it that are dropped in the end
CHUNK = 256  # images converted to floats at a time
CONTAINER = 20  # bytes of a WebP file before its data: RIFF, size, WEBP, VP8, size
SHOWN = 8


def trained(given: argparse.Namespace, recipe: str, out: Path) -> vk.Run:
    """Train a recipe for the budget, or open the run that is finished."""
    settings = dict(pair.split("=", 1) for pair in given.set) if recipe == "grid-vae" else {}
    return vk.train(
        given.data, recipe, out, size=given.size, budget=given.budget, flip=True, seed=given.seed, settings=settings
    )


def measured(run: vk.Run, test: Tensor) -> dict[str, Any]:
    """Return the numbers of a run on images uint8 [N, C, H, W]."""
    numbers = run.evaluate(test)
    kept = ("psnr_db", "psnr_db_error", "ssim", "rate_nats", "elbo_nats")
    test = {name: _rounded(numbers[name]) for name in kept}
    return {**describe_run(run), "threads": run.config.engine.threads, "test": test}


def mean_and_pca(train: Tensor, test: Tensor, components: int, seed: int) -> dict[str, float]:
    """Return the PSNR of the mean image, and of principal components by subspace iteration over chunks."""
    chunks = train.split(CHUNK)
    mean = sum(_flat(chunk).double().sum(0) for chunk in chunks) / len(train)
    mean = mean.float()
    count = min(components + SPARE, len(mean))
    axes = torch.randn(len(mean), count, generator=torch.Generator().manual_seed(seed))
    for _ in range(COMPONENT_ROUNDS):
        axes = torch.linalg.qr(sum(x.mT @ (x @ axes) for x in (_flat(chunk) - mean for chunk in chunks)))[0]
    latents = torch.cat([(_flat(chunk) - mean) @ axes for chunk in chunks]).double()
    variances, turn = torch.linalg.eigh(latents.mT @ latents)
    axes = axes @ turn[:, variances.argsort(descending=True)[:components]].float()
    parts = [_flat(chunk) - mean for chunk in test.split(CHUNK)]
    return {
        "mean": _psnr([part + mean for part in parts], [mean.expand(len(part), -1) for part in parts]),
        "pca": _psnr([part + mean for part in parts], [part @ axes @ axes.mT + mean for part in parts]),
    }


def shrunk(test: Tensor, numbers: int) -> dict[str, float]:
    """Return the PSNR of images that are reduced to about ``numbers`` values and enlarged again."""
    channels, height, width = test.shape[1:]
    share = min(1.0, math.sqrt(numbers / (channels * height * width)))
    size = max(1, round(height * share)), max(1, round(width * share))
    real, restored = [], []
    for chunk in test.split(CHUNK):
        x = chunk.float() / 255
        small = F.interpolate(x, size, mode="bicubic", antialias=True, align_corners=False)
        back = F.interpolate(small, (height, width), mode="bicubic", align_corners=False)
        real.append(x)
        restored.append(back.clamp(0, 1))
    return {"values": channels * size[0] * size[1], "psnr_db": _psnr(real, restored)}


def webp(test: Tensor, bits: float) -> dict[str, float]:
    """Return PSNR and size of lossy WebP files, at the quality whose mean size is nearest to ``bits``."""
    found = [_webp(test.numpy(), quality) for quality in (0, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 85, 90, 95, 100)]
    return min(found, key=lambda row: abs(row["bits"] - bits))


def _webp(pixels: np.ndarray, quality: int) -> dict[str, float]:
    size, restored = 0, []
    for image in pixels:
        file = io.BytesIO()
        shown = image.repeat(3, 0) if len(image) == 1 else image
        Image.fromarray(np.moveaxis(shown, 0, 2)).save(file, format="WEBP", quality=quality, method=6)
        size += len(file.getvalue()) - CONTAINER
        back = np.moveaxis(np.asarray(Image.open(file).convert("RGB")), 2, 0)
        restored.append(back.mean(0, keepdims=True) if len(image) == 1 else back)
    real, other = torch.from_numpy(pixels) / 255, torch.from_numpy(np.stack(restored)).float() / 255
    return {"quality": quality, "bits": round(8 * size / len(pixels), 1), "psnr_db": _psnr([real], [other])}


def headlines(result: dict[str, Any]) -> Iterator[Headline]:
    """Yield a row for each set of images: the grid beside the vector and the methods of the same size."""
    for name, row in result["results"].items():
        if not set(RECIPES) <= set(row["recipes"]):
            continue
        grid, vector = (row["recipes"][recipe]["test"] for recipe in ("grid-vae", "vae"))
        threads = row["recipes"]["grid-vae"].get("threads", 2)  # older rows do not name them
        cores = "one core" if threads == 1 else "two cores" if threads == 2 else f"{threads} cores"
        yield Headline(
            f"{name}, `grid-vae` after {row['budget']} on {cores}: PSNR of held-out images",
            f"{grid['psnr_db']:.1f} dB at a rate of {grid['rate_nats']:,.0f} nats",
            f"`vae`: {vector['psnr_db']:.1f} dB at {vector['rate_nats']:,.0f} nats, "
            f"PCA with as many components as `vae`: {row['pca']:.1f} dB, "
            f"images shrunk to as many numbers as the grid: {row['shrunk']['psnr_db']:.1f} dB, "
            f"lossy WebP at {row['webp']['bits'] * math.log(2):,.0f} nats: {row['webp']['psnr_db']:.1f} dB",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="SMILES or portraits:N")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--budget", default="10m", help="time for each recipe")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of grid-vae")
    parser.add_argument("--out", type=Path, default=Path("runs/grid"))
    given = parser.parse_args()
    data = Path(given.data).name.partition(".")[0].replace(":", "-")
    name = f"{data} at {given.size} px"
    folder = given.out / f"{data}-{given.size}"
    runs = {recipe: trained(given, recipe, folder / recipe) for recipe in RECIPES}
    vector, grid = (runs[recipe] for recipe in RECIPES)
    train, test = vector.choose(split="train").pixels, vector.choose(split="test").pixels
    rows = {recipe: measured(run, test) for recipe, run in runs.items()}
    bits = rows["grid-vae"]["test"]["rate_nats"] / math.log(2)
    found = {
        "budget": given.budget,
        "test_images": len(test),
        "recipes": rows,
        **mean_and_pca(train, test, vector.model.latent_dim, given.seed),
        "shrunk": shrunk(test, grid.model.latent_dim),
        "webp": webp(test, bits),
    }
    shown = test[torch.arange(SHOWN) * len(test) // SHOWN]
    pictures = torch.cat([shown, *(run.reconstruct(shown).pixels for run in (vector, grid))])
    Sheet(pictures, SHOWN, row_labels=("original", *RECIPES)).save(folder / "reconstructions.png")
    print(json.dumps(found, indent=2))
    path = RESULTS / f"{NAME}.json"
    results = json.loads(path.read_text())["results"] if path.exists() else {}
    write_result(NAME, {"results": {**results, name: found}}, headlines)


def _flat(chunk: Tensor) -> Tensor:
    return chunk.flatten(1).float() / 255


def _psnr(real: list[Tensor], restored: list[Tensor]) -> float:
    """Return the PSNR of the mean squared error over all images, as ``vaekit evaluate`` does."""
    errors = [(a - b).square().flatten(1).mean(1) for a, b in zip(real, restored, strict=True)]
    return _rounded(float(-10 * torch.cat(errors).double().mean().log10()))


def _rounded(value: float) -> float:
    return round(value, 4)


if __name__ == "__main__":
    main()
