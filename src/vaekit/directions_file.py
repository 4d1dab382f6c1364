"""The directions that were found in a run, kept in its folder as ``directions.safetensors``.

They follow from the run and can be found again: a file that cannot be read counts as none, and where none can be
written none is kept.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from vaekit.directions import Direction
from vaekit.errors import UserError
from vaekit.runs import file_digest, load_tensors, save_tensors

__all__ = ["Key", "directions_digest", "load_directions", "save_directions"]

Key = tuple[str, str, bool]  #: name, method, whether orthogonal

_NAME = "directions.safetensors"


def load_directions(folder: Path, images_seen: int) -> dict[Key, Direction]:
    """What is kept; nothing if the weights have been trained on since (they had seen another number of images)."""
    try:
        tensors, facts = load_tensors(folder / _NAME)
        if facts["images_seen"] != images_seen:
            return {}
        return {
            (each["name"], each["direction"]["method"], each["direction"]["is_orthogonal"]): Direction(
                tensors[number], **each["direction"]
            )
            for number, each in facts["directions"].items()
        }
    except (UserError, KeyError, TypeError, AttributeError):
        return {}


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
