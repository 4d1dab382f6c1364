"""Restore images: remove noise, and fill in hidden pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vaekit.data import to_float, to_uint8
from vaekit.data.number_inputs import as_intensities, as_mask, check_values
from vaekit.errors import UserError, argument, printable
from vaekit.evaluation.metrics import psnr_db
from vaekit.figures.grid import stacked_sheet
from vaekit.latent import inpaint as filling
from vaekit.latent import ops
from vaekit.latent.masks import parse_mask
from vaekit.runs import folder as runs
from vaekit.runs.context import RunContext
from vaekit.runs.result import Result
from vaekit.system.notes import note
from vaekit.system.rng import keys_of

__all__ = ["denoise", "denoise_sheet", "inpaint", "inpaint_sheet"]


def denoise(run: RunContext, noisy: Any) -> Tensor:
    """Denoise images; returns float32 ``[N, C, H, W]`` in [0, 1]."""
    found = as_intensities(noisy, run.shape, "noisy").float()
    check_values(found, "noisy")
    if not len(found):
        raise UserError("noisy contains no images; give at least one", "noisy")
    return ops.denoise(run.model, found)


def denoise_sheet(run: RunContext, pixels: Any, noise_std: float | None, seed: int) -> Result:
    """Draw noisy images above the denoised ones; with ``noise_std``, add noise first, and measure the gain."""
    pixels = run.pixels(pixels)
    clean = to_float(pixels)
    noisy = clean if noise_std is None else ops.add_noise(clean, noise_std, seed)
    result = denoise(run, noisy)
    if not run.recipe.noise_std and run.leads:
        none, some = argument("noise_std", 0), argument("noise_std", 0.3)
        note(
            f"vaekit: {printable(str(run.path))} was not trained with noise ({none}), so this shows its "
            f"reconstructions; train with {some}, or with {argument('recipe', 'denoising-ae')}"
        )
    if noise_std is None:
        return Result(stacked_sheet(pixels, to_uint8(result)))
    before, after = psnr_db(noisy, clean), psnr_db(result, clean)
    numbers = {"images": len(pixels), "noisy_psnr_db": before, "denoised_psnr_db": after, "gain_db": after - before}
    return Result(stacked_sheet(pixels, to_uint8(noisy), to_uint8(result)), numbers)


def inpaint(run: RunContext, images: Any, hidden: Any, seed: int) -> Tensor:
    """Fill in hidden pixels; returns ``[N, C, H, W]``. Visible pixels do not change."""
    run.needs("inpaint")
    given, mask = as_intensities(images, run.shape, "images"), as_mask(hidden, "hidden")
    if mask.shape == (len(given), 1, *run.shape[1:]):
        check_values(given.masked_fill(mask, 0.0).float(), "images")
    needs_latents = run.model.latent == "codes"
    stored = run.stored() if needs_latents else runs.load_latents(run.path, run.model.latent_dim)
    latents = stored[0]["latents"] if stored else None
    filled = filling.inpaint(run.model, given.float(), mask, seed=seed, latents=latents)
    return torch.where(mask, ops.finite(filled, "pictures").to(given.dtype), given)


def inpaint_sheet(run: RunContext, pixels: Any, mask: Any, seed: int) -> Result:
    """Draw images, images with hidden pixels, and filled images; measure the PSNR on the hidden pixels."""
    pixels = run.pixels(pixels)
    hidden = _mask_of(run, mask, pixels, seed)
    truth = to_float(pixels)
    filled = inpaint(run, truth, hidden, seed)
    sheet = stacked_sheet(pixels, to_uint8(truth.masked_fill(hidden, 0.5)), to_uint8(filled))
    psnr = psnr_db(filled, truth, hidden)
    return Result(sheet, {"images": len(pixels), "hidden_pixels": int(hidden.sum()), "hidden_psnr_db": psnr})


def _mask_of(run: RunContext, mask: Any, pixels: Tensor, seed: int) -> Tensor:
    """Return the mask, bool ``[N, 1, H, W]``, from a description (:mod:`vaekit.latent.masks`) or an array."""
    if isinstance(mask, str | Path):
        return parse_mask(str(mask), run.shape[1], run.shape[2], len(pixels), seed, keys_of(pixels))
    found, shape = as_mask(mask, "mask"), (len(pixels), 1, *run.shape[1:])
    if tuple(found.shape) not in (shape, shape[2:]):
        raise UserError(f"mask has shape {tuple(found.shape)}; expected {list(shape)} or {list(shape[2:])}", "mask")
    return found.expand(shape)
