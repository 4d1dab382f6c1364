"""Compare a requested training with the run in its folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vaekit.config.run_config import RunConfig
from vaekit.config.table import DESCRIPTIONS
from vaekit.errors import UserError, argument, counted

__all__ = ["check_same"]


def check_same(out: Path, config: RunConfig, stored: RunConfig) -> None:
    """Refuse other images or settings than those of the run."""
    if (
        config.data.source == stored.data.source
        and Path(stored.data.source).exists()
        and config.data.fingerprint != stored.data.fingerprint
    ):
        raise UserError(
            f"the images in {config.data.source} {stored.data.how_changed} since "
            f"{argument('out')} {out} was started: "
            f"{_counts(config.data.images, stored.data.images)}; give another "
            f"{argument('out')}, and {argument('init', out)} to start from its weights"
        )
    for name, mine, theirs in _differences(config, stored):
        shown = [f"{each[0]}x{each[1]}" if name == "data size" else each for each in (theirs, mine)]
        differs = (
            "it was trained on other images"
            if name == "data fingerprint"
            else f"its {name} is {shown[0]}, not {shown[1]}"
        )
        raise UserError(f"{argument('out')} {out} contains another run: {differs}; give another {argument('out')}")


def _counts(now: int, then: int) -> str:
    if now == then:
        return f"still {counted(now, 'image')}, but not the same"
    return f"{now:,} now, {then:,} then"


def _differences(mine: RunConfig, theirs: RunConfig) -> Iterator[tuple[str, Any, Any]]:
    for name in ("fingerprint", "size", "channels", "fit", "background", "frames", "binarize", "split_seed"):
        if getattr(mine.data, name) != getattr(theirs.data, name):
            yield f"data {name}", getattr(mine.data, name), getattr(theirs.data, name)
    here, there = (config.recipe.to_dict() for config in (mine, theirs))
    for name in sorted(here, key=lambda name: (name != "name", name)):
        if name not in DESCRIPTIONS and here[name] != there[name]:
            yield name if name != "name" else "recipe", here[name], there[name]
    for name in ("seed", "initial"):
        if getattr(mine, name) != getattr(theirs, name):
            yield name, getattr(mine, name), getattr(theirs, name)
