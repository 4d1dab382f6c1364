"""The description of a run in result files, without absolute paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import vaekit as vk

__all__ = ["describe_run"]


def describe_run(run: vk.Run) -> dict[str, Any]:
    """Return recipe, data, length and final numbers of a run."""
    config, data = run.config, run.config.data
    final = {name: round(value, 4) for name, value in run.final_numbers().items() if isinstance(value, float)}
    return {
        "recipe": config.recipe.name,
        "latent_dim": run.model.latent_dim,
        "beta": config.recipe.beta,
        "flip": config.recipe.flip,
        "prior": config.recipe.prior,
        "parameters": sum(weights.numel() for weights in run.model.parameters()),
        "data": Path(data.source).name,
        "data_fingerprint": data.fingerprint[:16],
        "height_width": list(data.size),
        "channels": data.channels,
        "train_images": data.train_images,
        "images_trained_on": config.total_images,
        "budget_seconds": config.budget_seconds,
        **final,
    }
