"""The training options: one record for the keywords in Python, the flags and their help.

Each field states its type, its help text and the group of its flag. Adding a field adds the option to
:func:`vaekit.train`, :func:`vaekit.plan`, ``vaekit train`` and their documentation.
"""

from __future__ import annotations

import math
import os
import typing
from collections.abc import Callable, Collection, Sequence
from dataclasses import KW_ONLY, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from vaekit.config.run_config import BINARIZE, PRECISIONS, Engine, EngineFields, Length
from vaekit.config.table import LIKELIHOODS, RECIPES, Recipe, get, override, with_likelihood
from vaekit.errors import UserError, argument, counted, nearest
from vaekit.pixels.choices import FITS, FRAMES
from vaekit.system.arguments import shown
from vaekit.system.durations import parse_duration

__all__ = ["Help", "TrainOptions", "helps"]

DATA, MODEL, TRAINING, HARDWARE, OUTPUT = GROUPS = ("Data", "Model", "Training", "Hardware", "Output")
PYTHON = ""  #: group of the options without a flag

_MOST_EPOCHS = 1_000_000_000


@dataclass(frozen=True)
class Help:
    """The documentation of an option."""

    text: str
    group: str
    choices: Collection[str] = ()  #: allowed values
    flag: str = ""  #: name of the flag, if it is not that of the field
    shell: str = ""  #: help text of the flag, if it differs

    def described(self, in_shell: bool = False) -> str:
        """Return the text, with the choices if it does not name all of them.

        >>> Help("Precision of the networks.", "Hardware", ("fp32", "bf16")).described()
        'Precision of the networks. One of: fp32, bf16.'
        """
        text = self.shell if in_shell and self.shell else self.text
        if all(choice in text for choice in self.choices):
            return text
        return f"{text} One of: {', '.join(self.choices)}."


@dataclass(frozen=True)
class TrainOptions:
    """How to train. ``None`` leaves the choice to the recipe, the run or the device."""

    recipe: Annotated[str | Recipe, Help("Kind of model and how it is trained.", MODEL, RECIPES)] = "vae"
    out: Annotated[
        str | Path | None,
        Help("Run folder. Run the same training again to resume it. Default: runs/DATA-RECIPE.", OUTPUT),
    ] = None
    _: KW_ONLY
    size: Annotated[
        int | str | tuple[int, int] | None,
        Help(
            "Image size in pixels: the shorter side, or HEIGHTxWIDTH. Default: the size of the images, if all agree.",
            DATA,
        ),
    ] = None
    channels: Annotated[
        int | None,
        Help("1 (gray), 3 (color) or 4 (with transparency). Default: 1 or 3, depending on the images.", DATA),
    ] = None
    fit: Annotated[
        str,
        Help(
            "How to treat images of another aspect ratio: crop to the middle, pad with the background, or stretch.",
            DATA,
            FITS,
        ),
    ] = "crop"
    background: Annotated[str, Help("Color behind transparent pixels and around padded images.", DATA)] = "white"
    frames: Annotated[str, Help("Frames to read from animations and multi-page files: first or all.", DATA, FRAMES)] = (
        "first"
    )
    binarize: Annotated[
        str | None,
        Help(
            "Make pixels black or white: dynamic (drawn in each step), static (drawn once) or threshold. The "
            "likelihood becomes bernoulli.",
            DATA,
            BINARIZE,
        ),
    ] = None
    flip: Annotated[bool | None, Help("Mirror half of the training images. Wrong for digits and text.", DATA)] = None
    shift: Annotated[int | None, Help("Move training images by up to this many pixels.", DATA)] = None
    jitter: Annotated[
        float | None,
        Help("Change brightness, contrast and saturation by up to this fraction, such as 0.2.", DATA),
    ] = None
    noise_std: Annotated[
        float | None,
        Help("Train to remove noise of up to this standard deviation, such as 0.5, on the [0, 1] scale.", DATA),
    ] = None
    latent_dim: Annotated[int | None, Help("Dimensions of the latent vector.", MODEL)] = None
    downsampling: Annotated[
        int | None, Help("Side in pixels of the block that a cell of a latent grid represents: 4, 8 or 16.", MODEL)
    ] = None
    likelihood: Annotated[
        str | None, Help("Distribution of the pixel values. Default: the recipe's.", MODEL, LIKELIHOODS)
    ] = None
    settings: Annotated[
        dict[str, Any] | None,
        Help(
            "Other recipe values, by name.",
            MODEL,
            flag="set",
            shell="Change a recipe value, as NAME=VALUE; repeatable.",
        ),
    ] = None
    init: Annotated[str | Path | None, Help("Start from the weights of this run.", MODEL)] = None
    epochs: Annotated[
        float | None, Help("Passes over the training images. Give at most one of epochs, images and budget.", TRAINING)
    ] = None
    images: Annotated[int | None, Help("Length of the training in images, counting repeats.", TRAINING)] = None
    budget: Annotated[
        str | float | None, Help("Length of the training in time, such as 90s, 10m or 1h30m.", TRAINING)
    ] = None
    batch_size: Annotated[
        int | Literal["auto"] | None, Help("Images per step, or auto: as many as fit on the GPU.", TRAINING)
    ] = None
    learning_rate: Annotated[float | None, Help("Peak learning rate.", TRAINING)] = None
    patience: Annotated[
        int | None, Help("Stop after this many epochs without improvement and keep the best weights.", TRAINING)
    ] = None
    seed: Annotated[int, Help("Random seed.", TRAINING)] = 0
    device: Annotated[Any, Help("cpu, cuda, mps, or auto: a GPU if there is one.", HARDWARE)] = "auto"
    threads: Annotated[
        int | None, Help("CPU threads. Default: as stored in the run, or one per free core.", HARDWARE)
    ] = None
    precision: Annotated[
        str | None, Help("Precision of the networks. Default: the faster one on the device.", HARDWARE, PRECISIONS)
    ] = None
    compiled: Annotated[bool | None, Help("Use torch.compile. Default: off.", HARDWARE, flag="compile")] = None
    micro_batch: Annotated[
        int | None, Help("Images per forward pass, if a whole batch does not fit into memory.", HARDWARE)
    ] = None
    tensorboard: Annotated[bool, Help('Also write TensorBoard logs (needs the extra "track").', OUTPUT)] = False
    quiet: Annotated[bool, Help("Print no progress.", PYTHON)] = False
    on_log: Annotated[
        Callable[[dict[str, Any]], object] | None,
        Help(
            "Called with each record of metrics.jsonl: a dict with kind ('train', 'validation' or 'final'), images "
            "(seen so far) and the numbers. In distributed training only process 0 calls it.",
            PYTHON,
        ),
    ] = None
    on_epoch: Annotated[
        Callable[[dict[str, Any], Sequence[Path]], object] | None,
        Help("Called after each epoch with its validation record and the paths of the new pictures.", PYTHON),
    ] = None

    def check(self) -> None:
        """Raise :class:`UserError` for values out of range, before any data is read."""
        self.length()
        if type(self.device).__name__ not in ("str", "device"):
            raise UserError(f"{argument('device')} {shown(self.device)}: expected a string or a torch.device")
        for name in ("threads", "micro_batch", "patience"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise UserError(f"{argument(name)} {count}: must be at least 1")
        cores = os.cpu_count()
        if self.threads is not None and cores is not None and self.threads > cores:
            raise UserError(
                f"{argument('threads')} {self.threads}: this machine has {counted(cores, 'core')}; more threads "
                "would wait for each other"
            )
        for name in ("precision", "binarize"):
            value, choices = getattr(self, name), helps()[name].choices
            if value is not None and value not in choices:
                raise UserError(f"{argument(name)} {value}: {nearest(value, choices)}")

    def length(self) -> Length:
        """How long to train; raises :class:`UserError` if several lengths are given, or one is not positive."""
        given = [name for name in ("epochs", "images", "budget") if getattr(self, name) is not None]
        if len(given) > 1:
            named = " and ".join(map(argument, given))
            raise UserError(f"{named} exclude each other; give one of them")
        for name in {"epochs", "images"} & set(given):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise UserError(f"{argument(name)} {value:g}: must be a finite number greater than 0")
        if self.epochs is not None and self.epochs > _MOST_EPOCHS:
            raise UserError(f"{argument('epochs')} {self.epochs:g}: expected at most {_MOST_EPOCHS:,}")
        return Length(self.epochs, self.images, None if self.budget is None else parse_duration(self.budget))

    def asks_length_by(self) -> str | None:
        """Return the option that states the length: ``epochs``, ``images`` or ``budget``, or None if none does."""
        given = (name for name in ("epochs", "images", "budget") if getattr(self, name) is not None)
        return next(given, "epochs" if "epochs" in (self.settings or {}) else None)

    def engine(self) -> EngineFields:
        """Fields of :class:`Engine` to override; the rest come from the stored run or the device."""
        asked = {each.name: getattr(self, each.name) for each in fields(Engine)}
        return cast(EngineFields, {name: value for name, value in asked.items() if value is not None})

    def row(self) -> Recipe:
        """Return the recipe with the given values; ``"auto"`` keeps the recipe's value."""
        row = get(self.recipe) if isinstance(self.recipe, str) else self.recipe
        settings = {name: _american(value) for name, value in (self.settings or {}).items()}
        likelihood = _american(self.likelihood)
        if self.binarize and not likelihood and "likelihood" not in settings and override(row, settings).has_bound:
            likelihood = "bernoulli"
        if likelihood is not None:
            row = with_likelihood(row, likelihood)
        values = self._recipe_values() | ({"likelihood": likelihood} if likelihood else {})
        _refuse_two_values(row, settings, values)
        row = override(row, settings | values)
        if likelihood is not None and not row.has_bound:
            known = ", ".join(name for name, each in RECIPES.items() if each.has_bound)
            raise UserError(
                f"{argument('likelihood')} {likelihood}: recipe {row.name!r} is an autoencoder and has no likelihood "
                f"to choose; use another recipe ({known})"
            )
        return row

    def _recipe_values(self) -> dict[str, Any]:
        """The options that are values of the recipe. Epochs are not among them, because a run can be extended."""
        shared = {each.name for each in fields(Recipe)} & set(helps()) - {"epochs", "likelihood"}
        values = {name: getattr(self, name) for name in sorted(shared)}
        return {name: value for name, value in values.items() if value not in (None, "auto")}


@cache
def helps() -> dict[str, Help]:
    """Return the documentation of each field, in order."""
    hints = typing.get_type_hints(TrainOptions, include_extras=True)
    return {each.name: hints[each.name].__metadata__[0] for each in fields(TrainOptions)}


def _refuse_two_values(row: Recipe, settings: dict[str, Any], values: dict[str, Any]) -> None:
    """Refuse different values for an option and the same name in ``settings``."""
    for name in sorted(settings.keys() & values.keys()):
        other = getattr(override(row, {name: settings[name]}), name)
        if other != values[name]:
            raise UserError(
                f"{argument(name)} {values[name]} and {argument('settings')} {name}={other} contradict each other; "
                "give one of them"
            )


def _american(value: Any) -> Any:
    """Return a value in American spelling: ``discretised-normal`` becomes ``discretized-normal``."""
    return value.replace("discretised", "discretized") if isinstance(value, str) else value
