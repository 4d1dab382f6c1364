"""Create a run folder for a model that was trained outside of vaekit's loop."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from vaekit.config.options import TrainOptions
from vaekit.config.run_config import RunConfig
from vaekit.config.table import Recipe
from vaekit.data import Images
from vaekit.data.subsets import is_trained_on
from vaekit.errors import UserError, argument
from vaekit.evaluation.metrics import evaluate
from vaekit.model.factory import build_model
from vaekit.model.latent_model import LatentModel
from vaekit.runs import folder as runs
from vaekit.runs.new_config import make_config
from vaekit.runs.results import write_results
from vaekit.runs.watched import Watched
from vaekit.system.files import atomic_write_text
from vaekit.system.new_folder import check_new_folder, whole_folder
from vaekit.system.tensor_layouts import fault, layouts_of

__all__ = ["create_run"]

_FITTED = "fitted_prior."  # prefix of the tensors of a fitted prior, which has a file of its own


def create_run(model: LatentModel, recipe: Recipe, images: Images, out: Path, images_seen: int | None) -> None:
    """Write the new folder ``out`` atomically, with all files of a finished training except the state.

    Raises:
        UserError: If the folder exists, or the model does not fit the recipe and the images.
    """
    seen = int(is_trained_on(images, recipe).sum()) if images_seen is None else images_seen
    if seen < 1:
        raise UserError(f"images_seen {seen}: expected at least 1 image", "images_seen")
    config = make_config(images, recipe, TrainOptions(images=seen))
    weights = _weights_of(model, config)
    check_new_folder(out)
    with whole_folder(out) as folder:
        atomic_write_text(folder / "config.json", config.to_json())
        runs.save_weights(folder, weights, seen, config)
        _write_measurements(folder, images, seen)


def _weights_of(model: LatentModel, config: RunConfig) -> dict[str, Tensor]:
    """Return the weights of the model on the CPU; refuses weights of another network, or that are not finite."""
    weights = {
        name: tensor.detach().cpu() for name, tensor in model.state_dict().items() if not name.startswith(_FITTED)
    }
    with torch.device("meta"):  # shapes only
        expected = layouts_of(build_model(config.recipe, (config.data.channels, *config.data.size)))
    if wrong := fault(weights, expected):
        raise UserError(
            f"model: it does not fit {argument('recipe')} {config.recipe.name!r} and these images: {wrong}; build it "
            "with vaekit.model.factory.build_model(recipe, images.shape)",
            "model",
        )
    return weights


def _write_measurements(folder: Path, images: Images, images_seen: int) -> None:
    """Write the pictures and numbers of the last epoch, and the final results."""
    model, config = runs.load_model(folder)
    runs.append_metrics(folder, {"images": 0, "kind": "start"})
    watched = Watched.of(images, config.recipe, config.conditions)
    epoch = math.ceil(images_seen / config.data.train_images)
    watched.save_pictures(folder, model, epoch)
    numbers = evaluate(model, watched.validation, iwae_samples=config.recipe.bound_samples)
    line = {"images": images_seen, "kind": "validation", "part": watched.part, "epoch": epoch}
    named = {f"validation_{name}": value for name, value in numbers.items() if name != "images"}
    runs.append_metrics(folder, line | named)
    write_results(folder, model, config, images, images_seen, lambda line: runs.append_metrics(folder, line))
