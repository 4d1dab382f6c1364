"""The directions that were found in a run, kept in its folder as ``directions.safetensors``.

Those of labels and attributes follow from the run and are fitted again when the file is damaged. Those of folders are
not, so a file that is not used is said in a note. Where the folder cannot be written to, none is kept.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from torch import Tensor

from vaekit.errors import UserError
from vaekit.latent.directions import METHODS, Direction
from vaekit.system.files import file_digest, load_tensors, save_tensors
from vaekit.system.notes import note_once
from vaekit.system.schema import COUNT, Choice, Range, record
from vaekit.system.tensor_layouts import Layout, fault

__all__ = ["Key", "directions_digest", "load_directions", "save_directions"]

Key = tuple[str, str, bool]  #: name, method, whether orthogonal

_NAME = "directions.safetensors"


@dataclass(frozen=True)
class _Facts:
    """Everything of a :class:`Direction` but its vector."""

    method: Annotated[str, Choice(METHODS)]
    is_orthogonal: bool
    images_with: Annotated[int, COUNT]
    images_without: Annotated[int, COUNT]
    accuracy: Annotated[float | None, Range(0, 1)]
    held_out: Annotated[int, COUNT]
    held_out_from: str
    source: str = "data"


@dataclass(frozen=True)
class _Named:
    name: str
    direction: _Facts


@dataclass(frozen=True)
class _File:
    images_seen: Annotated[int, COUNT]
    directions: dict[str, Any]  #: number of the tensor → :class:`_Named`


def load_directions(folder: Path, images_seen: int, latent_dim: int) -> dict[Key, Direction]:
    """What is kept: directions ``[latent_dim]``.

    Nothing if the file is damaged, or if the weights have been trained on since (they had seen another number of
    images). Directions of folders are then lost, and a note says so.
    """
    path = folder / _NAME
    if not path.exists():
        return {}
    lost = "those of labels and attributes are fitted again; add those of folders again"
    try:
        tensors, facts = load_tensors(path)
        kept, found = _read(path, tensors, facts, latent_dim)
    except UserError as error:
        note_once(f"{path} is damaged and not used: {str(error).removeprefix(str(path)).strip(': ')}; {lost}")
        return {}
    if kept.images_seen == images_seen:
        return found
    if any(each.source != "data" for each in found.values()):
        note_once(f"{path} belongs to earlier weights of the run and is not used; {lost}")
    return {}


def _read(path: Path, tensors: dict[str, Tensor], facts: Any, latent_dim: int) -> tuple[_File, dict[Key, Direction]]:
    kept = record(_File, facts, str(path), remedy="the file is damaged")
    named = {
        number: record(_Named, each, str(path), f"directions.{number}.", "the file is damaged")
        for number, each in kept.directions.items()
    }
    if wrong := fault(tensors, dict.fromkeys(named, Layout((latent_dim,)))):
        raise UserError(wrong)
    found = {}
    for number, each in named.items():
        key = (each.name, each.direction.method, each.direction.is_orthogonal)
        found[key] = Direction(tensors[number], **asdict(each.direction))
    return kept, found


def directions_digest(folder: Path) -> str | None:
    """The SHA-256 of what is kept, if anything is."""
    return file_digest(folder / _NAME)


def save_directions(folder: Path, directions: Mapping[Key, Direction], images_seen: int) -> None:
    """Keeps them, if the folder can be written to."""
    named = {str(i): (key[0], each) for i, (key, each) in enumerate(sorted(directions.items(), key=lambda kv: kv[0]))}
    tensors = {number: each.vector for number, (_, each) in named.items()}
    facts = {number: {"name": name, "direction": each.facts()} for number, (name, each) in named.items()}
    with contextlib.suppress(UserError):
        save_tensors(folder / _NAME, tensors, {"images_seen": images_seen, "directions": facts})
