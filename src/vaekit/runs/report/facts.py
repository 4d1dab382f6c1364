"""Facts about a run for its reports, read from its folder: configuration, metrics, pictures."""

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
from vaekit.errors import counted, printable, storable
from vaekit.evaluation.doctor.diagnosis import Diagnosis, diagnose
from vaekit.evaluation.doctor.next_command import next_command
from vaekit.evaluation.metrics import LEVEL_RATE
from vaekit.model.factory import build_model, parameter_count
from vaekit.pixels.choices import COLORS
from vaekit.runs.folder import load_evidence, read_config, read_metrics
from vaekit.system.notes import note
from vaekit.system.regular_files import is_plain_folder, odd_kind

__all__ = ["QUANTITIES", "Facts", "Quantity", "number", "part_name"]

_PICTURE = re.compile(r"epoch-(\d+)-(reconstructions|samples)\.png")
_LEVEL_RATE = re.compile(rf"(?:validation|final)_{LEVEL_RATE}(\d\d?)")
_PARTS = {"test": "test", "val": "validation", "train": "training", "all": "all"}


@dataclass(frozen=True)
class Quantity:
    """A reported metric: its key in ``metrics.jsonl``, and its meaning."""

    key: str
    name: str
    unit: str
    decimals: int
    meaning: str
    better: str  #: "higher", "lower", or "" if neither is better by itself


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
        "sum of squared errors over the pixel values of an image on the [0,\u00a01] scale, averaged over images",
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
        "−ELBO per pixel value, divided by log 2: a lossless code needs no more bits per pixel value",
        "lower",
    ),
    Quantity(
        "distortion_nats",
        "Distortion",
        "nats per image",
        1,
        "average −log p(x|z): information that the latent does not carry",
        "lower",
    ),
    Quantity(
        "rate_nats",
        "Rate",
        "nats per image",
        1,
        "KL(q(z|x) ‖ p(z)): information about an image that the latent carries beyond the prior",
        "",
    ),
)


def _rate_of(level: int, levels: int) -> Quantity:
    """Return the rate of a level, which is a part of the whole rate."""
    place = ", the top" if level == 1 else ", the finest" if level == levels else ""
    meaning = "its part of the rate, given the levels above" if level > 1 else "its part of the rate"
    return Quantity(f"{LEVEL_RATE}{level}", f"Rate of level {level}{place}", "nats per image", 1, meaning, "")


def number(value: Any, decimals: int) -> str:
    """Format a number with thousands separators and a minus sign; a dash if it is missing.

    >>> number(-1234.56, 1), number(None, 1), number(float("inf"), 2)
    ('−1,234.6', '–', '∞')
    """
    if not isinstance(value, int | float) or math.isnan(value):
        return "–"
    text = "∞" if math.isinf(value) else f"{abs(value):,.{decimals}f}"
    return f"−{text}" if value < 0 else text


def part_name(part: Any) -> str:
    """Return the name of a part of the data for readers.

    >>> part_name("val")
    'validation'
    """
    return _PARTS.get(str(part), str(part))


@dataclass(frozen=True)
class Facts:
    """A run as its reports present it."""

    folder: Path
    config: RunConfig
    recipe: Recipe
    lines: list[dict[str, Any]]  #: ``metrics.jsonl``

    @classmethod
    def of(cls, folder: Path) -> Facts:
        """Read a run folder."""
        config = read_config(folder)
        return cls(folder, config, config.recipe, read_metrics(folder))

    @property
    def name(self) -> str:
        """The name of the run folder."""
        return storable(self.folder.resolve().name) or "run"

    @property
    def colors(self) -> str:
        """Description of the color mode."""
        kind = COLORS[self.config.data.channels]
        how = self.config.data.binarize
        return f"binarized ({how}) {kind}" if how else kind

    @property
    def source(self) -> str:
        """Name of the source, without the folders above it, which are private."""
        return printable(PurePath(self.config.data.source.rstrip("/\\").replace("\\", "/")).name) or "array"

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """Return the lines of one kind: train, validation or final."""
        return [line for line in self.lines if line.get("kind") == kind]

    @property
    def levels(self) -> int:
        """The number of levels of a hierarchy whose rates were measured; 0 for other models."""
        found = (_LEVEL_RATE.fullmatch(key) for line in self.lines for key in line)
        return max((int(match[1]) for match in found if match), default=0)

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """The reported metrics: :data:`QUANTITIES`, and the rate of each level of a hierarchy."""
        return (*QUANTITIES, *(_rate_of(number, self.levels) for number in range(1, 1 + self.levels)))

    def last(self, kind: str) -> dict[str, Any]:
        """Return the latest numbers of a kind (final, validation) by the keys of its quantities, or an empty dict."""
        line = (self.of_kind(kind) or [{}])[-1]
        own = {key.removeprefix(f"{kind}_"): value for key, value in line.items() if key.startswith(f"{kind}_")}
        return own | {"part": line.get("part")} if own else {}

    @property
    def numbers(self) -> dict[str, Any]:
        """The final metrics, or those of the last epoch of an unfinished run."""
        return self.last("final") or self.last("validation")

    @property
    def measured_on(self) -> str:
        """The images that :attr:`numbers` were measured on: ``1,000 test images``, ``all 40 images``."""
        part, count = self.numbers.get("part"), self.numbers.get("images")
        if part == "all":
            return "all images" if count is None else f"all {counted(count, 'image')}"
        return f"{'the' if count is None else format(count, ',')} {part_name(part)} images"

    @property
    def pictured_on(self) -> str:
        """Role of the pictured images."""
        lines = self.of_kind("validation")
        seen_in_training = bool(lines) and lines[-1].get("part") == "train"
        return "images from the training set" if seen_in_training else "images that were not used for training"

    @property
    def has_density(self) -> bool:
        """Whether the model has a rate and a bound."""
        return self.recipe.has_density

    @property
    def images_seen(self) -> int:
        """Images trained on so far, including repeats."""
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
        """The diagnosis at the end of training, or None if training has not finished."""
        evidence = load_evidence(self.folder)
        return None if evidence is None else diagnose(evidence)

    def next_command(self, diagnosis: Diagnosis) -> str:
        """Return the command that follows from a diagnosis, for a working folder with the images and the run."""
        initial = self.config.initial
        config = replace(self.config, initial=PurePath(initial).name if initial else None)
        return next_command(config, diagnosis, self.source, self.name)

    @cached_property
    def parameters(self) -> int:
        """Number of trained parameters."""
        with torch.device("meta"):  # shapes only, without allocation
            return parameter_count(build_model(self.recipe, (self.config.data.channels, *self.config.data.size)))

    @cached_property
    def pictures(self) -> dict[int, dict[str, Path]]:
        """Files by epoch and kind (reconstructions, samples), in order."""
        pictures: dict[int, dict[str, Path]] = {}
        folder = self.folder / "pictures"
        if os.path.lexists(folder) and not is_plain_folder(folder):
            note(f"vaekit: skipping {folder} ({odd_kind(folder) or 'a file'}, not a folder)")
            return pictures
        for path in sorted(folder.glob("epoch-*.png")):
            if match := _PICTURE.fullmatch(path.name):
                pictures.setdefault(int(match[1]), {})[match[2]] = path
        return dict(sorted(pictures.items()))
