"""Directions of a run: fitted on its stored latents or on two folders of images, and stored in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from vaekit.data.subsets import held_out
from vaekit.errors import UserError
from vaekit.latent import ops
from vaekit.latent.directions import Column, Direction, check_method, columns_of, fit_all, method_of_folders, named
from vaekit.latent.directions_store import load_directions, save_directions
from vaekit.latent.levels import top_size
from vaekit.latent.ops import stored_columns
from vaekit.runs.context import RunContext, files_of
from vaekit.system.rng import keys_of

__all__ = ["add_direction", "directions", "names_without_direction"]

_ENOUGH_TO_HOLD_OUT = 5  # images in each folder


def directions(
    run: RunContext, method: str = "adjusted", is_orthogonal: bool = False, levels: int = 1
) -> dict[str, Direction]:
    """Return the directions of labels, attributes and folders by name, over the first levels of a hierarchy.

    They are stored if the folder is writable, and no training writes to it.
    """
    run.needs("edit")
    check_method(method)
    run.moved(levels)
    seen = run.images_seen()
    known = load_directions(run.path, seen, run.model.latent_dim)
    wanted = (method, is_orthogonal, levels)
    if not any(each.source == "data" and key[1:] == wanted for key, each in known.items()):
        tensors, facts = run.stored()
        columns = columns_of(*stored_columns(tensors, facts))
        if columns:
            held = _held_out_latents(run, columns, levels)
            fitted = fit_all(_top(run, tensors["latents"], levels), columns, held, method, is_orthogonal)
            known |= {(name, *wanted): _whole(run, each, levels) for name, each in fitted.items()}
            with suppress(UserError), run.writing():
                if run.leads:
                    save_directions(run.path, known, seen)
    of_data = {key[0]: each for key, each in known.items() if each.source == "data" and key[1:] == wanted}
    return {key[0]: each for key, each in known.items() if each.source != "data" and key[3] == levels} | of_data


def add_direction(
    run: RunContext,
    name: str,
    with_: str,
    without: str,
    method: str = "means",
    is_orthogonal: bool = False,
    levels: int = 1,
) -> Direction:
    """Fit a direction on two folders of images, and store it in the run under ``name``, replacing an older one."""
    run.needs("edit")
    with run.writing():
        pass  # refuse at once, not after the work
    method = method_of_folders(method)
    own = directions(run, method, is_orthogonal, levels)
    if name in _columns(run):
        raise UserError(f"direction {name}: the data of {run.path} has a column of that name; choose another name")
    size = top_size(run.model, levels)
    apart = [each.vector[:size].double() for each in own.values() if each.source == "data"]
    pixels = [run.pixels(files_of(folder)) for folder in (without, with_)]
    if set(keys_of(pixels[0])) == set(keys_of(pixels[1])):
        raise UserError(
            f"direction {name}: {with_} and {without} contain the same images; give a folder of images with it, and "
            "another of images without it"
        )
    groups = [_top(run, ops.encode(run.model, images), levels) for images in pixels]
    fitted = _between_groups(groups, name, f"{with_} and {without}", method, is_orthogonal, apart)
    found = _whole(run, fitted, levels)
    seen = run.images_seen()
    with run.writing():
        known = load_directions(run.path, seen, run.model.latent_dim)
        others = {key: each for key, each in known.items() if (key[0], key[3]) != (name, levels)}
        if run.leads:
            save_directions(run.path, others | {(name, method, is_orthogonal, levels): found}, seen)
    return found


def names_without_direction(run: RunContext, known: Mapping[str, Direction]) -> set[str]:
    """Return the labels and attributes that have no direction."""
    return set(_columns(run)) - set(known)


def _columns(run: RunContext) -> dict[str, Column]:
    return columns_of(*stored_columns(*run.stored()))


def _top(run: RunContext, latents: Tensor, levels: int) -> Tensor:
    """Return the first levels of latents ``[N, L]``; a model without levels has one."""
    return latents[:, : top_size(run.model, levels)]


def _whole(run: RunContext, direction: Direction, levels: int) -> Direction:
    """Return the direction of the first levels as one of all, 0 on the others."""
    vector = torch.zeros(run.model.latent_dim)
    vector[: len(direction.vector)] = direction.vector
    return replace(direction, vector=vector, levels=levels)


def _between_groups(
    groups: list[Tensor], name: str, source: str, method: str, is_orthogonal: bool, apart: list[Tensor]
) -> Direction:
    """Fit the direction from the first group of latents to the second. A fifth is held out for the accuracy."""
    kept = np.concatenate([np.arange(len(latents)) % 5 == 4 for latents in groups])
    words = f"a fifth of {source}"
    if min(map(len, groups)) < _ENOUGH_TO_HOLD_OUT:
        kept, words = np.zeros_like(kept), "too few images to hold any out"
    has, latents = np.repeat([0.0, 1.0], [len(group) for group in groups]), torch.cat(groups)
    held = (latents[torch.from_numpy(kept)], {name: Column(name, has[kept], has[kept])}, words)
    columns = {name: Column(name, has[~kept], has[~kept])}
    fitted = fit_all(latents[torch.from_numpy(~kept)], columns, held, method, is_orthogonal, apart)
    return replace(named(fitted, name, () if fitted else (name,)), source=source)


def _held_out_latents(
    run: RunContext, like: Mapping[str, Column], levels: int
) -> tuple[Tensor, dict[str, Column], str] | None:
    """Return latents of the first levels and columns of the run's own held-out images, if they are available."""
    try:
        images = run.images()
    except UserError:
        return None
    part, rows = held_out(images, run.recipe)
    if part == "train":
        return None
    rows = ops.thinned(run.model, rows)
    labels = None if images.labels is None else images.labels.numpy()[rows]
    attributes = {name: column[rows] for name, column in images.attributes.items()}
    latents = _top(run, ops.encode(run.model, images.selection(rows)), levels)
    return latents, columns_of(labels, images.classes, attributes, like), f"{part} part"
