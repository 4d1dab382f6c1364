"""A trained run, with the verbs: what one can do with it in Python; the command line calls the same methods."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaekit import checkup, edit, evaluate, inpaint, pictures, runs, search
from vaekit.atlas import Atlas, chosen_cells
from vaekit.codes_file import check_codes_file, write_codes
from vaekit.config import RunConfig
from vaekit.data import BINARIZE, PARTS, Form, Images, Selection, check_split, open_in, to_float, to_uint8
from vaekit.distances import frechet_distance, kernel_distance, small_sample_warning
from vaekit.doctor import Diagnosis, diagnose
from vaekit.errors import UserError, printable
from vaekit.expressions import evaluate_expression, parse
from vaekit.features import Features, inception, small_classifier
from vaekit.intake import is_binary, is_trained_on
from vaekit.masks import parse_mask
from vaekit.models import LatentModel
from vaekit.pictures import Sheet
from vaekit.progress import Counted, counted_silently
from vaekit.repeat import next_command
from vaekit.tables import check_table, write_table
from vaekit.team import join
from vaekit.verbs import serves

__all__ = ["Run"]

_MOST_QUERIES = 10
_MOST_SHOWN = 20  # neighbours of one image, on a sheet
_COMPARED_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class Run:
    """A trained model with its verbs. All are deterministic; those that draw at random take a seed.

    Wherever images are taken, :class:`Images`, uint8 tensors ``[N, C, H, W]`` and sources by name will do; they are
    brought to the run's size and channels. ``denoise`` and ``inpaint`` alone take and return floats in [0, 1].
    """

    path: Path
    config: RunConfig
    model: LatentModel

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.shape))
        return f"Run({self.path}: {self.config.recipe['name']} of {shape} images, {self.model.latent_dim} latents)"

    @property
    def leads(self) -> bool:
        """Whether this process is the one that speaks and writes; alone, it is."""
        return join().leads

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the run's images."""
        return (self.config.data.channels, *self.config.data.size)

    @property
    def form(self) -> Form:
        """What every image is brought to, as it was in training."""
        data = self.config.data
        return Form(data.size, data.channels, data.fit, data.background, data.frames)

    def images(self, split: str = "all") -> Images:
        """The run's own data, opened again; raises :class:`UserError` if they have gone or changed."""
        data = self.config.data
        if data.source in ("array", "files"):
            raise UserError(f"{self.path} was trained on images given in Python; give the images to use")
        try:
            opened = self._open(data.source)
        except UserError as error:
            if os.path.exists(data.source) or not os.path.isabs(data.source):
                raise
            raise UserError(
                f"the images that {self.path} was trained on are no longer at {data.source}; name the DATA to use, "
                "where they are now or others"
            ) from error
        if opened.fingerprint != data.fingerprint:
            raise UserError(
                f"the images in {data.source} have changed since {self.path} was trained; name the DATA to use"
            )
        return opened if split == "all" else opened.part(split)

    def pixels(self, data: Any) -> Tensor:
        """Any images as uint8 ``[N, C, H, W]`` of the run's shape, black and white if the run's are."""
        if isinstance(data, Tensor) and data.dtype == torch.uint8 and tuple(data.shape[1:]) == self.shape:
            return data if not self.config.data.binarize else self._open(data).pixels
        return self._open(data).pixels

    def encode(self, data: Any) -> Tensor:
        """Posterior means ``[N, latent_dim]``."""
        return edit.encode(self.model, self.pixels(data))

    def save_codes(self, out: str | Path, data: Any = None, split: str | None = None) -> dict[str, Any]:
        """Writes names, labels and codes of ``data`` (default: all images of the run) as .npz, .parquet or .csv."""
        check_codes_file(Path(out))
        found = self._coded(data, split)
        if self.leads:
            write_codes(Path(out), found.names, found.codes, found.label_names)
        return {"written": str(out), "images": len(found.codes), "latents": found.codes.shape[1]}

    def neighbours(
        self, image: Any, data: Any = None, split: str | None = None, count: int = 9
    ) -> tuple[Sheet, list[list[dict[str, Any]]]]:
        """The images of ``data`` (default: all of the run) nearest to each of one or more others, by their codes.

        A sheet with a row for each of them, itself first; and for each the names, labels and distances of its
        neighbours, nearest first (:mod:`vaekit.search`). The sheet shows twenty of them at most.
        """
        given = self.pixels(image)
        if len(given) > _MOST_QUERIES:
            raise UserError(f"there are {len(given):,} images to find the neighbours of; give {_MOST_QUERIES} at most")
        found = self._coded(data, split)
        known, asked = (search.standardised(self.model, each) for each in (found.codes, edit.encode(self.model, given)))
        distances, rows = search.nearest(known, asked, count)
        told = [
            [{**found.facts(i), "distance": d} for d, i in zip(distance, row, strict=True)]
            for distance, row in zip(distances.tolist(), rows.tolist(), strict=True)
        ]
        rows, distances = rows[:, :_MOST_SHOWN], distances[:, :_MOST_SHOWN]
        shown = torch.cat([torch.cat([this[None], found.pixels[row]]) for this, row in zip(given, rows, strict=True)])
        captions = [text for row in distances.tolist() for text in ("this", *(f"{d:.2f}" for d in row))]
        return Sheet(shown, 1 + rows.shape[1], captions=tuple(captions)), told

    def map(self, data: Any = None, split: str | None = None) -> tuple[Atlas, dict[str, Any]]:
        """``data`` (default: all images of the run) laid out in the plane of the first two principal components.

        A mosaic; and the share of the variance of the codes along each axis with the points of all images.
        """
        found = self._coded(data, split)
        plane = search.plane(found.codes)
        rows, places = chosen_cells(plane.coordinates)
        shown = None if found.labels is None else found.labels[rows]
        points = [{**found.facts(i), "x": x, "y": y} for i, (x, y) in enumerate(plane.coordinates.tolist())]
        numbers = {"images": len(points), "variance_shares": list(plane.shares), "points": points}
        return Atlas(found.pixels[rows], places, shown, found.classes), numbers

    def decode(self, latents: Tensor) -> Sheet:
        """The pictures of latents ``[N, latent_dim]``."""
        return self._sheet(edit.decode(self.model, latents))

    def generate(self, count: int = 18, seed: int = 0) -> Sheet:
        """``count`` new images from the prior; image i of a seed is the same whatever the count."""
        return self._sheet(edit.generate(self.model, count, seed, self.config.recipe["name"]))

    def reconstruct(self, data: Any) -> Sheet:
        """Encoded and decoded, from the posterior mean."""
        return self._sheet(edit.reconstruct(self.model, self.pixels(data)))

    def compare(self, data: Any) -> Sheet:
        """Originals above their reconstructions."""
        pixels = self.pixels(data)
        return pictures.stacked_sheet(pixels, edit.reconstruct(self.model, pixels))

    def latent(self, name: str) -> Tensor:
        """One latent ``[latent_dim]``: of an image file, the mean of a folder, or that of a group of the run's data.

        Groups are written ``label:smiling`` or ``attr:glasses=1,male=0``.
        """
        if name.startswith(("label:", "attr:")):
            return edit.group_latents(*self._latents(), name).mean(0)
        if not Path(name).exists():
            known = ", ".join(self.config.data.classes + self.config.data.attributes) or "none"
            raise UserError(
                f"{name!r} is neither a file or folder nor a group such as label:NAME or attr:NAME=VALUE "
                f"(labels and attributes of this run: {known})"
            )
        return self.encode(name if Path(name).is_dir() else [name]).mean(0)

    def arithmetic(self, expression: str) -> Sheet:
        """The picture of a sum of latents, for example ``"me.png + attr:glasses=1 - attr:glasses=0"``."""
        return self._sheet(edit.decode(self.model, self._sum(expression)[None]))

    def interpolate(self, start: str | Tensor | np.ndarray, end: str | Tensor | np.ndarray, steps: int = 6) -> Sheet:
        """``steps`` pictures on the straight line between two latents or two expressions, ends included."""
        ends = [self._sum(e) if isinstance(e, str) else torch.as_tensor(e, dtype=torch.float32) for e in (start, end)]
        if any(tuple(e.shape) != (self.model.latent_dim,) for e in ends):
            shapes = " and ".join(str(tuple(e.shape)) for e in ends)
            raise UserError(f"the ends have shapes {shapes}; expected latents [{self.model.latent_dim}]")
        return self._sheet(edit.interpolate(self.model, ends[0], ends[1], steps), steps)

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
        facts = runs.load_facts(self.path / "weights.safetensors")
        return int(facts.get("images", self.config.total_images))

    def denoise(self, noisy: Tensor) -> Tensor:
        """Noisy images, float ``[N, C, H, W]`` on the [0, 1] scale → the model's clean ones, the same shape."""
        return edit.denoise(self.model, noisy)

    def inpaint(self, images: Tensor, hidden: Tensor, seed: int = 0) -> Tensor:
        """Fills ``hidden`` (bool ``[N, 1, H, W]``) of float images ``[N, C, H, W]``; visible pixels do not change."""
        stored = runs.load_latents(self.path)
        return inpaint.inpaint(self.model, images, hidden, seed=seed, codes=stored[0]["latents"] if stored else None)

    def evaluate(
        self,
        data: Any = None,
        split: str | None = None,
        seed: int = 0,
        *,
        iwae_samples: int | None = None,
        samples: int | None = None,
        features: str | Path | None = None,
        per_image: str | Path | None = None,
        counted: Counted = counted_silently,
    ) -> dict[str, Any]:
        """Numbers on ``data``, or on the run's own test part; see :mod:`vaekit.evaluate` for what each one is.

        ``iwae_samples`` adds the importance-weighted bound of so many samples per image; ``samples`` the distances of
        so many new images from those measured (:mod:`vaekit.distances`), over a small classifier of our own or the
        Inception network whose weights lie in the file ``features`` (:mod:`vaekit.features`); ``per_image`` names a CSV
        file that gets a line per image. ``counted`` hears how far it is: what is done, of how many images.
        """
        if iwae_samples is not None:
            self._check_bound(iwae_samples)
        compared_by = self._features(samples, features)
        if per_image is not None:
            check_table(Path(per_image))
        opened, rows, part = self._chosen(data, split)
        if self.config.recipe.get("likelihood") == "bernoulli" and not all(map(is_binary, opened.pixels.split(1024))):
            raise UserError(
                f"{self.path} gives binary pixels a probability, and {opened.source} has grey levels; name others"
            )
        chosen, team = opened.selection(rows), join()
        found = evaluate.measure(
            self.model, chosen, seed, team=team, iwae_samples=iwae_samples or 0, with_ssim=True, counted=counted
        )
        if per_image is not None and self.leads:
            names = [printable(opened.names[i]) for i in np.flatnonzero(rows)]
            write_table(Path(per_image), {"name": names, **{k: v.tolist() for k, v in found.columns.items()}})
        numbers: dict[str, Any] = {"part": part, **found.numbers()}
        if found.kl_per_dim is not None:
            numbers["kl_per_dim_nats"] = found.kl_per_dim.tolist()
        if samples is not None and compared_by is not None:
            numbers |= self._distances(chosen, samples, compared_by, seed, counted)
        kind = self.config.data.binarize
        if kind:
            numbers |= {"binarize": kind, "measured_on": BINARIZE[kind]}
        return numbers

    def doctor(self, data: Any = None) -> Diagnosis:
        """What is wrong with the training, if anything, and what to do (:mod:`vaekit.doctor`).

        Looks at the run's own images again; ``data`` says where they are now, if they have moved.
        """
        images = self.images() if data is None else self._open(data)
        if images.fingerprint != self.config.data.fingerprint:
            raise UserError(
                f"{images.source} does not hold the images that {self.path} was trained on, which the doctor compares "
                "with held-out ones; name those as DATA"
            )
        return diagnose(checkup.examine(self.model, self.config, images, runs.read_metrics(self.path)))

    def next_command(self, diagnosis: Diagnosis, data: str | None = None) -> str:
        """The command that follows from a diagnosis, to be pasted into a shell."""
        source = self.config.data.source if data is None else data
        return next_command(self.config, diagnosis, source, str(self.path))

    def choose(self, data: Any = None, split: str | None = None) -> Images:
        """The images that a verb works on: a part of the run's data, or of ``data`` where it has that part itself."""
        opened, rows, _ = self._chosen(data, split)
        return opened[rows]

    def _open(self, data: Any) -> Images:
        """Any source, brought to what the run was trained on."""
        config = self.config.data
        return open_in(data, self.form, seed=config.split_seed).binarized(config.binarize)

    def _chosen(self, data: Any, split: str | None) -> tuple[Images, np.ndarray, str]:
        """All images, a mask of those to work on (no pixels are copied), and the name of their part."""
        if data is None:
            opened, has_parts = self.images(), True
        else:
            opened = self._open(data)
            has_parts = opened.fingerprint == self.config.data.fingerprint or opened.has_splits
        is_test = opened.parts == PARTS.index("test")
        part = check_split(split or ("test" if has_parts and is_test.any() else "all"))
        mask = np.ones(len(opened), bool) if part == "all" else opened.parts == PARTS.index(part)
        if not mask.any():
            raise UserError(f"--split {part}: {opened.source} has no images in that part; give another --split")
        return opened, mask, part

    def pick(self, data: Any, split: str | None, count: int) -> Tensor:
        """``count`` images of :meth:`choose`, uint8, the first of every class before the second."""
        if count < 1:
            raise UserError(f"--count {count}: expected at least 1 image")
        chosen = self.choose(data, split)
        return chosen.pixels[pictures.one_per_class(chosen.labels, len(chosen), count)]

    def denoise_sheet(self, pixels: Tensor, noise_std: float | None, seed: int = 0) -> tuple[Sheet, dict[str, Any]]:
        """Noisy images above the denoised ones; where the clean ones are known, those on top, and the PSNR of both."""
        clean = to_float(pixels)
        noisy = clean if noise_std is None else edit.add_noise(clean, noise_std, seed)
        result = self.denoise(noisy)
        if noise_std is None:
            return pictures.stacked_sheet(pixels, to_uint8(result)), {}
        sheet = pictures.stacked_sheet(pixels, to_uint8(noisy), to_uint8(result))
        before, after = evaluate.psnr_db(noisy, clean), evaluate.psnr_db(result, clean)
        return sheet, {"noisy_psnr_db": before, "denoised_psnr_db": after, "gain_db": after - before}

    def inpaint_sheet(self, pixels: Tensor, mask: str, seed: int = 0) -> tuple[Sheet, dict[str, Any]]:
        """Images, the same with a part hidden, and filled in; and the PSNR on the hidden pixels against the truth."""
        hidden = parse_mask(mask, self.shape[1], self.shape[2], len(pixels), seed)
        truth = to_float(pixels)
        filled = self.inpaint(truth, hidden, seed)
        sheet = pictures.stacked_sheet(pixels, to_uint8(truth.masked_fill(hidden, 0.5)), to_uint8(filled))
        numbers = {"hidden_pixels": int(hidden.sum()), "hidden_psnr_db": evaluate.psnr_db(filled, truth, hidden)}
        return sheet, numbers

    def _coded(self, data: Any, split: str | None) -> _Coded:
        """The images that a verb works on, by default all of them, with their codes."""
        opened, rows, _ = self._chosen(data, split or "all")
        pixels = opened.selection(rows)
        names = [printable(opened.names[i]) for i in np.flatnonzero(rows)]
        labels = None if opened.labels is None else opened.labels[torch.from_numpy(rows)]
        return _Coded(pixels, edit.encode(self.model, pixels, team=join()), names, labels, opened.classes)

    def _features(self, samples: int | None, weights: str | Path | None) -> Features | None:
        """What so many samples are compared by: our own classifier, or Inception with weights from a file."""
        if samples is None:
            if weights is not None:
                raise UserError("--features is what samples are compared by; give --samples N too")
            return None
        if samples < 2:
            raise UserError(f"--samples {samples}: expected at least 2 images")
        if not serves("generate", self.model):
            raise UserError(f"--samples: {self.path} has no prior to draw images from; leave it out")
        device = next(self.model.parameters()).device
        return small_classifier(device) if weights is None else inception(weights, device)

    def _distances(
        self, real: Selection, count: int, features: Features, seed: int, counted: Counted
    ) -> dict[str, Any]:
        """How far ``count`` new images are from real ones."""
        if len(real) < 2:
            raise UserError("--samples: expected at least 2 images to compare with")
        pieces = edit.generate_in_pieces(self.model, count, seed)
        made = _features_of(features, pieces, count, "drawn", counted)
        found = _features_of(features, real.split(_COMPARED_AT_ONCE), len(real), "compared", counted)
        kernel = kernel_distance(made, found, seed=seed)
        numbers = {
            "samples": count,
            "features": features.name,
            "frechet_distance": frechet_distance(made, found),
            "kernel_distance": kernel.mean,
            "kernel_distance_error": kernel.standard_error,
        }
        warning = small_sample_warning(min(count, len(real)), features.size)
        return numbers | ({"warning": warning} if warning else {})

    def _check_bound(self, samples: int) -> None:
        if samples < 1:
            raise UserError(f"--iwae {samples}: expected at least 1 sample per image")
        if self.model.prior is None:
            raise UserError(f"--iwae: {self.path} is an autoencoder and has no bound; leave it out")

    def _sum(self, expression: str) -> Tensor:
        """The latent of an expression; one that is as a whole the name of a file or folder needs no quotes in it."""
        if os.path.exists(expression):
            return self.latent(expression)
        return evaluate_expression(parse(expression), self.latent)

    def _latents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The stored encodings of the training images; made now if the run was interrupted before it stored them."""
        stored = runs.load_latents(self.path)
        if stored:
            return stored
        images = self.images()
        return edit.encode_set(self.model, images, is_trained_on(images, runs.recipe_of(self.config)))

    def _sheet(self, pixels: Tensor, columns: int | None = None) -> Sheet:
        return Sheet(pixels, columns or min(len(pixels), 6))


@dataclass(frozen=True, eq=False)
class _Coded:
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


def _features_of(features: Features, pieces: Iterable[Tensor], count: int, what: str, counted: Counted) -> Tensor:
    found, done = [], 0
    for images in pieces:
        counted(what, done, count)
        found.append(features.of(images))
        done += len(images)
    return torch.cat(found)
