"""The files of a run folder. Each is written atomically: into a draft folder, synced, then renamed.

    config.json, state.safetensors (the one before it: state-previous.safetensors), weights.safetensors,
    latents.safetensors, metrics.jsonl, doctor.json, pictures/, report.html, README.md

The state is written first, and is enough to resume; everything else is derived from it. Nothing is unpickled. A run may
come from a stranger, so only regular files are read, and nothing is written through a link.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vaekit.config.run_config import RESTORE, RunConfig
from vaekit.data.sources.archive import ARCHIVE_ENDINGS
from vaekit.errors import UserError, argument, printable
from vaekit.evaluation.doctor.evidence import Evidence
from vaekit.model.conditioning import size_of
from vaekit.model.factory import build_model
from vaekit.model.latent_model import LatentModel
from vaekit.runs.records import LatentFacts, StateFacts, WeightFacts, is_metrics_line, latents_fault
from vaekit.system import checksums as sums
from vaekit.system.drafts import clear_drafts, is_draft
from vaekit.system.files import (
    atomic_write_text,
    disk_errors,
    load_facts,
    load_tensors,
    readable,
    save_tensors,
    sync_folder,
)
from vaekit.system.locks import LOCK
from vaekit.system.notes import note_once
from vaekit.system.regular_files import odd_kind, open_descriptor, read_plain
from vaekit.system.schema import parse, record
from vaekit.system.tensor_layouts import fault, layouts_of

__all__ = [
    "append_metrics",
    "check_unchanged",
    "clear_leftovers",
    "has_state",
    "is_leftover",
    "load_evidence",
    "load_latents",
    "load_model",
    "load_state",
    "load_weights",
    "metrics_lack",
    "peek_state",
    "read_config",
    "read_metrics",
    "save_evidence",
    "save_state",
    "save_weights",
    "trim_metrics",
]

_STATES = ("state.safetensors", "state-previous.safetensors")  # newest first
_FILES = (
    *("config.json", "doctor.json", "metrics.jsonl", "weights.safetensors", "latents.safetensors"),
    *("directions.safetensors", "prior.safetensors", *_STATES),
)
_MOST_BYTES = 1 << 26  # of a JSON file
_MOST_METRICS_BYTES = 1 << 30


def save_state(
    folder: Path, tensors: dict[str, Tensor], facts: dict[str, Any], config: RunConfig | None = None
) -> None:
    """Write ``state.safetensors``; the previous one becomes ``state-previous.safetensors``.

    With ``config``, the state stores the values that it was trained with, and the length of the training.
    """
    if config is not None:
        facts = facts | {"trained": config.trained_values(), "total_images": config.total_images}
    newest = folder / "state.safetensors"
    incoming = folder / "state-next.safetensors"
    save_tensors(incoming, tensors, facts)
    with disk_errors(newest):
        if newest.exists():
            os.replace(newest, folder / "state-previous.safetensors")
        os.replace(incoming, newest)
        sync_folder(folder)


def has_state(folder: Path) -> bool:
    """Whether there is a state to resume from."""
    return any(os.path.lexists(folder / name) for name in _STATES)


def load_state(
    folder: Path,
    say: Callable[[str], None],
    fault_of: Callable[[dict[str, Tensor], dict[str, Any]], str | None] | None = None,
) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return the newest valid state, or None if there is none yet. Damaged ones are reported to ``say`` and removed.

    ``fault_of`` returns a description of what is wrong with a state, or None.
    """
    damaged: list[tuple[Path, str]] = []
    for path in (folder / name for name in _STATES):
        if not os.path.lexists(path):
            continue
        try:
            state = load_tensors(path)
            wrong = fault_of(*state) if fault_of else None
        except UserError:
            wrong = "it cannot be read"
        if wrong:
            damaged.append((path, wrong))
            continue
        for broken, reason in damaged:  # otherwise the next save would replace the good state by it
            say(f"{broken} is damaged; the previous state is used ({reason})")
            broken.unlink()
        if not sums.is_sealed(path):
            say(f"{path} is from an older vaekit and has no checksum, so damage would not be detected")
        return state
    if damaged:
        raise _no_state(folder, [broken for broken, _ in damaged])
    return None


def peek_state(folder: Path, config: RunConfig, say: Callable[[str], None] = lambda _: None) -> StateFacts | None:
    """Return the progress of the newest state that can be read, or None if there is no state. Nothing is removed.

    Raises:
        UserError: If no state can be read, or ``config`` is not the configuration that it was trained with.
    """
    paths = [folder / name for name in _STATES if os.path.lexists(folder / name)]
    damaged: list[Path] = []
    for path in paths:
        try:
            progress = record(StateFacts, load_facts(path), str(path))
        except UserError:
            damaged.append(path)
            continue
        for broken in damaged:
            say(f"{broken} is damaged; the previous state is used")
        check_unchanged(config, progress.trained, folder)
        if path.name == _STATES[0]:  # the previous one may be from before an extension
            _check_length(config, progress, folder)
        return progress
    if paths:
        raise _no_state(folder, paths)
    return None


def check_unchanged(config: RunConfig, trained: Mapping[str, Any] | None, folder: Path) -> None:
    """Refuse a configuration that is not the one that a file was trained with; None if it is from an older vaekit."""
    for name, now, then in config.changed_since(trained or {}):
        raise UserError(
            f"{folder / 'config.json'} has {name} = {now!r}, but the model was trained with {then!r}; restore that "
            "value, or give another run"
        )


def _check_length(config: RunConfig, progress: StateFacts, folder: Path) -> None:
    """Refuse a length that was edited; only an extension changes it."""
    now, then = config.total_images, progress.total_images
    if then is None or now in (then, progress.extended_from):
        return
    longer = f", and give more {argument('images')} to train longer" if now > then else ""
    raise UserError(
        f"{folder / 'config.json'} has total_images = {now}, but the training is one of {then} images; restore that "
        f"value{longer}"
    )


def _no_state(folder: Path, damaged: Sequence[Path]) -> UserError:
    named = " and ".join(path.name for path in damaged)
    return UserError(
        f"no state in {folder} can be read, because {named} {'is' if len(damaged) == 1 else 'are'} damaged; train "
        f"again with another {argument('out')}, and with {argument('init', folder)} to start from its weights"
    )


def read_config(folder: Path) -> RunConfig:
    """Read the configuration of a run; raises :class:`UserError` if ``folder`` is not one."""
    path = Path(folder) / "config.json"
    if not os.path.lexists(path):
        raise UserError(f"{folder} is not a run: {_why_no_run(Path(folder))}")
    _check_kinds(Path(folder))
    try:
        text = read_plain(path, _MOST_BYTES)
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({(error.strerror or 'unknown reason').lower()}); make it readable, or copy the run"
        ) from error
    config = RunConfig.from_json(text, str(path))
    _check_whole(config, str(path))
    for part in config.parts:
        if part.has_changed:
            named = f"{printable(part.source)}, which defines {part.kind}={part.name},"
            note_once(f"{named} has changed since the run {folder} began")
    return config


def _check_whole(config: RunConfig, where: str) -> None:
    """Refuse a configuration whose values contradict each other."""
    row = config.recipe
    chosen = {"width": row.width, "patch": row.patch, "latent_dim": row.latent_dim, "batch_size": row.batch_size}
    for name, value in chosen.items():
        if value is None:
            raise UserError(f"{where} is missing recipe.{name}; the run folder is damaged")
    if row.condition_size != size_of(config.conditions):
        raise UserError(
            f"{where} has recipe.condition_size = {row.condition_size}, but its conditions need "
            f"{size_of(config.conditions)}; the run folder is damaged"
        )


def _why_no_run(folder: Path) -> str:
    """Describe why a path without a config.json is not a run, and what to give instead."""
    remedy = "give a folder that 'vaekit train' wrote"
    if folder.is_file():
        is_archive = folder.name.lower().endswith(ARCHIVE_ENDINGS)
        return "it is an archive; unpack it and give the folder" if is_archive else f"it is a file; {remedy}"
    if not folder.is_dir():
        return f"there is no such folder; {remedy}"
    if (folder / "model.json").exists():
        return "it is an export; give the run that was exported"
    try:
        inside = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        return f"it cannot be read ({error.strerror}); {remedy}"
    if {"weights.safetensors", *_STATES} & {*inside}:
        return f"its config.json is missing; {RESTORE}"
    runs = [name for name in inside if (folder / name / "config.json").is_file()]
    if runs:
        return f"it contains runs; give one of them, such as {folder / runs[0]}"
    return f"it has no config.json; {remedy}" if inside else f"the folder is empty; {remedy}"


def _check_kinds(folder: Path) -> None:
    """Refuse a run with a link, pipe or device in place of a file, because it may come from a stranger."""
    for name in _FILES:
        if what := odd_kind(folder / name):
            raise UserError(
                f"{folder / name} is {what}, not a regular file; replace it by a copy of the file, or remove it"
            )


def load_model(folder: Path, device: str | torch.device = "cpu") -> tuple[LatentModel, RunConfig]:
    """Load the trained model of a run, in eval mode, with its configuration.

    Shapes are compared before the network is built, so a damaged configuration allocates nothing.

    Raises:
        UserError: If the weights do not fit the configuration or are not finite.
    """
    config = read_config(folder)
    weights = load_weights(Path(folder), config)
    model = build_model(config.recipe, (config.data.channels, *config.data.size))
    model.load_state_dict(weights)
    return model.to(device).eval().requires_grad_(False), config


def load_weights(folder: Path, config: RunConfig) -> dict[str, Tensor]:
    """Load the weights of a run; raises :class:`UserError` if they do not fit its configuration or are not finite."""
    path = folder / "weights.safetensors"
    weights, facts = load_tensors(path)
    with torch.device("meta"):  # shapes only
        expected = layouts_of(build_model(config.recipe, (config.data.channels, *config.data.size)))
    if wrong := fault(weights, expected):
        fits = weights.keys() == expected.keys() and all(expected[name].fits(weights[name]) for name in weights)
        undo = f"undo the changes to config.json, or train again with another {argument('out')}"
        remedy = _again(path) if fits else undo  # if they fit, they are not finite
        raise UserError(f"the weights in {folder} do not fit its config.json: {wrong}; {remedy}")
    found = record(WeightFacts, facts, str(path), remedy=_again(path))
    check_unchanged(config, found.trained, folder)
    return weights


def save_weights(folder: Path, weights: dict[str, Tensor], images_seen: int, config: RunConfig) -> None:
    """Write the weights that commands load, with the values that they were trained with."""
    facts = {"images": images_seen, "trained": config.trained_values()}
    save_tensors(folder / "weights.safetensors", weights, facts)


def load_latents(folder: Path, latent_dim: int) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Load the stored latents ``[N, latent_dim]`` of the training images, if the run is finished."""
    path = Path(folder) / "latents.safetensors"
    if not os.path.lexists(path):
        return None
    tensors, facts = load_tensors(path)
    named = record(LatentFacts, facts, str(path), remedy=_again(path))
    if wrong := latents_fault(tensors, named, latent_dim):
        raise UserError(f"{path} is damaged: {wrong}; {_again(path)}, or delete it: the images are then encoded again")
    return tensors, facts


def _again(path: Path) -> str:
    """Return the remedy for a file that is derived from the state."""
    return f"repeat the training with {argument('out', path.parent)} to write it again"


def save_evidence(folder: Path, evidence: Evidence) -> None:
    """Write ``doctor.json``, the doctor's evidence at the end of training."""
    atomic_write_text(folder / "doctor.json", json.dumps(evidence.to_dict(), indent=2) + "\n")


def load_evidence(folder: Path) -> Evidence | None:
    """Load the doctor's evidence at the end of training; None if training has not ended.

    A file that is damaged, or from an incompatible version, is ignored with a note.
    """
    path = Path(folder) / "doctor.json"
    if not os.path.lexists(path):
        return None
    try:
        return Evidence.from_dict(parse(read_plain(path, _MOST_BYTES), str(path)), str(path))
    except OSError as error:
        wrong = f"{path} cannot be read ({error.strerror})"
    except UserError as error:
        wrong = str(error)
    note_once(f"{wrong}; the stored verdict is ignored: run vaekit doctor {folder} for a new one")
    return None


def append_metrics(folder: Path, line: dict[str, Any]) -> None:
    """Append a line to ``metrics.jsonl``."""
    path, flags = folder / "metrics.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT
    with disk_errors(path), open(open_descriptor(path, flags), "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Read ``metrics.jsonl``. Damaged lines are ignored with a note, except a last line that was cut off by a kill."""
    path = Path(folder) / "metrics.jsonl"
    if not os.path.lexists(path):
        return []
    with readable(path):
        *texts, torn = read_plain(path, _MOST_METRICS_BYTES).split(b"\n")
    lines, damaged = [], []
    for number, text in enumerate((*texts, torn), 1):
        line = _line_of(text)
        if line is not None:
            lines.append(line)
        elif text is not torn:
            damaged.append(str(number))
    if damaged:
        some = ", ".join(damaged[:5]) + ("" if len(damaged) <= 5 else " and others")
        note_once(f"{path} has damaged lines, which are ignored: {some}")
    return lines


def metrics_lack(folder: Path, config: RunConfig, images_seen: int) -> str | None:
    """Describe what ``metrics.jsonl`` lacks of the course of the training; None if it is whole.

    Repeating the training does not bring it back: only its end is measured again.
    """
    kinds = {line["kind"] for line in read_metrics(folder)}
    if not (folder / "metrics.jsonl").exists():
        return "is missing"
    if "start" not in kinds:
        return "lacks the start of the training"
    if "validation" not in kinds and images_seen >= config.data.train_images:
        return "lacks the measurements after each epoch"
    return None


def _line_of(text: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return line if is_metrics_line(line) else None


def trim_metrics(folder: Path, images: int) -> None:
    """Truncate ``metrics.jsonl`` to the first ``images`` images.

    Final numbers are removed too, because they will be measured again.
    """
    kept = [line for line in read_metrics(folder) if line["images"] <= images and line.get("kind") != "final"]
    atomic_write_text(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in kept))


def is_leftover(path: Path) -> bool:
    """Whether a file is a lock or a half-written file of a killed process.

    >>> is_leftover(Path("run/.config.json.part")), is_leftover(Path("run/config.json"))
    (True, False)
    """
    return path.name == LOCK or is_draft(path) or (path.name.startswith(".") and path.name.endswith(".part"))


def clear_leftovers(folder: Path) -> None:
    """Remove half-written files of killed trainings; earlier versions left ``.part`` and ``.tmp`` files."""
    for inside in (folder, folder / "pictures"):
        clear_drafts(inside)
    for path in (*folder.rglob(".*.part"), *folder.glob(".tmp??????")):
        path.unlink(missing_ok=True)
    (folder / "state-next.safetensors").unlink(missing_ok=True)
