"""Write the files of a training into its run folder: metrics, pictures, weights, states, and final results."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vaekit.data import Images
from vaekit.errors import counted
from vaekit.evaluation.doctor.diagnosis import diagnose
from vaekit.evaluation.metrics import Numbers, evaluate, loss_nats
from vaekit.runs import folder as runs
from vaekit.runs.results import write_results
from vaekit.runs.watched import Watched
from vaekit.system.memory import peak_resident_bytes
from vaekit.system.number_text import size_text
from vaekit.system.progress import Progress
from vaekit.training.callbacks import Callbacks
from vaekit.training.early_stopping import Patience
from vaekit.training.model_trainer import ModelTrainer
from vaekit.training.schedules import learning_rate, rate_weight
from vaekit.training.stopping import stop_if_broken
from vaekit.training.tracking import Record, Tracker

__all__ = ["Recorder", "finish", "save_pictures", "save_weights"]


@dataclass(frozen=True)
class Recorder:
    """Records a training in the run folder ``out``.

    Every process has one, because evaluation is shared. Only the main process has a ``tracker`` and writes.
    """

    trainer: ModelTrainer
    out: Path
    images: Images
    watched: Watched
    best: Patience
    tracker: Tracker | None
    callbacks: Callbacks

    @property
    def is_exhausted(self) -> bool:
        """Whether early stopping ends the training."""
        return self.best.is_exhausted

    @property
    def has_failed(self) -> bool:
        """Whether a callback of the user failed."""
        return self.callbacks.failed

    def raise_failure(self) -> None:
        """Raise what the callback raised."""
        self.callbacks.raise_failure()

    def check(self, about_to_save: bool = False) -> None:
        """Raise :class:`UserError` after too many bad steps, or ``about_to_save`` if weights are not finite."""
        stop_if_broken(self.trainer, self.images, self.out, about_to_save)

    def named(self, numbers: Mapping[str, float | None]) -> dict[str, float | None]:
        """Return the numbers as they are."""
        return dict(numbers)

    def log(self, numbers: Mapping[str, float | None], rate: float) -> None:
        """Write a line of metrics since the last line; ``rate`` is in images per second."""
        if self.tracker is None:
            return
        trainer = self.trainer
        self.tracker.add(
            {
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
        )

    def end_epoch(self) -> None:
        """Draw pictures, evaluate on the validation images, and with early stopping keep the best weights."""
        trainer = self.trainer
        epoch = math.ceil(trainer.images / len(trainer.pixels))
        drawn = save_pictures(self.out, trainer, self.watched, epoch) if self.tracker is not None else []
        samples = trainer.row.bound_samples
        numbers = evaluate(trainer.eval_model(), self.watched.validation, team=trainer.team, iwae_samples=samples)
        trainer.model.train()
        loss = loss_nats(numbers, trainer.row)
        assert loss is not None
        if self.best.limit is not None and self.best.improves(loss) and self.tracker is not None:
            save_weights(trainer, self.out)
        if self.tracker is not None:
            line: Record = {"images": trainer.images, "kind": "validation", "part": self.watched.part, "epoch": epoch}
            line |= {f"validation_{key}": value for key, value in numbers.items() if key != "images"}
            self.tracker.add(line)
            self.callbacks.epoch(line, drawn)

    def save(self) -> None:
        """Write the state, and the weights unless those of the best epoch are kept."""
        tensors, facts = self.trainer.state()
        runs.save_state(self.out, tensors, facts | self.best.facts(), self.trainer.config)
        if not self.best.has_best:
            save_weights(self.trainer, self.out)


def save_weights(trainer: ModelTrainer, out: Path) -> None:
    """Write the weights that commands load: averaged ones if the recipe averages."""
    weights = trainer.average if trainer.average is not None else trainer.model
    runs.save_weights(out, weights.state_dict(), trainer.images, trainer.config)


def save_pictures(out: Path, trainer: ModelTrainer, watched: Watched, epoch: int) -> list[Path]:
    """Draw the pictures of an epoch; return the files."""
    drawn = watched.save_pictures(out, trainer.eval_model(), epoch)
    trainer.model.train()
    return drawn


def finish(trainer: ModelTrainer, out: Path, images: Images, tracker: Tracker, progress: Progress) -> None:
    """Write what follows from the final weights: latents of training images, numbers, report and model card."""
    model, config = runs.load_model(out, trainer.device)
    final = write_results(out, model, config, images, trainer.images, tracker.add)
    if trainer.skipped:
        progress.say(f"{out}: {counted(trainer.skipped, 'step')} skipped, because the loss or gradient was not finite")
    progress.say(
        f"{out}: {_final_words(final.numbers, final.part, config.data.binarize)}{_memory_words(images.is_mapped)}"
    )
    lack = runs.metrics_lack(out, config, trainer.images)
    more = f"{out / 'metrics.jsonl'} {lack}." if lack else f"More: vaekit doctor {shlex.quote(str(out))}"
    progress.say(f"{out}: {diagnose(final.evidence).summary} {more}")


def _final_words(numbers: Numbers, part: str, binarize: str | None) -> str:
    shown = f"PSNR {numbers['psnr_db']:.2f} dB, SSE {numbers['sse_per_image']:.2f} per image"
    if numbers["elbo_nats"] is not None:
        shown += f", ELBO {numbers['elbo_nats']:.1f} nats (rate {numbers['rate_nats']:.1f})"
    if numbers["bits_per_dim"] is not None:
        shown += f", {numbers['bits_per_dim']:.3f} bits per dimension"
    where = "the test images" if part == "test" else "all images (without a test part)"
    return f"{shown} on {where}" + (f", binarized ({binarize})" if binarize else "")


def _memory_words(is_mapped: bool) -> str:
    peak = peak_resident_bytes()
    if peak is None:
        return ""
    hint = ", including pages of images on disk that the system can reclaim" if is_mapped else ""
    return f"; peak memory {size_text(peak)}{hint}"
