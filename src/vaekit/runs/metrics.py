"""What a run measures of itself and of other images: numbers, strangeness, and whether the training was healthy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaekit.config.capabilities import serves
from vaekit.data import BINARIZE, Images, Selection, match_group
from vaekit.data.csv_table import check_table, write_table
from vaekit.data.subsets import held_out, is_binary
from vaekit.errors import UserError, printable
from vaekit.evaluation import anomaly as anomalies
from vaekit.evaluation import metrics as evaluate
from vaekit.evaluation.disentanglement import disentanglement, factors_of
from vaekit.evaluation.doctor import examine as checkup
from vaekit.evaluation.doctor.diagnosis import Diagnosis, diagnose
from vaekit.evaluation.doctor.next_command import next_command
from vaekit.evaluation.features import Features, inception, small_classifier
from vaekit.evaluation.frechet import frechet_distance, kernel_distance, small_sample_warning
from vaekit.figures.grid import Sheet, in_colour, stacked_sheet
from vaekit.latent import ops as edit
from vaekit.model.conditioning import known_in, selected
from vaekit.model.latent_model import LatentModel
from vaekit.runs import folder as runs
from vaekit.runs.base import Opened
from vaekit.system.arguments import checked
from vaekit.system.progress import Counted, count_silently

__all__ = ["Measured", "Scored"]

_COMPARED_AT_ONCE = 64
_MAPS_OF_NORMAL = 200  # images whose maps say what is usual


@checked
@dataclass(frozen=True, eq=False)
class Measured(Opened):
    """A run with the verbs that measure."""

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
        factors: bool = False,
        counted: Counted = count_silently,
    ) -> dict[str, Any]:
        """Numbers on ``data``, or on the run's own test part; see :mod:`vaekit.evaluation.metrics` for what each one
        is.

        ``iwae_samples`` adds the importance-weighted bound of so many samples per image; ``samples`` the distances of
        so many new images from those measured (:mod:`vaekit.evaluation.frechet`), over a small classifier of our own
        or the Inception network whose weights lie in the file ``features`` (:mod:`vaekit.evaluation.features`);
        ``per_image`` names a CSV
        file that gets a line per image; ``factors`` adds how far the codes keep labels and attributes of the images
        apart (:mod:`vaekit.evaluation.disentanglement`). ``counted`` hears how far it is: what is done, of how many
        images.
        """
        if iwae_samples is not None:
            self._check_bound(iwae_samples)
        compared_by = self._features(samples, features)
        if per_image is not None:
            check_table(Path(per_image))
        opened, rows, part = self._chosen(data, split)
        self._check_pixels(opened)
        known = self._known(opened, rows) if factors else {}
        settings = {"--iwae": iwae_samples, "--samples": samples, "--factors": factors, "--seed": seed}
        team = self._team(opened, part, **settings)
        chosen = selected(opened, rows, self.config.conditions)
        found = evaluate.measure(
            self.model, chosen, seed, team=team, iwae_samples=iwae_samples or 0, with_ssim=True, counted=counted
        )
        if per_image is not None and self.leads:
            names = [printable(opened.names[i]) for i in np.flatnonzero(rows)]
            write_table(Path(per_image), {"name": names, **{k: v.tolist() for k, v in found.columns.items()}})
        numbers: dict[str, Any] = {"part": part, **found.numbers()}
        if found.kl_per_dim is not None:
            errors = found.kl_per_dim_error
            numbers["kl_per_dim_nats"] = found.kl_per_dim.tolist()
            numbers["kl_per_dim_nats_error"] = None if errors is None else errors.tolist()
        if samples is not None and compared_by is not None:
            numbers |= self._distances(chosen, samples, compared_by, seed, counted)
        if factors:
            numbers |= disentanglement(edit.encode(self.model, chosen, team=team), known, seed)
        if chosen.conditions is not None:
            numbers["told"] = known_in(self.config.conditions, chosen.conditions_of(slice(None)))
        kind = self.config.data.binarize
        if kind:
            numbers |= {"binarize": kind, "measured_on": BINARIZE[kind]}
        return numbers

    def score(
        self,
        data: Any = None,
        split: str | None = None,
        *,
        by: str | None = None,
        false_alarms: float = 0.05,
        normal: Sequence[str] = (),
        normal_images: Any = None,
        seed: int = 0,
        table: str | Path | None = None,
        count: int = 10,
        counted: Counted = count_silently,
    ) -> Scored:
        """How strange images of ``data`` (default: the run's own test part) are to the model
        (:mod:`vaekit.evaluation.anomaly`).

        ``by`` is the score to judge by. Images above the threshold are flagged; of further normal images at most the
        fraction ``false_alarms`` is, by the scores of ``normal_images``, by default the run's own held-out ones.
        Which images of ``data`` are normal, where that is known, says ``normal``, groups such as ``label:good``; by
        default those of classes that the run was trained on, or of one called good or normal. ``table`` names a CSV
        file that gets a line per image.
        """
        by = anomalies.check_score(by, self.row.has_density)
        if count < 1:
            raise UserError(f"count {count}: expected at least 1 image", "count")
        if table is not None:
            check_table(Path(table))
        opened, rows, part = self._chosen(data, split)
        self._check_pixels(opened)
        is_normal = self._normal(opened, normal)
        calm = self._calm(normal_images, opened, rows)
        anomalies.threshold_of(np.zeros(len(calm)), false_alarms)  # before a long measurement
        team, chosen = self._team(opened, part, **{"--seed": seed}), opened.selection(rows)
        usual = evaluate.measure(self.model, calm, seed, team=team, counted=counted).columns
        scores = anomalies.scores_of(evaluate.measure(self.model, chosen, seed, team=team, counted=counted).columns)
        threshold = anomalies.threshold_of(anomalies.scores_of(usual)[by], false_alarms)
        names = [printable(opened.names[i]) for i in np.flatnonzero(rows)]
        numbers: dict[str, Any] = {
            "part": part,
            "images": len(names),
            "by": by,
            "threshold": threshold,
            "false_alarms": false_alarms,
            "calibrated_on": len(calm),
            "flagged": int((scores[by] > threshold).sum()),
        }
        if is_normal is not None:
            is_anomalous = ~is_normal[rows]
            if is_anomalous.any() and not is_anomalous.all():
                numbers |= anomalies.separation(scores[by], is_anomalous, threshold)
        found = Scored(self.model, names, chosen, calm, scores, by, threshold, numbers, count)
        if table is not None and self.leads:
            write_table(Path(table), found.table())
        return found

    def doctor(self, data: Any = None) -> Diagnosis:
        """What is wrong with the training, if anything, and what to do (:mod:`vaekit.evaluation.doctor.diagnosis`).

        Looks at the run's own images again; ``data`` says where they are now, if they have moved.
        """
        images = self.images() if data is None else self._given(data)
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

    def _normal(self, images: Images, groups: Sequence[str]) -> np.ndarray | None:
        """bool ``[N]``: the images that are normal, where that is known."""
        labels = None if images.labels is None else images.labels.numpy()
        if groups:
            matched = [match_group(group, labels, images.classes, images.attributes) for group in groups]
            return np.logical_or.reduce(matched)
        if labels is None:
            return None
        normal = anomalies.found_among(images.classes, self._classes_trained_on())
        return np.isin(labels, [images.classes.index(name) for name in normal]) if normal else None

    def _classes_trained_on(self) -> list[str]:
        stored = runs.load_latents(self.path, self.model.latent_dim)
        if stored is None or "labels" not in stored[0]:
            return list(self.config.data.classes)
        return [stored[1]["classes"][i] for i in stored[0]["labels"].unique().tolist()]

    def _calm(self, given: Any, judged: Images, rows: np.ndarray) -> Selection:
        """Normal images that nothing was trained on, and that are not among those judged."""
        own = self.config.data.fingerprint
        opened = None if given is None else self._given(given)
        if opened is not None and opened.fingerprint != own:
            self._check_pixels(opened)
            return opened.selection(np.ones(len(opened), bool))
        try:
            images = self.images() if opened is None else opened
        except UserError as error:
            raise UserError(f"{error}; a threshold needs normal images, give --normal-images") from error
        part, held = held_out(images, self.row)
        if part == "train":
            raise UserError(f"{self.path} has no held-out images to set a threshold by; name some with --normal-images")
        if judged.fingerprint == own and rows[held].any():
            raise UserError(
                f"the {part} part of its own data sets the threshold and cannot be judged by it; judge other images or "
                "another --split, or name others with --normal-images"
            )
        return images.selection(held)

    def _check_pixels(self, images: Images) -> None:
        """Refuses grey levels where pixels are black or white."""
        if self.row.likelihood == "bernoulli" and not all(map(is_binary, images.pixels.split(1024))):
            raise UserError(
                f"{self.path} gives binary pixels a probability, and {images.source} has grey levels; name others"
            )

    def _known(self, images: Images, rows: np.ndarray) -> dict[str, np.ndarray]:
        """What is known of some of the images, a column per attribute; their class is called ``label``."""
        self.needs("factors")
        columns = {name: values[rows] for name, values in images.attributes.items()}
        if images.labels is not None:
            columns |= {"label": np.array(images.classes)[images.labels.numpy()[rows]]}
        factors_of(columns, images.source)  # says before a long measurement that there are none
        return columns

    def _features(self, samples: int | None, weights: str | Path | None) -> Features | None:
        """What so many samples are compared by: our own classifier, or Inception with weights from a file."""
        if samples is None:
            if weights is not None:
                raise UserError("--features is what samples are compared by; give --samples N too")
            return None
        if samples < 2:
            raise UserError(f"samples {samples}: expected at least 2 images", "samples")
        if not serves("generate", self.model):
            raise UserError(f"samples: {self.path} has no prior to draw images from; leave it out", "samples")
        device = next(self.model.parameters()).device
        return small_classifier(device) if weights is None else inception(weights, device)

    def _distances(
        self, real: Selection, count: int, features: Features, seed: int, counted: Counted
    ) -> dict[str, Any]:
        """How far ``count`` new images are from real ones."""
        if len(real) < 2:
            raise UserError("samples: expected at least 2 images to compare with", "samples")
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
            raise UserError(f"iwae_samples {samples}: expected at least 1 sample per image", "iwae_samples")
        if not self.row.has_density:
            raise UserError(
                f"iwae_samples: {self.path} is an autoencoder and has no bound; leave it out", "iwae_samples"
            )


@dataclass(frozen=True, eq=False, repr=False)
class Scored:
    """The scores of N images, with what they are judged by."""

    model: LatentModel
    names: list[str]
    pixels: Selection
    normal: Selection  #: the images that the threshold was set by
    scores: dict[str, np.ndarray]  #: float64 ``[N]`` each; more is stranger
    by: str
    threshold: float
    numbers: dict[str, Any]
    count: int  #: of the strangest to show

    def __repr__(self) -> str:
        return f"Scored({self.numbers['flagged']:,} of {len(self.names):,} images flagged, by {self.by})"

    def strangest(self) -> list[dict[str, Any]]:
        """The names of the highest scores, highest first, with them."""
        return [{"name": self.names[i], self.by: float(self.scores[self.by][i])} for i in self._order()]

    def table(self) -> dict[str, list[Any]]:
        """A column of names, one per score, and whether the image is flagged."""
        flagged = (self.scores[self.by] > self.threshold).astype(int).tolist()
        return {"name": self.names, **{k: v.tolist() for k, v in self.scores.items()}, "flagged": flagged}

    def sheet(self) -> Sheet:
        """The strangest images, what the model makes of them, and where they are unlikely, bright."""
        shown = self.pixels[torch.from_numpy(self._order())]
        made = edit.reconstruct(self.model, shown)
        usual = self.normal[torch.arange(len(self.normal))[:: -(-len(self.normal) // _MAPS_OF_NORMAL)]]
        heat = anomalies.coloured(*(anomalies.heat_maps(self.model, each) for each in (shown, usual)))
        pictures = (*(in_colour(each) for each in (shown, made)), heat)
        return stacked_sheet(*pictures, labels=("strangest", "reconstructed", "unlikely"))

    def _order(self) -> np.ndarray:
        return np.argsort(-self.scores[self.by], kind="stable")[: self.count].copy()


def _features_of(features: Features, pieces: Iterable[Tensor], count: int, what: str, counted: Counted) -> Tensor:
    found, done = [], 0
    for images in pieces:
        counted(what, done, count)
        found.append(features.of(images))
        done += len(images)
    return torch.cat(found)
