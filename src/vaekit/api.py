"""The functions of ``import vaekit`` that train, load or plan a run."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vaekit.config.keywords import takes
from vaekit.config.options import TrainOptions
from vaekit.config.table import Recipe
from vaekit.data import Form, Images, open_in, peek
from vaekit.errors import argument, storable
from vaekit.latent.fit_prior import load_fitted
from vaekit.run import Run
from vaekit.runs import folder as runs
from vaekit.runs.claim import check_folder
from vaekit.system import progress
from vaekit.system.arguments import checked
from vaekit.system.device import pick_device
from vaekit.system.distributed import join
from vaekit.system.notes import note_once
from vaekit.training.callbacks import both
from vaekit.training.loop import train as _train
from vaekit.training.plan import largest_batch, make_plan
from vaekit.training.tracking import check_tensorboard

__all__ = ["Run", "load", "plan", "train"]


@takes(TrainOptions)
def train(data: Any, options: TrainOptions) -> Run:
    """Train a model on ``data`` and return the run. The same call resumes an interrupted training.

    Args:
        data: anything that :func:`vaekit.open_images` takes or returns.

    Raises:
        UserError: for anything that the caller can fix.
        Exception: what a callback raised. The state is saved first, so the same call resumes.
    """
    started = time.monotonic()
    row, out, options = _checked(data, options)
    images = open_in(data, _form(options))
    join().agree({argument("batch_size"): options.batch_size})  # before "auto" becomes a number
    shown = progress.choose(options.quiet)
    if options.batch_size == "auto":
        if pick_device(options.device).type != "cuda":
            shown.say(f"{argument('batch_size', 'auto')} needs a GPU; the batch size of the recipe is used instead")
        row = _largest_batch(row, images, len(images), out, options)
    for remark in images.remarks:
        shown.say(remark)
    options = replace(options, on_epoch=both(shown.epoch, options.on_epoch))
    _train(images, row, out, options, progress=shown, started=started)
    return load(out, options.device)


@takes(TrainOptions)
def plan(data: Any, options: TrainOptions) -> dict[str, Any]:
    """Estimate what :func:`train` with the same arguments would do, from a sample of the images.

    What :func:`train` would refuse before its first step is refused. If ``out`` contains a run, all images are read.

    Args:
        data: anything that :func:`vaekit.open_images` takes or returns.

    Raises:
        UserError: for anything that the caller can fix.
    """
    started = time.monotonic()
    row, out, options = _checked(data, options)
    device = pick_device(options.device)
    if (out / "config.json").exists():  # only all images show whether they are those of the run
        images = open_in(data, _form(options))
        count, counts, is_estimate = len(images), None, False
    else:
        images, count, train_count, is_estimate = peek(data, _form(options), with_val=row.train_on_val)
        counts = (count, train_count)
    if options.batch_size == "auto":
        row = _largest_batch(row, images, count, out, options)
    made = make_plan(images, counts, row, out, options, device, started)
    return {"out": str(out), "is_split_estimated": is_estimate, **made}


@checked
def load(path: str | Path, device: str | torch.device = "cpu") -> Run:
    """Open a run folder; raises :class:`UserError` if it is not one."""
    model, config = runs.load_model(Path(path), pick_device(device))
    run = Run(Path(path), config, model)
    model.fitted_prior, lack = load_fitted(run.path, model)
    if lack and run.leads:
        note_once(lack)
    return run


def _checked(data: Any, options: TrainOptions) -> tuple[Recipe, Path, TrainOptions]:
    """Return the recipe with the options applied, the run folder, and the options, all checked before reading data."""
    options.check()
    if options.tensorboard:
        check_tensorboard()
    row = options.row()
    out = Path(options.out) if options.out is not None else _default_out(data, row.name)
    check_folder(out)
    if options.init is not None:
        runs.read_config(Path(options.init))
        options = replace(options, init=str(Path(options.init).resolve()))
    return row, out, options


def _form(options: TrainOptions) -> Form:
    return Form.of(options.size, options.channels, options.fit, options.background, options.frames)


def _largest_batch(row: Recipe, images: Images, count: int, out: Path, options: TrainOptions) -> Recipe:
    """Return the recipe with the largest batch that fits on the GPU; an existing run keeps its own."""
    if (out / "config.json").exists():
        return replace(row, batch_size=runs.read_config(out).recipe.batch_size)
    size = largest_batch(row, images, count, pick_device(options.device), options)
    agreed = int(join().text_of_leader(str(size or 0)))  # GPUs may differ
    return replace(row, batch_size=agreed) if agreed else row


def _default_out(data: Any, recipe: str) -> Path:
    """Return ``runs/NAME-RECIPE``, with the name of the folder, archive or built-in dataset."""
    source = data.source if isinstance(data, Images) else data
    name = Path(os.path.abspath(source)).name if isinstance(source, str | Path) else "array"
    for suffix in (".tar.gz", ".tgz", ".tar", ".zip", ".npz", ".npy"):
        name = name.removesuffix(suffix)
    return Path("runs") / f"{storable(name).replace(':', '-')}-{recipe}"
