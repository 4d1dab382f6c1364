"""The program, and the flags that several verbs share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

from cyclopts import App, Parameter, Token, convert, validators

from vaekit import __version__

__all__ = [
    "PORT", "SEED", "AllSplit", "Animate", "Background", "Channels", "Device", "Fit", "Frames", "Json", "Moving", "Out",
    "Size", "Split", "app",
]  # fmt: skip


def _exact(kind: Any, tokens: Sequence[Token]) -> Any:
    """As they are read by default, but 2.5 is no whole number."""
    if int in (kind, *get_args(kind)):
        for token in tokens:
            if "." in token.value:
                raise ValueError(f"{token.value}: expected a whole number, written without a point.")
    return convert(kind, tokens)


app = App(
    name="vaekit",
    default_parameter=Parameter(converter=_exact),
    help="Turn a folder of images into a latent space you can trust, play with and ship.",
    version=__version__,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)

Channels = Annotated[
    int | None, Parameter(help="1 (grey), 3 (colour) or 4 (with transparency). Default: 1 or 3, what the images are.")
]
Fit = Annotated[
    str,
    Parameter(help="Of pictures of another shape: crop (the middle), pad (all of it, on the background) or stretch."),
]
Background = Annotated[str, Parameter(help="Colour behind what is transparent and around what is padded.")]
Frames = Annotated[str, Parameter(help="Of animations and files with several pages: first or all.")]
AllSplit = Annotated[str | None, Parameter(help="train, val, test or all. Default: all.")]
Json = Annotated[bool, Parameter(name="--json", negative="", show_default=False, help="Print one JSON object.")]
Size = Annotated[
    str | None,
    Parameter(help="Shorter side in pixels, or HEIGHTxWIDTH.", allow_leading_hyphen=True),
]
PORT = validators.Number(gte=1, lte=65535)
SEED = validators.Number(gte=0, lt=2**63)
Device = Annotated[str, Parameter(help="cpu, cuda, mps, or auto: a GPU if there is one.")]
Out = Annotated[Path | None, Parameter(help="Picture to write: .png, .webp or .jpg. Default: RUN-VERB.png, here.")]
Moving = Annotated[
    Path | None,
    Parameter(
        help="File to write: .png, .webp or .jpg; .gif, or .webp with --animate. Default: RUN-VERB.png or .webp, here."
    ),
]
Animate = Annotated[
    bool, Parameter(negative="", show_default=False, help="Write an animation (.gif or .webp), there and back.")
]
Split = Annotated[str | None, Parameter(help="train, val, test or all. Default: test where there is one, else all.")]
