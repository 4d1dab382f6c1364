"""What a run is: frozen records that are written to ``config.json`` and read back exactly.

Annotations give the type and the range of every value. A file with an unknown key or a value that does not fit is
refused, because a run that is only half understood gives wrong numbers silently.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Annotated

from vaekit.config.parts import OwnPart, check_registered
from vaekit.config.recipe import Recipe, check
from vaekit.errors import UserError
from vaekit.pixels.choices import FITS, FRAMES
from vaekit.system.schema import COUNT, POSITIVE, Choice, Pattern, Range, record

__all__ = ["BINARIZE", "FORMAT_VERSION", "PRECISIONS", "Condition", "DataConfig", "Engine", "Length", "RunConfig"]

FORMAT_VERSION = 1

PRECISIONS = ("fp32", "bf16")

#: A way to make pixels black or white, and what a model of such pixels is measured on.
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
    """Where the images came from and what they were turned into."""

    source: str  #: what the user named: a built-in, a set's name, an absolute path, 'files' or 'array'
    size: Annotated[tuple[int, int], Range(1, 2**16)]  #: height and width in pixels
    channels: Annotated[int, Choice((1, 3, 4))]  #: 1, 3, or 4 with alpha
    fingerprint: str  #: sha256 of the content, independent of the size
    split_seed: Annotated[int, _INT64] = 0  #: seed of the train/val/test split
    images: Annotated[int, COUNT] = 0  #: images in all parts together
    train_images: Annotated[int, COUNT] = 0  #: images that are trained on
    classes: tuple[str, ...] = ()  #: label names
    attributes: tuple[str, ...] = ()  #: attribute columns
    #: how pictures of another shape are brought to the size
    fit: Annotated[str, Choice(FITS)] = "crop"
    #: behind what is transparent, around what is padded
    background: Annotated[str, Pattern("#[0-9a-f]{6}", "a color such as #ffffff")] = "#ffffff"
    #: of animations and of files with several pages
    frames: Annotated[str, Choice(FRAMES)] = "first"
    #: how pixels are made black or white; None: they are not
    binarize: Annotated[str | None, Choice(tuple(BINARIZE))] = None

    @property
    def how_changed(self) -> str:
        """What to say when the fingerprint differs; before column split named the parts it was an attribute."""
        if any(name.lower() == "split" for name in self.attributes):
            return "are divided by their column 'split' now, which was an attribute before,"
        return "have changed"


@dataclass(frozen=True)
class Condition:
    """A part of what a model is told of an image: one of some values, or a number between two."""

    name: str  #: label, or the name of a column
    values: tuple[str, ...] = ()  #: empty: it is a number
    low: float = 0.0  #: of the numbers in training
    high: float = 1.0


@dataclass(frozen=True)
class Engine:
    """How the same training is computed: results differ by rounding alone."""

    precision: Annotated[str, Choice(PRECISIONS)] = "fp32"  #: of the two networks in training
    compiled: bool = False  #: through torch.compile
    micro_batch: Annotated[int | None, POSITIVE] = None  #: images per forward pass; None: the whole batch
    threads: Annotated[int | None, Range(1, 2**16)] = None  #: on the CPU; None: not stored (an older run, or a GPU)


@dataclass(frozen=True)
class RunConfig:
    """Everything needed to build the same model again and to go on training it.

    >>> data = DataConfig("digits", (8, 8), 1, "00")
    >>> config = RunConfig(Recipe("ae"), data, total_images=100)
    >>> RunConfig.from_json(config.to_json()) == config
    True
    """

    recipe: Recipe  #: the resolved row of the recipe table
    data: DataConfig
    total_images: Annotated[int, POSITIVE]  #: images to train on in all, epochs repeated
    seed: Annotated[int, _INT64] = 0  #: of the initial weights, the order, the noise and the augmentation
    initial: str | None = None  #: the run whose weights it started from
    #: the time that ``total_images`` was fixed for, if it was
    budget_seconds: Annotated[float | None, Range(0, 1e12)] = None
    window_images: Annotated[int, COUNT] = 0  #: images that are mixed at a time, for sets that lie on a disk; 0: all
    #: epochs without improvement after which it ends; None: it never does
    patience: Annotated[int | None, POSITIVE] = None
    engine: Engine = field(default=Engine())
    conditions: tuple[Condition, ...] = ()  #: what a conditional model is told of each image
    format_version: int = FORMAT_VERSION
    notes: tuple[str, ...] = field(default=())  #: what the user should know of the data, in plain words
    parts: tuple[OwnPart, ...] = ()  #: parts of the recipe that are not vaekit's; without any it is not in the file

    def to_json(self) -> str:
        """The record as indented JSON with a final newline."""
        values = dataclasses.asdict(self)
        if not self.parts:
            del values["parts"]
        return json.dumps(values, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str = "config.json") -> RunConfig:
        """Reads the record back; raises :class:`UserError` for anything else (:mod:`vaekit.system.schema`)."""
        try:
            raw = json.loads(text)
            version = raw["format_version"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(
                f"{where} is not the configuration of a run ({_why(error)}); name another folder"
            ) from error
        if version != FORMAT_VERSION:
            raise UserError(f"{where} has format_version {version}, this vaekit reads {FORMAT_VERSION}; upgrade vaekit")
        config = record(cls, raw, where)
        check_registered(config.recipe, config.parts, where)
        try:
            check(config.recipe)
        except UserError as error:
            raise UserError(f"{where}: recipe.{error}") from error
        return config


def _why(error: Exception) -> str:
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)
