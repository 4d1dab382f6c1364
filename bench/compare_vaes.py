"""The default VAE against the founding one, on the same real faces after equal training times.

    python bench/compare_vaes.py --vae RUN --seed-vae RUN --out bench/results/vae_vs_seed_vae.json

Both runs are of the same images with labels, at the same size and with the same number of latents. It reports
test PSNR and bound, and the Fréchet distance between prior samples and real test images over the features of a
small classifier of the labels, which sees everything at 64 px. A reference row does the same for as many real
training images: the distance that a perfect generator would have at this N. Samples and reconstructions are drawn
into ``--pictures``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from classifier import Classifier, accuracies, cached_classifier, facts, shrink
from machine import write_json
from results_of import describe_run
from torch import Tensor

import vaekit as vk
from vaekit.data import Images
from vaekit.distances import frechet_distance
from vaekit.pictures import Sheet, one_per_class

__all__ = ["compare"]

SIDE = 64  # what the classifier is shown
CELL = 96  # of the sheets, in pixels
ROWS, COLUMNS = 3, 6


def targets(images: Images) -> dict[str, np.ndarray]:
    """One 0/1 column per class; of two classes, only the second."""
    if images.labels is None or len(images.classes) < 2:
        raise SystemExit("the runs' images have no labels to train a classifier on; use data with class folders")
    labels = images.labels.numpy()
    classes = list(enumerate(images.classes))
    return {name: (labels == i).astype(np.float32) for i, name in (classes[1:] if len(classes) == 2 else classes)}


def numbers_of(run: vk.Run, test: Images) -> dict[str, Any]:
    """The run and its figures on the test part."""
    return {"run": describe_run(run), "test": {k: _round(v) for k, v in run.evaluate(test.pixels).items()}}


def distance(judge: Classifier, pixels: Tensor, real: Tensor) -> float:
    """Fréchet distance to ``real`` features, of uint8 images of any size."""
    return round(frechet_distance(judge.features(shrink(pixels, SIDE)), real), 4)


def compare(vae: vk.Run, seed_vae: vk.Run, count: int, epochs: int, cache: Path) -> tuple[dict[str, Any], Images]:
    """Every figure, and the test images; ``count`` prior samples of each, fewer if the test part is smaller."""
    if (vae.config.data.fingerprint, vae.shape) != (seed_vae.config.data.fingerprint, seed_vae.shape):
        raise SystemExit("the two runs are of different images or shapes; train both on the same data and --size")
    images = vae.images()
    test, train = images.part("test"), images.part("train")
    small_train, small_test = shrink(train.pixels, SIDE), shrink(test.pixels, SIDE)
    judge, seconds = cached_classifier(cache, train.fingerprint, small_train, targets(train), epochs, seed=0)
    count = min(count, len(test))
    some_test = spread(test.pixels, count)
    real = judge.features(shrink(some_test, SIDE))
    result: dict[str, Any] = {
        "classifier": {
            **facts(judge, seconds),
            "train_images": len(train),
            "right_on_test": {k: _round(v) for k, v in accuracies(judge, small_test, targets(test)).items()},
            "most_frequent_answer": {k: _round(max(v.mean(), 1 - v.mean())) for k, v in targets(test).items()},
        },
        "frechet_images": count,
        "frechet_real_train_images": distance(judge, spread(small_train, count), real),
    }
    for name, run in (("vae", vae), ("seed_vae", seed_vae)):
        result[name] = numbers_of(run, test)
        result[name]["frechet_prior_samples"] = distance(judge, run.generate(count, seed=0).pixels, real)
        restored = run.reconstruct(some_test).pixels
        result[name]["frechet_reconstructions"] = distance(judge, restored, real)
    result["psnr_gain_db"] = _round(result["vae"]["test"]["psnr_db"] - result["seed_vae"]["test"]["psnr_db"])
    ours, theirs = (result[name]["frechet_prior_samples"] for name in ("vae", "seed_vae"))
    result["frechet_ratio"] = _round(ours / theirs)
    return result, test


def spread(pixels: Tensor, count: int) -> Tensor:
    """``count`` images evenly over the whole set, as files lie in the order of their classes."""
    return pixels[torch.arange(min(count, len(pixels))) * len(pixels) // min(count, len(pixels))]


def draw(vae: vk.Run, seed_vae: vk.Run, test: Images, folder: Path) -> None:
    """The sheets: 3×6 samples of each, and ten originals above both reconstructions."""
    for name, run in (("vae", vae), ("seed-vae", seed_vae)):
        samples = run.generate(ROWS * COLUMNS, seed=0).pixels
        Sheet(shrink(samples, CELL), COLUMNS).save(folder / f"{name}-samples.png")
    pixels = test.pixels[one_per_class(test.labels, len(test), 10)]
    rows = [pixels, vae.reconstruct(pixels).pixels, seed_vae.reconstruct(pixels).pixels]
    labels = ("original", "vae", "seed-vae")
    sheet = Sheet(shrink(torch.cat(rows), CELL), len(pixels), row_labels=labels)
    sheet.save(folder / "vae-and-seed-vae-reconstructions.png")


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--vae", type=Path, required=True)
    parser.add_argument("--seed-vae", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=1000, help="prior samples, and real images, to compare")
    parser.add_argument("--epochs", type=int, default=8, help="of the classifier")
    parser.add_argument("--cache", type=Path, default=Path("build/bench"), help="where classifiers are kept")
    parser.add_argument("--pictures", type=Path, default=Path("docs/pictures"))
    parser.add_argument("--out", type=Path, default=Path("bench/results/vae_vs_seed_vae.json"))
    given = parser.parse_args()

    vae, seed_vae = vk.load(given.vae), vk.load(given.seed_vae)
    result, test = compare(vae, seed_vae, given.samples, given.epochs, given.cache)
    draw(vae, seed_vae, test, given.pictures)
    print(write_json(given.out, result).read_text(encoding="utf-8"))


def _round(value: Any) -> Any:
    return round(float(value), 4) if isinstance(value, float | np.floating) else value


if __name__ == "__main__":
    main()
