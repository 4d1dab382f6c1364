"""Export a run to a folder of ONNX networks (:mod:`vaekit.export.bundle`)."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from vaekit.config.capabilities import serves
from vaekit.errors import UserError, argument
from vaekit.export.onnx import check_export
from vaekit.export.onnx import export as write_export
from vaekit.latent.flow_prior import FLOW_MATCHING
from vaekit.model.flow_matching import FlowMatchingPrior
from vaekit.model.latent_model import LatentModel
from vaekit.runs import folder as runs
from vaekit.runs.context import RunContext
from vaekit.runs.result import Result
from vaekit.runs.verbs.directions import directions
from vaekit.system.notes import note_once

__all__ = ["export", "exported_model"]

_COMPARED = 100  # images for the comparison with PyTorch


def export(run: RunContext, out: Path, data: Any, precision: str) -> Result:
    """Write the folder, and compare it with PyTorch on up to 100 images."""
    run.needs("export")
    check_export(out, precision)
    if run.config.data.binarize:
        raise UserError(
            f"{run.path} binarizes images ({argument('binarize', run.config.data.binarize)}), which an export cannot "
            f"do; train without {argument('binarize')} to export"
        )
    chosen = run.choose(data)
    facts = {
        "recipe": run.recipe.name,
        "labels": list(run.config.data.classes),
        "attributes": list(run.config.data.attributes),
    }
    model = exported_model(run)
    images = chosen.pixels[:_COMPARED]
    known = directions(run) if serves("edit", run.model) else {}
    return Result(numbers=write_export(model, out, images, run.form, known, facts, precision))


def exported_model(run: RunContext) -> LatentModel:
    """Return a copy of the model to export. A note says that a flow-matching prior is left out."""
    model, _ = runs.load_model(run.path)
    fitted = run.model.fitted_prior
    if isinstance(fitted, FlowMatchingPrior):
        instead = "samples from the prior of the training" if model.prior is not None else "cannot generate images"
        note_once(f"a {FLOW_MATCHING} prior cannot be exported; the export {instead}")
    elif fitted is not None:
        model.fitted_prior = copy.deepcopy(fitted).cpu()
    return model
