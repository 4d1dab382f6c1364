"""Digits from spoilt inputs, on MNIST's test images: how much a model mends, against the honest alternative.

    denoise   noise of standard deviation 0.3, clipped to [0, 1]: ``denoising-ae`` against ``seed-ae``
    inpaint   a 14×14 square hidden at a random place: ``vae`` against the mean training image

    python bench/noise_robustness.py ../shared/data/mnist --denoising RUN --plain RUN --vae RUN

PSNR comes from the mean squared error over all pixels of all images on the [0, 1] scale; that of inpainting
counts the hidden pixels alone.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from machine import write_result
from torch import Tensor

import vaekit as vk
from vaekit.edit import add_noise
from vaekit.evaluate import psnr_db
from vaekit.masks import random_rectangle

__all__ = ["measure_denoise", "measure_inpaint"]


def measure_denoise(denoising: vk.Run, plain: vk.Run, clean: Tensor, std: float, seed: int) -> dict[str, Any]:
    """PSNR against ``clean`` [N, 1, 28, 28] before and after."""
    noisy = add_noise(clean, std, seed).clamp(0, 1)
    runs = {"denoising": denoising, "plain": plain}
    after = {name: run.denoise(noisy) for name, run in runs.items()}
    result = {f"{name}_psnr_db": psnr_db(x, clean) for name, x in after.items()}
    return {
        "images": len(clean),
        "noise_std": std,
        "noisy_psnr_db": psnr_db(noisy, clean),
        **result,
        "gain_over_plain_db": result["denoising_psnr_db"] - result["plain_psnr_db"],
    }


def measure_inpaint(run: vk.Run, clean: Tensor, mean: Tensor, side: int, seed: int) -> dict[str, Any]:
    """PSNR on the hidden pixels; ``mean`` [1, 28, 28] is the mean training image."""
    mask = random_rectangle(len(clean), *clean.shape[2:], side, seed)
    damaged = clean.masked_fill(mask, 0.0)
    filled = run.inpaint(damaged, mask)
    assert torch.equal(filled[~mask], clean[~mask]), "the visible pixels must come back unchanged"
    result = {
        "inpaint_psnr_db": psnr_db(filled, clean, mask),
        "mean_fill_psnr_db": psnr_db(mean.expand_as(clean), clean, mask),
    }
    gain = result["inpaint_psnr_db"] - result["mean_fill_psnr_db"]
    return {"images": len(clean), "square": side, **result, "gain_over_mean_fill_db": gain}


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("data", type=Path, help="the folder of MNIST's four IDX files")
    parser.add_argument("--denoising", type=Path, required=True, help="a run of the recipe denoising-ae")
    parser.add_argument("--plain", type=Path, required=True, help="a run of the recipe seed-ae")
    parser.add_argument("--vae", type=Path, required=True, help="a run of the recipe vae")
    parser.add_argument("--noise-std", type=float, default=0.3)
    parser.add_argument("--side", type=int, default=14, help="of the hidden square, in pixels")
    parser.add_argument("--inpaint-images", type=int, default=300, help="so many test images")
    parser.add_argument(
        "--inpaint-from",
        type=int,
        default=1000,
        help="the first of them (0 to 199 were looked at while choosing settings)",
    )
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()

    clean = vk.open_images(given.data, split="test").pixels.float() / 255
    mean = vk.open_images(given.data, split="train").pixels.double().mean(0).float() / 255
    denoising, plain, vae = (vk.load(path) for path in (given.denoising, given.plain, given.vae))
    result = {
        "denoise": measure_denoise(denoising, plain, clean, given.noise_std, given.seed),
        "inpaint": measure_inpaint(
            vae, clean[given.inpaint_from :][: given.inpaint_images], mean, given.side, given.seed
        ),
    }
    print(json.dumps(result, indent=2))
    print(f"written to {write_result('noise_robustness', result).name}")


if __name__ == "__main__":
    main()
