"""What the verbs of a run have in common: its folder, configuration, model and images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaekit.config.capabilities import caution, refuse
from vaekit.config.run_config import RunConfig
from vaekit.config.table import Recipe
from vaekit.data import PARTS, Form, Images, Selection, check_split, check_stored, open_in, open_stored
from vaekit.data.ingest.loader import UnequalSizes
from vaekit.data.subsets import is_trained_on, one_per_class
from vaekit.errors import UserError, argument, counted, printable
from vaekit.figures.grid import Sheet
from vaekit.latent import ops
from vaekit.latent.levels import Moved
from vaekit.model.latent_model import LatentModel
from vaekit.runs import folder as runs
from vaekit.runs.records import WeightFacts
from vaekit.system.distributed import Team, join
from vaekit.system.files import load_facts, load_tensors
from vaekit.system.locks import only_writer
from vaekit.system.notes import note, note_once
from vaekit.system.schema import record

__all__ = ["ChosenImages", "RunContext", "files_of", "sheet_of"]


@dataclass(frozen=True, eq=False)
class ChosenImages:
    """The images that a verb works on: some rows of a dataset. Pixels are copied only when they are read."""

    opened: Images  #: the whole dataset
    rows: np.ndarray  #: bool ``[N]``, the images to work on
    part: str  #: "train", "val", "test" or "all"

    @property
    def pixels(self) -> Selection:
        """The pixels."""
        return self.opened.selection(self.rows)

    @property
    def names(self) -> list[str]:
        """The names, printable in a terminal."""
        return [printable(self.opened.names[i]) for i in np.flatnonzero(self.rows)]

    @property
    def labels(self) -> Tensor | None:
        """The labels, int64 ``[n]``, if there are any."""
        return None if self.opened.labels is None else self.opened.labels[torch.from_numpy(self.rows)]

    @property
    def label_names(self) -> list[str] | None:
        """The class of each image, if there are labels."""
        return None if self.labels is None else [self.opened.classes[i] for i in self.labels.tolist()]


@dataclass(frozen=True, eq=False)
class RunContext:
    """A loaded run. The verbs in :mod:`vaekit.runs.verbs` are functions of it."""

    path: Path
    config: RunConfig
    model: LatentModel

    @property
    def leads(self) -> bool:
        """Whether this is the main process, which prints and writes files."""
        return join().leads

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the run's images."""
        return (self.config.data.channels, *self.config.data.size)

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe."""
        return self.config.recipe

    @property
    def form(self) -> Form:
        """The form that images are converted to."""
        data = self.config.data
        return Form(data.size, data.channels, data.fit, data.background, data.frames)

    def needs(self, verb: str) -> None:
        """Raise :class:`UserError` if the model does not support a verb (:mod:`vaekit.config.capabilities`)."""
        refuse(verb, self.model, self.recipe.name)

    def caution(self, verb: str, what: Moved | None = None) -> None:
        """Note, once per process, what to expect of a command on this kind of latent, and of moving ``what``."""
        text = caution(verb, self.model, self.recipe.name)
        if what is not None and not what.keeps_detail and what.levels < len(self.model.latent_shapes):
            text = (
                f"{verb}: the levels that do not move take the mean of their prior, so images lose detail; "
                f"{argument('keep_detail')} keeps it"
            )
        if text and self.leads:
            note_once(text)

    def moved(self, levels: int, keeps_detail: bool = False) -> Moved:
        """Return what a verb moves; raises :class:`UserError` unless the model has these levels."""
        if levels != 1:
            self.needs("levels")
        if keeps_detail:
            self.needs("keep-detail")
        count = len(self.model.latent_shapes)
        if not 1 <= levels <= count:
            raise UserError(f"levels {levels}: expected 1 to {count}, the number of levels from the top", "levels")
        return Moved(levels, keeps_detail)

    def images(self, split: str = "all") -> Images:
        """Return the run's own images, opened once; raises :class:`UserError` if they are missing or have changed."""
        return self._own_images if split == "all" else self._own_images.part(split)

    @cached_property
    def _own_images(self) -> Images:
        data = self.config.data
        if data.source in ("array", "files"):
            raise UserError(
                f"{self.path} was trained on images from Python, which it does not store; give the images to use"
            )
        check_stored(data.source)
        try:
            opened = open_stored(data.source, self.form, data.split_seed).binarized(data.binarize)
        except UserError as error:
            if os.path.exists(data.source) or not os.path.isabs(data.source):
                raise
            raise UserError(
                f"the images that {self.path} was trained on are no longer at {data.source}; give their new location, "
                f"or other images, as {argument('data')}"
            ) from error
        if opened.fingerprint != data.fingerprint:
            raise UserError(
                f"the images in {data.source} {data.how_changed} since {self.path} was trained; give the images to use "
                f"as {argument('data')}"
            )
        return opened

    def pixels(self, data: Any) -> Tensor:
        """Convert images to uint8 ``[N, C, H, W]`` as in training, binarized if the run's are."""
        is_tensor = isinstance(data, Tensor) and data.layout == torch.strided and not data.is_meta
        if is_tensor and data.dtype == torch.uint8 and tuple(data.shape[1:]) == self.shape:
            return data if not self.config.data.binarize else self._open(data).pixels
        return self.given(data).pixels

    def encode(self, data: Any) -> Tensor:
        """Encode images to posterior means ``[N, latent_dim]``."""
        return ops.encode(self.model, self.pixels(data))

    def given(self, data: Any, own_size: bool = False) -> Images:
        """Open the user's images, and print notes about them to stderr.

        Notes about splits, and notes that :class:`Images` already contain, are not printed. With ``own_size``, the
        images keep their size.
        """
        opened = self._open(data, own_size)
        known = {*opened.part_notes, *(data.remarks if isinstance(data, Images) else ())}
        for remark in opened.remarks:
            if self.leads and remark not in known:
                note(f"vaekit: {remark}")
        return opened

    def _open(self, data: Any, own_size: bool = False) -> Images:
        """Open images in the form of the run. A single image may be darker than a dataset."""
        config, form = self.config.data, replace(self.form, size=None) if own_size else self.form
        try:
            opened = open_in(data, form, seed=config.split_seed, may_be_dim=True)
        except UnequalSizes as error:
            differ = error.text.partition(";")[0]
            raise UserError(f"{differ}; give images of one size, or one image at a time") from error
        return opened.binarized(config.binarize)

    def choose(self, data: Any = None, split: str | None = None, own_size: bool = False) -> ChosenImages:
        """Return the images to work on: a part of the run's data, or of ``data``, which may keep its size."""
        if data is None:
            opened, has_parts = self.images(), True
        else:
            opened = self.given(data, own_size)
            has_parts = opened.fingerprint == self.config.data.fingerprint or opened.has_splits
        is_test = opened.parts == PARTS.index("test")
        part = check_split(split or ("test" if has_parts and is_test.any() else "all"))
        rows = np.ones(len(opened), bool) if part == "all" else opened.parts == PARTS.index(part)
        if not rows.any():
            raise UserError(f"split {part}: {opened.source} has no images in that part; give another split", "split")
        if data is not None and split is None and part == "test" and self.leads:
            whose = "its own" if opened.has_splits else "the run's"
            note(
                f"vaekit: {whose} split of {printable(opened.source)} leaves {rows.sum():,} of "
                f"{counted(len(opened), 'image')} for the test part; {argument('split', 'all')} uses them all"
            )
        return ChosenImages(opened, rows, part)

    def pick(self, data: Any, split: str | None, count: int, own_size: bool = False) -> Tensor:
        """Return up to ``count`` of the images of :meth:`choose`, uint8, one per class first."""
        if count < 1:
            raise UserError(f"count {count}: expected at least 1 image", "count")
        chosen = self.choose(data, split, own_size)
        return chosen.pixels[one_per_class(chosen.labels, int(chosen.rows.sum()), count)]

    def team(self, chosen: ChosenImages, **settings: Any) -> Team:
        """Return the processes that share the work, after checking that all have the same run, images and settings."""
        team, images = join(), chosen.opened
        mine = {"images fingerprint": images.fingerprint, "order and parts of the images": images.order_fingerprint}
        named = {argument(name): value for name, value in {"split": chosen.part, **settings}.items()}
        team.agree({"run": str(self.path.absolute()), **mine, **named})
        return team

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Lock the run for writing what follows from its weights; only the main process writes.

        Raises:
            UserError: If another process, such as a training, writes to the run, or its weights are no longer the
                loaded ones.
        """
        if not self.leads:
            yield
            return
        with only_writer(self.path, note_once, is_out=False):
            loaded = self.model.state_dict()
            weights, _ = load_tensors(self.path / "weights.safetensors")
            if any(name not in loaded or not torch.equal(t, loaded[name].cpu()) for name, t in weights.items()):
                raise UserError(f"the weights of {self.path} have changed since it was loaded; load it again")
            yield

    def stored(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the latents of the training images: stored, or computed if the run was interrupted before that."""
        stored = runs.load_latents(self.path, self.model.latent_dim)
        if stored:
            return stored
        images = self.images()
        return ops.encode_set(self.model, images, is_trained_on(images, self.recipe))

    def final_numbers(self) -> dict[str, Any]:
        """Return the final numbers, such as ``final_psnr_db``; empty before training has ended."""
        final = [line for line in runs.read_metrics(self.path) if line.get("kind") == "final"]
        return {k: v for k, v in final[-1].items() if k.startswith("final_")} if final else {}

    def images_seen(self) -> int:
        """Return the number of images that the weights were trained on, counting repeats."""
        facts = load_facts(self.path / "weights.safetensors")
        images = record(WeightFacts, facts, str(self.path / "weights.safetensors")).images
        return self.config.total_images if images is None else images


def files_of(image: Any) -> Any:
    """Return the path of a file as a list of one; folders and other values are unchanged."""
    is_file = isinstance(image, str | Path) and not os.path.isdir(image)
    return [image] if is_file else image


def sheet_of(pixels: Tensor, columns: int | None = None) -> Sheet:
    """Return a sheet of images uint8 ``[N, C, H, W]``, at most six per row unless ``columns`` is given."""
    return Sheet(pixels, columns or min(len(pixels), 6))
