"""Compares the default VAE with the original one and with PCA, on real faces enlarged to 256 px, over several seeds.

    python bench/compare_vaes.py SMILES --images 10000

Every model has 100 latents, trains on the same number of images, mirrored ones included, and computes in float32 on one
thread. The faces of SMILES are gray photographs of 64 px, enlarged to the size and the channels of the original system.

    pca                  the best linear autoencoder of the same size; samples come from a normal over its latents
    real against real    training images in place of samples: the distance of a perfect generator

The measures are test PSNR, and the Fréchet distance between samples and real test images, over the features of a small
classifier of the labels that sees all images at 64 px. Samples and reconstructions of the first seed are drawn into
``--pictures``. Runs are kept in ``--out`` and reused.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from classifier import Classifier, accuracies, cached_classifier, facts, shrink
from headline import Headline
from machine import write_result
from results_of import describe_run
from torch import Tensor

import vaekit as vk
from vaekit.data import Images
from vaekit.data.subsets import one_per_class
from vaekit.evaluation.frechet import frechet_distance
from vaekit.figures.grid import Sheet

__all__ = ["compare", "headlines", "linear"]

RECIPES = ("vae", "seed-vae")
OPTIONS: dict[str, Any] = {"size": 256, "channels": 3, "latent_dim": 100, "flip": True, "precision": "fp32"}
SEEDS = (0, 1, 2)
SIDE = 64  # size of the classifier's input
CELL = 96  # pixels of an image on the sheets
ROWS, COLUMNS = 3, 6
CHUNK = 512  # images converted to floats at a time
SHOWN = 10  # originals above their reconstructions


def trained(data: str, recipe: str, seed: int, images: int, out: Path) -> vk.Run:
    """Return the run of a recipe and a seed, training it if necessary."""
    folder = out / f"{recipe}-{seed}"
    if (folder / "weights.safetensors").exists():
        return vk.load(folder)
    return vk.train(data, recipe, folder, seed=seed, images=images, threads=1, **OPTIONS)


def targets(images: Images) -> dict[str, np.ndarray]:
    """Return a 0/1 column per class, or only the second of two classes."""
    if images.labels is None or len(images.classes) < 2:
        raise SystemExit("these images have no labels to train a classifier on; use data with class folders")
    labels = images.labels.numpy()
    classes = list(enumerate(images.classes))
    return {name: (labels == i).astype(np.float32) for i, name in (classes[1:] if len(classes) == 2 else classes)}


class Judge:
    """Fréchet distances of images of any size from the same real test images."""

    def __init__(self, train: Images, test: Images, count: int, epochs: int, cache: Path) -> None:
        small = shrink(train.pixels, SIDE)
        key = (train.fingerprint, small, targets(train), epochs)
        self.net: Classifier
        self.net, seconds = cached_classifier(cache, *key, seed=0)
        self.real_train = spread(small, count)
        self.features = self.net.features(shrink(spread(test.pixels, count), SIDE))
        right = accuracies(self.net, shrink(test.pixels, SIDE), targets(test))
        often = {name: max(v.mean(), 1 - v.mean()) for name, v in targets(test).items()}
        self.facts = {
            **facts(self.net, seconds),
            "train_images": len(train),
            "right_on_test": {name: _round(value) for name, value in right.items()},
            "most_frequent_answer": {name: _round(value) for name, value in often.items()},
        }

    def distance(self, pixels: Tensor) -> float:
        """Measure uint8 images of any size."""
        return round(frechet_distance(self.net.features(shrink(pixels, SIDE)), self.features), 4)


def compare(run: vk.Run, test: Images, judge: Judge, count: int) -> dict[str, Any]:
    """Return the run and its results on the test part."""
    numbers = run.evaluate(test.pixels)
    kept = ("psnr_db", "psnr_db_error", "ssim", "rate_nats", "elbo_nats")
    return {
        "run": describe_run(run),
        "test": {name: _round(numbers[name]) for name in kept},
        "frechet_prior_samples": judge.distance(run.generate(count, seed=0).pixels),
        "frechet_reconstructions": judge.distance(run.reconstruct(spread(test.pixels, count)).pixels),
    }


def linear(train: Tensor, test: Tensor, judge: Judge, count: int, latents: int, seed: int = 0) -> dict[str, Any]:
    """Return the same results for principal components of gray images uint8 [N, C, H, W] and their mirror images."""
    gray, channels = train[:, :1], train.shape[1]
    mean, axes, std = principal_components(gray, latents, seed)
    restored = torch.cat([_bytes((_flat(c) - mean) @ axes @ axes.mT + mean, c) for c in test[:, :1].split(CHUNK)])
    noise = torch.randn(count, latents, generator=torch.Generator().manual_seed(seed))
    drawn = _bytes((noise * std) @ axes.mT + mean, gray)
    error = ((restored.float() - test[:, :1].float()) / 255).square().double().mean()
    return {
        "components": latents,
        "psnr_db": _round(float(-10 * error.log10())),
        "frechet_prior_samples": judge.distance(drawn.expand(-1, channels, -1, -1)),
        "frechet_reconstructions": judge.distance(spread(restored, count).expand(-1, channels, -1, -1)),
    }


def principal_components(gray: Tensor, count: int, seed: int, rounds: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean [D], axes [D, L] and standard deviations [L] of uint8 images [N, 1, H, W] and their mirror images.

    Subspace iteration over chunks, with a few extra axes, because float images may not fit into memory.
    """
    mean = sum(_flat(chunk).double().sum(0) for chunk in _mirrored(gray)) / (2 * len(gray))
    mean = mean.float()
    axes = torch.randn(len(mean), count + 20, generator=torch.Generator().manual_seed(seed))
    for _ in range(rounds):
        axes = torch.linalg.qr(sum(x.mT @ (x @ axes) for x in (_flat(c) - mean for c in _mirrored(gray))))[0]
    latents = torch.cat([(_flat(chunk) - mean) @ axes for chunk in _mirrored(gray)]).double()
    variances, turn = torch.linalg.eigh(latents.mT @ latents / len(latents))
    kept = variances.argsort(descending=True)[:count]
    return mean, axes @ turn[:, kept].float(), variances[kept].sqrt().float()


def _mirrored(gray: Tensor) -> Iterator[Tensor]:
    for chunk in gray.split(CHUNK):
        yield chunk
        yield chunk.flip(-1)


def _flat(chunk: Tensor) -> Tensor:
    return chunk.flatten(1).float()


def _bytes(flat: Tensor, like: Tensor) -> Tensor:
    return flat.round().clamp(0, 255).to(torch.uint8).view(-1, 1, *like.shape[2:])


def spread(pixels: Tensor, count: int) -> Tensor:
    """Return ``count`` evenly spaced images, because files are sorted by class."""
    return pixels[torch.arange(min(count, len(pixels))) * len(pixels) // min(count, len(pixels))]


def draw(vae: vk.Run, seed_vae: vk.Run, test: Images, folder: Path) -> None:
    """Draw the sheets: 3×6 samples of each recipe, and ten originals above both reconstructions."""
    for name, run in zip(RECIPES, (vae, seed_vae), strict=True):
        samples = run.generate(ROWS * COLUMNS, seed=0).pixels
        Sheet(shrink(samples, CELL), COLUMNS).save(folder / f"{name}-samples.png")
    pixels = test.pixels[one_per_class(test.labels, len(test), SHOWN)]
    rows = [pixels, vae.reconstruct(pixels).pixels, seed_vae.reconstruct(pixels).pixels]
    sheet = Sheet(shrink(torch.cat(rows), CELL), len(pixels), row_labels=("original", *RECIPES))
    sheet.save(folder / "vae-and-seed-vae-reconstructions.png")


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return mean and range over the seeds."""
    columns = {
        "psnr_db": [row["test"]["psnr_db"] for row in rows],
        "frechet_prior_samples": [row["frechet_prior_samples"] for row in rows],
    }
    return {
        name: {"mean": _round(statistics.mean(each)), "lowest": min(each), "highest": max(each)}
        for name, each in columns.items()
    }


def headlines(result: dict[str, Any]) -> Iterator[Headline]:
    """Compare reconstructions and samples of both recipes with PCA."""
    what = "Gray photographs of faces at 64 px, enlarged to 256 px, 100 latents, a short training run: "
    if "pca" not in result:
        yield Headline(f"{what}PSNR and Fréchet distance", "")
        return
    seen = [row["run"]["images_trained_on"] for name in ("vae", "seed-vae") for row in result[name]["seeds"]]
    low, high = min(seen), max(seen)
    images = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    what = what.replace("run:", f"run ({images} images):")
    for key, digits, kind, others in (
        ("psnr_db", 1, "test PSNR", f"PCA with as many components: {result['pca']['psnr_db']:.1f} dB"),
        (
            "frechet_prior_samples",
            0,
            "Fréchet distance of samples, which are all blurry, over the features of a small classifier (not FID)",
            f"PCA: {result['pca']['frechet_prior_samples']:.0f}, "
            f"real training images: {result['frechet_real_train_images']:.1f}",
        ),
    ):
        unit = " dB" if key == "psnr_db" else ""
        figures = (f"`{name}` {_span(result[name][key], digits)}{unit}" for name in ("vae", "seed-vae"))
        yield Headline(f"{what}{kind} (range over three seeds)", "; ".join(figures), others)


def _span(found: dict[str, float], digits: int) -> str:
    return f"{found['mean']:.{digits}f} ({found['lowest']:.{digits}f} to {found['highest']:.{digits}f})"


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("data", help="the archive or folder of smiling and not-smiling faces")
    parser.add_argument(
        "--images", type=int, default=10_000, help="training images of each run in total, counting repeats"
    )
    parser.add_argument("--samples", type=int, default=1000, help="number of samples, and of real images, to compare")
    parser.add_argument("--epochs", type=int, default=8, help="of the classifier")
    parser.add_argument("--cache", type=Path, default=Path("build/bench"), help="where classifiers are kept")
    parser.add_argument("--out", type=Path, default=Path("runs/bench/faces"))
    parser.add_argument("--pictures", type=Path, default=Path("docs/pictures"))
    given = parser.parse_args()

    runs = {(r, s): trained(given.data, r, s, given.images, given.out) for s in SEEDS for r in RECIPES}
    images = runs["vae", 0].images()
    train, test = images.part("train"), images.part("test")
    count = min(given.samples, len(test))
    judge = Judge(train, test, count, given.epochs, given.cache)
    result: dict[str, Any] = {
        "classifier": judge.facts,
        "frechet_images": count,
        "frechet_real_train_images": judge.distance(judge.real_train),
        "pca": linear(train.pixels, test.pixels, judge, count, OPTIONS["latent_dim"]),
    }
    for recipe in RECIPES:
        rows = [compare(runs[recipe, seed], test, judge, count) for seed in SEEDS]
        result[recipe] = {"seeds": rows, **summary(rows)}
    draw(runs["vae", 0], runs["seed-vae", 0], test, given.pictures)
    print(write_result("vae_vs_seed_vae", result, headlines).read_text(encoding="utf-8"))


def _round(value: Any) -> Any:
    return round(float(value), 4) if isinstance(value, float | np.floating) else value


if __name__ == "__main__":
    main()
