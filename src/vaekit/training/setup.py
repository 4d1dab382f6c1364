"""Before the first step: which images are trained on, which are watched, on what device, and the full configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vaekit.config.options import TrainOptions
from vaekit.config.run_config import Condition, DataConfig, Engine, RunConfig
from vaekit.config.table import DENSITIES, Recipe
from vaekit.data import Images, Selection
from vaekit.data.subsets import held_out, is_binary, is_trained_on, one_per_class
from vaekit.errors import UserError, argument
from vaekit.model.conditioning import conditions_of, selected, size_of
from vaekit.model.factory import resolve
from vaekit.runs import folder as runs
from vaekit.system.cpu import has_bf16_products
from vaekit.system.distributed import ALONE, Team
from vaekit.system.machine_load import Choice, choose, is_set_by_user, recent_load

__all__ = ["Watched", "choose_threads", "make_config", "with_engine"]

_MOST_VALIDATION_IMAGES = 1000
_LARGE_DENSE_BATCH = 128  # from here on the products of a dense network take longer than what is around them
_WINDOW_BYTES = 1 << 28  # of images mixed at a time where they lie on a disk


def make_config(
    images: Images,
    recipe: Recipe,
    options: TrainOptions,
    counts: tuple[int, int] | None = None,
) -> RunConfig:
    """The full configuration of a new run of ``recipe``.

    Args:
        counts: the numbers of all images and of training images, if ``images`` is a sample of them.
    """
    length = options.length()
    total_count, count = counts or (len(images), int(is_trained_on(images, recipe).sum()))
    if not count:
        raise UserError(f"{images.source} names no training images, only other parts; add those to train on")
    conditions: tuple[Condition, ...] = ()
    if recipe.is_conditional:
        conditions = conditions_of(images, is_trained_on(images, recipe))
        recipe = replace(recipe, condition_size=size_of(conditions))
    row = resolve(recipe, images.shape, count)
    assert row.epochs is not None
    epochs = row.epochs if length.epochs is None else length.epochs
    total = length.images or max(1, round(epochs * count))
    data = DataConfig(
        source=images.source,
        size=(images.shape[1], images.shape[2]),
        channels=images.shape[0],
        fingerprint=images.fingerprint,
        split_seed=images.split_seed,
        images=total_count,
        train_images=count,
        classes=images.classes,
        attributes=tuple(images.attributes),
        fit=images.form.fit,
        background=images.form.background,
        frames=images.form.frames,
        binarize=options.binarize,
    )
    if (
        row.likelihood == "bernoulli"
        and options.binarize is None
        and not all(map(is_binary, images.pixels.split(1024)))
    ):
        raise UserError(
            "likelihood=bernoulli needs binary pixels, and these images have gray levels; "
            f"give {argument('binarize', 'dynamic')} or {argument('likelihood', 'normal')}"
        )
    is_unbounded = row.likelihood in DENSITIES and (row.scale != "fixed" or row.likelihood == "continuous-bernoulli")
    if options.binarize and row.has_bound and is_unbounded:
        raise UserError(
            f"{argument('likelihood', row.likelihood)} is a density, which grows without bound on the two values of "
            f"{argument('binarize')}; leave it out for bernoulli, or give a probability such as discretized-logistic"
        )
    return RunConfig(
        replace(row, epochs=None),  # the length is not part of what a recipe is: a finished run can be extended
        data,
        total,
        options.seed,
        None if options.init is None else str(options.init),
        length.budget_seconds,
        window_images=max(1, _WINDOW_BYTES // images.pixels[0].numel()) if images.is_mapped else 0,
        patience=options.patience,
        notes=images.remarks,
        conditions=conditions,
    )


@dataclass(frozen=True)
class Watched:
    """Held-out images looked at after every epoch: for pictures and for numbers."""

    part: str
    pictured: Tensor
    validation: Selection

    @classmethod
    def of(cls, images: Images, recipe: Recipe, conditions: Sequence[Condition] = ()) -> Watched:
        part, rows = held_out(images, recipe)
        kept = images.selection(rows)
        labels = None if images.labels is None else images.labels[torch.from_numpy(rows)]
        return cls(
            part,
            kept[one_per_class(labels, len(kept), 10)],
            selected(images, rows[:_MOST_VALIDATION_IMAGES], conditions),
        )


def with_engine(config: RunConfig, device: torch.device, asked: Mapping[str, Any] | None = None) -> RunConfig:
    """The configuration with what is fastest on a device, and with what of :class:`Engine` was ``asked`` for."""
    row, most = config.recipe, (asked or {}).get("micro_batch") or config.data.train_images
    batch = min(row.batch_size or 0, most)
    return replace(config, engine=replace(_fastest_engine(device, row.net, batch), **asked or {}))


def _fastest_engine(device: torch.device, net: str, batch: int) -> Engine:
    """Networks in bfloat16 on GPUs that have it, and on processors with such products where these are what takes time.

    They do in residual networks, and in dense ones with large batches (``bench/precision.py``).
    """
    if device.type == "cuda":
        is_faster = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        is_large = net == "resnet" or (net == "mlp" and batch >= _LARGE_DENSE_BATCH)
        is_faster = device.type == "cpu" and is_large and has_bf16_products()
    return Engine(precision="bf16" if is_faster else "fp32")


def choose_threads(
    out: Path, device: torch.device, engine: Mapping[str, Any], team: Team = ALONE
) -> tuple[Choice, dict[str, Any]]:
    """How many threads train the run in ``out``, and ``engine`` with their number, as it is stored with the run.

    It is stored where it decides how sums are rounded: in one process on the CPU. The load is measured only if more
    than one thread may run.
    """
    named, limit = engine.get("threads"), torch.get_num_threads()
    if team.size > 1 or device.type != "cpu":
        rest = {name: value for name, value in engine.items() if name != "threads"}
        return Choice(named or limit), rest
    stored = runs.read_config(out).engine.threads if (out / "config.json").exists() else None
    load = recent_load() if (named or max(stored or 1, limit)) > 1 else None
    choice = choose(named, stored, limit, load, is_set_by_user())
    return choice, {**engine, "threads": choice.threads}
