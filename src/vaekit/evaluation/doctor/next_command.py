"""Build the command to run next. Options that equal their defaults are omitted."""

from __future__ import annotations

import dataclasses
import shlex

from vaekit.config.capabilities import serves
from vaekit.config.run_config import DataConfig, RunConfig
from vaekit.config.table import DESCRIPTIONS, RECIPES, Recipe, with_likelihood
from vaekit.evaluation.doctor.diagnosis import Diagnosis
from vaekit.evaluation.doctor.remedies import Changes
from vaekit.model.factory import resolve

__all__ = ["next_command", "train_command"]

#: Recipe values that have their own option.
_FLAGS = ("batch_size", "learning_rate", "latent_dim", "downsampling", "flip", "shift", "jitter", "noise_std")
_NOT_SET = ("name", *DESCRIPTIONS, "epochs", "likelihood", "condition_size")


def next_command(config: RunConfig, diagnosis: Diagnosis, source: str, run: str) -> str:
    """Return the command that follows from a diagnosis of the run in the folder ``run``."""
    source = "DATA" if source in ("array", "files") else source
    if diagnosis.remedy == "use":
        verb = "generate" if serves("generate", config.recipe) else "reconstruct"
        return _drawn(verb, run)
    if diagnosis.remedy == "reconstruct":
        return _drawn("reconstruct", run)
    if diagnosis.remedy == "fit-prior":
        return shlex.join(["vaekit", "fit-prior", run])
    if diagnosis.remedy == "data":
        height, width = config.data.size
        sheet = f"{run.rstrip('/')}-data.png"
        return shlex.join(["vaekit", "data", source, "--size", f"{height}x{width}", "--sheet", sheet])
    if diagnosis.remedy == "resume":
        return train_command(config, source, run)
    changed = next(iter(diagnosis.changes)).replace("_", "-")
    return train_command(config, source, f"{run.rstrip('/')}-{changed}", diagnosis.changes)


def _drawn(verb: str, run: str) -> str:
    return shlex.join(["vaekit", verb, run, "--out", f"{run.rstrip('/')}-{verb}.png"])


def train_command(config: RunConfig, source: str, out: str, changes: Changes | None = None) -> str:
    """Build the ``vaekit train`` command that repeats a run with changes, ready to paste into a shell.

    A recipe that is not in the table is expressed as changes to ``vae`` or ``ae``.

    Args:
        config: Configuration of the run.
        source: Images to train on.
        out: Folder of the new run.
        changes: ``images``, ``patience`` or values of the recipe.
    """
    values = dict(changes or {})
    total, patience = values.pop("images", config.total_images), values.pop("patience", config.patience)
    row = config.recipe
    base = RECIPES.get(row.name) or RECIPES["vae" if row.has_bound else "ae"]
    words = ["vaekit", "train", source, "--recipe", base.name, *_of_data(config.data)]
    words += _of_recipe(row, base, config.data, values)
    words += ["--images", str(total)]
    for name, value in (("seed", config.seed or None), ("patience", patience), ("init", config.initial)):
        words += [] if value is None else [f"--{name}", str(value)]
    if config.engine.micro_batch is not None:
        words += ["--micro-batch", str(config.engine.micro_batch)]
    for source_of_part in dict.fromkeys(part.source for part in config.parts):
        words += ["--import", source_of_part]
    return shlex.join([*words, "--out", out])


def _of_data(data: DataConfig) -> list[str]:
    height, width = data.size
    words = ["--size", str(height) if height == width else f"{height}x{width}", "--channels", str(data.channels)]
    mine = dataclasses.asdict(data)
    usual = dataclasses.asdict(DataConfig(data.source, data.size, data.channels, data.fingerprint))
    for name in ("fit", "background", "frames", "binarize"):
        if mine[name] != usual[name]:
            words += [f"--{name}", str(mine[name])]
    return words


def _of_recipe(row: Recipe, base: Recipe, data: DataConfig, changes: Changes) -> list[str]:
    """Return options for values of ``row`` that differ from ``base`` on such images, and for the changes."""
    words = []
    if data.binarize and base.has_bound:
        base = with_likelihood(base, "bernoulli")
    if row.likelihood != base.likelihood and row.has_bound:
        base = with_likelihood(base, row.likelihood)
        words += ["--likelihood", row.likelihood]
    usual = resolve(base, (data.channels, *data.size), data.train_images).to_dict()
    mine = {**row.to_dict(), **changes}
    for name in (*_FLAGS, *sorted(mine.keys() - set(_FLAGS) - set(_NOT_SET))):
        if name in changes or mine[name] != usual[name]:
            words += _option(name, mine[name])
    return words


def _option(name: str, value: object) -> list[str]:
    if name == "flip" and value is True:
        return ["--flip"]
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    has_flag = name in _FLAGS and name != "flip" and value is not None
    return [f"--{name.replace('_', '-')}", text] if has_flag else ["--set", f"{name}={text}"]
