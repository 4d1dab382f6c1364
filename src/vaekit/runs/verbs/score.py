"""Anomaly scores of images, with a threshold set by normal images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vaekit.data import Images, Selection, match_group
from vaekit.data.csv_table import check_table, write_table
from vaekit.data.subsets import held_out, is_trained_on
from vaekit.errors import UserError, argument
from vaekit.errors import counted as numbered
from vaekit.evaluation import anomaly, metrics
from vaekit.figures.grid import Sheet, in_color, stacked_sheet
from vaekit.latent import ops
from vaekit.runs import folder as runs
from vaekit.runs.context import ChosenImages, RunContext
from vaekit.runs.result import Result
from vaekit.runs.verbs.evaluate import check_pixels
from vaekit.system.notes import note
from vaekit.system.progress import Counted

__all__ = ["Scoring", "score"]

_MOST_NAMED = 5
_MAPS_OF_NORMAL = 200  # normal images for the color scale of maps


@dataclass(frozen=True)
class Scoring:
    """The settings of :func:`score`."""

    by: str | None = None  #: the score, or None for the first that the model has
    false_alarms: float = 0.05  #: largest fraction of new normal images to flag
    normal: Sequence[str] = ()  #: groups of the data that are normal, such as ``label:good``
    normal_images: Any = None  #: images that set the threshold, or None for the run's held-out images
    table: str | Path | None = None  #: CSV file to write
    count: int = 10  #: number of images to show


def score(run: RunContext, data: Any, split: str | None, seed: int, scoring: Scoring, counted: Counted) -> Result:
    """Score ``data``, or the run's own test part, and draw the most unusual images."""
    by = _checked(run, scoring)
    judged = run.choose(data, split)
    check_pixels(run, judged.opened)
    is_normal = _normal(run, judged.opened, scoring.normal)
    calm = _calm(run, scoring.normal_images, judged)
    anomaly.threshold_of(np.zeros(len(calm.pixels)), scoring.false_alarms)  # before a long measurement
    team = run.team(judged, seed=seed)
    usual, scores = (
        anomaly.scores_of(metrics.measure(run.model, pixels, seed, team=team, counted=counted).columns)
        for pixels in (calm.pixels, judged.pixels)
    )
    threshold = anomaly.threshold_of(usual[by], scoring.false_alarms)
    _say_which_are_own(run, judged, calm)
    lower = scores[by] < usual[by].min()
    _say_which_are_lower(run, judged, lower, len(calm.pixels))
    table = _table(judged, scores, scores[by] > threshold)
    if scoring.table is not None and run.leads:
        write_table(Path(scoring.table), table)
    strangest = np.argsort(-scores[by], kind="stable")[: scoring.count].copy()
    numbers = {
        "part": judged.part,
        "images": len(judged.pixels),
        "by": by,
        "threshold": threshold,
        "false_alarms": scoring.false_alarms,
        "calibrated_on": len(calm.pixels),
        "flagged": sum(table["flagged"]),
        "lower_than_normal": int(lower.sum()),
        **_separation(judged, is_normal, scores[by], threshold),
        "strangest": [
            {"name": table["name"][i], by: float(scores[by][i]), "flagged": bool(table["flagged"][i])}
            for i in strangest
        ],
    }
    return Result(_sheet(run, judged, strangest, calm.pixels, table), numbers, table)


def _checked(run: RunContext, scoring: Scoring) -> str:
    """Check the settings; return the name of the score."""
    by = anomaly.check_score(scoring.by, run.recipe.has_density)
    if scoring.count < 1:
        raise UserError(f"count {scoring.count}: expected at least 1 image", "count")
    if scoring.table is not None:
        check_table(Path(scoring.table))
    return by


def _table(judged: ChosenImages, scores: dict[str, np.ndarray], is_flagged: np.ndarray) -> dict[str, list[Any]]:
    """Return columns with the name and scores of each image, and whether it is flagged."""
    columns = {name: values.tolist() for name, values in scores.items()}
    return {"name": judged.names, **columns, "flagged": is_flagged.astype(int).tolist()}


def _separation(
    judged: ChosenImages, is_normal: np.ndarray | None, scores: np.ndarray, threshold: float
) -> dict[str, Any]:
    """Measure how well scores separate normal from other images, if both occur and are labeled."""
    if is_normal is None:
        return {}
    is_anomalous = ~is_normal[judged.rows]
    if is_anomalous.all() or not is_anomalous.any():
        return {}
    return anomaly.separation(scores, is_anomalous, threshold)


def _sheet(
    run: RunContext, judged: ChosenImages, strangest: np.ndarray, normal: Selection, table: dict[str, list[Any]]
) -> Sheet:
    """Draw the most unusual images, their reconstructions, and maps that are bright where they are unlikely.

    The name of each image is below it, and below its map whether it is flagged.
    """
    shown = judged.pixels[torch.from_numpy(strangest)]
    made = ops.reconstruct(run.model, shown)
    usual = normal[torch.arange(len(normal))[:: -(-len(normal) // _MAPS_OF_NORMAL)]]
    heat = anomaly.colored(*(anomaly.heat_maps(run.model, each) for each in (shown, usual)))
    pictures = (*(in_color(each) for each in (shown, made)), heat)
    sheet = stacked_sheet(*pictures, labels=("strangest", "reconstructed", "unlikely"))
    names = [Path(table["name"][i]).name for i in strangest]
    flagged = ["flagged" if table["flagged"][i] else "" for i in strangest]
    captions: list[str] = []
    for start in range(0, len(names), sheet.columns):
        block = slice(start, start + sheet.columns)
        captions += [*names[block], *([""] * len(names[block])), *flagged[block]]
    return replace(sheet, captions=tuple(captions))


def _say_which_are_own(run: RunContext, judged: ChosenImages, calm: _Calm) -> None:
    """Note which of the judged images were trained on or set the threshold, because the rate does not hold for them."""
    if not run.leads or judged.opened.fingerprint != run.config.data.fingerprint:
        return
    trained = int((is_trained_on(judged.opened, run.recipe) & judged.rows).sum())
    setters = int(judged.rows[calm.own_rows].sum())
    if trained or setters:
        total = len(judged.pixels)
        note(
            f"vaekit: of these {numbered(total, 'image')}, the run was trained on {trained:,} and {setters:,} set the "
            f"threshold; {argument('false_alarms')} holds for the other {total - trained - setters:,} only"
        )


def _say_which_are_lower(run: RunContext, judged: ChosenImages, lower: np.ndarray, normal: int) -> None:
    """Note the images that score lower than all normal ones; plain images of another kind often do."""
    if run.leads and lower.any():
        names = [judged.names[i] for i in np.flatnonzero(lower)]
        listed = ", ".join(names[:_MOST_NAMED]) + (
            f" and {len(names) - _MOST_NAMED:,} more" * (len(names) > _MOST_NAMED)
        )
        note(
            f"vaekit: {numbered(len(names), 'image')} scored lower than all {normal:,} normal images, as plain images "
            f"of another kind do; look at them too: {listed}"
        )


def _normal(run: RunContext, images: Images, groups: Sequence[str]) -> np.ndarray | None:
    """Return which images are normal, bool ``[N]``, if that is known."""
    labels = None if images.labels is None else images.labels.numpy()
    if groups:
        matched = [match_group(group, labels, images.classes, images.attributes) for group in groups]
        result: np.ndarray | None = np.logical_or.reduce(matched)
        return result
    if labels is None:
        return None
    normal = anomaly.normal_classes(images.classes, _classes_trained_on(run))
    return np.isin(labels, [images.classes.index(name) for name in normal]) if normal else None


def _classes_trained_on(run: RunContext) -> list[str]:
    stored = runs.load_latents(run.path, run.model.latent_dim)
    if stored is None or "labels" not in stored[0]:
        return list(run.config.data.classes)
    return [stored[1]["classes"][i] for i in stored[0]["labels"].unique().tolist()]


@dataclass(frozen=True, eq=False)
class _Calm:
    """Normal images that set the threshold."""

    pixels: Selection
    own_rows: np.ndarray  #: int ``[n]``, their rows in the run's own data; empty for other images


def _calm(run: RunContext, given: Any, judged: ChosenImages) -> _Calm:
    """Return normal images that were not trained on, to set the threshold.

    Raises:
        UserError: If there are none, or if they are all that is judged, because then the threshold would say nothing.
    """
    own = run.config.data.fingerprint
    opened = None if given is None else run.given(given)
    if opened is not None and opened.fingerprint != own:
        check_pixels(run, opened)
        return _Calm(opened.selection(np.ones(len(opened), bool)), np.empty(0, int))
    try:
        images = run.images() if opened is None else opened
    except UserError as error:
        raise UserError(f"{error.text}; a threshold needs normal images, give {argument('normal_images')}") from error
    part, held = held_out(images, run.recipe)
    if part == "train":
        raise UserError(
            f"{run.path} has no held-out images to set the threshold; give some as {argument('normal_images')}"
        )
    if judged.opened.fingerprint == own and judged.rows[held].sum() == judged.rows.sum():
        raise UserError(
            f"the {part} part of the run's own data sets the threshold, so it cannot be scored alone; give "
            f"{argument('split', 'all')}, other images, or other {argument('normal_images')}"
        )
    return _Calm(images.selection(held), held)
