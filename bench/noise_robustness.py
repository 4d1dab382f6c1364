"""How well are noisy and partly hidden digits of MNIST's test part restored, compared with linear methods?

    denoise   noise of standard deviation 0.3, clipped to [0, 1]: ``denoising-ae`` and the plain ``seed-ae``, compared
              with the noisy input and with a ridge regression from noisy to clean pixels
    inpaint   a 14×14 square hidden at a random position: ``vae``, compared with the mean training image, the nearest
              training image, and the Gaussian conditional mean (the best linear prediction of the hidden pixels)

    python bench/noise_robustness.py ../shared/data/mnist --denoising RUN --plain RUN --vae RUN

PSNR is that of the mean squared error over all pixels of all images, on the [0, 1] scale; for inpainting, only hidden
pixels count. Linear methods are fitted to the 60,000 training images, and their penalty is chosen on the last 5,000.
The gain over the best other method is the mean over images of 10 log10 of the ratio of errors, with its standard error.
It differs from the difference of PSNR values, which are means over pixels.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from headline import Headline
from machine import write_result
from torch import Tensor

import vaekit as vk
from vaekit.evaluation.metrics import psnr_db
from vaekit.latent.masks import random_rectangle
from vaekit.latent.ops import add_noise

__all__ = ["headlines", "measure_denoise", "measure_inpaint"]

PENALTIES = (1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
HELD_OUT = 5_000  # training images for choosing a penalty


def measure_denoise(runs: dict[str, vk.Run], train: Tensor, clean: Tensor, std: float, seed: int) -> dict[str, Any]:
    """Return the PSNR of every method against ``clean`` [N, 1, 28, 28]; ridge regression is fitted to ``train``."""
    noisy = add_noise(clean, std, seed).clamp(0, 1)
    ridge, penalty = ridge_denoiser(train, std, seed + 1)
    found = {"noisy": noisy, "ridge": ridge(noisy), **{name: run.denoise(noisy) for name, run in runs.items()}}
    return {
        "images": len(clean),
        "noise_std": std,
        "ridge_penalty": penalty,
        **{f"{name}_psnr_db": psnr_db(x, clean) for name, x in found.items()},
        "denoising_over_ridge": paired_gain(found["denoising"], found["ridge"], clean),
    }


def ridge_denoiser(train: Tensor, std: float, seed: int) -> tuple[Callable[[Tensor], Tensor], float]:
    """Return the affine map from noisy to clean pixels with the smallest penalized squared error, and its penalty.

    W = C_xy (C_xx + λI)⁻¹ over pixels, centered; results are clamped to [0, 1].
    """
    y = train.flatten(1).double()
    x = add_noise(train, std, seed).clamp(0, 1).flatten(1).double()
    fit, held = slice(None, -HELD_OUT), slice(-HELD_OUT, None)
    mean_x, mean_y = x[fit].mean(0), y[fit].mean(0)
    a, b = x[fit] - mean_x, y[fit] - mean_y
    xx, xy = a.mT @ a / len(a), a.mT @ b / len(a)

    def denoiser(penalty: float) -> Callable[[Tensor], Tensor]:
        weights = torch.linalg.solve(xx + penalty * torch.eye(len(xx), dtype=xx.dtype), xy)

        def denoise(images: Tensor) -> Tensor:
            out = (images.flatten(1).double() - mean_x) @ weights + mean_y
            return out.view_as(images).clamp(0, 1).float()

        return denoise

    noisy, clean = x[held].view(-1, *train.shape[1:]).float(), train[held]
    best = max(PENALTIES, key=lambda penalty: psnr_db(denoiser(penalty)(noisy), clean))
    return denoiser(best), best


def measure_inpaint(run: vk.Run, train: Tensor, clean: Tensor, side: int, seed: int) -> dict[str, Any]:
    """Return the PSNR of every method on the hidden pixels of ``clean`` [N, 1, 28, 28]."""
    mask = random_rectangle(len(clean), *clean.shape[2:], side, seed)
    filled = run.inpaint(clean.masked_fill(mask, 0.0), mask)
    assert torch.equal(filled[~mask], clean[~mask]), "visible pixels must not change"
    conditional, penalty = conditional_mean(train, clean, mask, seed + 1)
    found = {
        "inpaint": filled,
        "mean_fill": train.mean(0).expand_as(clean),
        "nearest_training_image": nearest(train, clean, mask),
        "gaussian_conditional_mean": conditional,
    }
    return {
        "images": len(clean),
        "square": side,
        "conditional_penalty": penalty,
        **{f"{name}_psnr_db": psnr_db(x, clean, mask) for name, x in found.items()},
        "inpaint_over_conditional_mean": paired_gain(filled, conditional, clean, mask),
    }


def conditional_mean(train: Tensor, clean: Tensor, mask: Tensor, seed: int) -> tuple[Tensor, float]:
    """μ_h + Σ_hv (Σ_vv + λI)⁻¹ (x_v − μ_v) with the training images' moments, clamped to [0, 1]; and λ."""
    flat = train.flatten(1).double()
    fit, held = flat[:-HELD_OUT], train[-HELD_OUT:][: len(clean)]
    mean, covariance = fit.mean(0), torch.cov(fit.mT)
    trial = random_rectangle(len(held), *clean.shape[2:], int(mask[0, 0].any(0).sum()), seed)

    def fill(images: Tensor, hidden: Tensor, penalty: float) -> Tensor:
        out = images.clone()
        for image, gone in zip(out, hidden, strict=True):
            h, v = gone.flatten(), ~gone.flatten()
            seen = covariance[v][:, v] + penalty * torch.eye(int(v.sum()), dtype=covariance.dtype)
            guess = mean[h] + covariance[h][:, v] @ torch.linalg.solve(seen, image.flatten()[v].double() - mean[v])
            image.view(-1)[h] = guess.clamp(0, 1).float()
        return out

    best = max(PENALTIES, key=lambda penalty: psnr_db(fill(held[:100], trial[:100], penalty), held[:100], trial[:100]))
    return fill(clean, mask, best), best


def nearest(train: Tensor, clean: Tensor, mask: Tensor) -> Tensor:
    """Fill in the hidden pixels of the training image whose visible pixels are nearest."""
    out = clean.clone()
    for image, gone in zip(out, mask, strict=True):
        distance = ((train - image).square() * ~gone).flatten(1).sum(1)
        image[gone] = train[distance.argmin()][gone]
    return out


def paired_gain(ours: Tensor, other: Tensor, clean: Tensor, mask: Tensor | None = None) -> dict[str, float]:
    """Return the mean over images of 10 log10(error of ``other`` / error of ``ours``) in dB, and its standard error."""
    weight = torch.ones_like(clean) if mask is None else mask.to(clean.dtype)
    errors = [((x - clean).square() * weight).flatten(1).sum(1).double().clamp(min=1e-9) for x in (other, ours)]
    each = 10 * (errors[0] / errors[1]).log10()
    return {"mean_db": float(each.mean()), "error_db": float(each.std() / len(each) ** 0.5)}


def headlines(result: dict[str, Any]) -> Iterator[Headline]:
    """Compare denoising and inpainting with linear methods."""
    found = result["denoise"]
    yield Headline(
        f"MNIST with noise of standard deviation {found['noise_std']}: PSNR of the mean squared error, "
        "`denoising-ae` (paired gain over ridge regression in dB, mean over images)",
        f"{found['denoising_psnr_db']:.1f} dB ({_paired(found['denoising_over_ridge'])})",
        f"ridge regression: {found['ridge_psnr_db']:.1f}; plain `seed-ae`: {found['plain_psnr_db']:.1f}; noisy input: "
        f"{found['noisy_psnr_db']:.1f}",
    )
    found = result["inpaint"]
    yield Headline(
        f"MNIST with a hidden square of {found['square']} px: PSNR of the mean squared error there, "
        "`vaekit inpaint` with `vae` (paired gain over the Gaussian conditional mean in dB, mean over images)",
        f"{found['inpaint_psnr_db']:.1f} dB ({_paired(found['inpaint_over_conditional_mean'])})",
        f"Gaussian conditional mean: {found['gaussian_conditional_mean_psnr_db']:.1f}; nearest training image: "
        f"{found['nearest_training_image_psnr_db']:.1f}; mean image: {found['mean_fill_psnr_db']:.1f}",
    )


def _paired(gain: dict[str, float]) -> str:
    """Format a paired gain with its standard error."""
    return f"{gain['mean_db']:+.2f} ± {gain['error_db']:.2f} dB"


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("data", type=Path, help="the folder of MNIST's four IDX files")
    parser.add_argument("--denoising", type=Path, required=True, help="a run of the recipe denoising-ae")
    parser.add_argument("--plain", type=Path, required=True, help="a run of the recipe seed-ae")
    parser.add_argument("--vae", type=Path, required=True, help="a run of the recipe vae")
    parser.add_argument("--noise-std", type=float, default=0.3)
    parser.add_argument("--side", type=int, default=14, help="side of the hidden square in pixels")
    parser.add_argument("--inpaint-images", type=int, default=300, help="number of test images")
    parser.add_argument(
        "--inpaint-from",
        type=int,
        default=1000,
        help="index of the first one (0 to 199 were used for choosing settings)",
    )
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()

    clean = vk.open_images(given.data, split="test").pixels.float() / 255
    train = vk.open_images(given.data).part("train").pixels.float() / 255
    runs = {"denoising": vk.load(given.denoising), "plain": vk.load(given.plain)}
    some = clean[given.inpaint_from :][: given.inpaint_images]
    result = {
        "denoise": measure_denoise(runs, train, clean, given.noise_std, given.seed),
        "inpaint": measure_inpaint(vk.load(given.vae), train, some, given.side, given.seed),
    }
    print(json.dumps(result, indent=2))
    print(f"written to {write_result('noise_robustness', result, headlines).name}")


if __name__ == "__main__":
    main()
