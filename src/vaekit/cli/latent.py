"""Verbs that draw: new images, and images changed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from vaekit.cli.app import SEED, Animate, Device, Json, Moving, Out, Split, app
from vaekit.cli.output import say
from vaekit.cli.shared import check_out, loaded, save

__all__ = [
    "arithmetic",
    "denoise",
    "edit",
    "fit_prior",
    "generate",
    "inpaint",
    "interpolate",
    "reconstruct",
    "traverse",
]


@app.command
def generate(
    run: Path,
    /,
    *,
    count: Annotated[int, Parameter(help="How many images.")] = 18,
    seed: Annotated[int, Parameter(help="Image i of a seed is the same whatever the count.", validator=SEED)] = 0,
    condition: Annotated[
        tuple[str, ...],
        Parameter(
            negative="",
            show_default=False,
            help="NAME=VALUE of a conditional recipe, such as glasses=1, or label=CLASS; one for each.",
        ),
    ] = (),
    out: Out = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Draw new images from the prior, or from what 'vaekit fit-prior' fitted to the codes.

    Example: vaekit generate runs/portraits --count 18 --out new.png
    """
    save(loaded(run, device).generate(count, seed, condition), out, run, "generate", json_)


@app.command(name="fit-prior")
def fit_prior(
    run: Path,
    /,
    *,
    kind: Annotated[str, Parameter(help="mixture (of normals), flow, or none: forget what was fitted.")] = "mixture",
    components: Annotated[
        int | None, Parameter(help="Normals of the mixture. Default: the best of 1, 2, 5 and 10 for held-out codes.")
    ] = None,
    seed: Annotated[int, Parameter(help="Of where the fit begins.", validator=SEED)] = 0,
    json_: Json = False,
) -> None:
    """Fit a density to the codes of the training images; new images are then drawn from it.

    It lets an autoencoder draw, and is kept in the run. Prints the log density of held-out codes by it, and by a single
    normal: more is better.

    Example: vaekit fit-prior runs/portraits --components 20
    """
    opened = loaded(run, "cpu")
    found = opened.fit_prior(kind, components, seed)
    if opened.leads:
        say(found.numbers, json_)


@app.command
def reconstruct(
    run: Path,
    data: str | None = None,
    /,
    *,
    split: Split = None,
    count: Annotated[int, Parameter(help="How many images, one per class first.")] = 10,
    out: Out = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Encode and decode images of DATA (default: the run's own test images): originals above reconstructions.

    Example: vaekit reconstruct runs/portraits --count 10 --out reconstructions.png
    """
    opened = loaded(run, device)
    save(opened.compare(opened.pick(data, split, count)), out, run, "reconstruct", json_, inputs=(data,))


@app.command
def interpolate(
    run: Path,
    start: str,
    end: str,
    /,
    *more: Annotated[str, Parameter(help="Further places to go through.")],
    steps: Annotated[int, Parameter(help="Pictures from one place to the next, both included.")] = 6,
    path: Annotated[str, Parameter(help="linear, or spherical: through where samples of the prior lie.")] = "linear",
    animate: Animate = False,
    out: Moving = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Walk in latent space from START to END: image files, folders (their mean), groups, or sums of them.

    Groups are of the run's own data: label:NAME, or attr:NAME=VALUE,NAME=VALUE. More than two places are gone through
    in turn.

    Example: vaekit interpolate runs/portraits "attr:glasses=0,male=0" "attr:glasses=1,male=1" --out walk.png
    """
    from vaekit.figures.animation import is_animated

    moves = is_animated(out, animate)
    walk = loaded(run, device).interpolate(start, end, *more, steps=steps, path=path)
    save(walk, out, run, "interpolate", json_, moves=moves, inputs=(start, end, *more))


@app.command
def traverse(
    run: Path,
    image: str | None = None,
    /,
    *,
    count: Annotated[int, Parameter(help="Dimensions, and principal components, to show.")] = 5,
    steps: Annotated[int, Parameter(help="Pictures along each.")] = 7,
    reach: Annotated[float, Parameter(help="How far to go to either side, in standard deviations of the codes.")] = 2.0,
    animate: Animate = False,
    out: Moving = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Show what the most active dimensions of the latent space and its principal components do to IMAGE.

    A row each. Beside a dimension stands what it changes, in levels of 0 to 255, beside a component its share of the
    variance. Without IMAGE: to the mean of the training images.

    Example: vaekit traverse runs/portraits --out traverse.png
    """
    from vaekit.figures.animation import is_animated

    moves = is_animated(out, animate)
    found = loaded(run, device).traverse(image, count, steps, reach)
    save(found, out, run, "traverse", json_, moves=moves, inputs=(image,))


@app.command
def edit(
    run: Path,
    image: str,
    /,
    *,
    add: Annotated[
        tuple[str, ...], Parameter(negative="", show_default=False, help="NAME or NAME=STRENGTH; repeatable.")
    ] = (),
    remove: Annotated[
        tuple[str, ...], Parameter(negative="", show_default=False, help="NAME or NAME=STRENGTH; repeatable.")
    ] = (),
    direction: Annotated[
        tuple[str, ...],
        Parameter(negative="", show_default=False, help="NAME=WITH,WITHOUT: a new one, of two folders of images."),
    ] = (),
    method: Annotated[
        str,
        Parameter(
            help="adjusted: difference of the means of images with and without it, at equal other attributes; means: "
            "as they are; classifier: across the best border between them."
        ),
    ] = "adjusted",
    orthogonal: Annotated[
        bool, Parameter(negative="", show_default=False, help="Leave out what other attributes' directions share.")
    ] = False,
    out: Out = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Add attributes to IMAGE, a file or a folder, or take them away: originals, reconstructions, and edited.

    NAME is a label or an attribute of the run's data, COLUMN=VALUE of a column of words, or a --direction. A strength
    of 1 goes as far as from images without it to images with it. Directions are kept in the run. Their accuracy is that
    of telling held-out images with it from those without; 0.5 is chance.

    Example: vaekit edit runs/portraits me.png --add glasses --remove smiling=0.5 --out edited.png
    """
    check_out(out)
    opened = loaded(run, device)
    from vaekit.cli.moves import chosen_directions, parse_moves

    known = chosen_directions(opened, direction, method, orthogonal)
    moves = parse_moves(opened, known, add, remove, method, orthogonal)
    save(opened.edit_sheet(image, moves, known), out, run, "edit", json_, inputs=(image,))


@app.command
def arithmetic(
    run: Path,
    expression: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    out: Out = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Add and subtract latents of image files, folders (their mean) and groups, and draw the result.

    Operators stand between spaces, names with spaces are quoted, a number and * give a weight.

    Example: vaekit arithmetic runs/portraits "attr:glasses=1,male=1 - attr:glasses=1,male=0 + attr:glasses=0,male=0"
    """
    save(loaded(run, device).arithmetic(expression), out, run, "arithmetic", json_)


@app.command
def denoise(
    run: Path,
    data: str | None = None,
    /,
    *,
    noise_std: Annotated[
        float | None, Parameter(help="Add this much noise to clean images ([0,1] scale), report the gain.")
    ] = None,
    split: Split = None,
    count: Annotated[int, Parameter(help="How many images.")] = 10,
    seed: Annotated[int, Parameter(help="Of the added noise.", validator=SEED)] = 0,
    out: Out = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Clean noisy images of DATA. With --noise-std the images are taken as clean, noise is added, the gain reported.

    Example: vaekit denoise runs/digits --noise-std 0.3 --out denoised.png
    """
    opened = loaded(run, device)
    found = opened.denoise_sheet(opened.pick(data, split, count), noise_std, seed)
    save(found, out, run, "denoise", json_, inputs=(data,))


@app.command
def inpaint(
    run: Path,
    data: str | None = None,
    /,
    *,
    mask: Annotated[
        str, Parameter(help="center:HxW, random:HxW, box:TOP,LEFT,HxW, or a picture whose white is hidden.")
    ],
    split: Split = None,
    count: Annotated[int, Parameter(help="How many images.")] = 10,
    seed: Annotated[int, Parameter(help="Of random masks and starting points.", validator=SEED)] = 0,
    out: Out = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Hide part of the images of DATA and fill it in; visible pixels stay as they are.

    Example: vaekit inpaint runs/digits --mask center:4x4 --out filled.png
    """
    opened = loaded(run, device)
    found = opened.inpaint_sheet(opened.pick(data, split, count), mask, seed)
    save(found, out, run, "inpaint", json_, inputs=(data, mask))
