"""The configuration of a new run, from its images, its recipe and the options."""

from __future__ import annotations

from dataclasses import replace

from vaekit.config.options import TrainOptions
from vaekit.config.parts import own_parts
from vaekit.config.run_config import Condition, DataConfig, RunConfig
from vaekit.config.table import Recipe
from vaekit.data import Images
from vaekit.data.subsets import is_binary, is_trained_on
from vaekit.errors import UserError, argument
from vaekit.model import registry
from vaekit.model.conditioning import conditions_of, size_of
from vaekit.model.factory import resolve

__all__ = ["make_config"]

_WINDOW_BYTES = 1 << 28  # of images that are shuffled at a time, for datasets on disk


def make_config(
    images: Images,
    recipe: Recipe,
    options: TrainOptions,
    counts: tuple[int, int] | None = None,
) -> RunConfig:
    """Return the full configuration of a new run.

    Args:
        images: The images, or a sample of them.
        recipe: The recipe to train.
        options: All other options.
        counts: Numbers of all images and of training images, if ``images`` is a sample.

    Raises:
        UserError: If there are no training images.
    """
    length = options.length()
    total_count, count = counts or (len(images), int(is_trained_on(images, recipe).sum()))
    if not count:
        raise UserError(f"{images.source} has no training images, only other parts; add training images")
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
    likelihood = registry.likelihood(row.likelihood)
    if likelihood.is_binary and options.binarize is None and not all(map(is_binary, images.pixels.split(1024))):
        raise UserError(
            f"likelihood={row.likelihood} needs binary pixels, but these images have gray levels; "
            f"give {argument('binarize', 'dynamic')} or {argument('likelihood', 'normal')}"
        )
    if options.binarize and row.has_bound and likelihood.is_unbounded(row):
        raise UserError(
            f"{argument('likelihood', row.likelihood)} is a density, which grows without bound on the two values of "
            f"{argument('binarize')}; leave it out for bernoulli, or give a probability such as discretized-logistic"
        )
    return RunConfig(
        replace(row, epochs=None),  # the length is not part of a stored recipe, because a finished run can be extended
        data,
        total,
        options.seed,
        None if options.init is None else str(options.init),
        length.budget_seconds,
        window_images=max(1, _WINDOW_BYTES // images.pixels[0].numel()) if images.is_mapped else 0,
        patience=options.patience,
        notes=images.remarks,
        parts=own_parts(row),
        conditions=conditions,
    )
