"""What is to be said about a run, read from its folder: configuration, numbers, pictures. No markup here."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

import torch

from vaekit.config.run_config import RunConfig
from vaekit.config.table import Recipe
from vaekit.errors import printable, storable
from vaekit.evaluation.doctor.diagnosis import Diagnosis, diagnose
from vaekit.evaluation.doctor.next_command import next_command
from vaekit.model.factory import build_model, parameter_count
from vaekit.runs.folder import load_evidence, read_config, read_metrics
from vaekit.system.notes import note
from vaekit.system.regular_files import is_plain_folder, odd_kind

__all__ = ["QUANTITIES", "Facts", "Quantity", "number", "part_name"]

_PICTURE = re.compile(r"epoch-(\d+)-(reconstructions|samples)\.png")
_PARTS = {"test": "test", "val": "validation", "train": "training", "all": "all"}


@dataclass(frozen=True)
class Quantity:
    """A number that a run reports: its key in ``metrics.jsonl``, and what it means."""

    key: str
    name: str
    unit: str
    decimals: int
    meaning: str
    better: str  #: "higher", "lower", or "" where neither is better by itself


QUANTITIES = (
    Quantity(
        "psnr_db",
        "PSNR",
        "dB",
        2,
        "−10 log₁₀ of the mean squared error over all pixel values of all images on the [0,\u00a01] scale, "
        "decoded from the posterior mean",
        "higher",
    ),
    Quantity(
        "sse_per_image",
        "SSE",
        "per image",
        2,
        "sum of squared errors over the pixel values of an image on the [0,\u00a01] scale, mean over images",
        "lower",
    ),
    Quantity(
        "elbo_nats",
        "ELBO",
        "nats per image",
        1,
        "−distortion − rate, a lower bound on log p(x)",
        "higher",
    ),
    Quantity(
        "bits_per_dim",
        "Bits per dimension",
        "bits",
        3,
        "−ELBO over pixel values and log 2: a code for the images needs no more bits per pixel value",
        "lower",
    ),
    Quantity(
        "distortion_nats",
        "Distortion",
        "nats per image",
        1,
        "−log p(x|z) on average: what the latent leaves unsaid",
        "lower",
    ),
    Quantity(
        "rate_nats",
        "Rate",
        "nats per image",
        1,
        "KL(q(z|x) ‖ p(z)): what the latent says about an image beyond the prior",
        "",
    ),
)


def number(value: Any, decimals: int) -> str:
    """A number for people: thousands set apart, a true minus sign, a dash where there is none.

    >>> number(-1234.56, 1), number(None, 1), number(float("inf"), 2)
    ('−1,234.6', '–', '∞')
    """
    if not isinstance(value, int | float) or math.isnan(value):
        return "–"
    text = "∞" if math.isinf(value) else f"{abs(value):,.{decimals}f}"
    return f"−{text}" if value < 0 else text


def part_name(part: Any) -> str:
    """The name of a part of the data as people write it.

    >>> part_name("val")
    'validation'
    """
    return _PARTS.get(str(part), str(part))


@dataclass(frozen=True)
class Facts:
    """A run as its report sees it."""

    folder: Path
    config: RunConfig
    recipe: Recipe
    lines: list[dict[str, Any]]  #: of ``metrics.jsonl``

    @classmethod
    def of(cls, folder: Path) -> Facts:
        """Reads a run folder."""
        config = read_config(folder)
        return cls(folder, config, config.recipe, read_metrics(folder))

    @property
    def name(self) -> str:
        """The name of the run folder."""
        return storable(self.folder.resolve().name) or "run"

    @property
    def colours(self) -> str:
        """What kind of images they are, in a word or two."""
        kind = {1: "gray", 3: "colour"}.get(self.config.data.channels, "part-transparent colour")
        how = self.config.data.binarize
        return f"binarised ({how}) {kind}" if how else kind

    @property
    def source(self) -> str:
        """Where the images came from, without the folders above: those are nobody else's business."""
        return printable(PurePath(self.config.data.source.rstrip("/\\").replace("\\", "/")).name) or "array"

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """The lines of one kind: train, validation or final."""
        return [line for line in self.lines if line.get("kind") == kind]

    def last(self, kind: str) -> dict[str, Any]:
        """The last numbers of a kind (final, validation) by the keys of ``QUANTITIES``, if any."""
        line = (self.of_kind(kind) or [{}])[-1]
        own = {key.removeprefix(f"{kind}_"): value for key, value in line.items() if key.startswith(f"{kind}_")}
        return own | {"part": line.get("part")} if own else {}

    @property
    def numbers(self) -> dict[str, Any]:
        """The final numbers, or those of the last epoch of a run that did not end."""
        return self.last("final") or self.last("validation")

    @property
    def measured_on(self) -> str:
        """Which images :attr:`numbers` are about: ``1,000 test images``, ``all 40 images``."""
        part, count = self.numbers.get("part"), self.numbers.get("images")
        if part == "all":
            return "all images" if count is None else f"all {count:,} images"
        return f"{'the' if count is None else format(count, ',')} {part_name(part)} images"

    @property
    def pictured_on(self) -> str:
        """What the pictured images were to the run."""
        lines = self.of_kind("validation")
        seen_in_training = bool(lines) and lines[-1].get("part") == "train"
        return "images from the training set" if seen_in_training else "images that were never trained on"

    @property
    def has_density(self) -> bool:
        """Whether rate and bound have a meaning."""
        return self.recipe.has_density

    @property
    def images_seen(self) -> int:
        """Images trained on so far, repeats counted."""
        return max((int(line.get("images", 0)) for line in self.lines), default=0)

    @property
    def epochs(self) -> float:
        """Passes over the training images so far."""
        return self.images_seen / max(1, self.config.data.train_images)

    @property
    def images_per_second(self) -> float | None:
        """The median speed of training."""
        speeds = sorted(line.get("images_per_second") or 0.0 for line in self.of_kind("train"))
        return speeds[len(speeds) // 2] if speeds else None

    @cached_property
    def diagnosis(self) -> Diagnosis | None:
        """What the doctor said when the training ended, if it has."""
        evidence = load_evidence(self.folder)
        return None if evidence is None else diagnose(evidence)

    def next_command(self, diagnosis: Diagnosis) -> str:
        """The command that follows from a diagnosis, for who has the images and the run in the working folder."""
        initial = self.config.initial
        config = replace(self.config, initial=PurePath(initial).name if initial else None)
        return next_command(config, diagnosis, self.source, self.name)

    @cached_property
    def parameters(self) -> int:
        """Numbers that training changed."""
        with torch.device("meta"):  # shapes alone: nothing is allocated
            return parameter_count(build_model(self.recipe, (self.config.data.channels, *self.config.data.size)))

    @cached_property
    def pictures(self) -> dict[int, dict[str, Path]]:
        """Epoch → kind (reconstructions, samples) → file, epochs in order."""
        found: dict[int, dict[str, Path]] = {}
        folder = self.folder / "pictures"
        if os.path.lexists(folder) and not is_plain_folder(folder):
            note(f"vaekit: {folder} is left out ({odd_kind(folder) or 'a file'}, not a folder)")
            return found
        for path in sorted(folder.glob("epoch-*.png")):
            if match := _PICTURE.fullmatch(path.name):
                found.setdefault(int(match[1]), {})[match[2]] = path
        return dict(sorted(found.items()))
