"""The loop: images → batches → steps → run folder. One function, top to bottom; the same call resumes."""

from __future__ import annotations

import json
import math
import shlex
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaekit.config.options import TrainOptions
from vaekit.config.run_config import Condition, Length, RunConfig
from vaekit.config.table import Recipe
from vaekit.data import Images
from vaekit.data.subsets import is_trained_on
from vaekit.errors import Interrupted, UserError, argument, endings
from vaekit.evaluation.doctor.diagnosis import diagnose
from vaekit.evaluation.metrics import Numbers, evaluate, loss_nats
from vaekit.model.conditioning import selected
from vaekit.runs import folder as runs
from vaekit.runs.claim import check_folder, claim, meet_folder
from vaekit.runs.new_config import make_config
from vaekit.runs.results import write_results
from vaekit.runs.watched import Watched
from vaekit.system.cpu import one_thread_per_core, torch_threads
from vaekit.system.device import pick_device
from vaekit.system.distributed import Team, join
from vaekit.system.files import atomic_write_text, save_tensors
from vaekit.system.malloc import freed_memory_is_kept
from vaekit.system.memory import peak_resident_bytes
from vaekit.system.progress import Progress, Silent
from vaekit.training.budget import SAVE_EVERY_SECONDS, fit_budget
from vaekit.training.callbacks import Callbacks
from vaekit.training.early_stopping import Patience
from vaekit.training.meters import Clock, Means
from vaekit.training.schedules import epoch_order, learning_rate, rate_weight
from vaekit.training.setup import choose_threads, with_engine
from vaekit.training.starting import start_at_images, start_at_mean, start_from
from vaekit.training.tracking import Tracker
from vaekit.training.trainer import Trainer

__all__ = ["train"]

_LOG_LINES_PER_EPOCH = 20
_MOST_BAD_STEPS = 10  # in a row, each of them skipped
_FIRST_SAVE_SECONDS = 2.0


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
        UserError: for what the user can fix.
        Interrupted: on SIGINT, SIGTERM and SIGHUP, once the state is saved.
        Exception: what a callback raised, once the state is saved.
    """
    started = time.monotonic() if started is None else started
    team = join()
    length, progress, binarize = options.length(), progress or Silent(), options.binarize
    callbacks = Callbacks(options.on_log, options.on_epoch)
    if not team.leads:
        progress, callbacks = Silent(), Callbacks()
    chosen = pick_device(options.device)
    config = make_config(images, recipe, options)
    check_folder(out)
    computing, engine = choose_threads(out, chosen, options.engine(), team)
    config = with_engine(config, chosen, engine)
    team.agree(_agreed(config, images, engine, out))
    gray, images = images, images.binarized(binarize)
    source = gray if binarize == "dynamic" else images
    pixels = selected(source, is_trained_on(images, recipe), config.conditions)
    watched = Watched.of(images, recipe, config.conditions)
    with ExitStack() as held:
        held.enter_context(claim(out, progress.say) if team.leads else nullcontext())
        held.enter_context(torch_threads(computing.threads))
        if computing.is_pinned:
            held.enter_context(one_thread_per_core())
        held.enter_context(freed_memory_is_kept())
        config, is_new = _settled(out, config, length, engine, team)
        if is_new and length.budget_seconds:
            fitted = fit_budget(config, pixels, watched, chosen, length.budget_seconds, started, team)
            config = _of_leader(fitted, team)
        trainer = Trainer(config, pixels, chosen, team)
        best, was_saved = _restored(trainer, out, watched, progress)
        is_over = trainer.images == config.total_images or best.is_exhausted
        if team.any(was_saved and is_over and _is_finished(out)):
            if team.leads:
                runs.clear_leftovers(out)
            advice = f"give a larger {argument('patience')}" if best.is_exhausted else f"give more {argument('epochs')}"
            progress.say(f"{out} is finished ({trainer.images:,} images); {advice} to train longer")
            return out
        if computing.note:
            progress.say(computing.note)
        if config.engine.compiled:
            progress.say("the step is compiled first, which may take a minute or two")
        if was_saved:
            progress.say(f"{out}: resuming from image {trainer.images:,} of {config.total_images:,}")
            _repair(trainer, out, best)
        with (
            closing(Tracker(out, options.tensorboard, trainer.images, callbacks.log))
            if team.leads
            else nullcontext() as tracker
        ):
            _run(trainer, out, images, watched, best, tracker, progress, callbacks)
            if tracker is not None:
                _finish(trainer, out, images, tracker, progress)
    team.any(False)  # nobody returns before the folder is whole
    callbacks.raise_failure()  # of the final record
    return out


def _settled(
    out: Path, config: RunConfig, length: Length, engine: Mapping[str, Any], team: Team
) -> tuple[RunConfig, bool]:
    """The configuration that all processes train with, that of the run if there is one, and whether the run is new."""
    is_new = False
    if team.leads:
        config, is_new = meet_folder(out, config, length, engine)
    return _of_leader(config, team), team.any(is_new)


def _of_leader(config: RunConfig, team: Team) -> RunConfig:
    """The leader's configuration, in every process."""
    return RunConfig.from_json(team.text_of_leader(config.to_json()))


def _restored(trainer: Trainer, out: Path, watched: Watched, progress: Progress) -> tuple[Patience, bool]:
    """Load the saved state into every process, or start a new one.

    Returns:
        The state of early stopping, and whether this process found a saved state. Only the leader looks for one.
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


def _agreed(config: RunConfig, images: Images, engine: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """What must be the same in all processes of a team; how many images are mixed and what is fast may not be."""
    plain = json.loads(config.to_json())
    data, recipe = plain.pop("data"), plain.pop("recipe")
    for name in ("engine", "notes", "window_images", "format_version"):
        del plain[name]
    own = {"images fingerprint": data.pop("fingerprint"), "order and parts of the images": images.order_fingerprint}
    del data["source"]
    settings = {argument(name): value for name, value in engine.items()}
    return {**recipe, **data, **plain, **own, **settings, argument("out"): str(out.absolute())}


def _begin(trainer: Trainer, out: Path, watched: Watched) -> None:
    """What stands in a run folder before the first step. Done again after a kill, it gives the same."""
    atomic_write_text(out / "config.json", trainer.config.to_json())
    runs.clear_leftovers(out)
    initial = trainer.config.initial
    if trainer.row.start_at_mean:
        start_at_mean(trainer)
    start_at_images(trainer)
    if initial:
        start_from(trainer, runs.load_weights(Path(initial), runs.read_config(Path(initial))), initial)
        _check_same_function(trainer.row, trainer.config.conditions, initial)
    atomic_write_text(out / "metrics.jsonl", "")
    runs.append_metrics(out, {"images": 0, "kind": "start"})
    _save_pictures(out, trainer, watched, epoch=0)


def _check_same_function(row: Recipe, conditions: Sequence[Condition], initial: str) -> None:
    """Weights mean something else where what is done with them is not the same."""
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


def _repair(trainer: Trainer, out: Path, best: Patience) -> None:
    """Brings all that is derived from the state back to it: a kill may have come between the one and the other."""
    runs.clear_leftovers(out)
    runs.trim_metrics(out, trainer.images)
    if not best.has_best:  # else they are of the best epoch, or of a better one that will come again
        _save_weights(trainer, out)


def _is_finished(out: Path) -> bool:
    """Whether all that a finished run holds is there and sound; the report is written last."""
    try:
        model, _ = runs.load_model(out)
        found = runs.load_latents(out, model.latent_dim)
    except UserError:
        return False
    is_measured = any(line.get("kind") == "final" for line in runs.read_metrics(out))
    return found is not None and is_measured and (out / "report.html").exists()


def _run(
    trainer: Trainer,
    out: Path,
    images: Images,
    watched: Watched,
    best: Patience,
    tracker: Tracker | None,
    progress: Progress,
    callbacks: Callbacks,
) -> None:
    total, per_epoch = trainer.config.total_images, len(trainer.pixels)
    log_every = max(1, math.ceil(per_epoch / trainer.batch_size / _LOG_LINES_PER_EPOCH))
    recent, clock = Means(), Clock()
    begun = last_save = time.monotonic()
    save_seconds = 0.0
    is_asked = False  # by a signal, to any process of the team: all end after the same step
    progress.start(total, trainer.images)
    try:
        with _signals() as caught:
            while trainer.images < total and not is_asked and not best.is_exhausted:
                recent.add(trainer.step(wants_to_stop=bool(caught) or callbacks.failed))
                is_asked = trainer.someone_wants_to_stop() or (trainer.team.size == 1 and bool(caught))
                ends_epoch = trainer.images % per_epoch == 0 or trainer.images == total
                if trainer.steps % log_every == 0 or ends_epoch:
                    _stop_if_broken(trainer, images, out)
                    numbers = recent.means(trainer.team)
                    rate = clock.rate(trainer.images)
                    if tracker is not None:
                        progress.update(trainer.images, rate, numbers)
                        tracker.add(_log_line(trainer, numbers, rate))
                if ends_epoch:
                    with clock.paused():
                        _end_epoch(trainer, out, watched, best, tracker, callbacks)
                is_asked = is_asked or (trainer.team.size == 1 and callbacks.failed)
                overdue = time.monotonic() - last_save > max(_save_interval(last_save - begun), 20 * save_seconds)
                if tracker is not None and (is_asked or overdue or trainer.images == total or best.is_exhausted):
                    _stop_if_broken(trainer, images, out, about_to_save=True)
                    with clock.paused():
                        before = time.monotonic()
                        _save(trainer, out, best)
                        last_save = time.monotonic()
                        save_seconds = last_save - before
        someone_failed = trainer.team.any(callbacks.failed)
        callbacks.raise_failure()
        if is_asked or someone_failed:
            raise Interrupted(caught[0] if caught else signal.SIGTERM, out)
    finally:
        progress.stop()
    if best.is_exhausted and trainer.images < total:
        progress.say(
            f"{out}: no better for {best.limit} epochs, ended early; the weights are those of the best epoch; "
            f"give a larger {argument('patience')} to go on"
        )


def _save_interval(trained_seconds: float) -> float:
    """Seconds until the next state: as long as it has been trained up to the last, so that at most half is lost.

    >>> [_save_interval(seconds) for seconds in (0, 2, 4, 1000)]
    [2.0, 2.0, 4.0, 60.0]
    """
    return min(SAVE_EVERY_SECONDS, max(_FIRST_SAVE_SECONDS, float(trained_seconds)))


def _save(trainer: Trainer, out: Path, best: Patience) -> None:
    tensors, facts = trainer.state()
    runs.save_state(out, tensors, facts | best.facts())
    if not best.has_best:
        _save_weights(trainer, out)


def _end_epoch(
    trainer: Trainer, out: Path, watched: Watched, best: Patience, tracker: Tracker | None, callbacks: Callbacks
) -> None:
    epoch = math.ceil(trainer.images / len(trainer.pixels))
    drawn = _save_pictures(out, trainer, watched, epoch) if tracker is not None else []
    samples = trainer.row.bound_samples
    numbers = evaluate(trainer.eval_model(), watched.validation, team=trainer.team, iwae_samples=samples)
    trainer.model.train()
    loss = loss_nats(numbers, trainer.row)
    assert loss is not None
    if best.limit is not None and best.improves(loss) and tracker is not None:
        _save_weights(trainer, out)
    if tracker is not None:
        line = {"images": trainer.images, "kind": "validation", "part": watched.part, "epoch": epoch}
        line |= {f"validation_{key}": value for key, value in numbers.items() if key != "images"}
        tracker.add(line)
        callbacks.epoch(line, drawn)


def _save_weights(trainer: Trainer, out: Path) -> None:
    weights = trainer.average if trainer.average is not None else trainer.model
    save_tensors(out / "weights.safetensors", weights.state_dict(), {"images": trainer.images})


def _finish(trainer: Trainer, out: Path, images: Images, tracker: Tracker, progress: Progress) -> None:
    """What is derived from the final weights: encodings of the training images, numbers, report and model card."""
    model, config = runs.load_model(out, trainer.device)
    final = write_results(out, model, config, images, trainer.images, tracker.add)
    if trainer.skipped:
        progress.say(f"{out}: {trainer.skipped} steps were skipped, their loss or gradient was not finite")
    progress.say(
        f"{out}: {_final_words(final.numbers, final.part, config.data.binarize)}{_memory_words(images.is_mapped)}"
    )
    progress.say(f"{out}: {diagnose(final.evidence).summary} More: vaekit doctor {shlex.quote(str(out))}")


def _final_words(numbers: Numbers, part: str, binarize: str | None) -> str:
    shown = f"PSNR {numbers['psnr_db']:.2f} dB, SSE {numbers['sse_per_image']:.2f} per image"
    if numbers["elbo_nats"] is not None:
        shown += f", ELBO {numbers['elbo_nats']:.1f} nats (rate {numbers['rate_nats']:.1f})"
    if numbers["bits_per_dim"] is not None:
        shown += f", {numbers['bits_per_dim']:.3f} bits per dimension"
    where = "the test images" if part == "test" else "all images (there is no test part)"
    return f"{shown} on {where}" + (f", binarized ({binarize})" if binarize else "")


def _memory_words(is_mapped: bool) -> str:
    peak = peak_resident_bytes()
    if peak is None:
        return ""
    hint = ", with pages of images on disk that the system takes back when it needs them" if is_mapped else ""
    return f"; peak memory {peak / 1e9:.2f} GB{hint}"


def _save_pictures(out: Path, trainer: Trainer, watched: Watched, epoch: int) -> list[Path]:
    drawn = watched.save_pictures(out, trainer.eval_model(), epoch)
    trainer.model.train()
    return drawn


def _stop_if_broken(trainer: Trainer, images: Images, out: Path, about_to_save: bool = False) -> None:
    """Raises :class:`UserError` after too many bad steps in a row; ``about_to_save``: or if the weights are broken."""
    _, _, longest, first = trainer.bad.tolist()
    overflown = about_to_save and not _is_finite(trainer.parameters)  # finite gradients, but too large a step
    if longest < _MOST_BAD_STEPS and not overflown:
        return
    row = trainer.row
    at = max(0, trainer.images - trainer.batch_size) if overflown else first
    epoch, start = divmod(at, len(trainer.pixels))
    order = epoch_order(trainer.config.seed, epoch, len(trainer.pixels), trainer.config.window_images)
    rows = np.flatnonzero(is_trained_on(images, row))
    some = ", ".join(images.names[rows[i]] for i in order[start : start + min(3, trainer.batch_size)].tolist())
    kept = f"the last good state is kept in {out}" if (out / "state.safetensors").exists() else "no state was saved yet"
    what = "the weights are not finite" if overflown else f"{longest} steps in a row had no finite loss and gradient"
    raise UserError(
        f"{what}, after {at:,} images (epoch {epoch + 1}, from the batch of {some} … on); {kept}; "
        f"try a smaller {argument('learning_rate')} than {row.learning_rate:g}, with another {argument('out')}"
    )


def _is_finite(tensors: Sequence[Tensor]) -> bool:
    return bool(torch.stack([tensor.detach().sum() for tensor in tensors]).isfinite().all())


def _log_line(trainer: Trainer, numbers: dict[str, Any], rate: float) -> dict[str, Any]:
    return {
        "images": trainer.images,
        "kind": "train",
        "epoch": trainer.images / len(trainer.pixels),
        **numbers,
        "learning_rate": learning_rate(trainer.row, trainer.fraction),
        "rate_weight": rate_weight(trainer.row, trainer.fraction),
        "images_per_second": round(rate, 1),
        "peak_resident_bytes": peak_resident_bytes(),
        **({"skipped_steps": trainer.skipped} if trainer.skipped else {}),
    }


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects SIGINT, SIGTERM and SIGHUP so that the loop can end between two steps."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    watched = (signal.SIGINT, *endings())
    before = {s: signal.signal(s, lambda number, _: caught.append(number)) for s in watched}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
