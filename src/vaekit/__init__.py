"""vaekit turns a folder of images into a latent space you can trust, play with and ship.

The names below are loaded when they are first used, because torch takes seconds to import.
"""

from __future__ import annotations

from vaekit._version import __version__ as __version__

TYPE_CHECKING = False  # type checkers treat it as true; importing typing would double the startup time
__all__ = [
    "Batch",
    "Images",
    "Inference",
    "LatentDistribution",
    "LatentModel",
    "Likelihood",
    "Network",
    "NormalDistribution",
    "Objective",
    "PixelDistribution",
    "Posterior",
    "Prior",
    "Recipe",
    "Result",
    "Run",
    "Sheet",
    "UserError",
    "load",
    "open_images",
    "plan",
    "recipes",
    "register",
    "register_likelihood",
    "register_network",
    "register_objective",
    "register_prior",
    "train",
]

if TYPE_CHECKING:
    from vaekit.api import load, plan, train
    from vaekit.config import table as recipes
    from vaekit.config.table import Recipe, register
    from vaekit.data import Images, open_images
    from vaekit.errors import UserError
    from vaekit.figures.grid import Sheet
    from vaekit.model.contracts import Likelihood, Network, Objective, Posterior, Prior
    from vaekit.model.distributions.base import LatentDistribution, NormalDistribution, PixelDistribution
    from vaekit.model.inference import Batch, Inference
    from vaekit.model.latent_model import LatentModel
    from vaekit.model.registry import register_likelihood, register_network, register_objective, register_prior
    from vaekit.run import Run
    from vaekit.runs.result import Result

_HOMES = {
    "Batch": "model.inference",
    "Images": "data",
    "Inference": "model.inference",
    "LatentDistribution": "model.distributions.base",
    "LatentModel": "model.latent_model",
    "Likelihood": "model.contracts",
    "Network": "model.contracts",
    "NormalDistribution": "model.distributions.base",
    "Objective": "model.contracts",
    "PixelDistribution": "model.distributions.base",
    "Posterior": "model.contracts",
    "Prior": "model.contracts",
    "Recipe": "config.table",
    "Result": "runs.result",
    "Run": "run",
    "Sheet": "figures.grid",
    "UserError": "errors",
    "load": "api",
    "open_images": "data",
    "plan": "api",
    "register": "config.table",
    "register_likelihood": "model.registry",
    "register_network": "model.registry",
    "register_objective": "model.registry",
    "register_prior": "model.registry",
    "train": "api",
}


def __getattr__(name: str) -> object:
    import importlib

    if name in _HOMES:
        value: object = getattr(importlib.import_module(f"vaekit.{_HOMES[name]}"), name)
        globals()[name] = value  # a function takes precedence over the module of the same name
        return value
    if name == "recipes":
        return importlib.import_module("vaekit.config.table")
    raise AttributeError(f"module 'vaekit' has no attribute {name!r}")
