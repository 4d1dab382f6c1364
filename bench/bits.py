"""Bits per dimension of a VAE with a mixture of discretized logistics, compared with codecs on the same images.

    vaekit train CIFAR --likelihood discretized-logistic-mixture --images 160000 --flip --out runs/bits/cifar10
    vaekit train SMILES --size 64 --likelihood discretized-logistic-mixture --images 60000 --flip --out runs/bits/smiles
    python bench/bits.py runs/bits/cifar10 runs/bits/smiles

The bound of a model limits the code length of a single image; the size of the model is not counted. PNG and WebP files
have headers, which matter for small images, so files with many images below each other are measured too. The entropy is
that of the single values of each channel.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from headline import Headline
from machine import write_result
from PIL import Image

import vaekit as vk

__all__ = ["TITLES", "codecs", "entropy_bits", "headlines"]

FORMATS: dict[str, dict[str, Any]] = {
    "png": {"format": "PNG", "optimize": True},
    "webp_lossless": {"format": "WEBP", "lossless": True, "quality": 100, "method": 6},
}
WEBP_LARGEST = 16_383  # pixels per side


def entropy_bits(pixels: np.ndarray) -> float:
    """Return −Σ p log₂ p of the values of each channel of uint8 [N, C, H, W], averaged over channels."""
    shares = [np.bincount(channel.ravel(), minlength=256) / channel.size for channel in np.moveaxis(pixels, 1, 0)]
    return float(np.mean([-(p[p > 0] * np.log2(p[p > 0])).sum() for p in shares]))


def codecs(pixels: np.ndarray) -> dict[str, float]:
    """Return bits per pixel value of uint8 images [N, C, H, W], in single files and together."""
    found = {}
    for name, options in FORMATS.items():
        found[name] = 8 * sum(size_of(image, options) for image in pixels) / pixels.size
        most = WEBP_LARGEST // pixels.shape[2]
        columns = [np.concatenate(list(pixels[i : i + most]), axis=1) for i in range(0, len(pixels), most)]
        found[f"{name}_together"] = 8 * sum(size_of(column, options) for column in columns) / pixels.size
    return found


def size_of(image: np.ndarray, options: dict[str, Any]) -> int:
    """Return the bytes of the file of one image [C, H, W]."""
    file = io.BytesIO()
    Image.fromarray(image[0] if len(image) == 1 else np.moveaxis(image, 0, 2)).save(file, **options)
    return len(file.getvalue())


#: Both datasets were stored as JPEG, which is easier to compress and not comparable with published figures.
TITLES = {
    "cifar10": "CIFAR-10, a copy stored as JPEG (not comparable with published figures)",
    "smiles": "“Smiles”, face photographs at 64 px stored as JPEG",
}


def headlines(result: dict[str, Any]) -> Iterator[Headline]:
    """Compare bits per dimension with codecs."""
    others = {
        "png_together": "PNG",
        "webp_lossless_together": "WebP",
        "entropy_per_value": "entropy of single pixel values",
    }
    for name, row in result["results"].items():
        bits = row["bits_per_dim"]
        yield Headline(
            f"{TITLES.get(name, name)}: bits per dimension of test images, `vae` with a mixture of logistics",
            f"{bits['vae_iwae']:.2f}",
            ", ".join(f"{what}: {bits[key]:.2f}" for key, what in others.items()),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--iwae", type=int, default=10, help="samples of the tighter bound")
    given = parser.parse_args()
    results = {}
    for path in given.runs:
        run = vk.load(path)
        test = run.choose()
        numbers = run.evaluate(iwae_samples=given.iwae)
        del numbers["kl_per_dim_nats"]
        pixels = test.pixels.numpy()
        results[path.name] = {
            "shape": list(run.shape),
            "likelihood": run.config.recipe.likelihood,
            "images_trained_on": run.config.total_images,
            "test": numbers,
            "bits_per_dim": {
                "vae": numbers["bits_per_dim"],
                "vae_iwae": numbers["iwae_bits_per_dim"],
                **codecs(pixels),
                "entropy_per_value": entropy_bits(pixels),
            },
        }
        print(path.name, {name: round(bits, 3) for name, bits in results[path.name]["bits_per_dim"].items()})
    print(f"written to {write_result('bits', {'results': results}, headlines).name}")


if __name__ == "__main__":
    main()
