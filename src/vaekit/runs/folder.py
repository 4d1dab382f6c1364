"""A run is a folder. Every file in it is written whole or not at all: into a draft folder, synced, then renamed.

    config.json, state.safetensors (the one before it: state-previous.safetensors), weights.safetensors,
    latents.safetensors, metrics.jsonl, doctor.json, pictures/, report.html, README.md

The state is written first and is enough to go on from; everything else is derived from it. Nothing is unpickled. A run
may be what a stranger made: only regular files are read, and none is written through a link.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vaekit.config.run_config import RunConfig
from vaekit.config.table import Recipe
from vaekit.data.sources.archive import ARCHIVE_ENDINGS
from vaekit.errors import UserError
from vaekit.evaluation.doctor.evidence import Evidence
from vaekit.model.conditioning import size_of
from vaekit.model.factory import build_model
from vaekit.model.latent_model import LatentModel
from vaekit.runs.records import LatentFacts, WeightFacts, is_metrics_line, latents_fault
from vaekit.system import checksums as sums
from vaekit.system.drafts import clear_drafts, draft, is_draft
from vaekit.system.locks import LOCK
from vaekit.system.notes import note_once
from vaekit.system.regular_files import OddFile, check_plain, odd_kind, open_descriptor, open_plain, read_plain
from vaekit.system.schema import parse, record
from vaekit.system.tensor_layouts import fault, layouts_of

__all__ = [
    "append_metrics",
    "atomic_write_bytes",
    "atomic_write_text",
    "clear_leftovers",
    "file_digest",
    "has_state",
    "is_leftover",
    "load_evidence",
    "load_facts",
    "load_latents",
    "load_model",
    "load_state",
    "load_tensors",
    "load_weights",
    "read_config",
    "read_metrics",
    "recipe_of",
    "save_evidence",
    "save_state",
    "save_tensors",
    "sync_folder",
    "trim_metrics",
]

_STATES = ("state.safetensors", "state-previous.safetensors")  # the newest first
_FILES = (
    *("config.json", "doctor.json", "metrics.jsonl", "weights.safetensors", "latents.safetensors"),
    *("directions.safetensors", "prior.safetensors", *_STATES),
)
_MOST_BYTES = 1 << 26  # of a file of settings
_MOST_METRICS_BYTES = 1 << 30


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all; a full disk is a :class:`UserError` and leaves nothing behind."""
    with _replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(data)


def atomic_write_text(path: Path, text: str) -> None:
    """:func:`atomic_write_bytes` of UTF-8 text; what UTF-8 cannot hold is written out."""
    atomic_write_bytes(path, text.encode("utf-8", "backslashreplace"))


def save_tensors(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Writes named tensors and a few JSON facts as one safetensors file, atomically."""
    contiguous = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    with _replacing(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode  # what the user's umask gives; the writer alone would keep the file private
        save_file(contiguous, temporary, sums.metadata_of(facts))
        sums.seal(temporary)
        temporary.chmod(mode)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The inverse of :func:`save_tensors`; a damaged file is a :class:`UserError`."""
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, sums.facts_in(file.metadata())  # noqa: SIM118


def load_facts(path: Path) -> dict[str, Any]:
    """The facts that :func:`save_tensors` wrote, without the tensors."""
    with _opened(path) as file:
        return sums.facts_in(file.metadata())


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A safetensors file of ours whose checksum has been compared."""
    with _readable(path):
        sums.check(path)
        with safe_open(path, framework="pt") as file:
            yield file


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What is wrong with a file as a :class:`UserError`."""
    try:
        check_plain(path)
        yield
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; the run was not trained far enough, repeat its train command") from error
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}); repeat the train command to write it again") from error


def save_state(folder: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Writes ``state.safetensors``; the state it replaces stays as ``state-previous.safetensors``."""
    newest = folder / "state.safetensors"
    incoming = folder / "state-next.safetensors"
    save_tensors(incoming, tensors, facts)
    with _disk_errors(newest):
        if newest.exists():
            os.replace(newest, folder / "state-previous.safetensors")
        os.replace(incoming, newest)
        sync_folder(folder)


def has_state(folder: Path) -> bool:
    """Whether there is a state to go on from."""
    return any(os.path.lexists(folder / name) for name in _STATES)


def load_state(
    folder: Path,
    say: Callable[[str], None],
    fault_of: Callable[[dict[str, Tensor], dict[str, Any]], str | None] | None = None,
) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The newest state that can be read, or None if there is none yet; a damaged one is told to ``say`` and removed.

    ``fault_of`` says what is wrong with a state that can be read, or None.
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
        for broken, reason in damaged:  # or the next save would put it in the place of this
            say(f"{broken} is damaged; the state before it is taken ({reason})")
            broken.unlink()
        if not sums.is_sealed(path):
            say(f"{path} is of an older vaekit and has no checksum: damage to it would not be noticed")
        return state
    if damaged:
        raise UserError(f"no state in {folder} can be read ({damaged[0][1]}); train again into another --out")
    return None


def read_config(folder: Path) -> RunConfig:
    """The configuration of a run; raises :class:`UserError` if ``folder`` is not one."""
    path = Path(folder) / "config.json"
    if not os.path.lexists(path):
        raise UserError(f"{folder} is not a run: {_why_no_run(Path(folder))}")
    _check_kinds(Path(folder))
    try:
        config = RunConfig.from_json(read_plain(path, _MOST_BYTES).decode("utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}); name another folder") from error
    _check_whole(config, str(path))
    return config


def _check_whole(config: RunConfig, where: str) -> None:
    """Refuses a configuration whose parts do not belong together."""
    for name in ("width", "patch", "latent_dim", "batch_size"):
        if config.recipe.get(name) is None:
            raise UserError(f"{where} lacks recipe.{name}, which a training chooses; the run folder is damaged")
    size = config.recipe.get("condition_size", 0)
    if size != size_of(config.conditions):
        raise UserError(
            f"{where} has recipe.condition_size = {size}, its conditions need {size_of(config.conditions)}; the run "
            "folder is damaged"
        )


def _why_no_run(folder: Path) -> str:
    """What lies at a place without a config.json, and what to give instead."""
    remedy = "give the --out of a 'vaekit train'"
    if folder.is_file():
        is_archive = folder.name.lower().endswith(ARCHIVE_ENDINGS)
        return "it is an archive; unpack it and give the folder" if is_archive else f"it is a file; {remedy}"
    if not folder.is_dir():
        return f"there is no such folder; {remedy}"
    if (folder / "model.json").exists():
        return "it is an export; give the run that it was made from"
    try:
        inside = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        return f"it cannot be read ({error.strerror}); {remedy}"
    runs = [name for name in inside if (folder / name / "config.json").is_file()]
    if runs:
        return f"it holds runs; give one of them, such as {folder / runs[0]}"
    return f"it has no config.json; {remedy}" if inside else f"the folder is empty; {remedy}"


def _check_kinds(folder: Path) -> None:
    """Refuses a run with a link, a pipe or a device where it has a file: a stranger may have made it."""
    for name in _FILES:
        if what := odd_kind(folder / name):
            raise UserError(
                f"{folder / name} is {what} where a run has a regular file; put a copy of the file there, or remove it"
            )


def recipe_of(config: RunConfig) -> Recipe:
    """The resolved recipe row of a run."""
    return Recipe.from_dict(config.recipe)


def load_model(folder: Path, device: str | torch.device = "cpu") -> tuple[LatentModel, RunConfig]:
    """The trained model of a run, in eval mode, with its configuration.

    Raises :class:`UserError` for weights that do not fit the configuration, or are not finite. Shapes are compared
    before a network is built, so a damaged configuration allocates nothing.
    """
    config = read_config(folder)
    weights = load_weights(Path(folder), config)
    model = build_model(recipe_of(config), (config.data.channels, *config.data.size))
    model.load_state_dict(weights)
    return model.to(device).eval().requires_grad_(False), config


def load_weights(folder: Path, config: RunConfig) -> dict[str, Tensor]:
    """The weights of a run; raises :class:`UserError` if they are not those of its configuration, or not finite."""
    path = folder / "weights.safetensors"
    weights, facts = load_tensors(path)
    with torch.device("meta"):  # shapes alone
        expected = layouts_of(build_model(recipe_of(config), (config.data.channels, *config.data.size)))
    if wrong := fault(weights, expected):
        raise UserError(f"the weights in {folder} do not fit its config.json: {wrong}; {_again(path)}")
    record(WeightFacts, facts, str(path), remedy=_again(path))
    return weights


def load_latents(folder: Path, latent_dim: int) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The stored encodings ``[N, latent_dim]`` of the training images, if the run was finished."""
    path = Path(folder) / "latents.safetensors"
    if not os.path.lexists(path):
        return None
    tensors, facts = load_tensors(path)
    named = record(LatentFacts, facts, str(path), remedy=_again(path))
    if wrong := latents_fault(tensors, named, latent_dim):
        raise UserError(
            f"{path} is damaged: {wrong}; {_again(path)}, or delete it: codes are then made from the images"
        )
    return tensors, facts


def _again(path: Path) -> str:
    """How a file that follows from the state is made again."""
    return f"repeat the train command with --out {path.parent} to write it again"


def save_evidence(folder: Path, evidence: Evidence) -> None:
    """Writes ``doctor.json``, what the doctor found when the training ended."""
    atomic_write_text(folder / "doctor.json", json.dumps(evidence.to_dict(), indent=2) + "\n")


def load_evidence(folder: Path) -> Evidence | None:
    """What the doctor found when the training ended; None if it has not ended.

    A file that is damaged, or of a vaekit that asked for other numbers, is left out with a note.
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
    note_once(f"{wrong}; its verdict is left out, vaekit doctor {folder} gives one")
    return None


def file_digest(path: Path) -> str | None:
    """The SHA-256 of a file, if it is there."""
    if not os.path.lexists(path):
        return None
    with _readable(path), open_plain(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def append_metrics(folder: Path, line: dict[str, Any]) -> None:
    """Adds one line to ``metrics.jsonl``."""
    path, flags = folder / "metrics.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT
    with _disk_errors(path), open(open_descriptor(path, flags), "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of ``metrics.jsonl``; a last line that was cut off by a kill is left out, a damaged one with a note."""
    path = Path(folder) / "metrics.jsonl"
    if not os.path.lexists(path):
        return []
    with _readable(path):
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
        note_once(f"{path} has damaged lines, which are left out: {some}")
    return lines


def _line_of(text: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return line if is_metrics_line(line) else None


def trim_metrics(folder: Path, images: int) -> None:
    """Cuts ``metrics.jsonl`` back to the lines written when at most ``images`` had been seen.

    Numbers of a finished run go as well: they are measured again at its new end.
    """
    kept = [line for line in read_metrics(folder) if line["images"] <= images and line.get("kind") != "final"]
    atomic_write_text(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in kept))


def is_leftover(path: Path) -> bool:
    """Whether a file is one of ours that a kill left half written.

    >>> is_leftover(Path("run/.config.json.part")), is_leftover(Path("run/config.json"))
    (True, False)
    """
    return path.name == LOCK or is_draft(path) or (path.name.startswith(".") and path.name.endswith(".part"))


def clear_leftovers(folder: Path) -> None:
    """Removes from a run folder what kills left half written; earlier versions left ``.part`` and ``.tmp`` files."""
    for inside in (folder, folder / "pictures"):
        clear_drafts(inside)
    for path in (*folder.rglob(".*.part"), *folder.glob(".tmp??????")):
        path.unlink(missing_ok=True)
    (folder / "state-next.safetensors").unlink(missing_ok=True)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A path in a draft folder; when the body ends well the file is synced and takes the place of ``path``."""
    path = Path(path)
    with _disk_errors(path), draft(path.parent) as folder:
        temporary = folder / path.name
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OddFile as error:
        raise UserError(f"cannot write {path}: it is {error}; remove it") from error
    except (OSError, SafetensorError) as error:
        number = getattr(error, "errno", None) or _system_error(str(error))
        if number is None:
            raise
        raise UserError(f"cannot write {path}: {_DISK_REASONS.get(number) or os.strerror(number)}") from error


def _system_error(text: str) -> int | None:
    """The number in a message of the tensor writer, which has no ``errno``: ``... (os error 28)``."""
    found = re.search(r"os error (\d+)", text)
    return int(found[1]) if found else None


def sync_folder(folder: Path) -> None:
    """Makes renamings in a folder last."""
    if os.name != "posix":  # Windows cannot open a folder to sync it
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_DISK_REASONS = {
    errno.ENOSPC: "no space left on the disk; free some and repeat the command",
    errno.EDQUOT: "your disk quota is used up; free some space and repeat the command",
    errno.EFBIG: "the file is larger than the disk or your account (ulimit -f) allows; choose another place",
    errno.EACCES: "permission denied; choose another place",
    errno.EPERM: "permission denied; choose another place",
    errno.EROFS: "the disk is read-only; choose another place",
    errno.EISDIR: "a folder of that name stands there; choose another name",
    errno.ENOTDIR: "part of that path is a file; choose another place",
}
