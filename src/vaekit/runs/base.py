"""A trained run with its images: what every verb begins with."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaekit.config.capabilities import refuse
from vaekit.config.run_config import RunConfig
from vaekit.config.table import Recipe
from vaekit.data import PARTS, Form, Images, Selection, check_split, check_stored, open_in, open_stored
from vaekit.data.subsets import is_trained_on, one_per_class
from vaekit.errors import UserError, printable
from vaekit.evaluation import metrics as evaluate
from vaekit.figures.grid import Sheet
from vaekit.latent import ops as edit
from vaekit.model.latent_model import LatentModel
from vaekit.runs import folder as runs
from vaekit.runs.records import WeightFacts
from vaekit.system.arguments import checked
from vaekit.system.distributed import Team, join
from vaekit.system.files import load_facts
from vaekit.system.notes import note
from vaekit.system.schema import record

__all__ = ["Coded", "Opened", "one_or_folder"]


@checked
@dataclass(frozen=True, eq=False)
class Opened:
    """A trained model, and the images that a verb works on, brought to the shape it was trained on."""

    path: Path
    config: RunConfig
    model: LatentModel

    @property
    def leads(self) -> bool:
        """Whether this process is the one that speaks and writes; alone, it is."""
        return join().leads

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the run's images."""
        return (self.config.data.channels, *self.config.data.size)

    @property
    def row(self) -> Recipe:
        """Its recipe, resolved."""
        return self.config.recipe

    def needs(self, verb: str) -> None:
        """Raises :class:`UserError` if the model cannot do that (:mod:`vaekit.config.capabilities`)."""
        refuse(verb, self.model, self.row.name)

    @property
    def form(self) -> Form:
        """What every image is brought to, as it was in training."""
        data = self.config.data
        return Form(data.size, data.channels, data.fit, data.background, data.frames)

    def images(self, split: str = "all") -> Images:
        """The run's own data, opened once; raises :class:`UserError` if they have gone or changed."""
        return self._own if split == "all" else self._own.part(split)

    @cached_property
    def _own(self) -> Images:
        data = self.config.data
        if data.source in ("array", "files"):
            raise UserError(f"{self.path} was trained on images given in Python; give the images to use")
        check_stored(data.source)
        try:
            opened = open_stored(data.source, self.form, data.split_seed).binarized(data.binarize)
        except UserError as error:
            if os.path.exists(data.source) or not os.path.isabs(data.source):
                raise
            raise UserError(
                f"the images that {self.path} was trained on are no longer at {data.source}; name the DATA to use, "
                "where they are now or others"
            ) from error
        if opened.fingerprint != data.fingerprint:
            raise UserError(
                f"the images in {data.source} {data.how_changed} since {self.path} was trained; name the DATA to use"
            )
        return opened

    def pixels(self, data: Any) -> Tensor:
        """Any images as uint8 ``[N, C, H, W]`` of the run's shape, black and white if the run's are."""
        is_tensor = isinstance(data, Tensor) and data.layout == torch.strided and not data.is_meta
        if is_tensor and data.dtype == torch.uint8 and tuple(data.shape[1:]) == self.shape:
            return data if not self.config.data.binarize else self._open(data).pixels
        return self._given(data).pixels

    def encode(self, data: Any) -> Tensor:
        """Posterior means ``[N, latent_dim]``."""
        return edit.encode(self.model, self.pixels(data))

    def final_numbers(self) -> evaluate.Numbers:
        """The numbers measured when training ended: ``final_psnr_db`` and so on."""
        final = [line for line in runs.read_metrics(self.path) if line.get("kind") == "final"]
        return {k: v for k, v in final[-1].items() if k.startswith("final_")} if final else {}

    @property
    def is_finished(self) -> bool:
        """Whether its training came to its end, that of ``--patience`` included."""
        return bool(self.final_numbers())

    def images_seen(self) -> int:
        """How many images its weights were trained on, repeats counted: with ``--patience`` up to the best epoch."""
        facts = load_facts(self.path / "weights.safetensors")
        images = record(WeightFacts, facts, str(self.path / "weights.safetensors")).images
        return self.config.total_images if images is None else images

    def choose(self, data: Any = None, split: str | None = None) -> Images:
        """The images that a verb works on: a part of the run's data, or of ``data`` where it has that part itself."""
        opened, rows, _ = self._chosen(data, split)
        return opened[rows]

    def _open(self, data: Any) -> Images:
        """Any source, brought to what the run was trained on; a single image may be darker than a set."""
        config = self.config.data
        return open_in(data, self.form, seed=config.split_seed, may_be_dim=True).binarized(config.binarize)

    def _given(self, data: Any) -> Images:
        """Images that the user names; what there is to know of them is said on stderr, as training says it.

        Parts do not matter here. Of Images nothing is said but what is new: they tell it themselves.
        """
        opened = self._open(data)
        known = {*opened.part_notes, *(data.remarks if isinstance(data, Images) else ())}
        for remark in opened.remarks:
            if self.leads and remark not in known:
                note(f"vaekit: {remark}")
        return opened

    def _chosen(self, data: Any, split: str | None) -> tuple[Images, np.ndarray, str]:
        """All images, a mask of those to work on (no pixels are copied), and the name of their part."""
        if data is None:
            opened, has_parts = self.images(), True
        else:
            opened = self._given(data)
            has_parts = opened.fingerprint == self.config.data.fingerprint or opened.has_splits
        is_test = opened.parts == PARTS.index("test")
        part = check_split(split or ("test" if has_parts and is_test.any() else "all"))
        mask = np.ones(len(opened), bool) if part == "all" else opened.parts == PARTS.index(part)
        if not mask.any():
            raise UserError(f"split {part}: {opened.source} has no images in that part; give another split", "split")
        return opened, mask, part

    def _team(self, images: Images, part: str, **settings: Any) -> Team:
        """The processes that share this work, once all of them have named the same run, images and settings."""
        team = join()
        mine = {"images fingerprint": images.fingerprint, "order and parts of the images": images.order_fingerprint}
        team.agree({"run": str(self.path.absolute()), **mine, "--split": part, **settings})
        return team

    def pick(self, data: Any, split: str | None, count: int) -> Tensor:
        """``count`` images of :meth:`choose`, uint8, the first of every class before the second."""
        if count < 1:
            raise UserError(f"count {count}: expected at least 1 image", "count")
        opened, rows, _ = self._chosen(data, split)
        labels = None if opened.labels is None else opened.labels[torch.from_numpy(rows)]
        return opened.selection(rows)[one_per_class(labels, int(rows.sum()), count)]

    def _coded(self, data: Any, split: str | None) -> Coded:
        """The images that a verb works on, by default all of them, with their codes."""
        opened, rows, part = self._chosen(data, split or "all")
        pixels = opened.selection(rows)
        names = [printable(opened.names[i]) for i in np.flatnonzero(rows)]
        labels = None if opened.labels is None else opened.labels[torch.from_numpy(rows)]
        return Coded(
            pixels, edit.encode(self.model, pixels, team=self._team(opened, part)), names, labels, opened.classes
        )

    def stored(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The stored encodings of the training images; made now if the run was interrupted before it stored them."""
        stored = runs.load_latents(self.path, self.model.latent_dim)
        if stored:
            return stored
        images = self.images()
        return edit.encode_set(self.model, images, is_trained_on(images, self.row))

    def _sheet(self, pixels: Tensor, columns: int | None = None) -> Sheet:
        return Sheet(pixels, columns or min(len(pixels), 6))


def one_or_folder(image: Any) -> Any:
    """What stands for images: a folder as it is, any other name as that of a file, and what is no name as it is."""
    is_file = isinstance(image, str | Path) and not os.path.isdir(image)
    return [image] if is_file else image


@dataclass(frozen=True, eq=False)
class Coded:
    """Images with their codes; the pixels stay where they lie."""

    pixels: Selection
    codes: Tensor
    names: list[str]
    labels: Tensor | None
    classes: tuple[str, ...]

    @property
    def label_names(self) -> list[str] | None:
        """The name of each image's class, where there are labels."""
        return None if self.labels is None else [self.classes[i] for i in self.labels.tolist()]

    def facts(self, row: int) -> dict[str, Any]:
        """What an image is called, and its class."""
        label = {} if self.labels is None else {"label": self.classes[int(self.labels[row])]}
        return {"name": self.names[row], **label}
