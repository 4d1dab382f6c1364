"""What ``import vaekit`` offers: ``open_images``, ``train``, ``load``, ``register``, and a :class:`Run` with the verbs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vaekit import edit, evaluate, inpaint, pictures, progress, recipes, runs
from vaekit.config import RunConfig
from vaekit.data import Images, open_images
from vaekit.durations import parse_duration
from vaekit.errors import UserError
from vaekit.expressions import evaluate_expression, parse
from vaekit.models import LatentModel
from vaekit.pictures import Sheet
from vaekit.train import Length, pick_device, training_images
from vaekit.train import train as _train

__all__ = ["Run", "load", "prepare", "train"]


def train(
    data: Any,
    recipe: str | recipes.Recipe = "vae",
    out: str | Path | None = None,
    *,
    size: Any = None,
    channels: int | None = None,
    epochs: float | None = None,
    images: int | None = None,
    budget: str | float | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    latent_dim: int | None = None,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    init: str | Path | None = None,
    settings: dict[str, Any] | None = None,
    quiet: bool = False,
) -> Run:
    """Trains a model of ``data`` into the run folder ``out`` and returns the run; repeated, it goes on where it was.

    Args:
        data: anything that :func:`vaekit.open_images` takes, or what it returned.
        recipe: the name of a row of the recipe table, or a row.
        out: the run folder; by default ``runs/DATA-RECIPE``.
        size, channels: of the images, as in :func:`vaekit.open_images`.
        epochs, images, budget: how long; at most one of them. ``budget`` is wall time such as ``"10m"``.
        settings: further recipe values to replace, as ``--set`` does.

    Raises:
        UserError: for anything that the caller can mend.
    """
    started = time.monotonic()
    row = prepare(recipe, batch_size, learning_rate, latent_dim, settings)
    length = check_length(epochs, images, budget)
    if threads is not None:
        set_threads(threads)
    out = Path(out) if out is not None else default_out(data, row.name)
    if init is not None:
        init = str(Path(init).resolve())
        runs.read_config(Path(init))
    opened = open_images(data, size, channels)
    shown = progress.choose(quiet)
    for note in describe_skipped(opened):
        shown.say(note)
    _train(opened, row, out, length, seed=seed, device=device, initial=init, progress=shown, started=started)
    return load(out, device)


def load(path: str | Path, device: str = "cpu") -> Run:
    """Opens a run folder; raises :class:`UserError` if it is not one."""
    model, config = runs.load_model(Path(path), pick_device(device))
    return Run(Path(path), config, model)


@dataclass(frozen=True, eq=False)
class Run:
    """A trained model with its verbs. All are deterministic; those that draw at random take a seed.

    Wherever images are taken, :class:`Images`, uint8 tensors ``[N, C, H, W]`` and sources by name will do; they are
    brought to the run's size and channels.
    """

    path: Path
    config: RunConfig
    model: LatentModel

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the run's images."""
        return (self.config.data.channels, *self.config.data.size)

    def images(self, split: str = "all") -> Images:
        """The run's own data, opened again; raises :class:`UserError` if they have gone or changed."""
        data = self.config.data
        if data.source == "array":
            raise UserError(f"{self.path} was trained on an array in memory; give the images to use")
        opened = open_images(data.source, data.size, data.channels, seed=data.split_seed)
        if opened.fingerprint != data.fingerprint:
            raise UserError(f"the images in {data.source} have changed since {self.path} was trained; name the DATA to use")
        return opened if split == "all" else opened.part(split)

    def pixels(self, data: Any) -> Tensor:
        """Any images as uint8 ``[N, C, H, W]`` of the run's shape."""
        if isinstance(data, Tensor) and data.dtype == torch.uint8 and tuple(data.shape[1:]) == self.shape:
            return data
        return open_images(data, self.config.data.size, self.config.data.channels).pixels

    def encode(self, data: Any) -> Tensor:
        """Posterior means ``[N, latent_dim]``."""
        return edit.encode(self.model, self.pixels(data))

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
        return pictures.pairs_sheet(pixels, edit.reconstruct(self.model, pixels))

    def latent(self, name: str) -> Tensor:
        """One latent ``[latent_dim]``: of an image file, the mean of a folder, or the mean of a group of the run's data.

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
        latent = evaluate_expression(parse(expression), self.latent)
        return self._sheet(edit.decode(self.model, latent[None]))

    def interpolate(self, start: str | Tensor, end: str | Tensor, steps: int = 6) -> Sheet:
        """``steps`` pictures on the straight line between two latents or two expressions, ends included."""
        ends = [e if isinstance(e, Tensor) else evaluate_expression(parse(e), self.latent) for e in (start, end)]
        return self._sheet(edit.interpolate(self.model, ends[0], ends[1], steps), steps)

    def denoise(self, noisy: Tensor) -> Tensor:
        """Noisy images, float ``[N, C, H, W]`` on the [0, 1] scale → the model's clean ones, the same shape."""
        return edit.denoise(self.model, noisy)

    def inpaint(self, images: Tensor, hidden: Tensor, seed: int = 0) -> Tensor:
        """Fills ``hidden`` (bool ``[N, 1, H, W]``) of float images ``[N, C, H, W]``; visible pixels come back unchanged."""
        return inpaint.inpaint(self.model, images, hidden, seed=seed)

    def evaluate(self, data: Any = None, split: str | None = None, seed: int = 0) -> evaluate.Numbers:
        """Numbers on ``data``, or on the run's own test part; see :mod:`vaekit.evaluate` for what each one is."""
        return evaluate.evaluate(self.model, self.choose(data, split).pixels, seed)

    def choose(self, data: Any = None, split: str | None = None) -> Images:
        """The images that a verb works on: a part of the run's data, or of ``data`` where it has that part itself."""
        if data is None:
            opened = self.images()
            part = split or ("test" if len(opened.part("test")) else "all")
        else:
            size, channels = self.config.data.size, self.config.data.channels
            opened = open_images(data, size, channels, seed=self.config.data.split_seed)
            same = opened.fingerprint == self.config.data.fingerprint
            part = split or ("test" if (same or opened.has_splits) and len(opened.part("test")) else "all")
        chosen = opened.part(part)
        if not len(chosen):
            raise UserError(f"--split {part}: {opened.source} has no images in that part; give another --split")
        return chosen

    def _latents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The stored encodings of the training images; made now if the run was interrupted before it stored them."""
        stored = runs.load_latents(self.path)
        return stored or edit.encode_set(self.model, training_images(self.images(), runs.recipe_of(self.config)))

    def _sheet(self, pixels: Tensor, columns: int | None = None) -> Sheet:
        return Sheet(pixels, columns or min(len(pixels), 6))


def prepare(
    recipe: str | recipes.Recipe,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    latent_dim: int | None = None,
    settings: dict[str, Any] | None = None,
) -> recipes.Recipe:
    """The recipe row with the caller's values in place."""
    row = recipes.get(recipe) if isinstance(recipe, str) else recipe
    named = {"batch_size": batch_size, "learning_rate": learning_rate, "latent_dim": latent_dim}
    return recipes.override(row, {**(settings or {}), **{k: v for k, v in named.items() if v is not None}})


def check_length(epochs: float | None, images: int | None, budget: str | float | None) -> Length:
    """At most one of the three ways to say how long, each positive."""
    given = {k: v for k, v in (("--epochs", epochs), ("--images", images), ("--budget", budget)) if v is not None}
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)} say the same thing; give one of them")
    for name, value in given.items():
        if name != "--budget" and not float(value) > 0:
            raise UserError(f"{name} {value}: must be greater than 0")
    return Length(epochs, images, None if budget is None else parse_duration(budget))


def set_threads(threads: int) -> None:
    """How many cores torch uses."""
    if threads < 1:
        raise UserError(f"--threads {threads}: must be at least 1")
    torch.set_num_threads(threads)


def default_out(data: Any, recipe: str) -> Path:
    """``runs/NAME-RECIPE``, the name being that of the folder, archive or built-in."""
    source = data.source if isinstance(data, Images) else data
    name = Path(str(source)).resolve().name if isinstance(source, str | Path) else "array"
    for suffix in (".tar.gz", ".tgz", ".tar", ".zip", ".npz", ".npy"):
        name = name.removesuffix(suffix)
    return Path("runs") / f"{name.replace(':', '-')}-{recipe}"


def describe_skipped(images: Images) -> list[str]:
    """What the user should know of the images that were opened."""
    lines = list(images.notes)
    if images.skipped:
        first = "; ".join(f"{name} ({reason})" for name, reason in images.skipped[:3])
        more = f"; and {len(images.skipped) - 3} more" if len(images.skipped) > 3 else ""
        lines.append(f"skipped {len(images.skipped)} unreadable files: {first}{more}")
    return lines
