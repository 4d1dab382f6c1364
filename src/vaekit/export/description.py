"""Schema of ``model.json`` in an export: the type and range of every value, checked when the file is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from vaekit.errors import UserError
from vaekit.system.regular_files import read_plain
from vaekit.system.schema import COUNT, POSITIVE, Choice, Pattern, Range, parse, record

__all__ = ["FORMAT_VERSION", "PRIOR", "Description", "read_description"]

FORMAT_VERSION = 1
PRIOR = "prior.onnx"

_REMEDY = "export the run again"
_MOST_BYTES = 1 << 26
_NOT_NEGATIVE = Range(0)
_SIDE = Range(1, 2**16)


@dataclass(frozen=True)
class ImageForm:
    """Preprocessing: how an image becomes the encoder's input, float32 ``[C, H, W]`` in [0, 1]."""

    channels: Annotated[int, Choice((1, 3, 4))]
    height: Annotated[int, _SIDE]
    width: Annotated[int, _SIDE]
    fit: Annotated[str, Choice(("crop", "pad", "stretch"))]
    background: Annotated[str, Pattern("#[0-9a-f]{6}", "a color such as #ffffff")]
    resampling: str
    scale: str


@dataclass(frozen=True)
class PriorFacts:
    """How to sample latents: ``mean + noise @ factor``, or by a network that has these moments.

    The factor is empty for a hierarchy, whose prior is a network, and for a grid, whose latents are the noise itself.
    """

    formula: str
    mean: tuple[float, ...]  #: ``[L]``
    factor: tuple[tuple[float, ...], ...]  #: ``[L, L]``, or empty
    network: str | None = None  #: missing in exports that predate network priors


@dataclass(frozen=True)
class CodeFacts:
    """The discrete codes of an image: ``rows`` times ``columns`` integers from 0 to ``count`` − 1."""

    rows: Annotated[int, _SIDE]
    columns: Annotated[int, _SIDE]
    count: Annotated[int, POSITIVE]


@dataclass(frozen=True)
class DirectionFacts:
    """A direction of the latent space. Fields with defaults occur only in early exports."""

    vector: tuple[float, ...]  #: ``[L]``
    method: Annotated[str, Choice(("adjusted", "means", "classifier"))]
    accuracy: Annotated[float | None, Range(0, 1)]
    is_orthogonal: bool = False
    images_with: Annotated[int, COUNT] = 0
    images_without: Annotated[int, COUNT] = 0
    held_out: Annotated[int, COUNT] = 0
    held_out_from: str = ""
    source: str = "data"


@dataclass(frozen=True)
class Distances:
    """Measured or allowed differences of latents and pictures from PyTorch; for codes, the share that differ."""

    pictures: Annotated[float, _NOT_NEGATIVE]
    latents: Annotated[float | None, _NOT_NEGATIVE] = None
    codes: Annotated[float | None, _NOT_NEGATIVE] = None  #: discrete codes; in earlier exports, latents


@dataclass(frozen=True)
class Comparison:
    """The comparison with PyTorch when the export was written."""

    images: Annotated[int, COUNT]
    largest_difference: Distances
    allowed: Distances


@dataclass(frozen=True)
class Description:
    """The content of ``model.json``."""

    format_version: int
    made_by: str
    precision: Annotated[str, Choice(("fp32", "fp16"))]
    image: ImageForm
    latent_dim: Annotated[int, POSITIVE]
    prior: PriorFacts | None  #: None for an autoencoder without a fitted prior, and for discrete codes
    directions: dict[str, DirectionFacts]
    recipe: str
    compared_with_pytorch: Comparison
    labels: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    codes: CodeFacts | None = None  #: if the networks use discrete codes in place of latents


def read_description(folder: Path) -> Description:
    """Read ``model.json`` of an export; raises :class:`UserError` for invalid values."""
    path = folder / "model.json"
    raw = parse(read_plain(path, _MOST_BYTES), str(path), _REMEDY)
    version = raw.get("format_version", FORMAT_VERSION) if isinstance(raw, dict) else FORMAT_VERSION
    if isinstance(version, int) and version != FORMAT_VERSION:
        raise UserError(f"{folder} has format {version}, but this vaekit reads {FORMAT_VERSION}; {_REMEDY}")
    return record(Description, raw, str(path), remedy=_REMEDY)
