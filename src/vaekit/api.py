"""What ``import vaekit`` offers: train a run, load one, or plan one; the verbs are those of :class:`vaekit.run.Run`."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Any

import torch

from vaekit import progress, recipes, runs
from vaekit.config import Length
from vaekit.data import Images, open_images, peek
from vaekit.durations import parse_duration
from vaekit.errors import UserError
from vaekit.folders import check_folder
from vaekit.intake import pick_device
from vaekit.plan import make_plan
from vaekit.run import Run
from vaekit.training import train as _train

__all__ = ["Run", "load", "plan", "train"]


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
    row = _row(recipe, batch_size, learning_rate, latent_dim, settings)
    length = _length(epochs, images, budget)
    out = Path(out) if out is not None else _default_out(data, row.name)
    check_folder(out)
    if threads is not None:
        _set_threads(threads)
    initial = _initial(init)
    opened = open_images(data, size, channels)
    shown = progress.choose(quiet)
    for remark in opened.remarks:
        shown.say(remark)
    _train(opened, row, out, length, seed=seed, device=device, initial=initial, progress=shown, started=started)
    return load(out, device)


def plan(
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
) -> dict[str, Any]:
    """What :func:`train` with the same arguments would do, from a sample of the images: sizes, steps, seconds."""
    row = _row(recipe, batch_size, learning_rate, latent_dim, settings)
    length = _length(epochs, images, budget)
    out = Path(out) if out is not None else _default_out(data, row.name)
    check_folder(out)
    if threads is not None:
        _set_threads(threads)
    sample, count, train_count = peek(data, size, channels, with_val=row.train_on_val)
    initial = _initial(init)
    return {"out": str(out)} | make_plan(sample, count, train_count, row, length, seed, pick_device(device), initial)


def load(path: str | Path, device: str = "cpu") -> Run:
    """Opens a run folder; raises :class:`UserError` if it is not one."""
    model, config = runs.load_model(Path(path), pick_device(device))
    return Run(Path(path), config, model)


def _row(
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


def _length(epochs: float | None, images: int | None, budget: str | float | None) -> Length:
    """At most one of the three ways to say how long, each positive."""
    given = {k: v for k, v in (("--epochs", epochs), ("--images", images), ("--budget", budget)) if v is not None}
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)} say the same thing; give one of them")
    for name, value in given.items():
        if name != "--budget" and not 0 < float(value) < math.inf:
            raise UserError(f"{name} {value:g}: must be a finite number greater than 0")
        if name == "--images" and int(value) != value:
            raise UserError(f"{name} {value:g}: must be a whole number")
    return Length(epochs, images, None if budget is None else parse_duration(budget))


def _initial(init: str | Path | None) -> str | None:
    """The absolute path of the run to start from, which must be one."""
    if init is None:
        return None
    runs.read_config(Path(init))
    return str(Path(init).resolve())


def _set_threads(threads: int) -> None:
    """How many cores torch uses."""
    if threads < 1:
        raise UserError(f"--threads {threads}: must be at least 1")
    torch.set_num_threads(threads)


def _default_out(data: Any, recipe: str) -> Path:
    """``runs/NAME-RECIPE``, the name being that of the folder, archive or built-in."""
    source = data.source if isinstance(data, Images) else data
    name = Path(os.path.abspath(source)).name if isinstance(source, str | Path) else "array"
    for suffix in (".tar.gz", ".tgz", ".tar", ".zip", ".npz", ".npy"):
        name = name.removesuffix(suffix)
    return Path("runs") / f"{name.replace(':', '-')}-{recipe}"
