"""The program ``vaekit``: how a command joins it, and the arguments that several commands share."""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from cyclopts import App, Group, Parameter, Token, convert, validators

from vaekit._version import __version__

__all__ = [
    "LATENT", "LOOK", "MEASURE", "PORT", "SEED", "SHIP", "TRAIN", "AllSplit", "Animate", "Device", "Json", "Moving",
    "Out", "Run", "Seed", "Split", "app", "command", "unwrapped",
]  # fmt: skip

_Function = TypeVar("_Function", bound=Callable[..., None])
_ORDER = itertools.count()  # of the commands in their groups


def _exact(kind: Any, tokens: Sequence[Token]) -> Any:
    """Converts as by default, but refuses 2.5 as a whole number."""
    if int in (kind, *get_args(kind)):
        for token in tokens:
            if "." in token.value:
                raise ValueError(f"{token.value}: expected a whole number, written without a point.")
    return convert(kind, tokens)


TRAIN, LOOK, LATENT, MEASURE, SHIP, OTHER = map(
    Group.create_ordered, ("Train", "Look", "Latent space", "Measure", "Ship", "Other")
)

app = App(
    name="vaekit",
    default_parameter=Parameter(converter=_exact),
    group_parameters=Group.create_default_parameters("Options"),
    help="Turn a folder of images into a latent space you can trust, play with and ship.",
    version=__version__,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)
for _flag in ("--help", "--version"):
    app[_flag].group = OTHER


def command(group: Group, name: str | None = None, old_name: str | None = None) -> Callable[[_Function], _Function]:
    """Adds a function as a command of a group; its docstring is the help, which begins with one plain line.

    ``old_name`` still works and is not listed.
    """

    def add(function: _Function) -> _Function:
        text = unwrapped(function.__doc__ or "")
        app.command(function, name=name, help=text, group=group, sort_key=next(_ORDER))
        if old_name:
            app.command(function, name=old_name, help=text, show=False)
        return function

    return add


def unwrapped(text: str) -> str:
    """A docstring with one line per paragraph, which a terminal of any width wraps itself."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(text))
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


PORT = validators.Number(gte=1, lte=65535)
SEED = validators.Number(gte=0, lt=2**63)

Run = Annotated[Path, Parameter(help="Run folder.")]
Split = Annotated[str | None, Parameter(help="train, val, test or all. Default: test, or all without a test part.")]
AllSplit = Annotated[str | None, Parameter(help="train, val, test or all. Default: all.")]
Seed = Annotated[int, Parameter(help="Random seed.", validator=SEED)]
Device = Annotated[str, Parameter(help="cpu, cuda, mps, or auto: a GPU if there is one.")]
Json = Annotated[bool, Parameter(name="--json", negative="", show_default=False, help="Print one JSON object.")]
Out = Annotated[Path | None, Parameter(help="Picture to write: .png, .webp or .jpg. Default: RUN-COMMAND.png.")]
Moving = Annotated[
    Path | None,
    Parameter(
        help="File to write: .png, .webp or .jpg, or with --animate .gif or .webp. Default: RUN-COMMAND.png or .webp."
    ),
]
Animate = Annotated[
    bool, Parameter(negative="", show_default=False, help="Write an animation that plays forward and back.")
]
