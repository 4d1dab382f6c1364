"""Create the trainer of a run folder at the point where the run stopped, or at its start."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from vaekit.config.run_config import Condition
from vaekit.config.table import Recipe
from vaekit.errors import UserError, argument
from vaekit.runs import folder as runs
from vaekit.runs.watched import Watched
from vaekit.system.files import atomic_write_text
from vaekit.system.progress import Progress
from vaekit.training.early_stopping import Patience
from vaekit.training.model_trainer import ModelTrainer
from vaekit.training.recording import save_pictures, save_weights
from vaekit.training.starting import start_at_images, start_at_mean, start_from

__all__ = ["is_finished", "load_initial", "repair", "restored"]


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


def repair(trainer: ModelTrainer, out: Path, best: Patience) -> None:
    """Make derived files match the state, because a kill may have come between writing them."""
    runs.clear_leftovers(out)
    runs.trim_metrics(out, trainer.images)
    if not best.has_best:  # otherwise they are of the best epoch, or of a later one that will be repeated
        save_weights(trainer, out)


def is_finished(out: Path) -> bool:
    """Whether all files of a finished run exist and are valid; the report is written last."""
    try:
        model, _ = runs.load_model(out)
        found = runs.load_latents(out, model.latent_dim)
    except UserError:
        return False
    is_measured = any(line.get("kind") == "final" for line in runs.read_metrics(out))
    return found is not None and is_measured and (out / "report.html").exists()


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
        start_from(trainer, runs.load_weights(Path(initial), runs.read_config(Path(initial))), initial)
        _check_same_function(trainer.row, trainer.config.conditions, initial)


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
