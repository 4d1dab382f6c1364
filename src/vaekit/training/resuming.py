"""Create the trainer of a run folder at the point where the run stopped, or at its start."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from vaekit.config.run_config import Condition, RunConfig
from vaekit.config.table import Recipe
from vaekit.errors import UserError, argument
from vaekit.model.factory import build_model
from vaekit.runs import folder as runs
from vaekit.runs.watched import Watched
from vaekit.system.files import atomic_write_text
from vaekit.system.progress import Progress
from vaekit.system.tensor_layouts import layouts_of
from vaekit.training.early_stopping import Patience
from vaekit.training.model_trainer import ModelTrainer
from vaekit.training.recording import save_pictures, save_weights
from vaekit.training.starting import start_at_images, start_at_mean, start_from

__all__ = ["lacking", "load_initial", "repair", "restored", "save_extension"]


#: Values of a recipe that the shapes of its weights depend on.
_OF_THE_SHAPE = (
    *("name", "net", "latent", "hidden", "width", "depth", "patch", "latent_dim", "condition_size", "smallest_grid"),
    *("downsampling", "latent_channels", "top_latents", "level_groups", "posterior", "code_count", "code_dim"),
    *("prior", "prior_components", "likelihood", "mixture_components", "scale"),
)


def restored(trainer: ModelTrainer, out: Path, watched: Watched, progress: Progress) -> tuple[Patience, bool]:
    """Load the saved state into every process, or start a new one.

    Returns:
        The state of early stopping, and whether this process found a saved state. Only the main process looks for one.
    """
    team = trainer.team
    saved = runs.load_state(out, progress.say, trainer.state_fault) if team.leads else None
    if team.leads and saved is None:
        _begin(trainer, out, watched)
    best = Patience(trainer.config.patience)
    if saved is not None:
        trainer.load_state(*saved)
        best.take(saved[1])
    trainer.follow_leader()
    best.take(json.loads(team.text_of_leader(json.dumps(best.facts()))))
    return best, saved is not None


def save_extension(trainer: ModelTrainer, out: Path, best: Patience, former_total: int) -> None:
    """Write the new length into the state, before the configuration gets it; a kill in between keeps the old length."""
    tensors, facts = trainer.state()
    runs.save_state(out, tensors, facts | best.facts() | {"extended_from": former_total}, trainer.config)


def repair(trainer: ModelTrainer, out: Path, best: Patience) -> None:
    """Make derived files match the state, because a kill may have come between writing them."""
    runs.clear_leftovers(out)
    runs.trim_metrics(out, trainer.images)
    if not best.has_best:  # otherwise they are of the best epoch, or of a later one that will be repeated
        save_weights(trainer, out)


def lacking(out: Path, is_over: bool) -> tuple[str, ...]:
    """Return the names of files that are missing or damaged, and that the same training writes again.

    Args:
        out: The run folder, which has a state.
        is_over: Whether all steps have been taken, so that the files of a finished run are expected too. None of them
            lacks in a finished run; the report is written last.
    """
    names = []
    try:
        model, _ = runs.load_model(out)
    except UserError:
        names.append("weights.safetensors")
        model = None
    if not is_over:
        return tuple(names)
    try:
        if model is not None and runs.load_latents(out, model.latent_dim) is None:
            names.append("latents.safetensors")
    except UserError:
        names.append("latents.safetensors")
    if not any(line.get("kind") == "final" for line in runs.read_metrics(out)):
        names.append("metrics.jsonl")
    if not (out / "report.html").exists():
        names.append("report.html")
    return tuple(names)


def _begin(trainer: ModelTrainer, out: Path, watched: Watched) -> None:
    """Write the files that exist before the first step. Repeating it after a kill gives the same files."""
    atomic_write_text(out / "config.json", trainer.config.to_json())
    runs.clear_leftovers(out)
    if trainer.row.start_at_mean:
        start_at_mean(trainer)
    start_at_images(trainer)
    load_initial(trainer)
    atomic_write_text(out / "metrics.jsonl", "")
    runs.append_metrics(out, {"images": 0, "kind": "start"})
    save_pictures(out, trainer, watched, epoch=0)


def load_initial(trainer: ModelTrainer) -> None:
    """Load the initial weights, if the configuration names a run that provides them."""
    initial = trainer.config.initial
    if initial:
        _check_same_shape(trainer.config, initial)
        start_from(trainer, runs.load_weights(Path(initial), runs.read_config(Path(initial))), initial)
        _check_same_function(trainer.row, trainer.config.conditions, initial)


def _check_same_shape(config: RunConfig, initial: str) -> None:
    """Refuse initial weights of a network of another shape; the message names the values that differ."""
    other = runs.read_config(Path(initial))
    with torch.device("meta"):  # shapes only
        mine, theirs = (layouts_of(build_model(each.recipe, _image_shape(each))) for each in (config, other))
    if mine == theirs:
        return
    pairs: dict[str, tuple[object, object]] = {
        "size": (config.data.size, other.data.size),
        "channels": (config.data.channels, other.data.channels),
    }
    here, there = config.recipe.to_dict(), other.recipe.to_dict()
    pairs |= {name: (here[name], there[name]) for name in _OF_THE_SHAPE}
    differs = [
        f"its {'recipe' if name == 'name' else name} is {_short(then)}, not {_short(now)}"
        for name, (now, then) in pairs.items()
        if now != then
    ]
    raise UserError(
        f"{argument('init')} {initial}: its weights do not fit, because {' and '.join(differs) or 'parts differ'}; "
        f"give the same values, or leave {argument('init')} out"
    )


def _image_shape(config: RunConfig) -> tuple[int, int, int]:
    return (config.data.channels, *config.data.size)


def _short(value: object) -> str:
    """Format a value: a size as HEIGHTxWIDTH, widths with commas."""
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _check_same_function(row: Recipe, conditions: Sequence[Condition], initial: str) -> None:
    """Refuse initial weights of a run whose settings give them another meaning."""
    config = runs.read_config(Path(initial))
    theirs = config.recipe
    if config.conditions != conditions:
        raise UserError(
            f"{argument('init')} {initial} was trained with different conditions (labels or attributes); leave it out"
        )
    pairs = {
        "posterior_std_gain": (row.posterior_std_gain, theirs.posterior_std_gain),
        "activation": (row.activation, theirs.activation),
        "code_levels": (row.code_levels, theirs.code_levels),
    }
    for name, (mine, value) in pairs.items():
        if mine != value:
            raise UserError(
                f"{argument('init')} {initial} was trained with another {name}; give {argument(name, value)}"
            )
