"""The loop: images → batches → steps → run folder. One function, top to bottom; the same call resumes."""

from __future__ import annotations

import math
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vaekit import pictures, report, runs
from vaekit.build import resolve
from vaekit.config import DataConfig, RunConfig
from vaekit.data import Images
from vaekit.edit import encode_set
from vaekit.errors import Interrupted, UserError
from vaekit.evaluate import Numbers, evaluate
from vaekit.progress import Progress, Silent
from vaekit.recipes import Recipe
from vaekit.trainer import Trainer, epoch_order, learning_rate, rate_weight

__all__ = ["Length", "check_folder", "held_out", "make_config", "pick_device", "train", "training_images"]

_CALIBRATION_SECONDS = 5.0  # at most; a budget gives a fiftieth of itself to measuring its own speed
_SAVE_EVERY_SECONDS = 60.0
_LOG_LINES_PER_EPOCH = 20
_MOST_VALIDATION_IMAGES = 1000


@dataclass(frozen=True)
class Length:
    """How long to train: one of these, or the recipe's own number of epochs if none is given."""

    epochs: float | None = None
    images: int | None = None
    budget_seconds: float | None = None


def train(
    images: Images,
    recipe: Recipe,
    out: str | Path,
    length: Length | None = None,
    *,
    seed: int = 0,
    split_seed: int = 0,
    device: str = "auto",
    initial: str | None = None,
    progress: Progress | None = None,
    started: float | None = None,
) -> Path:
    """Trains ``recipe`` on the training part of ``images`` into the folder ``out``, or goes on where it was.

    ``started`` is the ``time.monotonic()`` that a budget counts from. Returns the folder. Raises :class:`UserError` for
    what the user can mend and :class:`Interrupted` on SIGINT and SIGTERM, with the state saved.
    """
    started = time.monotonic() if started is None else started
    length, progress, out = length or Length(), progress or Silent(), Path(out)
    chosen = pick_device(device)
    config = make_config(images, recipe, length, seed=seed, split_seed=split_seed, initial=initial)
    check_folder(out)
    config, is_new = _meet_folder(out, config, length)
    pixels = training_images(images, recipe).pixels
    watched = Watched.of(images, recipe)
    if is_new and length.budget_seconds:
        config = _fit_budget(config, pixels, watched, chosen, length.budget_seconds, started)
    trainer = Trainer(config, pixels, chosen)
    with _folder_or_nothing(out, is_new):
        saved = runs.load_state(out)
        if saved is None:
            _begin(trainer, out, watched)
        else:
            trainer.load_state(*saved)
            if trainer.images == config.total_images and _is_finished(out):
                progress.say(f"{out} is finished ({config.total_images:,} images); ask for more epochs to extend it")
                return out
            progress.say(f"{out}: going on from image {trainer.images:,} of {config.total_images:,}")
            _repair(trainer, out)
        _run(trainer, out, images, watched, progress)
        _finish(trainer, out, images, progress)
    return out


def _begin(trainer: Trainer, out: Path, watched: Watched) -> None:
    """What stands in a run folder before the first step. Done again after a kill, it gives the same."""
    runs.atomic_write_text(out / "config.json", trainer.config.to_json())
    runs.clear_leftovers(out)
    initial = trainer.config.initial
    if initial:
        trainer.start_from(runs.load_tensors(Path(initial) / "weights.safetensors")[0], initial)
    runs.atomic_write_text(out / "metrics.jsonl", "")
    runs.append_metrics(out, {"images": 0, "kind": "start"})
    _save_pictures(out, trainer, watched, epoch=0)


def _repair(trainer: Trainer, out: Path) -> None:
    """Brings all that is derived from the state back to it: a kill may have come between the one and the other."""
    runs.clear_leftovers(out)
    runs.trim_metrics(out, trainer.images)
    _save_weights(trainer, out)


def _is_finished(out: Path) -> bool:
    """Whether all that a finished run holds is there and can be read; the report is written last."""
    try:
        for name in ("weights.safetensors", "latents.safetensors"):
            runs.load_tensors(out / name)
    except UserError:
        return False
    return (out / "report.html").exists()


def _run(trainer: Trainer, out: Path, images: Images, watched: Watched, progress: Progress) -> None:
    total, per_epoch = trainer.config.total_images, len(trainer.pixels)
    log_every = max(1, math.ceil(per_epoch / trainer.batch_size / _LOG_LINES_PER_EPOCH))
    sums, clock, last_save = Sums(), Clock(), time.monotonic()
    save_seconds = 0.0
    progress.start(total, trainer.images)
    try:
        with _signals() as caught:
            while trainer.images < total:
                sums.add(trainer.step())
                ends_epoch = trainer.images % per_epoch == 0 or trainer.images == total
                if trainer.steps % log_every == 0 or ends_epoch:
                    _stop_if_broken(trainer, images, out)
                    numbers = sums.means()
                    rate = clock.rate(trainer.images)
                    progress.update(trainer.images, rate, numbers)
                    runs.append_metrics(out, _log_line(trainer, numbers, rate))
                if ends_epoch:
                    with clock.paused():
                        _end_epoch(trainer, out, watched, progress)
                overdue = time.monotonic() - last_save > max(_SAVE_EVERY_SECONDS, 20 * save_seconds)
                if caught or overdue or trainer.images == total:
                    _stop_if_broken(trainer, images, out, about_to_save=True)
                    with clock.paused():
                        before = time.monotonic()
                        runs.save_state(out, *trainer.state())
                        _save_weights(trainer, out)
                        last_save = time.monotonic()
                        save_seconds = last_save - before
                if caught:
                    break
        if caught:
            raise Interrupted(caught[0], out)
    finally:
        progress.stop()


def _end_epoch(trainer: Trainer, out: Path, watched: Watched, progress: Progress) -> None:
    epoch = math.ceil(trainer.images / len(trainer.pixels))
    _save_pictures(out, trainer, watched, epoch)
    numbers = evaluate(trainer.eval_model(), watched.validation)
    trainer.model.train()
    line = {"images": trainer.images, "kind": "validation", "part": watched.part, "epoch": epoch}
    runs.append_metrics(out, line | {f"validation_{key}": value for key, value in numbers.items() if key != "images"})


def _save_weights(trainer: Trainer, out: Path) -> None:
    weights = trainer.average if trainer.average is not None else trainer.model
    runs.save_tensors(out / "weights.safetensors", weights.state_dict(), {"images": trainer.images})


def _finish(trainer: Trainer, out: Path, images: Images, progress: Progress) -> None:
    """What is derived from the final weights: encodings of the training images, numbers, report and model card."""
    model, config = runs.load_model(out, trainer.device)
    tensors, facts = encode_set(model, training_images(images, trainer.row))
    runs.save_tensors(out / "latents.safetensors", tensors, facts)
    part = "test" if len(images.part("test")) else "all"
    numbers: Numbers = evaluate(model, images.part(part).pixels)
    runs.append_metrics(out, {"images": trainer.images, "kind": "final", "part": part} | {f"final_{k}": v for k, v in numbers.items()})
    report.write(out)
    progress.say(f"{out}: {_final_words(numbers, part)}")


def _final_words(numbers: Numbers, part: str) -> str:
    shown = f"PSNR {numbers['psnr_db']:.2f} dB, SSE {numbers['sse_per_image']:.2f} per image"
    if numbers["elbo_nats"] is not None:
        shown += f", ELBO {numbers['elbo_nats']:.1f} nats (rate {numbers['rate_nats']:.1f})"
    where = "the test images" if part == "test" else "all images (there is no test part)"
    return f"{shown} on {where}"


def make_config(
    images: Images,
    recipe: Recipe,
    length: Length,
    *,
    seed: int = 0,
    split_seed: int = 0,
    initial: str | None = None,
    counts: tuple[int, int] | None = None,
) -> RunConfig:
    """The full configuration of a run that is about to start; ``counts`` replaces (all, training) images of a sample."""
    total_count, count = counts or (len(images), len(training_images(images, recipe)))
    row = resolve(recipe, images.shape, count)
    assert row.epochs is not None
    epochs = row.epochs if length.epochs is None else length.epochs
    total = length.images or max(1, round(epochs * count))
    data = DataConfig(
        source=images.source,
        size=(images.shape[1], images.shape[2]),
        channels=images.shape[0],
        fingerprint=images.fingerprint,
        split_seed=split_seed,
        images=total_count,
        train_images=count,
        classes=images.classes,
        attributes=tuple(images.attributes),
    )
    if row.likelihood == "bernoulli" and not bool(((images.pixels == 0) | (images.pixels == 255)).all()):
        raise UserError("likelihood=bernoulli is for binary pixels, these images have grey levels; set likelihood=normal")
    # The length is not part of what a recipe is: a finished run can be extended.
    return RunConfig(dict(replace(row, epochs=None).to_dict()), data, total, seed, initial, length.budget_seconds)


def training_images(images: Images, recipe: Recipe) -> Images:
    """The images that a recipe trains on: the train part, with the validation part for the seed systems."""
    if not recipe.train_on_val or not len(images.part("val")):
        return images.part("train")
    return images[torch.from_numpy(images.parts != 2)]


def held_out(images: Images, recipe: Recipe) -> tuple[str, Images]:
    """The part that is watched during training, and its name: val, else test, else (for tiny sets) train."""
    for part in ("test",) if recipe.train_on_val else ("val", "test"):
        if len(images.part(part)):
            return part, images.part(part)
    return "train", images.part("train")


@dataclass(frozen=True)
class Watched:
    """Held-out images looked at after every epoch: for pictures and for numbers."""

    part: str
    pictured: Tensor
    validation: Tensor

    @classmethod
    def of(cls, images: Images, recipe: Recipe) -> Watched:
        part, kept = held_out(images, recipe)
        chosen = pictures.one_per_class(kept.labels, len(kept), 10)
        return cls(part, kept.pixels[chosen], kept.pixels[:_MOST_VALIDATION_IMAGES])


class Sums:
    """Sums of per-example terms that stay on the device until they are read."""

    def __init__(self) -> None:
        self._total: Tensor | None = None
        self._count = 0

    def add(self, terms: Any) -> None:
        rate = terms.distortion.new_zeros(()) if terms.rate is None else terms.rate.sum()
        step = torch.stack([terms.distortion.sum(), rate])
        self._total = step if self._total is None else self._total + step
        self._count += len(terms.loss)
        self._has_rate = terms.rate is not None

    def means(self) -> dict[str, float | None]:
        """Means since the last call, nats per image."""
        assert self._total is not None
        distortion, rate = (self._total.double() / self._count).tolist()
        self._total, self._count = None, 0
        if not self._has_rate:
            return {"distortion_nats": distortion, "rate_nats": None, "elbo_nats": None}
        return {"distortion_nats": distortion, "rate_nats": rate, "elbo_nats": -distortion - rate}


class Clock:
    """Images per second, pauses for pictures and saving left out."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._images: int | None = None
        self._rate = 0.0

    def rate(self, images: int) -> float:
        now = time.monotonic()
        if self._images is not None and now > self._start and images > self._images:
            latest = (images - self._images) / (now - self._start)
            self._rate = latest if not self._rate else 0.8 * self._rate + 0.2 * latest
        self._start, self._images = now, images
        return self._rate

    @contextmanager
    def paused(self) -> Iterator[None]:
        before = time.monotonic()
        yield
        self._start += time.monotonic() - before


def pick_device(name: str) -> torch.device:
    """``auto`` is a GPU if there is one; raises :class:`UserError` if the named device cannot be used."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"--device {name} cannot be used here; leave it out or give cpu") from error
    return device


def check_folder(out: Path) -> None:
    """Refuses an ``--out`` that is a file, or a folder that holds something else than a run."""
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file; give a folder")
    if out.is_dir() and not (out / "config.json").exists() and any(not runs.is_leftover(p) for p in out.iterdir()):
        raise UserError(f"--out {out} holds files that are not a run; give a new or an empty folder")


def _meet_folder(out: Path, config: RunConfig, length: Length) -> tuple[RunConfig, bool]:
    """The configuration to train with, and whether the run is new."""
    if not (out / "config.json").exists():
        return config, True
    old = runs.read_config(out)
    for name, mine, theirs in _differences(config, old):
        raise UserError(f"--out {out} holds another run: its {name} is {theirs}, not {mine}; give another --out")
    if length.budget_seconds is not None and length.budget_seconds == old.budget_seconds:
        return old, False
    if length.budget_seconds is not None:
        raise UserError(f"--out {out} was started with another length; extend it with --epochs or --images")
    if config.total_images > old.total_images:
        longer = replace(old, total_images=config.total_images, budget_seconds=None)
        (out / "report.html").unlink(missing_ok=True)  # first: a report says that all is done
        runs.atomic_write_text(out / "config.json", longer.to_json())
        return longer, False
    return old, False


def _differences(mine: RunConfig, theirs: RunConfig) -> Iterator[tuple[str, Any, Any]]:
    for name in ("fingerprint", "size", "channels", "split_seed"):
        if getattr(mine.data, name) != getattr(theirs.data, name):
            yield f"data {name}", getattr(mine.data, name), getattr(theirs.data, name)
    for name in sorted(mine.recipe.keys() | theirs.recipe.keys(), key=lambda name: (name != "name", name)):
        if name not in ("summary", "paper", "cost") and mine.recipe.get(name) != theirs.recipe.get(name):
            yield name if name != "name" else "recipe", mine.recipe.get(name), theirs.recipe.get(name)
    for name in ("seed", "initial"):
        if getattr(mine, name) != getattr(theirs, name):
            yield name, getattr(mine, name), getattr(theirs, name)


def _fit_budget(
    config: RunConfig, pixels: Tensor, watched: Watched, device: torch.device, budget: float, started: float
) -> RunConfig:
    """Measures a throwaway copy and fixes the number of images that fits what is left of the budget."""
    trial = Trainer(replace(config, total_images=10**9), pixels, device)
    deadline = time.monotonic() + min(_CALIBRATION_SECONDS, budget / 20)
    step_seconds: list[float] = []
    while len(step_seconds) < 4 or (time.monotonic() < deadline and len(step_seconds) < 500):
        before = time.monotonic()
        trial.step().loss.sum().item()
        step_seconds.append(time.monotonic() - before)
    per_image = sorted(step_seconds[1:])[len(step_seconds[1:]) // 2] / min(config.recipe["batch_size"], len(pixels))
    before = time.monotonic()
    evaluate(trial.eval_model(), watched.validation)
    validation = time.monotonic() - before
    state_bytes = sum(t.numel() * t.element_size() for t in trial.state()[0].values())
    per_epoch = validation + 0.3  # pictures
    saving = state_bytes / 200e6
    encoding = validation / len(watched.validation) * (min(len(pixels), 20_000) + config.data.images - len(pixels))
    left = budget - (time.monotonic() - started) - encoding - 2 * saving - 3.0
    slowness = 1 + saving / max(_SAVE_EVERY_SECONDS, 20 * saving)
    images = int(left / (per_image * slowness + per_epoch / len(pixels)))
    images = max(images, config.recipe["batch_size"], 1)
    return replace(config, total_images=images)


@contextmanager
def _folder_or_nothing(out: Path, is_new: bool) -> Iterator[None]:
    """A new run that ends without a state to go on from leaves nothing behind, nor the folders made for it."""
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--out {out} cannot be written: {error.strerror}; choose another folder") from error
        yield
    except BaseException:
        if is_new and not (out / "state.safetensors").exists():
            _empty(out)
            for folder in made:
                with suppress(OSError):
                    folder.rmdir()
        raise


def _empty(folder: Path) -> None:
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _save_pictures(out: Path, trainer: Trainer, watched: Watched, epoch: int) -> None:
    model = trainer.eval_model()
    name = f"epoch-{epoch:04d}"
    pictures.reconstructions(model, watched.pictured).save(out / "pictures" / f"{name}-reconstructions.png")
    if model.is_bound:
        pictures.fixed_samples(model).save(out / "pictures" / f"{name}-samples.png")
    trainer.model.train()


def _stop_if_broken(trainer: Trainer, images: Images, out: Path, about_to_save: bool = False) -> None:
    """Raises :class:`UserError` if a loss was not a finite number; ``about_to_save``: or if the weights are not."""
    step = int(trainer.first_bad_step)
    if step < 0 and about_to_save and not _is_finite(trainer.parameters):
        step = trainer.steps - 1  # a finite loss whose gradient was not
    if step < 0:
        return
    row = trainer.row
    epoch, within = divmod(step, math.ceil(len(trainer.pixels) / trainer.batch_size))
    order = epoch_order(trainer.config.seed, epoch, len(trainer.pixels))
    index = order[within * trainer.batch_size : (within + 1) * trainer.batch_size]
    names = training_images(images, row).names
    some = ", ".join(names[i] for i in index[:3].tolist())
    kept = f"the last good state is kept in {out}" if (out / "state.safetensors").exists() else "no state was saved yet"
    raise UserError(
        f"the loss was not a finite number at step {step} (epoch {epoch + 1}, images {some} …); {kept}; "
        f"try a smaller --learning-rate than {row.learning_rate:g}, in another --out"
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
    }


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM so that the loop can end between two steps."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    watched = (signal.SIGINT, signal.SIGTERM)
    before = {s: signal.signal(s, lambda number, _: caught.append(number)) for s in watched}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


