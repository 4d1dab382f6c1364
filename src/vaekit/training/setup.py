"""Settings before the first step: precision, compilation and the number of threads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from vaekit.config.run_config import Engine, EngineFields, RunConfig
from vaekit.runs import folder as runs
from vaekit.system.cpu import has_bf16_products
from vaekit.system.distributed import ALONE, Team
from vaekit.system.machine_load import Choice, choose, is_set_by_user, recent_load

__all__ = ["choose_threads", "with_engine"]

_LARGE_DENSE_BATCH = 128  # batch size above which matrix products dominate in dense networks


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
