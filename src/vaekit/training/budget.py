"""Convert a budget of wall time to a number of images, once, so that a run with a budget resumes exactly.

    images = (time left − work at the end) / (seconds per image, with saving and the measurements of an epoch)

The measurement stops after a tenth of the budget, but includes at least one step and one pass each of encoding and
evaluating.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vaekit.config.run_config import RunConfig
from vaekit.data import Selection
from vaekit.errors import argument
from vaekit.evaluation.metrics import evaluate
from vaekit.latent.ops import MOST_STORED_LATENTS, encode
from vaekit.runs.watched import Watched
from vaekit.system.distributed import ALONE, Team
from vaekit.system.durations import duration_text
from vaekit.training.model_trainer import ModelTrainer

__all__ = [
    "SAVE_EVERY_SECONDS",
    "Seconds",
    "at_the_end",
    "fit_budget",
    "fitting",
    "measure",
    "measuring_seconds",
    "per_image",
]

SAVE_EVERY_SECONDS = 60.0  #: most seconds between two states, or twenty times the time of saving if that is more
_EARLY_SAVES = 7  # states saved in the first minute, and the last one
_SHARE, _SHARE_OF_STEPS, _MOST_STEP_SECONDS = 1 / 10, 1 / 20, 15.0  # shares of the budget for measuring
_ENOUGH_STEPS, _MOST_STEPS = 4, 500
_REPORT_SECONDS = 3.0
_EXAMINED_IMAGES = 1000  # images of both parts that the doctor measures
_TIMED_IMAGES = 128
_PICTURES_SECONDS = 0.3  # per epoch
_DISK_BYTES_PER_SECOND = 200e6


@dataclass(frozen=True)
class Seconds:
    """Seconds on this machine, and the batch size."""

    batch: int
    build: float  #: per trainer
    train: float  #: per image
    save: float  #: per state
    encode: float  #: per image
    evaluate: float  #: per image


def fit_budget(
    config: RunConfig,
    pixels: Selection,
    watched: Watched,
    device: torch.device,
    budget: float,
    started: float,
    team: Team = ALONE,
    say: Callable[[str], None] = lambda _: None,
) -> RunConfig:
    """Measure a temporary copy, and set the number of images that fits into the rest of the budget.

    Args:
        config: The configuration, with any number of images.
        pixels: The training images.
        watched: The images that are evaluated after each epoch.
        device: The device of the training.
        budget: Seconds of wall time for everything.
        started: The ``time.monotonic()`` at which the budget starts.
        team: The processes that train together.
        say: Receives a note if the budget is too short to be useful.

    Returns:
        The configuration with the number of images that fit, at least one batch.
    """
    seconds = measure(config, pixels, watched, device, budget, team)
    left = budget - (time.monotonic() - started)
    return fitting(config, seconds, len(watched.validation), budget, left, say)


def fitting(
    config: RunConfig,
    seconds: Seconds,
    validation: int,
    budget: float,
    left: float,
    say: Callable[[str], None],
) -> RunConfig:
    """Return the configuration with the number of images that fits into the seconds that are left of a budget.

    Args:
        config: The configuration, with any number of images.
        seconds: What a training takes.
        validation: Number of images that are evaluated after each epoch.
        budget: Seconds of wall time for everything.
        left: Seconds that are left after measuring.
        say: Receives a note if little of the budget is left for the training.
    """
    left = left - at_the_end(config, seconds)
    if left < budget / 4:
        least = 10 * math.ceil(2 * (budget - left) / 10)
        say(
            f"{argument('budget')} {duration_text(budget)} is too short to be useful: measuring the speed, and the "
            f"evaluation and the report at the end, take about {duration_text(budget - left)}; give at least "
            f"{duration_text(least)}"
        )
    train_images = config.data.train_images
    images = int(left / per_image(config, seconds, validation))
    return replace(config, total_images=_whole_batches(images, train_images, seconds.batch))


def measuring_seconds(budget: float, seconds: Seconds, validation: int) -> float:
    """Estimate how long :func:`measure` takes for a budget, as part of a training."""
    steps = max(min(_MOST_STEP_SECONDS, _SHARE_OF_STEPS * budget), _ENOUGH_STEPS * seconds.batch * seconds.train)
    passes = 2 * (seconds.encode + seconds.evaluate) * min(validation, _TIMED_IMAGES)
    return seconds.build + min(steps + passes, _SHARE * budget + seconds.batch * seconds.train + passes)


def at_the_end(config: RunConfig, seconds: Seconds) -> float:
    """Return the seconds of everything that does not depend on the length of the training, after measuring."""
    others = config.data.images - config.data.train_images
    result = seconds.encode * min(config.data.train_images, MOST_STORED_LATENTS)
    result += seconds.evaluate * (others + min(config.data.images, _EXAMINED_IMAGES))
    return result + seconds.build + _EARLY_SAVES * seconds.save + 2 * _PICTURES_SECONDS + _REPORT_SECONDS


def per_image(config: RunConfig, seconds: Seconds, validation: int) -> float:
    """Return the seconds per image, with saving and the measurements of an epoch."""
    slowness = 1 + seconds.save / max(SAVE_EVERY_SECONDS, 20 * seconds.save)
    per_epoch = seconds.evaluate * validation + _PICTURES_SECONDS
    return slowness * seconds.train + per_epoch / config.data.train_images


def _whole_batches(images: int, per_epoch: int, batch: int) -> int:
    """Return at most this number of images, without a partial batch at the end, but at least one batch.

    >>> _whole_batches(90, 40, 32), _whole_batches(75, 40, 32), _whole_batches(-5, 40, 32)
    (80, 72, 32)
    """
    epochs, rest = divmod(images, per_epoch)
    return max(epochs * per_epoch + rest // batch * batch, batch)


def measure(
    config: RunConfig,
    pixels: Tensor | Selection,
    watched: Watched,
    device: torch.device,
    budget: float,
    team: Team = ALONE,
) -> Seconds:
    """Measure a temporary copy of the training; takes about a tenth of the budget."""
    before = time.monotonic()
    trial = ModelTrainer(replace(config, total_images=10**9), pixels, device, team)
    begun = time.monotonic()
    if device.type != "cpu" or config.engine.compiled or team.size > 1:
        trial.step()  # not timed: it connects processes, and loads or compiles kernels
    now = time.monotonic()
    deadline = now + _SHARE * budget
    train = _seconds_per_image(trial, now + min(_MOST_STEP_SECONDS, _SHARE_OF_STEPS * budget), deadline)
    model, samples = trial.eval_model(), trial.row.bound_samples
    some = replace(watched.validation, rows=watched.validation.rows[:_TIMED_IMAGES])
    encoding = _seconds_per_pass(lambda: encode(model, some), deadline)
    evaluating = _seconds_per_pass(lambda: evaluate(model, some, iwae_samples=samples), deadline)
    state_bytes = sum(t.numel() * t.element_size() for t in trial.state()[0].values())
    save = state_bytes / _DISK_BYTES_PER_SECOND
    return Seconds(trial.batch_size, begun - before, train, save, encoding / len(some), evaluating / len(some))


def _seconds_per_image(trial: ModelTrainer, enough: float, deadline: float) -> float:
    """Return the seconds per image in a typical epoch, whose last batch may be smaller."""
    found = _steps(trial, enough, deadline)
    seconds: dict[int, list[float]] = {}  # seconds of steps by batch size
    (size, first), *others = found
    for images, taken in others:  # the first step is slower
        seconds.setdefault(images, []).append(taken)
    seconds.setdefault(size, [first])
    # The lower third: disturbances only make steps slower, and are temporary.
    typical = {images: sorted(each)[len(each) // 3] for images, each in seconds.items()}
    count, batch = len(trial.pixels), max(typical)
    last = typical.get(count % batch, typical[batch]) if count % batch else 0.0
    return (count // batch * typical[batch] + last) / count


def _steps(trial: ModelTrainer, enough: float, deadline: float) -> list[tuple[int, float]]:
    """Take steps until ``enough``, or four if the deadline allows; returns images and seconds of each."""
    found: list[tuple[int, float]] = []
    while len(found) < _MOST_STEPS:
        end = enough if len(found) >= _ENOUGH_STEPS else deadline
        if found and trial.team.any(time.monotonic() >= end):
            break
        before = trial.images
        taken = _seconds(lambda: trial.step().loss.sum().item())
        found.append((trial.images - before, taken))
    return found


def _seconds_per_pass(work: Callable[[], object], deadline: float) -> float:
    """Return the seconds of the second pass, because the first is slower; of the first if it exceeded the deadline."""
    first = _seconds(work)
    return _seconds(work) if time.monotonic() < deadline else first


def _seconds(work: Callable[[], object]) -> float:
    before = time.monotonic()
    work()
    return time.monotonic() - before
