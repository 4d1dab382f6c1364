"""End a training early because of a signal, or of steps that are not finite."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vaekit.data import Images
from vaekit.data.subsets import is_trained_on
from vaekit.errors import UserError, argument, counted, endings
from vaekit.training.model_trainer import ModelTrainer
from vaekit.training.schedules import epoch_order
from vaekit.training.trainer import Trainer

__all__ = ["breakdown", "signals", "stop_if_broken"]

_MOST_BAD_STEPS = 10  # skipped steps in a row


@contextmanager
def signals() -> Iterator[list[int]]:
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


def stop_if_broken(trainer: ModelTrainer, images: Images, out: Path, about_to_save: bool = False) -> None:
    """Raise :class:`UserError` after too many bad steps in a row, or ``about_to_save`` if weights are not finite."""
    found = breakdown(trainer, about_to_save)
    if found is None:
        return
    what, at = found
    row = trainer.row
    epoch, start = divmod(at, len(trainer.pixels))
    order = epoch_order(trainer.config.seed, epoch, len(trainer.pixels), trainer.config.window_images)
    rows = np.flatnonzero(is_trained_on(images, row))
    some = ", ".join(images.names[rows[i]] for i in order[start : start + min(3, trainer.batch_size)].tolist())
    is_saved = (out / "state.safetensors").exists()
    kept = f"the last good state is kept in {out}" if is_saved else "no state was saved yet"
    elsewhere = f", with another {argument('out')}" if is_saved else ""
    raise UserError(
        f"{what}, after {counted(at, 'image')} (epoch {epoch + 1}, from the batch of {some} … on); {kept}; "
        f"try a smaller {argument('learning_rate')} than {row.learning_rate:g}{elsewhere}"
    )


def breakdown(trainer: Trainer[nn.Module], about_to_save: bool = False) -> tuple[str, int] | None:
    """Describe how a training has broken down, and after how many examples; None if it has not."""
    _, _, longest, first = trainer.bad.tolist()
    if about_to_save and not _is_finite(trainer.parameters):  # finite gradients, but too large a step
        return "the weights are not finite", max(0, trainer.images - trainer.batch_size)
    if longest >= _MOST_BAD_STEPS:
        return f"{longest} steps in a row had no finite loss and gradient", first
    return None


def _is_finite(tensors: Sequence[Tensor]) -> bool:
    return bool(torch.stack([tensor.detach().sum() for tensor in tensors]).isfinite().all())
