"""The steps of a training, whatever is trained: logging, saving, and stopping at a signal."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from torch import nn

from vaekit.errors import Interrupted
from vaekit.system.progress import Progress
from vaekit.training.budget import SAVE_EVERY_SECONDS
from vaekit.training.meters import Clock, Means
from vaekit.training.stopping import signals
from vaekit.training.trainer import Trainer

__all__ = ["TrainingRecorder", "take_steps"]

_LOG_LINES_PER_EPOCH = 20
_FIRST_SAVE_SECONDS = 2.0


class TrainingRecorder(Protocol):
    """What a training writes, and what ends it before its last step.

    Every process has one, and only that of the main process writes.
    """

    @property
    def is_exhausted(self) -> bool:
        """Whether early stopping ends the training."""

    @property
    def has_failed(self) -> bool:
        """Whether a callback of the user failed."""

    def raise_failure(self) -> None:
        """Raise what the callback raised."""

    def check(self, about_to_save: bool = False) -> None:
        """Raise :class:`UserError` if the training has broken down."""

    def named(self, numbers: Mapping[str, float | None]) -> dict[str, float | None]:
        """Return the means of the terms under the names that the user sees."""

    def log(self, numbers: Mapping[str, float | None], rate: float) -> None:
        """Write means per example since the last call; ``rate`` is in examples per second."""

    def end_epoch(self) -> None:
        """Draw and measure at the end of an epoch."""

    def save(self) -> None:
        """Write the state."""


def take_steps(
    trainer: Trainer[nn.Module], recorder: TrainingRecorder, per_epoch: int, out: Path, progress: Progress
) -> None:
    """Take steps until the end of the training, or until asked to stop.

    Args:
        trainer: The trainer.
        recorder: Writes what is learned.
        per_epoch: Examples in an epoch.
        out: The folder of the training, for messages.
        progress: Receives the progress.

    Raises:
        Interrupted: On SIGINT, SIGTERM and SIGHUP in any process, after the state is saved.
        Exception: What a callback raised, after the state is saved.
    """
    total = trainer.values.total_images
    log_every = max(1, math.ceil(per_epoch / trainer.batch_size / _LOG_LINES_PER_EPOCH))
    recent, clock = Means(), Clock()
    begun = last_save = time.monotonic()
    save_seconds = 0.0
    is_asked = False  # by a signal to any process; all end after the same step
    progress.start(total, trainer.images)
    try:
        with signals() as caught:
            while trainer.images < total and not is_asked and not recorder.is_exhausted:
                recent.add(trainer.step(wants_to_stop=bool(caught) or recorder.has_failed))
                is_asked = trainer.someone_wants_to_stop() or (trainer.team.size == 1 and bool(caught))
                ends_epoch = trainer.images % per_epoch == 0 or trainer.images == total
                if trainer.steps % log_every == 0 or ends_epoch:
                    recorder.check()
                    numbers = recorder.named(recent.means(trainer.team))
                    rate = clock.rate(trainer.images)
                    progress.update(trainer.images, rate, numbers)
                    recorder.log(numbers, rate)
                if ends_epoch:
                    with clock.paused():
                        recorder.end_epoch()
                is_asked = is_asked or (trainer.team.size == 1 and recorder.has_failed)
                overdue = time.monotonic() - last_save > max(_save_interval(last_save - begun), 20 * save_seconds)
                is_over = is_asked or trainer.images == total or recorder.is_exhausted
                if trainer.team.leads and (is_over or overdue):
                    recorder.check(about_to_save=True)
                    with clock.paused():
                        before = time.monotonic()
                        recorder.save()
                        last_save = time.monotonic()
                        save_seconds = last_save - before
        someone_failed = trainer.team.any(recorder.has_failed)
        recorder.raise_failure()
        if is_asked or someone_failed:
            raise Interrupted(caught[0] if caught else signal.SIGTERM, out)
    finally:
        progress.stop()


def _save_interval(trained_seconds: float) -> float:
    """Return the seconds until the next state: the time trained before the last one, so that at most half is lost.

    >>> [_save_interval(seconds) for seconds in (0, 2, 4, 1000)]
    [2.0, 2.0, 4.0, 60.0]
    """
    return min(SAVE_EVERY_SECONDS, max(_FIRST_SAVE_SECONDS, float(trained_seconds)))
