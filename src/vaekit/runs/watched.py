"""The images that are drawn and measured during training, and their pictures."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vaekit.config.capabilities import serves
from vaekit.config.run_config import Condition
from vaekit.config.table import Recipe
from vaekit.data import Images, Selection
from vaekit.data.subsets import held_out, one_per_class
from vaekit.errors import NotFinite
from vaekit.figures.grid import Sheet, stacked_sheet
from vaekit.latent import ops
from vaekit.model.conditioning import selected
from vaekit.model.ladder import LadderModel
from vaekit.model.latent_model import LatentModel

__all__ = ["MOST_VALIDATION_IMAGES", "Watched"]

MOST_VALIDATION_IMAGES = 1000
_SAMPLES = 18  # seed of the samples, which use the same noise after every epoch


@dataclass(frozen=True)
class Watched:
    """Held-out images that are drawn and measured after every epoch."""

    part: str  #: "val", "test", or "train" if nothing is held out
    pictured: Tensor  #: uint8 ``[N, C, H, W]``, the images to draw
    validation: Selection  #: the images to measure

    @classmethod
    def of(cls, images: Images, recipe: Recipe, conditions: Sequence[Condition] = ()) -> Watched:
        """Choose ten images to draw, one per class first, and up to 1,000 to measure."""
        part, rows = held_out(images, recipe)
        kept = images.selection(rows)
        labels = None if images.labels is None else images.labels[torch.from_numpy(rows)]
        return cls(
            part,
            kept[one_per_class(labels, len(kept), 10)],
            selected(images, rows[:MOST_VALIDATION_IMAGES], conditions),
        )

    def save_pictures(self, out: Path, model: LatentModel, epoch: int) -> list[Path]:
        """Draw reconstructions, and samples if the model has a prior, into the run folder ``out``.

        The reconstructions of a hierarchy have a row for each level (:func:`vaekit.latent.ops.reconstruct_by_level`).

        Returns:
            The files. There are none if outputs of the model are not finite; the training loop reports that.
        """
        reconstructions, samples = (
            out / "pictures" / f"epoch-{epoch:04d}-{what}.png" for what in ("reconstructions", "samples")
        )
        drawn = []
        with suppress(NotFinite):
            self._reconstructions(model).save(reconstructions)
            drawn.append(reconstructions)
            if serves("generate", model):
                Sheet(ops.generate(model, _SAMPLES), 6).save(samples)
                drawn.append(samples)
        return drawn

    def _reconstructions(self, model: LatentModel) -> Sheet:
        if not isinstance(model, LadderModel):
            return stacked_sheet(self.pictured, ops.reconstruct(model, self.pictured))
        rows = ops.reconstruct_by_level(model, self.pictured)
        return stacked_sheet(self.pictured, *rows.values(), labels=("original", *rows))
