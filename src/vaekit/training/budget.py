"""A budget of wall time → a number of images, measured once and then fixed, so that a budgeted run resumes exactly.

    images = (time left − work at the end) / (seconds per image, with saving and the measurements of an epoch)

The measurement has a deadline: a tenth of the budget. Only the least it can do, one step and one pass each of encoding
and evaluating, may exceed it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from vaekit.config.run_config import RunConfig
from vaekit.data import Selection
from vaekit.evaluation.metrics import evaluate
from vaekit.latent.ops import MOST_STORED_LATENTS, encode
from vaekit.runs.watched import Watched
from vaekit.system.distributed import ALONE, Team
from vaekit.training.model_trainer import ModelTrainer

__all__ = ["SAVE_EVERY_SECONDS", "fit_budget"]

SAVE_EVERY_SECONDS = 60.0  #: between two states at most, or twenty times what saving takes if that is more
_EARLY_SAVES = 7  # of the first minute, and the last one
_SHARE, _SHARE_OF_STEPS, _MOST_STEP_SECONDS = 1 / 10, 1 / 20, 15.0  # of the budget, spent on measuring
_ENOUGH_STEPS, _MOST_STEPS = 4, 500
_REPORT_SECONDS = 3.0
_EXAMINED_IMAGES = 1000  # of both parts together, for the verdict
_TIMED_IMAGES = 128
_PICTURES_SECONDS = 0.3  # of one epoch
_DISK_BYTES_PER_SECOND = 200e6


@dataclass(frozen=True)
class _Seconds:
    """What this machine needs for one of each, and how large a batch is."""

    batch: int
    build: float  #: a trainer
    train: float  #: an image, once
    save: float  #: a state
    encode: float  #: an image
    evaluate: float  #: an image


def fit_budget(
    config: RunConfig,
    pixels: Selection,
    watched: Watched,
    device: torch.device,
    budget: float,
    started: float,
    team: Team = ALONE,
) -> RunConfig:
    """Measures a throwaway copy and fixes the number of images that fits what is left of the budget.

    Args:
        config: the configuration, with any number of images.
        pixels: the images that are trained on.
        watched: the images that are evaluated after each epoch.
        device: where it will be trained.
        budget: seconds of wall time for everything.
        started: the ``time.monotonic()`` that the budget counts from.
        team: the processes that train together.

    Returns:
        The configuration with the number of images that fit, one batch at least.
    """
    seconds = _measured(config, pixels, watched, device, budget, team)
    others = config.data.images - len(pixels)
    at_the_end = seconds.encode * min(len(pixels), MOST_STORED_LATENTS)
    at_the_end += seconds.evaluate * (others + min(config.data.images, _EXAMINED_IMAGES))
    at_the_end += seconds.build + _EARLY_SAVES * seconds.save + 2 * _PICTURES_SECONDS + _REPORT_SECONDS
    left = budget - (time.monotonic() - started) - at_the_end
    slowness = 1 + seconds.save / max(SAVE_EVERY_SECONDS, 20 * seconds.save)
    per_epoch = seconds.evaluate * len(watched.validation) + _PICTURES_SECONDS
    images = int(left / (slowness * seconds.train + per_epoch / len(pixels)))
    return replace(config, total_images=_whole_batches(images, len(pixels), seconds.batch))


def _whole_batches(images: int, per_epoch: int, batch: int) -> int:
    """So many images or fewer, without a piece of a batch at the end; one batch at least.

    >>> _whole_batches(90, 40, 32), _whole_batches(75, 40, 32), _whole_batches(-5, 40, 32)
    (80, 72, 32)
    """
    epochs, rest = divmod(images, per_epoch)
    return max(epochs * per_epoch + rest // batch * batch, batch)


def _measured(
    config: RunConfig, pixels: Selection, watched: Watched, device: torch.device, budget: float, team: Team
) -> _Seconds:
    before = time.monotonic()
    trial = ModelTrainer(replace(config, total_images=10**9), pixels, device, team)
    begun = time.monotonic()
    if device.type != "cpu" or config.engine.compiled or team.size > 1:
        trial.step()  # connects processes, loads or compiles kernels: may take a minute, and says nothing about a step
    now = time.monotonic()
    deadline = now + _SHARE * budget
    train = _seconds_per_image(trial, now + min(_MOST_STEP_SECONDS, _SHARE_OF_STEPS * budget), deadline)
    model, samples = trial.eval_model(), trial.row.bound_samples
    some = replace(watched.validation, rows=watched.validation.rows[:_TIMED_IMAGES])
    encoding = _seconds_per_pass(lambda: encode(model, some), deadline)
    evaluating = _seconds_per_pass(lambda: evaluate(model, some, iwae_samples=samples), deadline)
    state_bytes = sum(t.numel() * t.element_size() for t in trial.state()[0].values())
    save = state_bytes / _DISK_BYTES_PER_SECOND
    return _Seconds(trial.batch_size, begun - before, train, save, encoding / len(some), evaluating / len(some))


def _seconds_per_image(trial: ModelTrainer, enough: float, deadline: float) -> float:
    """Of training, in a typical epoch, whose last batch may be smaller than the others."""
    found = _steps(trial, enough, deadline)
    seconds: dict[int, list[float]] = {}  # of steps, by the images in them
    (size, first), *others = found
    for images, taken in others:  # the first is slower
        seconds.setdefault(images, []).append(taken)
    seconds.setdefault(size, [first])
    # The lower third: what disturbs a measurement of seconds makes it slower, and passes.
    typical = {images: sorted(each)[len(each) // 3] for images, each in seconds.items()}
    count, batch = len(trial.pixels), max(typical)
    last = typical.get(count % batch, typical[batch]) if count % batch else 0.0
    return (count // batch * typical[batch] + last) / count


def _steps(trial: ModelTrainer, enough: float, deadline: float) -> list[tuple[int, float]]:
    """Images and seconds of steps taken until ``enough``; of four, or as many of them as the deadline allows."""
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
    """Of the second pass, since the first is slower; of the first where it took until the deadline."""
    first = _seconds(work)
    return _seconds(work) if time.monotonic() < deadline else first


def _seconds(work: Callable[[], object]) -> float:
    before = time.monotonic()
    work()
    return time.monotonic() - before
