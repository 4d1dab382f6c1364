"""What ``import vaekit`` offers: train, load or plan a run. :class:`vaekit.runs.run.Run` has the verbs."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vaekit.config import table as recipes
from vaekit.config.run_config import Length
from vaekit.data import Form, Images, check_binarize, open_in, peek
from vaekit.errors import UserError, argument, nearest, printable, storable
from vaekit.latent.fit_prior import load_fitted
from vaekit.runs import folder as runs
from vaekit.runs.claim import check_folder
from vaekit.runs.run import Run
from vaekit.system import progress
from vaekit.system.arguments import checked
from vaekit.system.cpu import torch_threads
from vaekit.system.device import pick_device
from vaekit.system.distributed import join
from vaekit.system.durations import parse_duration
from vaekit.system.notes import note
from vaekit.training.loop import train as _train
from vaekit.training.plan import largest_batch, make_plan
from vaekit.training.setup import choose_threads
from vaekit.training.tracking import check_tensorboard

__all__ = ["Run", "load", "plan", "train"]

_MOST_EPOCHS = 1_000_000_000


@checked
def train(
    data: Any,
    recipe: str | recipes.Recipe = "vae",
    out: str | Path | None = None,
    *,
    size: Any = None,
    channels: int | None = None,
    fit: str = "crop",
    background: str = "white",
    frames: str = "first",
    epochs: float | None = None,
    images: int | None = None,
    budget: str | float | None = None,
    batch_size: int | str | None = None,
    learning_rate: float | None = None,
    latent_dim: int | None = None,
    likelihood: str | None = None,
    flip: bool | None = None,
    shift: int | None = None,
    jitter: float | None = None,
    noise_std: float | None = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    threads: int | None = None,
    precision: str | None = None,
    compiled: bool | None = None,
    micro_batch: int | None = None,
    patience: int | None = None,
    binarize: str | None = None,
    tensorboard: bool = False,
    init: str | Path | None = None,
    settings: dict[str, Any] | None = None,
    quiet: bool = False,
    on_log: Callable[[dict[str, Any]], object] | None = None,
    on_epoch: Callable[[dict[str, Any], Sequence[Path]], object] | None = None,
) -> Run:
    """Trains a model of ``data`` into the run folder ``out`` and returns the run; repeated, it goes on where it was.

    Args:
        data: anything that :func:`vaekit.open_images` takes, or what it returned.
        recipe: the name of a row of the recipe table, or a row.
        out: the run folder; by default ``runs/DATA-RECIPE``.
        size, channels, fit, background, frames: of the images, as in :func:`vaekit.open_images`.
        epochs, images, budget: how long; at most one of them. ``budget`` is wall time such as ``"10m"``.
        batch_size: images per step, over all processes; ``"auto"``: as many as the GPU holds.
        likelihood: of pixel values, one of ``recipes.LIKELIHOODS``; another than the recipe's learns its scale.
        flip, shift, jitter: training images mirrored, moved by up to so many pixels, changed in colour by up to such a
            fraction, anew in every step (:func:`vaekit.training.augment.augment`); by default what the recipe says.
        noise_std: the largest noise on the training images, on the [0, 1] scale, that any recipe may learn to remove.
        precision: of the networks in training, ``"fp32"`` or ``"bf16"``; by default what the device is good at.
        compiled: through ``torch.compile``; by default not.
        threads: that compute on the CPU; by default as many as the run in ``out`` has stored, else as many as the cores
            that other processes leave free.
        micro_batch: images per forward pass, where a whole batch does not fit into memory.
        patience: end after so many epochs without improvement on held-out images, and keep the best weights.
        binarize: pixels made black or white, ``"dynamic"``, ``"static"`` or ``"threshold"``
            (:mod:`vaekit.data.binarize`); the likelihood of a recipe that has one is then Bernoulli unless you name
            another.
        tensorboard: write the numbers for TensorBoard too, into the run folder.
        settings: further recipe values to replace, as ``--set`` does.
        on_log: called with each record written to ``metrics.jsonl``: a dict with ``kind`` (``"train"``,
            ``"validation"`` or ``"final"``), ``images`` (seen so far) and the numbers. In distributed training only
            process 0 calls it.
        on_epoch: called after each epoch with its validation record and the paths of the pictures drawn, PNG files of
            reconstructions and samples.

    Raises:
        UserError: for anything that the caller can mend.
        Exception: whatever a callback raised. It ends the training with the state saved, so the same call resumes.
    """
    started = time.monotonic()
    _check_counts(threads=threads, micro_batch=micro_batch, patience=patience)
    engine = _engine(precision, compiled, micro_batch, threads)
    if tensorboard:
        check_tensorboard()
    row = _row(
        recipe, settings, batch_size=batch_size, learning_rate=learning_rate, latent_dim=latent_dim,
        likelihood=likelihood, flip=flip, shift=shift, jitter=jitter, noise_std=noise_std,
        binarize=binarize,
    )  # fmt: skip
    length = _length(epochs, images, budget)
    out, device = _out(data, row, out), str(device)
    initial = _initial(init)
    opened = open_in(data, Form.of(size, channels, fit, background, frames))
    join().agree({argument("batch_size"): batch_size})  # before those with "auto" agree on a number
    if batch_size == "auto":
        row = _largest_batch(row, opened, len(opened), out, device, engine, binarize)
    shown = progress.choose(quiet)
    if batch_size == "auto" and pick_device(device).type != "cuda":
        shown.say(f"{argument('batch_size', 'auto')} needs a GPU; the batch size of the recipe is used instead")
    for remark in opened.remarks:
        shown.say(remark)
    _train(
        opened, row, out, length, seed=seed, device=device, initial=initial, engine=engine, patience=patience,
        binarize=binarize, tensorboard=tensorboard, progress=shown, started=started,
        on_log=on_log, on_epoch=on_epoch,
    )  # fmt: skip
    return load(out, device)


@checked
def plan(
    data: Any,
    recipe: str | recipes.Recipe = "vae",
    out: str | Path | None = None,
    *,
    size: Any = None,
    channels: int | None = None,
    fit: str = "crop",
    background: str = "white",
    frames: str = "first",
    epochs: float | None = None,
    images: int | None = None,
    budget: str | float | None = None,
    batch_size: int | str | None = None,
    learning_rate: float | None = None,
    latent_dim: int | None = None,
    likelihood: str | None = None,
    flip: bool | None = None,
    shift: int | None = None,
    jitter: float | None = None,
    noise_std: float | None = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    threads: int | None = None,
    precision: str | None = None,
    compiled: bool | None = None,
    micro_batch: int | None = None,
    patience: int | None = None,
    binarize: str | None = None,
    init: str | Path | None = None,
    settings: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What :func:`train` with the same arguments would do, from a sample of the images: sizes, steps, seconds."""
    _check_counts(threads=threads, micro_batch=micro_batch, patience=patience)
    engine = _engine(precision, compiled, micro_batch, threads)
    row = _row(
        recipe, settings, batch_size=batch_size, learning_rate=learning_rate, latent_dim=latent_dim,
        likelihood=likelihood, flip=flip, shift=shift, jitter=jitter, noise_std=noise_std,
        binarize=binarize,
    )  # fmt: skip
    length = _length(epochs, images, budget)
    out = _out(data, row, out)
    sample, count, train_count = peek(data, Form.of(size, channels, fit, background, frames), with_val=row.train_on_val)
    if batch_size == "auto":
        row = _largest_batch(row, sample, count, out, device, engine, binarize)
    initial = _initial(init)
    chosen = pick_device(device)
    computing, engine = choose_threads(out, chosen, engine)
    options: dict[str, Any] = {"initial": initial, "engine": engine, "patience": patience, "binarize": binarize}
    with torch_threads(computing.threads):
        planned = make_plan(sample, count, train_count, row, length, seed, chosen, **options)
    return {"out": str(out)} | planned


@checked
def load(path: str | Path, device: str | torch.device = "cpu") -> Run:
    """Opens a run folder; raises :class:`UserError` if it is not one."""
    model, config = runs.load_model(Path(path), pick_device(device))
    run = Run(Path(path), config, model)
    model.fitted_prior, lack = load_fitted(run.path, model)
    if lack and run.leads:
        note(f"vaekit: {printable(lack)}")
    return run


def _row(
    recipe: str | recipes.Recipe,
    settings: dict[str, Any] | None = None,
    likelihood: str | None = None,
    binarize: str | None = None,
    **named: Any,
) -> recipes.Recipe:
    """The recipe row with the caller's values in place; those that are ``None`` or ``"auto"`` stay as they are."""
    check_binarize(binarize)
    row = recipes.get(recipe) if isinstance(recipe, str) else recipe
    is_open = likelihood is None and "likelihood" not in (settings or {})
    if binarize and is_open and recipes.override(row, settings or {}).has_bound:
        likelihood = "bernoulli"
    if likelihood is not None:
        row, named = recipes.with_likelihood(row, likelihood), {**named, "likelihood": likelihood}
    row = recipes.override(row, {**(settings or {}), **{k: v for k, v in named.items() if v not in (None, "auto")}})
    if likelihood is not None and not row.has_bound:
        known = ", ".join(name for name, each in recipes.RECIPES.items() if each.has_bound)
        raise UserError(
            f"likelihood {likelihood}: recipe {row.name!r} is an autoencoder and has no likelihood to choose; "
            f"take one that has ({known})",
            "likelihood",
        )
    return row


def _length(epochs: float | None, images: int | None, budget: str | float | None) -> Length:
    """At most one of the three ways to say how long, each positive."""
    given = {k: v for k, v in (("epochs", epochs), ("images", images), ("budget", budget)) if v is not None}
    if len(given) > 1:
        named = " and ".join(map(argument, given))
        raise UserError(f"{named} each say how long to train; give one of them")
    for name, value in (("epochs", epochs), ("images", images)):
        if value is not None and not 0 < value < math.inf:
            raise UserError(f"{name} {value:g}: must be a finite number greater than 0", name)
    if epochs is not None and epochs > _MOST_EPOCHS:
        raise UserError(f"epochs {epochs:g}: expected at most {_MOST_EPOCHS:,}", "epochs")
    return Length(epochs, images, None if budget is None else parse_duration(budget))


def _initial(init: str | Path | None) -> str | None:
    """The absolute path of the run to start from, which must be one."""
    if init is None:
        return None
    runs.read_config(Path(init))
    return str(Path(init).resolve())


def _check_counts(**counts: int | None) -> None:
    for name, count in counts.items():
        if count is not None and count < 1:
            raise UserError(f"{name} {count}: must be at least 1", name)
    threads, cores = counts.get("threads"), os.cpu_count()
    if threads is not None and cores is not None and threads > cores:
        raise UserError(
            f"threads {threads}: this machine has {cores} cores; more threads would wait for each other", "threads"
        )


def _engine(
    precision: str | None, compiled: bool | None, micro_batch: int | None, threads: int | None
) -> dict[str, Any]:
    """What the caller says of how the training is computed."""
    if precision not in (None, "fp32", "bf16"):
        raise UserError(f"precision {precision}: {nearest(str(precision), ('fp32', 'bf16'))}", "precision")
    asked = {"precision": precision, "compiled": compiled, "micro_batch": micro_batch, "threads": threads}
    return {name: value for name, value in asked.items() if value is not None}


def _largest_batch(
    row: recipes.Recipe,
    images: Images,
    count: int,
    out: Path,
    device: str | torch.device,
    engine: dict[str, Any],
    binarize: str | None,
) -> recipes.Recipe:
    """The row with as large a batch as a GPU holds; a run that was begun keeps its own."""
    if (out / "config.json").exists():
        return replace(row, batch_size=runs.read_config(out).recipe.batch_size)
    size = largest_batch(row, images, count, pick_device(device), engine, binarize=binarize)
    agreed = int(join().text_of_leader(str(size or 0)))  # two GPUs may hold different ones
    return replace(row, batch_size=agreed) if agreed else row


def _out(data: Any, row: recipes.Recipe, out: str | Path | None) -> Path:
    folder = Path(out) if out is not None else _default_out(data, row.name)
    check_folder(folder)
    return folder


def _default_out(data: Any, recipe: str) -> Path:
    """``runs/NAME-RECIPE``, the name being that of the folder, archive or built-in."""
    source = data.source if isinstance(data, Images) else data
    name = Path(os.path.abspath(source)).name if isinstance(source, str | Path) else "array"
    for suffix in (".tar.gz", ".tgz", ".tar", ".zip", ".npz", ".npy"):
        name = name.removesuffix(suffix)
    return Path("runs") / f"{storable(name).replace(':', '-')}-{recipe}"
