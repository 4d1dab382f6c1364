"""The program ``vaekit``: the list of its commands, and the arguments that several of them share.

A command is imported when it is used, so that ``vaekit --help`` stays fast.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

from cyclopts import App, Group, Parameter, Token, convert, validators

from vaekit._version import __version__

__all__ = [
    "COMMANDS", "OLD_NAMES", "PORT", "SEED", "AllSplit", "Animate", "Device", "Json", "Moving", "Out", "Overwrite",
    "Run", "Seed", "Split", "app", "command", "usage",
]  # fmt: skip


def _exact(kind: Any, tokens: Sequence[Token]) -> Any:
    """Convert as by default, but refuse 2.5 as a whole number."""
    if int in (kind, *get_args(kind)):
        for token in tokens:
            if "." in token.value:
                raise ValueError(f"{token.value}: expected a whole number without a decimal point.")
    return convert(kind, tokens)


#: group → command → where it is implemented, and the first line of its help.
COMMANDS = {
    "Train": {
        "train": ("training:train", "Train a model on images, or resume a run."),
        "data": ("training:data", "Inspect a dataset, or write it to a folder."),
        "recipes": ("training:recipes", "List the recipes, or describe one."),
        "fit-prior": ("training:fit_prior", "Fit a prior to the latents of a finished run."),
    },
    "Look": {
        "generate": ("latent:generate", "Generate new images."),
        "reconstruct": ("latent:reconstruct", "Encode images and decode them again."),
        "denoise": ("latent:denoise", "Remove noise from images."),
        "inpaint": ("latent:inpaint", "Hide part of the images and fill it in."),
        "explore": ("export:explore", "Explore a run in the browser."),
    },
    "Latent space": {
        "interpolate": ("latent:interpolate", "Walk through latent space from one point to another."),
        "traverse": ("latent:traverse", "Show how each latent dimension changes an image."),
        "edit": ("latent:edit", "Add attributes to images, or remove them."),
        "arithmetic": ("latent:arithmetic", "Add and subtract latents, and decode the result."),
        "encode": ("evaluation:encode", "Write the latents or codes of images to a file, with labels."),
        "neighbors": ("evaluation:neighbors", "Find the images most similar to a given one."),
        "map": ("evaluation:map_", "Draw a map of images, with similar ones close together."),
    },
    "Measure": {
        "evaluate": ("evaluation:evaluate", "Measure the quality of a run on its test images, or on others."),
        "score": ("evaluation:score", "Find unusual images, and show where they are unusual."),
        "doctor": ("evaluation:doctor", "Diagnose a run and suggest the next command."),
    },
    "Ship": {
        "export": ("export:export", "Export a run to ONNX, for use without PyTorch."),
        "verify": ("export:verify", "Check an exported folder."),
        "publish": ("export:publish", "Write the page of 'vaekit explore' as a static site."),
    },
}
OLD_NAMES = {"neighbours": "evaluation:neighbors"}  #: old names, accepted but not listed

app = App(
    name="vaekit",
    default_parameter=Parameter(converter=_exact),
    group_parameters=Group.create_default_parameters("Options"),
    help="Turn a folder of images into a latent space you can trust, play with and ship.",
    version=__version__,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)
for _group, _commands in COMMANDS.items():
    _shown = Group.create_ordered(_group)
    for _order, (_name, (_place, _summary)) in enumerate(_commands.items()):
        app.command(f"vaekit.cli.{_place}", name=_name, help=_summary, group=_shown, sort_key=_order)
for _name, _place in OLD_NAMES.items():
    app.command(f"vaekit.cli.{_place}", name=_name, show=False)
_other = Group.create_ordered("Other")
for _flag in ("--help", "--version"):
    app[_flag].group = _other


def command(name: str) -> App:
    """Import a command. Its help is the docstring with one line per paragraph, which any terminal can wrap."""
    found = app[name]
    paragraphs = re.split(r"\n\s*\n", inspect.getdoc(found.default_command) or "")
    found.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    found.usage = f"Usage: {usage(name)}"
    return found


def usage(name: str) -> str:
    """Return the line that shows how to call a command.

    >>> usage("evaluate")
    'vaekit evaluate RUN [DATA] [OPTIONS]'
    """
    shown = [each for each in app[name].assemble_argument_collection() if each.show]
    words = ["vaekit", name]
    for each in shown:
        if each.index is not None:
            many = "..." if each.field_info.kind is inspect.Parameter.VAR_POSITIONAL else ""
            words.append(f"{each.names[0]}{many}" if each.required else f"[{each.names[0]}{many}]")
    words += [
        f"{each.names[0]} {each.field_info.name.upper()}" for each in shown if each.index is None and each.required
    ]
    return " ".join([*words, "[OPTIONS]"])


app.meta.suppress_keyboard_interrupt = False  # as in the program itself, because main() distinguishes signals


@app.meta.default
def with_imports(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    import_: Annotated[
        tuple[str, ...],
        Parameter(
            name="--import",
            negative="",
            show_default=False,
            group=Group("Extensions"),
            help="Python file or installed module that registers your own parts; repeatable.",
        ),
    ] = (),
) -> None:
    """Import the user's parts, then run the command in ``tokens``."""
    if import_:
        from vaekit.config.imports import import_parts

        for source in import_:
            import_parts(source)
    app(tokens, exit_on_error=False, print_error=False, result_action="return_none")


PORT = validators.Number(gte=1, lte=65535)
SEED = validators.Number(gte=0, lt=2**63)

Run = Annotated[Path, Parameter(help="Run folder.")]
Split = Annotated[
    str | None,
    Parameter(help="Part of the images: train, val, test or all. Default: test, or all if there is no test part."),
]
AllSplit = Annotated[str | None, Parameter(help="Part of the images: train, val, test or all. Default: all.")]
Seed = Annotated[int, Parameter(help="Random seed.", validator=SEED)]
Device = Annotated[str, Parameter(help="cpu, cuda, mps, or auto: a GPU if there is one.")]
Json = Annotated[bool, Parameter(name="--json", negative="", show_default=False, help="Print one JSON object.")]
Out = Annotated[Path | None, Parameter(help="Picture to write: .png, .webp or .jpg. Default: RUN-COMMAND.png.")]
Overwrite = Annotated[bool, Parameter(negative="", show_default=False, help="Replace an existing file.")]
Moving = Annotated[
    Path | None,
    Parameter(
        help="File to write: .png, .webp or .jpg, or with --animate .gif or .webp. Default: RUN-COMMAND.png or .webp."
    ),
]
Animate = Annotated[
    bool, Parameter(negative="", show_default=False, help="Write an animation that plays forward and back.")
]
