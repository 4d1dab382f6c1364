"""Store the directions of a run in its folder, as ``directions.safetensors``.

Directions of labels and attributes can be fitted again if the file is damaged; those of folders cannot. A note
therefore says when the file is not used. If the folder is not writable, nothing is stored.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from torch import Tensor

from vaekit.errors import UserError, argument
from vaekit.latent.directions import METHODS, Direction
from vaekit.system.files import file_digest, load_tensors, save_tensors
from vaekit.system.notes import note_once
from vaekit.system.schema import COUNT, Choice, Range, record
from vaekit.system.tensor_layouts import Layout, fault

__all__ = ["Key", "directions_digest", "load_directions", "save_directions"]

Key = tuple[str, str, bool, int]  #: name, method, is_orthogonal, levels

_NAME = "directions.safetensors"


@dataclass(frozen=True)
class _Facts:
    """All fields of a :class:`Direction` except its vector."""

    method: Annotated[str, Choice(METHODS)]
    is_orthogonal: bool
    images_with: Annotated[int, COUNT]
    images_without: Annotated[int, COUNT]
    accuracy: Annotated[float | None, Range(0, 1)]
    held_out: Annotated[int, COUNT]
    held_out_from: str
    source: str = "data"
    levels: Annotated[int, COUNT] = 1


@dataclass(frozen=True)
class _Named:
    name: str
    direction: _Facts


@dataclass(frozen=True)
class _File:
    images_seen: Annotated[int, COUNT]
    directions: dict[str, Any]  #: :class:`_Named` by number of the tensor


def load_directions(folder: Path, images_seen: int, latent_dim: int) -> dict[Key, Direction]:
    """Load the stored directions, vectors ``[latent_dim]``.

    The result is empty if the file is damaged, or belongs to other weights, which have seen another number of images. A
    note says if directions of folders are lost.
    """
    path = folder / _NAME
    if not path.exists():
        return {}
    lost = f"directions of labels and attributes are fitted again, those of folders only with {argument('direction')}"
    try:
        tensors, facts = load_tensors(path)
        stored, directions = _read(path, tensors, facts, latent_dim)
    except UserError:
        note_once(f"{path} is damaged and not used; {lost}")
        return {}
    if stored.images_seen == images_seen:
        return directions
    if any(direction.source != "data" for direction in directions.values()):
        note_once(f"{path} belongs to earlier weights of the run and is not used; {lost}")
    return {}


def _read(path: Path, tensors: dict[str, Tensor], facts: Any, latent_dim: int) -> tuple[_File, dict[Key, Direction]]:
    stored = record(_File, facts, str(path), remedy="the file is damaged")
    named = {
        number: record(_Named, entry, str(path), f"directions.{number}.", "the file is damaged")
        for number, entry in stored.directions.items()
    }
    if wrong := fault(tensors, dict.fromkeys(named, Layout((latent_dim,)))):
        raise UserError(wrong)
    directions = {}
    for number, entry in named.items():
        key = (entry.name, entry.direction.method, entry.direction.is_orthogonal, entry.direction.levels)
        directions[key] = Direction(tensors[number], **asdict(entry.direction))
    return stored, directions


def directions_digest(folder: Path) -> str | None:
    """Return the SHA-256 of the stored directions, or None if there are none."""
    return file_digest(folder / _NAME)


def save_directions(folder: Path, directions: Mapping[Key, Direction], images_seen: int) -> None:
    """Store directions, if the folder is writable."""
    named = {str(i): (key[0], item) for i, (key, item) in enumerate(sorted(directions.items(), key=lambda kv: kv[0]))}
    tensors = {number: direction.vector for number, (_, direction) in named.items()}
    facts = {number: {"name": name, "direction": direction.facts()} for number, (name, direction) in named.items()}
    with contextlib.suppress(UserError):
        save_tensors(folder / _NAME, tensors, {"images_seen": images_seen, "directions": facts})
