"""What a training does with its folder: begin, resume, extend, or nothing because the run is finished.

``vaekit train`` acts on this decision, and its dry run prints it, so that both accept and refuse the same requests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from vaekit.config.options import TrainOptions
from vaekit.config.run_config import EngineFields, RunConfig
from vaekit.config.steps import epochs_text
from vaekit.errors import UserError, argument, counted
from vaekit.runs import folder as runs
from vaekit.runs.records import StateFacts
from vaekit.runs.same_run import check_same
from vaekit.system.files import atomic_write_text
from vaekit.training.early_stopping import Patience
from vaekit.training.resuming import lacking

__all__ = ["Decision", "decide"]

_DERIVED = ("report.html", "latents.safetensors", "doctor.json")  #: files that belong to the weights at the end


@dataclass(frozen=True)
class Decision:
    """What a training does with its folder."""

    kind: Literal["new", "resumed", "extended", "finished"]
    config: RunConfig  #: the configuration to train with
    stored: RunConfig | None = None  #: the configuration in the folder
    images_seen: int = 0  #: of the newest state
    steps: int = 0  #: of the newest state
    advice: str = ""  #: how to train a finished run longer
    lacks: tuple[str, ...] = ()  #: files that are missing or damaged, and that the training writes again

    def sentence(self, out: Path, images_seen: int | None = None) -> str:
        """Describe the decision. The images seen are those of another state if the newest one is damaged."""
        seen = self.images_seen if images_seen is None else images_seen
        if self.kind == "finished":
            return f"{out} is finished ({_amount(seen, self.config)}); {self.advice}"
        if self.kind == "extended" and self.stored is not None:
            longer = f"extending from {self.stored.total_images:,} to {self.config.total_images:,} images"
            return f"{out}: {longer}, resuming from image {seen:,}"
        if self.kind == "resumed":
            is_over = seen >= self.config.total_images
            trained = f"all {counted(seen, 'image')} are trained"
            resuming = f"resuming from image {seen:,} of {self.config.total_images:,}"
            return f"{out}: {trained if is_over else resuming}{_repairs(self.lacks)}"
        return f"{out}: a new run"

    def write(self, out: Path) -> None:
        """Write a configuration that differs from the stored one, and remove the files that it outdates."""
        now, then = self.config, self.stored
        if then is None or now == then:
            return
        if (now.total_images, now.patience) != (then.total_images, then.patience):
            for name in _DERIVED:
                (out / name).unlink(missing_ok=True)
        atomic_write_text(out / "config.json", now.to_json())


def decide(
    out: Path,
    config: RunConfig,
    options: TrainOptions,
    engine: EngineFields,
    say: Callable[[str], None] = lambda _: None,
) -> Decision:
    """Compare a requested training with the run in ``out``, if there is one. Nothing is written.

    Args:
        out: The run folder, locked by the caller.
        config: The requested configuration.
        options: The options, for the length that the user asked for.
        engine: The requested engine fields. The others come from the stored run.
        say: Receives a sentence about each damaged state. A training says it when it loads the state.

    Raises:
        UserError: If the stored run has other images or settings, or cannot be continued to the requested length.
    """
    if not (out / "config.json").exists():
        return Decision("new", config)
    stored = runs.read_config(out)
    progress = runs.peek_state(out, stored, say)
    if progress is None and any(line.get("kind") == "final" for line in runs.read_metrics(out)):
        raise UserError(
            f"{argument('out')} {out} contains a trained model without a state to resume from; give another "
            f"{argument('out')}, and {argument('init', out)} to start from its weights"
        )
    check_same(out, config, stored)
    patience = stored.patience if config.patience is None else config.patience
    wanted = replace(stored, engine=replace(stored.engine, **engine), patience=patience)
    asked_by = options.asks_length_by()
    if asked_by == "budget":
        _check_budget(out, config, wanted, options, progress)
    elif asked_by is not None and config.total_images > stored.total_images:
        wanted = replace(wanted, total_images=config.total_images)
    if progress is None:
        return Decision("new", wanted, stored)
    seen, steps = progress.images, progress.steps
    advice = _advice_if_over(progress, wanted, asked_by)
    lacks = lacking(out, is_over=bool(advice))
    if advice and not lacks:
        return Decision("finished", stored, stored, seen, steps, advice)
    if asked_by in ("epochs", "images") and config.total_images < stored.total_images:
        given = options.epochs if asked_by == "epochs" else config.total_images
        raise UserError(
            f"{argument(asked_by)} {config.total_images if given is None else given:,}: {out} trains on "
            f"{_amount(stored.total_images, stored)}, and a run cannot be shortened; leave {argument(asked_by)} out "
            f"to resume it, or give another {argument('out')}"
        )
    is_longer = wanted.total_images > stored.total_images
    return Decision("extended" if is_longer else "resumed", wanted, stored, seen, steps, lacks=lacks)


def _advice_if_over(progress: StateFacts, config: RunConfig, asked_by: str | None) -> str:
    """Return how to train longer if all steps have been taken, and an empty text otherwise."""
    best = Patience(config.patience, epochs_since_best=progress.epochs_since_best)
    if progress.images >= config.total_images:
        name = asked_by if asked_by in ("epochs", "images") else "epochs"
        return f"give more {argument(name)} to train longer"
    if best.is_exhausted:
        return f"it stopped early; give a larger {argument('patience')} to train longer"
    return ""


def _amount(images: int, config: RunConfig) -> str:
    """Format a number of images, and of epochs."""
    return f"{images:,} images, {epochs_text(images, config.data.train_images)}"


def _repairs(lacks: Sequence[str]) -> str:
    """Return the end of a sentence about files that are written again."""
    is_or_are = "is" if len(lacks) == 1 else "are"
    return f"; {' and '.join(lacks)} {is_or_are} missing or damaged, and {is_or_are} written again" if lacks else ""


def _check_budget(
    out: Path, config: RunConfig, wanted: RunConfig, options: TrainOptions, progress: StateFacts | None
) -> None:
    """Refuse a budget that is not the one of the run, because its number of images is already chosen."""
    if config.budget_seconds != wanted.budget_seconds:
        given = f"{argument('budget')} {options.budget}"
        advice = _advice_if_over(progress, wanted, "budget") if progress is not None else ""
        if progress is not None and advice and not lacking(out, is_over=True):
            raise UserError(f"{given}: {out} is finished ({_amount(progress.images, wanted)}); {advice}")
        raise UserError(
            f"{given}: {out} already trains on {_amount(wanted.total_images, wanted)}; "
            f"leave {argument('budget')} out to resume it, or extend it with more {argument('epochs')} or "
            f"{argument('images')}"
        )
