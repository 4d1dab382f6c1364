"""Settings before the first step: the configuration, precision, compilation and the number of threads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from vaekit.config.options import TrainOptions
from vaekit.config.run_config import Engine, EngineFields, RunConfig
from vaekit.config.table import Recipe
from vaekit.data import Images
from vaekit.errors import argument, counted
from vaekit.runs import folder as runs
from vaekit.runs.claim import check_folder
from vaekit.runs.new_config import make_config
from vaekit.system.cpu import has_bf16_products
from vaekit.system.distributed import ALONE, Team
from vaekit.system.machine_load import Choice, choose, is_set_by_user, recent_load

__all__ = ["Requested", "batch_note", "choose_threads", "request", "with_engine"]

_LARGE_DENSE_BATCH = 128  # batch size above which matrix products dominate in dense networks


@dataclass(frozen=True)
class Requested:
    """What the user asked for, before it is compared with the run folder."""

    config: RunConfig
    computing: Choice  #: the number of threads
    engine: EngineFields  #: the engine fields that the user or the machine chose


def request(
    images: Images,
    recipe: Recipe,
    out: Path,
    options: TrainOptions,
    device: torch.device,
    team: Team = ALONE,
    counts: tuple[int, int] | None = None,
) -> Requested:
    """Return the requested training, after checking it and the folder ``out``.

    Args:
        images: The images, or a sample of them.
        recipe: The recipe, with the values of ``options`` already applied.
        out: The run folder.
        options: All other options.
        device: The device.
        team: The processes that train together.
        counts: Numbers of all images and of training images, if ``images`` is a sample.
    """
    config = make_config(images, recipe, options, counts)
    check_folder(out)
    computing, engine = choose_threads(out, device, options.engine(), team)
    return Requested(with_engine(config, device, engine), computing, engine)


def batch_note(config: RunConfig, options: TrainOptions) -> str | None:
    """Return a note if the user asked for more images per step than there are training images."""
    asked = isinstance(options.batch_size, int) or "batch_size" in (options.settings or {})
    size, count = config.recipe.batch_size or 0, config.data.train_images
    if not asked or size <= count:
        return None
    return (
        f"{argument('batch_size')} {size:,} is more than the {counted(count, 'training image')}; each step takes all "
        "of them"
    )


def with_engine(config: RunConfig, device: torch.device, asked: EngineFields | None = None) -> RunConfig:
    """Return the configuration with the fastest engine for a device; values in ``asked`` take precedence."""
    asked, row = asked or {}, config.recipe
    batch = min(row.batch_size or 0, asked.get("micro_batch") or config.data.train_images)
    return replace(config, engine=replace(_fastest_engine(device, row.net, batch), **asked))


def _fastest_engine(device: torch.device, net: str, batch: int) -> Engine:
    """Return bf16 for GPUs that support it, and for processors with bf16 products if products dominate.

    They dominate in residual networks, and in dense ones with large batches (``bench/precision.py``).
    """
    if device.type == "cuda":
        is_faster = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        is_large = net in ("resnet", "ladder") or (net == "mlp" and batch >= _LARGE_DENSE_BATCH)
        is_faster = device.type == "cpu" and is_large and has_bf16_products()
    return Engine(precision="bf16" if is_faster else "fp32")


def choose_threads(
    out: Path, device: torch.device, engine: EngineFields, team: Team = ALONE
) -> tuple[Choice, EngineFields]:
    """Return the number of threads for the run in ``out``, and ``engine`` with that number if it is stored.

    It is stored if it affects rounding: in a single process on the CPU. The load is measured only if more than one
    thread may run.
    """
    named, limit = engine.get("threads"), torch.get_num_threads()
    if team.size > 1 or device.type != "cpu":
        rest = engine.copy()
        rest.pop("threads", None)
        return Choice(named or limit), rest
    stored = runs.read_config(out).engine.threads if (out / "config.json").exists() else None
    load = recent_load() if (named or max(stored or 1, limit)) > 1 else None
    choice = choose(named, stored, limit, load, is_set_by_user())
    return choice, {**engine, "threads": choice.threads}
