"""Anomaly scores of images, with a threshold set by normal images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vaekit.data import Images, Selection, match_group
from vaekit.data.csv_table import check_table, write_table
from vaekit.data.subsets import held_out
from vaekit.errors import UserError, argument
from vaekit.evaluation import anomaly, metrics
from vaekit.figures.grid import Sheet, in_color, stacked_sheet
from vaekit.latent import ops
from vaekit.runs import folder as runs
from vaekit.runs.context import ChosenImages, RunContext
from vaekit.runs.result import Result
from vaekit.runs.verbs.evaluate import check_pixels
from vaekit.system.progress import Counted

__all__ = ["Scoring", "score"]

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
    anomaly.threshold_of(np.zeros(len(calm)), scoring.false_alarms)  # before a long measurement
    team = run.team(judged, seed=seed)
    usual, scores = (
        anomaly.scores_of(metrics.measure(run.model, pixels, seed, team=team, counted=counted).columns)
        for pixels in (calm, judged.pixels)
    )
    threshold = anomaly.threshold_of(usual[by], scoring.false_alarms)
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
        "calibrated_on": len(calm),
        "flagged": sum(table["flagged"]),
        **_separation(judged, is_normal, scores[by], threshold),
        "strangest": [{"name": table["name"][i], by: float(scores[by][i])} for i in strangest],
    }
    return Result(_sheet(run, judged.pixels, strangest, calm), numbers, table)


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


def _sheet(run: RunContext, pixels: Selection, strangest: np.ndarray, normal: Selection) -> Sheet:
    """Draw the most unusual images, their reconstructions, and maps that are bright where they are unlikely."""
    shown = pixels[torch.from_numpy(strangest)]
    made = ops.reconstruct(run.model, shown)
    usual = normal[torch.arange(len(normal))[:: -(-len(normal) // _MAPS_OF_NORMAL)]]
    heat = anomaly.colored(*(anomaly.heat_maps(run.model, each) for each in (shown, usual)))
    pictures = (*(in_color(each) for each in (shown, made)), heat)
    return stacked_sheet(*pictures, labels=("strangest", "reconstructed", "unlikely"))


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


def _calm(run: RunContext, given: Any, judged: ChosenImages) -> Selection:
    """Return normal images that set the threshold: neither trained on nor judged."""
    own = run.config.data.fingerprint
    opened = None if given is None else run.given(given)
    if opened is not None and opened.fingerprint != own:
        check_pixels(run, opened)
        return opened.selection(np.ones(len(opened), bool))
    try:
        images = run.images() if opened is None else opened
    except UserError as error:
        raise UserError(f"{error.text}; a threshold needs normal images, give {argument('normal_images')}") from error
    part, held = held_out(images, run.recipe)
    if part == "train":
        raise UserError(
            f"{run.path} has no held-out images to set the threshold; give some as {argument('normal_images')}"
        )
    if judged.opened.fingerprint == own and judged.rows[held].any():
        raise UserError(
            f"the {part} part of the run's own data sets the threshold, so it cannot be scored; score other images or "
            f"another {argument('split')}, or give other {argument('normal_images')}"
        )
    return images.selection(held)
