"""The files of a flow-matching prior in a run: ``prior/`` is a training of its own.

    config.json · state.safetensors (+ previous) · weights.safetensors · metrics.jsonl

It belongs to the weights of the run that it was fitted to. Like a run, it may come from a stranger: shapes are compared
before a network is built, and only regular files are read.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor

from vaekit.config.run_config import Condition
from vaekit.errors import UserError, argument, counted
from vaekit.model.conditioning import size_of
from vaekit.model.flow_matching import FlowMatchingPrior
from vaekit.model.latent_model import LatentModel
from vaekit.system.drafts import clear_drafts
from vaekit.system.files import atomic_write_text, disk_errors, file_digest, load_tensors, readable, save_tensors
from vaekit.system.memory import physical_bytes
from vaekit.system.number_text import size_text
from vaekit.system.regular_files import is_plain_folder, odd_kind, read_plain
from vaekit.system.schema import COUNT, POSITIVE, Choice, Range, parse, record
from vaekit.system.tensor_layouts import Layout, fault, layouts_of

__all__ = [
    "FLOW_MATCHING",
    "FlowConfig",
    "facts_of",
    "flow_digest",
    "flow_folder",
    "forget_flow",
    "has_flow",
    "load_flow",
    "new_flow",
    "read_flow_config",
    "save_flow_weights",
    "write_flow_config",
]

FLOW_MATCHING = "flow-matching"
_CONFIG, _WEIGHTS = "config.json", "weights.safetensors"
_FILES = (
    _CONFIG,
    _WEIGHTS,
    "metrics.jsonl",
    "state.safetensors",
    "state-previous.safetensors",
    "state-next.safetensors",
)
_MOST_BYTES = 1 << 26
_BYTES_PER_WEIGHT = 20  # weight, gradient, two moments and the average
_REMEDY = f"remove the prior with fit-prior and {argument('kind', 'none')}"


@dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """Everything that determines the training of a flow-matching prior."""

    format_version: Annotated[int, Range(1, 1)] = 1
    kind: Annotated[str, Choice((FLOW_MATCHING,))] = FLOW_MATCHING
    weights: str  #: SHA-256 of the run's weights that it is fitted to
    width: Annotated[int, Range(8, 4096)]
    depth: Annotated[int, Range(1, 32)]
    conditions: tuple[Condition, ...]
    latents: Annotated[int, POSITIVE]  #: number of latents in each epoch
    total_images: Annotated[int, POSITIVE]  #: latents seen in training, counting repeats
    batch_size: Annotated[int, Range(1, 1 << 20)]
    learning_rate: Annotated[float, Range(1e-12, 1)]
    seed: Annotated[int, Range(0, 2**63 - 1)]
    flip: bool  #: whether latents of mirrored images are added
    precision: Annotated[str, Choice(("fp32", "bf16"))]
    threads: Annotated[int | None, Range(1, 4096)] = None  #: None: does not affect the result
    budget_seconds: float | None = None

    def to_json(self) -> str:
        """Return JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"


def flow_folder(run: Path) -> Path:
    """The folder of the prior in a run."""
    return run / "prior"


def has_flow(run: Path) -> bool:
    """Whether a flow-matching prior was begun in a run."""
    return os.path.lexists(flow_folder(run) / _CONFIG)


def forget_flow(run: Path) -> bool:
    """Delete the prior of a run, also one that is not finished; return whether there was one.

    Raises:
        UserError: If its folder contains other files, which are kept.
    """
    folder = flow_folder(run)
    if not os.path.lexists(folder):
        return False
    if not is_plain_folder(folder):
        raise UserError(f"{folder} is not a folder; remove it first")
    clear_drafts(folder)
    others = sorted(path.name for path in folder.iterdir() if path.name not in _FILES)
    if others:
        raise UserError(f"{folder} contains files that are not of a prior, such as {others[0]}; move them first")
    with disk_errors(folder):
        for name in _FILES:
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()
    return True


def read_flow_config(run: Path) -> FlowConfig:
    """Read the configuration of the prior; raises :class:`UserError` if it is damaged."""
    path = flow_folder(run) / _CONFIG
    if not is_plain_folder(path.parent) or odd_kind(path):
        raise UserError(f"{path} is not a regular file in a folder of the run")
    with readable(path):
        text = read_plain(path, _MOST_BYTES)
    return record(FlowConfig, parse(text, str(path), _REMEDY), str(path), remedy=_REMEDY)


def write_flow_config(run: Path, config: FlowConfig) -> None:
    """Write the configuration of the prior."""
    atomic_write_text(flow_folder(run) / _CONFIG, config.to_json())


def new_flow(model: LatentModel, config: FlowConfig) -> FlowMatchingPrior:
    """The field of a configuration with its initial weights; the global random generator does not advance.

    Raises:
        UserError: If the latent is neither a vector nor a grid, or the network does not fit into memory.
    """
    needed, memory = _BYTES_PER_WEIGHT * sum(map(_numel, _layouts(model, config).values())), physical_bytes()
    if memory is not None and needed > memory:
        raise UserError(
            f"a prior of width {config.width} and depth {config.depth} needs {size_text(needed)} of memory, and this "
            f"machine has {size_text(memory)}; give a smaller {argument('width')} or {argument('depth')}"
        )
    shape = model.latent_shapes[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        prior = FlowMatchingPrior(shape, *_sizes(config))
    prior.conditions = config.conditions
    return prior


def save_flow_weights(run: Path, prior: FlowMatchingPrior, images: int, config: FlowConfig) -> None:
    """Write the weights that are drawn from, and how many latents they were trained on."""
    save_tensors(flow_folder(run) / _WEIGHTS, prior.state_dict(), {"images": images, "weights": config.weights})


@dataclass(frozen=True)
class _Facts:
    """Metadata of the weights of a prior."""

    images: Annotated[int, COUNT]
    weights: str


def load_flow(run: Path, model: LatentModel) -> tuple[FlowMatchingPrior, str | None]:
    """Load a prior, and a note if its training is not finished.

    Raises:
        UserError: If it is damaged, or not fitted to the weights of the run.
    """
    config = read_flow_config(run)
    path = flow_folder(run) / _WEIGHTS
    if config.weights != file_digest(run / _WEIGHTS):
        raise UserError(f"{flow_folder(run)} was fitted to earlier weights of the run")
    if not os.path.lexists(path):
        raise UserError(f"{path} is missing: its training was interrupted early, or the file was deleted")
    tensors, plain = load_tensors(path)
    facts = record(_Facts, plain, str(path), remedy=_REMEDY)
    if wrong := fault(tensors, _layouts(model, config)) or _bad_scale(tensors):
        raise UserError(f"{path} is damaged: {wrong}")
    if facts.weights != config.weights:
        raise UserError(f"{path} belongs to another prior than config.json beside it")
    prior = new_flow(model, config)
    prior.load_state_dict(tensors)
    return prior.eval().requires_grad_(False), _unfinished(run, facts.images, config.total_images)


def _unfinished(run: Path, images: int, total: int) -> str | None:
    if images >= total:
        return None
    return (
        f"the prior in {flow_folder(run)} is not finished: it has seen {images:,} of {counted(total, 'latent')}; run "
        f"fit-prior with {argument('kind', FLOW_MATCHING)} to resume"
    )


def flow_digest(run: Path) -> str | None:
    """Return the SHA-256 of the weights of the prior, or None if there are none."""
    return file_digest(flow_folder(run) / _WEIGHTS)


def _layouts(model: LatentModel, config: FlowConfig) -> dict[str, Layout]:
    """The tensors of a prior, from shapes only."""
    if model.latent not in FlowMatchingPrior.latents:
        raise UserError(f"a {FLOW_MATCHING} prior needs a latent vector or a latent grid")
    with torch.device("meta"):
        return layouts_of(FlowMatchingPrior(model.latent_shapes[0], *_sizes(config)))


def _numel(layout: Layout) -> int:
    return math.prod(layout.shape)


def _sizes(config: FlowConfig) -> tuple[int, int, int]:
    return config.width, config.depth, size_of(config.conditions)


def _bad_scale(tensors: dict[str, Tensor]) -> str | None:
    return None if bool((tensors["std"] > 0).all()) else "a standard deviation is not positive"


def facts_of(config: FlowConfig, **measured: object) -> dict[str, object]:
    """Return what ``fit-prior`` prints about a prior: its kind, length and conditions, then what was ``measured``."""
    names = [each.name for each in config.conditions]
    return {
        "kind": config.kind,
        "latents": config.latents,
        "trained_on": config.total_images,
        **({"conditions": names} if names else {}),
        **measured,
    }
