"""A trained run, with the verbs: what one can do with it in Python; the command line calls the same methods."""

from __future__ import annotations

import base64
import copy
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vaekit.data import to_float, to_uint8
from vaekit.data.numbers import as_intensities, as_mask, check_values
from vaekit.errors import UserError
from vaekit.evaluation import metrics as evaluate
from vaekit.export.onnx import check_export, export
from vaekit.figures import grid as pictures
from vaekit.figures.grid import Sheet
from vaekit.latent import inpaint
from vaekit.latent import ops as edit
from vaekit.latent.masks import parse_mask
from vaekit.model.conditioning import asked
from vaekit.runs import folder as runs
from vaekit.runs.latents import Walked
from vaekit.runs.metrics import Measured
from vaekit.runs.report.facts import Facts
from vaekit.runs.report.gallery import stored_picture
from vaekit.system.arguments import checked
from vaekit.system.rng import keys_of

__all__ = ["Run"]

_COMPARED = 100  # images that an export is compared with PyTorch on


@checked
@dataclass(frozen=True, eq=False)
class Run(Measured, Walked):
    """A trained model with its verbs. All are deterministic; those that draw at random take a seed.

    Wherever images are taken, anything that :func:`vaekit.open_images` takes will do; it is brought to the run's size
    and channels. ``denoise`` and ``inpaint`` alone take and return floats in [0, 1]. Latents and floats may be tensors,
    arrays or lists. A wrong value is a :class:`UserError` that begins with the name of the parameter.
    """

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.shape))
        return f"Run({self.path}: {self.row.name} of {shape} images, {self.model.latent_dim} latents)"

    def generate(self, count: int = 18, seed: int = 0, condition: Sequence[str] = ()) -> Sheet:
        """``count`` new images from the prior; image i of a seed is the same whatever the count.

        ``condition`` names what they shall have, ``"glasses=1"``, ``"label=7"``, if the recipe is conditional.
        """
        name, told = self.row.name, self.config.conditions
        if condition and not told:
            raise UserError(
                f"condition: recipe {name!r} was trained without conditions; train conditional-vae", "condition"
            )
        asks = asked(told, condition) if condition else None
        return self._sheet(edit.generate(self.model, count, seed, name, asks))

    def reconstruct(self, data: Any) -> Sheet:
        """Encoded and decoded, from the posterior mean."""
        return self._sheet(edit.reconstruct(self.model, self.pixels(data)))

    def compare(self, data: Any) -> Sheet:
        """Originals above their reconstructions."""
        pixels = self.pixels(data)
        return pictures.stacked_sheet(pixels, edit.reconstruct(self.model, pixels))

    def denoise(self, noisy: Any) -> Tensor:
        """The model's clean versions of noisy images, float32 ``[N, C, H, W]`` in [0, 1].

        Args:
            noisy: floats on the [0, 1] scale, of the run's size: a tensor ``[N, C, H, W]``, or an array or list of that
                shape or ``[N, H, W, C]``. Values may leave [0, 1].
        """
        found = as_intensities(noisy, self.shape, "noisy").float()
        check_values(found, "noisy")
        if not len(found):
            raise UserError("noisy holds no images; give at least one", "noisy")
        return edit.denoise(self.model, found)

    def inpaint(self, images: Any, hidden: Any, seed: int = 0) -> Tensor:
        """Images with their hidden pixels filled in, ``[N, C, H, W]``; visible pixels do not change.

        Args:
            images: floats on the [0, 1] scale, as in :meth:`denoise`. The result has their float type.
            hidden: bool ``[N, 1, H, W]``, True where hidden. Hidden pixels are never read; they may be NaN.
        """
        self.needs("inpaint")
        given, mask = as_intensities(images, self.shape, "images"), as_mask(hidden, "hidden")
        if mask.shape == (len(given), 1, *self.shape[1:]):
            check_values(given.masked_fill(mask, 0.0).float(), "images")
        stored = runs.load_latents(self.path, self.model.latent_dim)
        codes = stored[0]["latents"] if stored else None
        filled = inpaint.inpaint(self.model, given.float(), mask, seed=seed, codes=codes)
        return torch.where(mask, edit.finite(filled, "pictures").to(given.dtype), given)

    def denoise_sheet(self, pixels: Any, noise_std: float | None, seed: int = 0) -> tuple[Sheet, dict[str, Any]]:
        """Noisy images above the denoised ones; where the clean ones are known, those on top, and the PSNR of both."""
        pixels = self.pixels(pixels)
        clean = to_float(pixels)
        noisy = clean if noise_std is None else edit.add_noise(clean, noise_std, seed)
        result = self.denoise(noisy)
        if noise_std is None:
            return pictures.stacked_sheet(pixels, to_uint8(result)), {}
        sheet = pictures.stacked_sheet(pixels, to_uint8(noisy), to_uint8(result))
        before, after = evaluate.psnr_db(noisy, clean), evaluate.psnr_db(result, clean)
        return sheet, {"noisy_psnr_db": before, "denoised_psnr_db": after, "gain_db": after - before}

    def inpaint_sheet(self, pixels: Any, mask: str | Path, seed: int = 0) -> tuple[Sheet, dict[str, Any]]:
        """Images, the same with a part hidden, and filled in; and the PSNR on the hidden pixels against the truth."""
        pixels = self.pixels(pixels)
        hidden = parse_mask(str(mask), self.shape[1], self.shape[2], len(pixels), seed, keys_of(pixels))
        truth = to_float(pixels)
        filled = self.inpaint(truth, hidden, seed)
        sheet = pictures.stacked_sheet(pixels, to_uint8(truth.masked_fill(hidden, 0.5)), to_uint8(filled))
        numbers = {"hidden_pixels": int(hidden.sum()), "hidden_psnr_db": evaluate.psnr_db(filled, truth, hidden)}
        return sheet, numbers

    def export(self, out: str | Path, data: Any = None, *, precision: str = "fp32") -> dict[str, Any]:
        """Writes the folder ``out`` of ONNX networks and what belongs to them (:mod:`vaekit.export.bundle`).

        It is compared with PyTorch on up to 100 images of ``data``, by default the run's own test images, and says how
        near it is, with the digest that ``vaekit verify`` can be given. ``precision``: ``"fp32"`` or ``"fp16"``.
        """
        self.needs("export")
        check_export(Path(out), precision)
        if self.config.data.binarize:
            raise UserError(
                f"{self.path} makes pixels black or white (--binarize {self.config.data.binarize}), which an exported "
                "folder does not do; train without --binarize to export"
            )
        opened, rows, _ = self._chosen(data, None)
        facts = {
            "recipe": self.row.name,
            "labels": list(self.config.data.classes),
            "attributes": list(self.config.data.attributes),
        }
        model, _ = runs.load_model(self.path)
        model.fitted_prior = None if self.model.fitted_prior is None else copy.deepcopy(self.model.fitted_prior).cpu()
        images = opened.selection(rows)[:_COMPARED]
        return export(model, Path(out), images, self.form, self.directions(), facts, precision)

    def _repr_html_(self) -> str:
        """How a notebook shows it: what it is, its numbers, and its newest reconstructions."""
        rows = "".join(f"<tr><td>{name}</td><td>{value}</td></tr>" for name, value in self._facts().items())
        picture = ""
        if newest := self._newest_reconstructions():
            data = base64.b64encode(newest).decode()
            picture = f'<img alt="originals above reconstructions" src="data:image/png;base64,{data}">'
        return f"<table>{rows}</table>{picture}"

    def _newest_reconstructions(self) -> bytes | None:
        kinds = next(reversed(Facts.of(self.path).pictures.values()), {})
        try:
            return stored_picture(kinds["reconstructions"])[0]
        except Exception:  # there is none, or it is none of ours
            return None

    def _facts(self) -> dict[str, str]:
        shape = "×".join(map(str, self.shape))
        facts = {
            "run": html.escape(str(self.path)),
            "recipe": html.escape(str(self.row.name)),
            "images": shape,
        }
        facts["latents"] = str(self.model.latent_dim)
        for name, value in self.final_numbers().items():
            if isinstance(value, float) and not name.endswith("_error"):
                facts[name.removeprefix("final_")] = f"{value:.4g}"
        return facts
