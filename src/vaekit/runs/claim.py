"""Prepare the folder of a training: check it, lock it, compare it with the run in it, and clean up after a failure."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from vaekit.config.run_config import RESTORE, EngineFields, Length, RunConfig
from vaekit.config.table import DESCRIPTIONS
from vaekit.errors import UserError, argument
from vaekit.runs import folder as runs
from vaekit.system.files import atomic_write_text
from vaekit.system.locks import only_writer
from vaekit.system.new_folder import refuse_bytes

__all__ = ["check_folder", "claim", "meet_folder"]


def check_folder(out: Path) -> None:
    """Refuse an ``out`` that is a file, or a folder that contains anything other than a run."""
    refuse_bytes(out)
    if out.exists() and not out.is_dir():
        raise UserError(f"{argument('out')} {out} is a file; give a folder")
    if out.is_dir() and not (out / "config.json").exists() and any(not runs.is_leftover(p) for p in out.iterdir()):
        if runs.has_state(out):
            raise UserError(f"{argument('out')} {out} contains a run, but its config.json is missing; {RESTORE}")
        raise UserError(f"{argument('out')} {out} contains files but no run; give a new or empty folder")
    for path in out.iterdir() if out.is_dir() else ():
        if path.is_symlink():
            raise UserError(
                f"{path} is a link, and runs are not written through links; replace it or give another "
                f"{argument('out')}"
            )


def meet_folder(
    out: Path, config: RunConfig, length: Length, engine: EngineFields | None = None
) -> tuple[RunConfig, bool]:
    """Compare a new configuration with the run in ``out``, if there is one; call it inside :func:`claim`.

    Args:
        out: The run folder.
        config: The requested configuration.
        length: The requested length.
        engine: The requested engine fields. The others come from the stored run.

    Returns:
        The configuration to train with, and whether the run is new.

    Raises:
        UserError: If the stored run has other images or settings.
    """
    if not (out / "config.json").exists():
        return config, True
    stored = runs.read_config(out)
    if not runs.has_state(out) and any(line.get("kind") == "final" for line in runs.read_metrics(out)):
        raise UserError(
            f"{argument('out')} {out} contains a trained model without a state to resume from; give another "
            f"{argument('out')}, and {argument('init', out)} to start from its weights"
        )
    patience = stored.patience if config.patience is None else config.patience
    old = replace(stored, engine=replace(stored.engine, **engine or {}), patience=patience)
    if (
        config.data.source == old.data.source
        and Path(old.data.source).exists()
        and config.data.fingerprint != old.data.fingerprint
    ):
        raise UserError(
            f"the images in {config.data.source} {old.data.how_changed} since "
            f"{argument('out')} {out} was started: "
            f"{_counts(config.data.images, old.data.images)}; give another "
            f"{argument('out')}, and {argument('init', out)} to start from its weights"
        )
    for name, mine, theirs in _differences(config, old):
        raise UserError(
            f"{argument('out')} {out} contains another run: its {name} is {theirs}, not {mine}; give another "
            f"{argument('out')}"
        )
    if length.budget_seconds is not None and length.budget_seconds != old.budget_seconds:
        raise UserError(
            f"{argument('out')} {out} was started with another length; extend it with {argument('epochs')} or "
            f"{argument('images')}"
        )
    if length.budget_seconds is None and config.total_images > old.total_images:
        old = replace(old, total_images=config.total_images, budget_seconds=None)
    if (old.total_images, old.patience) != (stored.total_images, stored.patience):
        for derived in ("report.html", "latents.safetensors", "doctor.json"):  # they belong to the old weights
            (out / derived).unlink(missing_ok=True)
    if old != stored:
        atomic_write_text(out / "config.json", old.to_json())
    return old, False


def _counts(now: int, then: int) -> str:
    if now == then:
        return f"still {now:,} images, but other ones"
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


@contextmanager
def claim(out: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Create the folder if necessary and lock it; a second process is refused.

    A new run that fails before its first state leaves nothing behind, including the folders created for it.
    """
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{argument('out')} {out} cannot be written: {error.strerror}; choose another folder"
            ) from error
        with only_writer(out, say):
            is_new = not (out / "config.json").exists()
            try:
                yield
            except BaseException:
                if is_new and not runs.has_state(out):
                    _empty(out)
                raise
    except BaseException:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        raise


def _empty(folder: Path) -> None:
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
