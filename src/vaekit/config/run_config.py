"""The configuration of a run: frozen records that are written to ``config.json`` and read back exactly.

Annotations give the type and the range of every value. A file with an unknown key or an invalid value is refused,
because ignoring it would give wrong numbers silently.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

from vaekit.config.parts import OwnPart, check_registered
from vaekit.config.recipe import DESCRIPTIONS, Recipe, check
from vaekit.errors import UserError, argument
from vaekit.pixels.choices import FITS, FRAMES
from vaekit.system.schema import COUNT, POSITIVE, Choice, Pattern, Range, parse, record

__all__ = [
    "BINARIZE",
    "FORMAT_VERSION",
    "PRECISIONS",
    "RESTORE",
    "Condition",
    "DataConfig",
    "Engine",
    "EngineFields",
    "Length",
    "RunConfig",
]

FORMAT_VERSION = 1

#: The remedy for a run without a valid configuration.
RESTORE = f"restore it from a copy, or train again with another {argument('out')}"

PRECISIONS = ("fp32", "bf16")

#: Kinds of binarization, and what models of such pixels are measured on.
BINARIZE = {
    "dynamic": "black and white pixels, drawn once as by static",
    "static": "black and white pixels, drawn once",
    "threshold": "black and white pixels, white from 128 on",
}

_INT64 = Range(-(2**63), 2**63 - 1)


@dataclass(frozen=True)
class Length:
    """How long to train: one of these, or the recipe's own number of epochs if none is given."""

    epochs: float | None = None
    images: int | None = None
    budget_seconds: float | None = None


@dataclass(frozen=True)
class DataConfig:
    """The source of the images, and how they were converted."""

    source: str  #: as the user named it: a built-in or known name, an absolute path, 'files' or 'array'
    size: Annotated[tuple[int, int], Range(1, 2**16)]  #: height and width in pixels
    channels: Annotated[int, Choice((1, 3, 4))]  #: 1, 3, or 4 with alpha
    fingerprint: str  #: sha256 of the content, independent of the size
    split_seed: Annotated[int, _INT64] = 0  #: seed of the train/val/test split
    images: Annotated[int, COUNT] = 0  #: images in all parts together
    train_images: Annotated[int, COUNT] = 0  #: images used for training
    classes: tuple[str, ...] = ()  #: label names
    attributes: tuple[str, ...] = ()  #: attribute columns
    #: how images of another aspect ratio are converted
    fit: Annotated[str, Choice(FITS)] = "crop"
    #: color behind transparent pixels and around padded images
    background: Annotated[str, Pattern("#[0-9a-f]{6}", "a color such as #ffffff")] = "#ffffff"
    #: frames used of animations and multi-page files
    frames: Annotated[str, Choice(FRAMES)] = "first"
    #: kind of binarization; None for none
    binarize: Annotated[str | None, Choice(tuple(BINARIZE))] = None

    @property
    def how_changed(self) -> str:
        """The predicate of a message about a changed fingerprint; a column split was an attribute in old runs."""
        if any(name.lower() == "split" for name in self.attributes):
            return "are divided by their column 'split' now, which was an attribute before,"
        return "have changed"


@dataclass(frozen=True)
class Condition:
    """A condition of a model: one of several values, or a number in a range."""

    name: str  #: label, or the name of a column
    values: tuple[str, ...] = ()  #: empty for a number
    low: float = 0.0  #: smallest value in training
    high: float = 1.0


@dataclass(frozen=True)
class Engine:
    """How a training is computed. Results differ only by rounding."""

    precision: Annotated[str, Choice(PRECISIONS)] = "fp32"  #: of the networks during training
    compiled: bool = False  #: with torch.compile
    micro_batch: Annotated[int | None, POSITIVE] = None  #: images per forward pass; None: the whole batch
    threads: Annotated[int | None, Range(1, 2**16)] = None  #: on the CPU; None: not stored (an older run, or a GPU)


class EngineFields(TypedDict, total=False):
    """Some fields of an :class:`Engine`, which override those of another one."""

    precision: str
    compiled: bool
    micro_batch: int | None
    threads: int | None


@dataclass(frozen=True)
class RunConfig:
    """Everything needed to build the same model again and to continue its training.

    >>> data = DataConfig("digits", (8, 8), 1, "00")
    >>> config = RunConfig(Recipe("ae"), data, total_images=100)
    >>> RunConfig.from_json(config.to_json()) == config
    True
    """

    recipe: Recipe  #: resolved
    data: DataConfig
    total_images: Annotated[int, POSITIVE]  #: training images in total, counting repeats
    seed: Annotated[int, _INT64] = 0  #: random seed
    initial: str | None = None  #: the run that provided the initial weights
    #: the budget that ``total_images`` was first computed from
    budget_seconds: Annotated[float | None, Range(0, 1e12)] = None
    window_images: Annotated[int, COUNT] = 0  #: images shuffled at a time, for datasets on disk; 0 for all
    #: epochs without improvement before training stops; None for no early stopping
    patience: Annotated[int | None, POSITIVE] = None
    engine: Engine = field(default=Engine())
    conditions: tuple[Condition, ...] = ()  #: of a conditional model
    format_version: int = FORMAT_VERSION
    notes: tuple[str, ...] = field(default=())  #: notes to the user about the data
    parts: tuple[OwnPart, ...] = ()  #: the user's parts; omitted from the file if empty

    def to_json(self) -> str:
        """Return indented JSON with a final newline."""
        values = dataclasses.asdict(self)
        if not self.parts:
            del values["parts"]
        return json.dumps(values, indent=2) + "\n"

    def trained_values(self) -> dict[str, Any]:
        """Return all values that the meaning of the weights depends on, by name, as JSON values.

        They are stored with the weights, so that a configuration that was edited later is detected. Values that may
        change are left out: the length, the engine, and where the images are.
        """
        whole = json.loads(self.to_json())
        values = {f"recipe.{name}": value for name, value in whole["recipe"].items() if name not in DESCRIPTIONS}
        values |= {f"data.{name}": value for name, value in whole["data"].items() if name != "source"}
        return values | {name: whole[name] for name in ("seed", "window_images", "conditions")}

    def changed_since(self, trained: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
        """Yield name, value and former value of what differs from the :meth:`trained_values` of a file."""
        values = self.trained_values()
        for name in values.keys() & trained.keys():
            if values[name] != trained[name]:
                yield name, values[name], trained[name]

    @classmethod
    def from_json(cls, text: str | bytes, where: str = "config.json") -> RunConfig:
        """Parse the JSON; raises :class:`UserError` if it is invalid (:mod:`vaekit.system.schema`)."""
        raw = parse(text, where, RESTORE)
        if not isinstance(raw, dict) or "format_version" not in raw:
            wrong = "has no format_version" if isinstance(raw, dict) else "is no JSON object"
            raise UserError(f"{where} is not the configuration of a run: it {wrong}; {RESTORE}")
        version = raw["format_version"]
        if version != FORMAT_VERSION:
            raise UserError(
                f"{where} has format_version {version}, but this vaekit reads {FORMAT_VERSION}; upgrade vaekit"
            )
        config = record(cls, raw, where)
        check_registered(config.recipe, config.parts, where)
        try:
            check(config.recipe)
        except UserError as error:
            raise UserError(f"{where}: recipe.{error}") from error
        return config
