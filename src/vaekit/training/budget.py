"""A budget of wall time → a number of images, measured once and then fixed, so that a budgeted run resumes exactly."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import torch

from vaekit.config.run_config import RunConfig
from vaekit.data import Selection
from vaekit.evaluation.metrics import evaluate
from vaekit.latent.ops import MOST_STORED_LATENTS, encode
from vaekit.system.distributed import ALONE, Team
from vaekit.training.setup import Watched
from vaekit.training.trainer import Trainer

__all__ = ["SAVE_EVERY_SECONDS", "fit_budget"]

SAVE_EVERY_SECONDS = 60.0  #: between two states at most, or twenty times what saving takes if that is more
_EARLY_SAVES = 7  # of the first minute, and the last one
_CALIBRATION_SECONDS = 15.0  # at most; a budget gives a twentieth of itself to measuring its own speed
_REPORT_SECONDS = 3.0
_EXAMINED_IMAGES = 1000  # of both parts together, for the verdict
_TIMED_IMAGES = 128
_PICTURES_SECONDS = 0.3  # of one epoch
_DISK_BYTES_PER_SECOND = 200e6


def fit_budget(
    config: RunConfig,
    pixels: Selection,
    watched: Watched,
    device: torch.device,
    budget: float,
    started: float,
    team: Team = ALONE,
) -> RunConfig:
    """Measures a throwaway copy and fixes the number of images that fits what is left of the budget."""
    trial = Trainer(replace(config, total_images=10**9), pixels, device, team)
    deadline = time.monotonic() + min(_CALIBRATION_SECONDS, budget / 20)
    step_seconds: list[float] = []
    while len(step_seconds) < 4 or (team.any(time.monotonic() < deadline) and len(step_seconds) < 500):
        before = time.monotonic()
        trial.step().loss.sum().item()
        step_seconds.append(time.monotonic() - before)
    # The lower third: what disturbs a measurement of seconds makes it slower, and passes.
    typical = sorted(step_seconds[1:])[len(step_seconds[1:]) // 3]
    per_image = typical / min(trial.batch_size, len(pixels))
    model = trial.eval_model()
    some = replace(watched.validation, rows=watched.validation.rows[:_TIMED_IMAGES])
    encoding = _seconds_per_image(lambda: encode(model, some), len(some))
    samples = trial.row.bound_samples
    evaluating = _seconds_per_image(lambda: evaluate(model, some, iwae_samples=samples), len(some))
    state_bytes = sum(t.numel() * t.element_size() for t in trial.state()[0].values())
    saving = state_bytes / _DISK_BYTES_PER_SECOND
    per_epoch = evaluating * len(watched.validation) + _PICTURES_SECONDS
    at_the_end = encoding * min(len(pixels), MOST_STORED_LATENTS) + evaluating * (config.data.images - len(pixels))
    at_the_end += evaluating * min(config.data.images, _EXAMINED_IMAGES)
    left = budget - (time.monotonic() - started) - at_the_end - _EARLY_SAVES * saving - _REPORT_SECONDS
    slowness = 1 + saving / max(SAVE_EVERY_SECONDS, 20 * saving)
    images = int(left / (per_image * slowness + per_epoch / len(pixels)))
    return replace(config, total_images=max(images, trial.batch_size))


def _seconds_per_image(work: Callable[[], object], images: int) -> float:
    work()  # the first time is slower
    before = time.monotonic()
    work()
    return (time.monotonic() - before) / images
