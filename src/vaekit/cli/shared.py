"""What several verbs do before and after their work."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vaekit.errors import printable
from vaekit.notes import note
from vaekit.say import say

__all__ = ["check_out", "counted", "loaded", "save"]


def loaded(run: Path, device: str) -> Any:
    from vaekit import api

    opened = api.load(run, device)
    if not opened.is_finished and opened.leads:
        seen, total = opened.images_seen(), opened.config.total_images
        note(f"vaekit: {printable(str(run))} is not finished, its weights are those after {seen:,} of {total:,} images")
    return opened


def save(
    sheet: Any,
    out: Path | None,
    run: Path,
    verb: str,
    numbers: Mapping[str, Any] | None = None,
    as_json: bool = False,
    moves: bool = False,
) -> None:
    from vaekit.animation import animated
    from vaekit.team import join

    if not join().leads:
        return
    path = out or Path(f"{os.path.basename(os.path.abspath(run))}-{verb}.{'webp' if moves else 'png'}")
    (animated(sheet) if moves else sheet).save(path)
    say({"picture": str(path), **(numbers or {})}, as_json)


def check_out(out: Path | None) -> None:
    """Before long work."""
    from vaekit.pictures import check_ending

    if out is not None:
        check_ending(out)


def counted(run: Any) -> Any:
    from vaekit.progress import counted_aloud, counted_silently

    return counted_aloud() if run.leads else counted_silently
