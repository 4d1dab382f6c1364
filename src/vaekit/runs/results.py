"""Write what follows from the final weights: latents of the training images, numbers, a diagnosis, and the report."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vaekit.config.run_config import RunConfig
from vaekit.data import PARTS, Images
from vaekit.data.subsets import is_trained_on
from vaekit.errors import UserError, argument
from vaekit.evaluation.doctor.evidence import Evidence
from vaekit.evaluation.doctor.examine import examine
from vaekit.evaluation.metrics import Numbers, evaluate
from vaekit.latent import ops
from vaekit.model.conditioning import selected
from vaekit.model.latent_model import LatentModel
from vaekit.runs import folder as runs
from vaekit.runs import report
from vaekit.system.files import save_tensors

__all__ = ["Final", "write_results"]


@dataclass(frozen=True)
class Final:
    """The result of a training."""

    part: str  #: the measured part: "test", or "all" without a test part
    numbers: Numbers
    evidence: Evidence


def write_results(
    out: Path,
    model: LatentModel,
    config: RunConfig,
    images: Images,
    images_seen: int,
    add: Callable[[dict[str, Any]], None],
) -> Final:
    """Write everything that follows from the final weights; the report comes last.

    Args:
        out: The run folder, which contains configuration, weights and metrics.
        model: The model with these weights, in eval mode.
        config: Its configuration.
        images: All images of the run, as in training.
        images_seen: Training images in total, counting repeats.
        add: Called with the final record, to append it to the metrics.

    Raises:
        UserError: If pictures of the model are not finite.
    """
    trained = is_trained_on(images, config.recipe)
    save_tensors(out / "latents.safetensors", *ops.encode_set(model, images, trained))
    is_test = images.parts == PARTS.index("test")
    part, rows = ("test", is_test) if is_test.any() else ("all", np.ones(len(images), bool))
    chosen = selected(images, rows, config.conditions)
    numbers = evaluate(model, chosen, iwae_samples=config.recipe.bound_samples)
    if not math.isfinite(numbers["sse_per_image"] or 0.0):
        raise UserError(
            f"{out}: the trained model draws pictures that are not finite, because its weights have diverged; "
            f"train again with another {argument('out')} and a smaller {argument('learning_rate')} than "
            f"{config.recipe.learning_rate:g}"
        )
    line = {"images": images_seen, "kind": "final", "part": part}
    add(line | {f"final_{name}": value for name, value in numbers.items()})
    evidence = examine(model, config, images, runs.read_metrics(out))
    runs.save_evidence(out, evidence)
    report.write(out)
    return Final(part, numbers, evidence)
