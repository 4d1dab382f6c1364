"""What a run is: two frozen records that are written to ``config.json`` and read back to the letter.

The resolved recipe row is kept as a plain mapping, so that this module knows nothing of models; unknown keys are
refused when a run is loaded, because a run that is half understood gives wrong numbers without a word.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from vaekit.errors import UserError, nearest

__all__ = ["FORMAT_VERSION", "DataConfig", "Engine", "Length", "RunConfig"]

FORMAT_VERSION = 1


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
    size: tuple[int, int]  #: height and width in pixels
    channels: int  #: 1, 3, or 4 with alpha
    fingerprint: str  #: sha256 of the content, independent of the size
    split_seed: int = 0  #: seed of the train/val/test split
    images: int = 0  #: images in all parts together
    train_images: int = 0  #: images that are trained on
    classes: tuple[str, ...] = ()  #: label names
    attributes: tuple[str, ...] = ()  #: attribute columns
    fit: str = "crop"  #: how pictures of another shape are brought to the size: crop, pad or stretch
    background: str = "#ffffff"  #: behind what is transparent, around what is padded
    frames: str = "first"  #: of animations and of files with several pages: first or all
    binarize: str | None = None  #: pixels made black or white: dynamic, static or threshold; None: they are not

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

    precision: str = "fp32"  #: of the two networks in training: fp32 or bf16
    compiled: bool = False  #: through torch.compile
    micro_batch: int | None = None  #: images per forward pass; None: the whole batch


@dataclass(frozen=True)
class RunConfig:
    """Everything needed to build the same model again and to go on training it.

    >>> data = DataConfig("digits", (8, 8), 1, "00")
    >>> config = RunConfig(recipe={"name": "ae"}, data=data, total_images=100)
    >>> RunConfig.from_json(config.to_json()) == config
    True
    """

    recipe: dict[str, Any]  #: the resolved row of the recipe table
    data: DataConfig
    total_images: int  #: images to train on in all, epochs repeated
    seed: int = 0  #: of the initial weights, the order, the noise and the augmentation
    initial: str | None = None  #: the run whose weights it started from
    budget_seconds: float | None = None  #: the time that ``total_images`` was fixed for, if it was
    window_images: int = 0  #: images that are mixed at a time, for sets that lie on a disk; 0: all
    patience: int | None = None  #: epochs without improvement after which it ends; None: it never does
    engine: Engine = field(default=Engine())
    conditions: tuple[Condition, ...] = ()  #: what a conditional model is told of each image
    format_version: int = FORMAT_VERSION
    notes: tuple[str, ...] = field(default=())  #: what the user should know of the data, in plain words

    def to_json(self) -> str:
        """The record as indented JSON with a final newline."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str = "config.json") -> RunConfig:
        """Reads the record back; raises :class:`UserError` on broken JSON, an unknown key or a newer format."""
        try:
            raw = json.loads(text)
            version = raw["format_version"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{where} is not the configuration of a run ({error}); name another folder") from error
        if version != FORMAT_VERSION:
            raise UserError(f"{where} has format_version {version}, this vaekit reads {FORMAT_VERSION}; upgrade vaekit")
        raw["data"] = _build(DataConfig, raw.get("data", {}), where)
        raw["engine"] = _build(Engine, raw.get("engine", {}), where)
        raw["conditions"] = [_build(Condition, each, where) for each in raw.get("conditions", [])]
        config = _build(cls, raw, where)
        assert isinstance(config, RunConfig)
        return config


def _build(cls: type, raw: dict[str, Any], where: str) -> Any:
    if not isinstance(raw, dict):
        raise UserError(f"{where} has {raw!r} where a record was expected; the run folder is damaged")
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for key in raw:
        if key not in fields:
            raise UserError(f"{where} has the unknown key {key!r}; {nearest(key, fields)}")
    required = [
        n for n, f in fields.items() if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    missing = [name for name in required if name not in raw]
    if missing:
        raise UserError(f"{where} lacks {', '.join(missing)}; the run folder is damaged")
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()})
