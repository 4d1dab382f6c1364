"""vaekit turns a folder of images into a latent space you can trust, play with and ship.

The names below are loaded when they are first used, because torch takes seconds to import.
"""

from __future__ import annotations

from vaekit._version import __version__ as __version__

TYPE_CHECKING = False  # checkers take it for true; typing takes as long to import as the rest of the start
__all__ = [
    "Images",
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
    "train",
]

if TYPE_CHECKING:
    from vaekit.api import load, plan, train
    from vaekit.config import table as recipes
    from vaekit.config.table import Recipe, register
    from vaekit.data import Images, open_images
    from vaekit.errors import UserError
    from vaekit.figures.grid import Sheet
    from vaekit.runs.result import Result
    from vaekit.runs.run import Run

_HOMES = {
    "Images": "data",
    "Recipe": "config.table",
    "Result": "runs.result",
    "Run": "runs.run",
    "Sheet": "figures.grid",
    "UserError": "errors",
    "load": "api",
    "open_images": "data",
    "plan": "api",
    "register": "config.table",
    "train": "api",
}


def __getattr__(name: str) -> object:
    import importlib

    if name in _HOMES:
        value: object = getattr(importlib.import_module(f"vaekit.{_HOMES[name]}"), name)
        globals()[name] = value  # a function wins over the module of the same name
        return value
    if name == "recipes":
        return importlib.import_module("vaekit.config.table")
    raise AttributeError(f"module 'vaekit' has no attribute {name!r}")
