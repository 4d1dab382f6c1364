"""The training loop: images → batches → steps → run folder. The same call resumes."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack, closing, nullcontext
from dataclasses import replace
from pathlib import Path

from vaekit.config.options import TrainOptions
from vaekit.config.run_config import EngineFields, RunConfig
from vaekit.config.table import Recipe
from vaekit.data import Images
from vaekit.data.subsets import is_trained_on
from vaekit.errors import argument, counted
from vaekit.model.conditioning import selected
from vaekit.runs import folder as runs
from vaekit.runs.claim import claim
from vaekit.runs.watched import Watched
from vaekit.system.cpu import one_thread_per_core, torch_threads
from vaekit.system.device import pick_device
from vaekit.system.distributed import Team, join
from vaekit.system.malloc import freed_memory_is_kept
from vaekit.system.progress import Progress, Silent
from vaekit.training.budget import fit_budget
from vaekit.training.callbacks import Callbacks
from vaekit.training.decision import Decision, decide
from vaekit.training.model_trainer import ModelTrainer
from vaekit.training.recording import Recorder, finish
from vaekit.training.resuming import repair, restored, save_extension
from vaekit.training.setup import batch_note, request
from vaekit.training.steps import take_steps
from vaekit.training.tracking import Tracker

__all__ = ["train"]


def train(
    images: Images,
    recipe: Recipe,
    out: Path,
    options: TrainOptions,
    *,
    progress: Progress | None = None,
    started: float | None = None,
) -> Path:
    """Train ``recipe`` on the training part of ``images`` into the folder ``out``, or resume the run in it.

    Args:
        images: The images.
        recipe: The recipe, with the values of ``options`` already applied.
        out: The run folder.
        options: All other options; its ``recipe`` and ``out`` are not used.
        progress: Receives the progress of the training.
        started: The ``time.monotonic()`` from which a budget counts.

    Returns:
        The folder.

    Raises:
        UserError: For mistakes that the user can fix.
        Interrupted: On SIGINT, SIGTERM and SIGHUP, after the state is saved.
        Exception: What a callback raised, after the state is saved.
    """
    started = time.monotonic() if started is None else started
    team = join()
    progress = progress or Silent()
    callbacks = Callbacks(options.on_log, options.on_epoch)
    if not team.leads:
        progress, callbacks = Silent(), Callbacks()
    chosen = pick_device(options.device)
    requested = request(images, recipe, out, options, chosen, team)
    config, computing, engine = requested.config, requested.computing, requested.engine
    team.agree(_agreed(config, images, engine, out))
    gray, images = images, images.binarized(options.binarize)
    source = gray if options.binarize == "dynamic" else images
    pixels = selected(source, is_trained_on(images, recipe), config.conditions)
    watched = Watched.of(images, recipe, config.conditions)
    with ExitStack() as held:
        held.enter_context(claim(out, progress.say) if team.leads else nullcontext())
        held.enter_context(torch_threads(computing.threads))
        if computing.is_pinned:
            held.enter_context(one_thread_per_core())
        held.enter_context(freed_memory_is_kept())
        decision, is_new = _settled(out, config, options, engine, team)
        config = decision.config
        if team.any(team.leads and decision.kind == "finished"):
            if team.leads:
                runs.clear_leftovers(out)
            progress.say(decision.sentence(out))
            return out
        if is_new and (remark := batch_note(config, options)):
            progress.say(remark)
        if is_new and config.budget_seconds:
            fitted = fit_budget(config, pixels, watched, chosen, config.budget_seconds, started, team, progress.say)
            config = _of_leader(fitted, team)
        trainer = ModelTrainer(config, pixels, chosen, team)
        best, was_saved = restored(trainer, out, watched, progress)
        if computing.note:
            progress.say(computing.note)
        if config.engine.compiled:
            progress.say("the step is compiled first, which may take a minute or two")
        if was_saved:
            if decision.kind == "extended" and decision.stored is not None:
                save_extension(trainer, out, best, decision.stored.total_images)
            decision.write(out)
            progress.say(decision.sentence(out, trainer.images))
            repair(trainer, out, best)
        with (
            closing(Tracker(out, options.tensorboard, trainer.images, callbacks.log))
            if team.leads
            else nullcontext() as tracker
        ):
            _run(Recorder(trainer, out, images, watched, best, tracker, callbacks), progress)
            if tracker is not None:
                finish(trainer, out, images, tracker, progress)
    team.any(False)  # no process returns before the folder is complete
    callbacks.raise_failure()  # callbacks of the final record
    return out


def _settled(
    out: Path, config: RunConfig, options: TrainOptions, engine: EngineFields, team: Team
) -> tuple[Decision, bool]:
    """Return the decision with a configuration that all processes have, and whether there was no run before."""
    decision = decide(out, config, options, engine) if team.leads else Decision("new", config)
    is_new = team.any(team.leads and decision.stored is None)
    return replace(decision, config=_of_leader(decision.config, team)), is_new


def _of_leader(config: RunConfig, team: Team) -> RunConfig:
    """Return the main process's configuration in every process."""
    return RunConfig.from_json(team.text_of_leader(config.to_json()))


def _agreed(config: RunConfig, images: Images, engine: EngineFields, out: Path) -> dict[str, object]:
    """Return what must be equal in all processes; the shuffling window and the engine may differ."""
    plain = json.loads(config.to_json())
    data, recipe = plain.pop("data"), plain.pop("recipe")
    for name in ("engine", "notes", "window_images", "format_version"):
        del plain[name]
    own = {"images fingerprint": data.pop("fingerprint"), "order and parts of the images": images.order_fingerprint}
    del data["source"]
    settings = {argument(name): value for name, value in engine.items()}
    return {**recipe, **data, **plain, **own, **settings, argument("out"): str(out.absolute())}


def _run(recorder: Recorder, progress: Progress) -> None:
    """Take steps until the end of the run, or until asked to stop."""
    trainer, out, best = recorder.trainer, recorder.out, recorder.best
    take_steps(trainer, recorder, len(trainer.pixels), out, progress)
    if best.is_exhausted and trainer.images < trainer.config.total_images:
        progress.say(
            f"{out}: stopped early after {counted(best.limit or 0, 'epoch')} without improvement; the weights are "
            f"those of the best epoch; give a larger {argument('patience')} to continue"
        )
