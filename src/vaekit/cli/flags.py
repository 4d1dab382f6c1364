"""Format arguments as flags: errors and notes say ``--batch-size`` where Python says ``batch_size``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields
from functools import cache
from typing import Any

from cyclopts import App, CycloptsError

__all__ = ["shown_argument", "shown_by"]

#: Flags whose names differ from those in Python.
_RENAMED = {"iwae_samples": "iwae", "is_orthogonal": "orthogonal", "compiled": "compile", "settings": "set"}


def shown_by(app: App, tokens: Sequence[str]) -> Callable[[str, str | None], str]:
    """Return how the command in ``tokens`` writes arguments; recipe values without a flag are ``--set NAME=VALUE``.

    >>> from vaekit.cli.app import app
    >>> shown = shown_by(app, ["train", "photos/"])
    >>> shown("batch_size", None), shown("size", "64"), shown("beta", "4"), shown("data", None)
    ('--batch-size', '--size 64', '--set beta=4', 'DATA')
    >>> shown_by(app, ["generate", "run"])("learning_rate", None)
    '--learning-rate'
    """

    @cache
    def names() -> dict[str, str]:
        return _names(app, tokens)

    def shown(name: str, value: str | None) -> str:
        name = _RENAMED.get(name, name)
        flag = names().get(name) or _names(app, ["train"]).get(name)  # an error of any command may suggest a training
        if flag is None and name in _recipe_values():
            return f"--set {name}" if value is None else f"--set {name}={value}"
        flag = flag or "--" + name.replace("_", "-")
        return flag if value is None else f"{flag} {value}"

    return shown


def _names(app: App, tokens: Sequence[str]) -> dict[str, str]:
    """Return the arguments of the command: the name in Python, and the flag."""
    with suppress(CycloptsError):
        _, (*_, command), _ = app.parse_commands(list(tokens))
        if command is not app:
            found = command.assemble_argument_collection()
            return {each.field_info.name.strip("_"): shown_argument(each) for each in found if each.show}
    return {}


def shown_argument(argument: Any) -> str:
    """Return the name of a positional argument in capitals, or the first name of a flag."""
    name: str = argument.field_info.name.upper() if argument.index is not None else argument.names[0]
    return name


def _recipe_values() -> frozenset[str]:
    from vaekit.config.recipe import Recipe

    return frozenset(each.name for each in fields(Recipe))
