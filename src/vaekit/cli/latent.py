"""Commands that draw new or changed images."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

from cyclopts import Parameter

from vaekit.cli.app import Animate, Device, Json, Moving, Out, Overwrite, Run, Seed, Split
from vaekit.cli.shared import check_idle, loaded, parse_numbers, save, target
from vaekit.errors import UserError

__all__ = [
    "arithmetic",
    "denoise",
    "edit",
    "generate",
    "inpaint",
    "interpolate",
    "reconstruct",
    "traverse",
]


Levels = Annotated[int, Parameter(help="Number of latent levels to move, counted from the top.")]
KeepDetail = Annotated[
    bool,
    Parameter(
        negative="",
        show_default=False,
        help="Keep the detail of the image in the latent levels that do not move. By default, they take the mean of "
        "their prior, and detail is lost.",
    ),
]


def generate(
    run: Run,
    /,
    *,
    count: Annotated[int, Parameter(help="Number of images.")] = 18,
    seed: Seed = 0,
    condition: Annotated[
        tuple[str, ...],
        Parameter(
            negative="",
            show_default=False,
            help="Condition of a conditional recipe or a flow-matching prior, such as glasses=1 or label=CLASS; "
            "repeatable.",
        ),
    ] = (),
    temperature: Annotated[
        str,
        Parameter(
            help="Multiply the standard deviation of a normal prior by this factor. With latent levels, you can give "
            "one factor per level, top first, such as 1,0.8,0.7."
        ),
    ] = "1",
    steps: Annotated[int | None, Parameter(help="Steps of a flow-matching prior. Default: 20.")] = None,
    guidance: Annotated[
        float | None,
        Parameter(
            help="How strongly a flow-matching prior follows --condition. Values above 1 exaggerate it. Default: 1."
        ),
    ] = None,
    image: Annotated[
        str | None, Parameter(name="--from", help="Image file. A flow-matching prior draws variations of it.")
    ] = None,
    strength: Annotated[
        float | None,
        Parameter(help="How far variations go, from 0 (the image itself) to 1 (any image). Default: 0.5."),
    ] = None,
    out: Out = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Generate new images.

    For a given --seed, image number i is the same for every --count. An autoencoder has no prior to sample from; run
    'vaekit fit-prior' first. A --temperature below 1 makes images more typical and less varied. After 'vaekit fit-prior
    --kind flow-matching', --from draws variations of an image.

    Example: vaekit generate runs/portraits --count 18 --out new.png
    """
    path, factors = target(out, run, "generate", image, overwrite=overwrite), parse_numbers(temperature, "temperature")
    found = loaded(run, device).generate(
        count, seed, condition, temperature=factors, steps=steps, guidance=guidance, image=image, strength=strength
    )
    save(found, path, json_)


def reconstruct(
    run: Run,
    data: Annotated[str | None, Parameter(help="Images to use. Default: the run's own test images.")] = None,
    /,
    *,
    split: Split = None,
    count: Annotated[int, Parameter(help="Number of images; with labels, one per class first.")] = 10,
    tiled: Annotated[
        bool,
        Parameter(
            negative="", show_default=False, help="Keep the size of the images. Needs a recipe with a latent grid."
        ),
    ] = False,
    levels: Annotated[
        str | None,
        Parameter(
            help="Latent levels to show: a number, counted from the top, or all. A row for each, and a last row with "
            "all levels. Needs a recipe with levels."
        ),
    ] = None,
    out: Out = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Encode images and decode them again.

    The picture shows the originals above their reconstructions. With --tiled, images may be larger than the training
    images; the command processes them in overlapping tiles, without visible seams. With --levels, the picture has a row
    for each latent level. Each row adds one level, and the last row has all of them.

    Example: vaekit reconstruct runs/portraits --count 10 --out reconstructions.png
    """
    path = target(out, run, "reconstruct", data, overwrite=overwrite)
    opened = loaded(run, device)
    if tiled:
        opened.needs("tiles")
    shown = _parse_levels(levels)
    if shown is not False:
        opened.needs("levels")
    pixels = opened.pick(data, split, count, own_size=tiled)
    save(opened.compare(pixels, tiled=tiled, levels=shown), path, json_)


def interpolate(
    run: Run,
    start: Annotated[str, Parameter(help="First endpoint.")],
    end: Annotated[str, Parameter(help="Second endpoint.")],
    /,
    *more: Annotated[str, Parameter(help="Further endpoints, in order.")],
    steps: Annotated[int, Parameter(help="Pictures from one endpoint to the next, including both.")] = 6,
    path: Annotated[str, Parameter(help="linear (straight line) or spherical (great circle).")] = "linear",
    levels: Levels = 1,
    keep_detail: KeepDetail = False,
    animate: Animate = False,
    out: Moving = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Walk through latent space from one point to another.

    Each endpoint is an image file, a folder (the mean of its images), a group of the run's own data, or a sum of these.
    Groups are written label:NAME or attr:NAME=VALUE,NAME=VALUE.

    Example: vaekit interpolate runs/portraits "attr:glasses=0,male=0" "attr:glasses=1,male=1" --out walk.png
    """
    from vaekit.figures.animation import is_animated

    moves = is_animated(out, animate)
    picture = target(out, run, "interpolate", *_names(start, end, *more), overwrite=overwrite, moves=moves)
    walk = loaded(run, device).interpolate(
        start, end, *more, steps=steps, path=path, levels=levels, keep_detail=keep_detail
    )
    save(walk, picture, json_, moves=moves)


def traverse(
    run: Run,
    image: Annotated[
        str | None, Parameter(help="Image file or folder. Default: the mean of the training images.")
    ] = None,
    /,
    *,
    count: Annotated[int, Parameter(help="Number of dimensions, and of principal components.")] = 5,
    steps: Annotated[int, Parameter(help="Pictures per row.")] = 7,
    reach: Annotated[float, Parameter(help="Distance to each side, in standard deviations of the latents.")] = 2.0,
    levels: Levels = 1,
    keep_detail: KeepDetail = False,
    animate: Animate = False,
    out: Moving = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Show how each latent dimension changes an image.

    The picture has a row for each of the most active dimensions and principal components. Next to a dimension is the
    change that it makes, in gray levels from 0 to 255; next to a component is its share of the variance.

    Example: vaekit traverse runs/portraits --out traverse.png
    """
    from vaekit.figures.animation import is_animated

    moves = is_animated(out, animate)
    path = target(out, run, "traverse", image, overwrite=overwrite, moves=moves)
    found = loaded(run, device).traverse(image, count, steps, reach, levels=levels, keep_detail=keep_detail)
    save(found, path, json_, moves=moves)


def edit(
    run: Run,
    image: Annotated[str, Parameter(help="Image file or folder.")],
    /,
    *,
    add: Annotated[
        tuple[str, ...],
        Parameter(negative="", show_default=False, help="Attribute to add, NAME or NAME=STRENGTH; repeatable."),
    ] = (),
    remove: Annotated[
        tuple[str, ...],
        Parameter(negative="", show_default=False, help="Attribute to remove, NAME or NAME=STRENGTH; repeatable."),
    ] = (),
    direction: Annotated[
        tuple[str, ...],
        Parameter(
            negative="", show_default=False, help="New direction from two folders, NAME=WITH,WITHOUT; repeatable."
        ),
    ] = (),
    method: Annotated[
        str,
        Parameter(
            help="How to compute a direction: means (the mean latent with the attribute minus the one without it), "
            "adjusted (the same, with other attributes held equal) or classifier (normal of the best linear boundary)."
        ),
    ] = "adjusted",
    orthogonal: Annotated[
        bool, Parameter(negative="", show_default=False, help="Project out the directions of the other attributes.")
    ] = False,
    levels: Levels = 1,
    keep_detail: KeepDetail = False,
    out: Out = None,
    overwrite: Annotated[
        bool, Parameter(negative="", show_default=False, help="Replace an existing file, or a stored direction.")
    ] = False,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Add attributes to images, or remove them.

    NAME is an attribute or a label of the run's data, or a --direction. For an attribute whose values are text, NAME is
    COLUMN=VALUE. A strength of 1 moves a latent by the difference between the average image without the attribute and
    the average image with it. The picture shows originals, reconstructions and edited images.

    Directions are stored in the run. Their accuracy is measured on held-out images; 0.5 is chance.

    Example: vaekit edit runs/portraits me.png --add glasses --remove smiling=0.5 --out edited.png
    """
    path = target(out, run, "edit", image, overwrite=overwrite)
    if direction:
        check_idle(run)
    opened = loaded(run, device)
    from vaekit.cli.moves import chosen_directions, parse_moves

    known = chosen_directions(opened, direction, method, orthogonal, overwrite, levels)
    moves = parse_moves(opened, known, add, remove, method, orthogonal)
    save(opened.edit_sheet(image, moves, known, keep_detail=keep_detail), path, json_)


def arithmetic(
    run: Run,
    expression: Annotated[str, Parameter(help="What to compute.", allow_leading_hyphen=True)],
    /,
    *,
    levels: Levels = 1,
    keep_detail: KeepDetail = False,
    out: Out = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Add and subtract latents, and decode the result.

    EXPRESSION combines image files, folders (the mean of their images) and groups with + and -, and weights them with
    a number and *. Put spaces around the operators and quotes around names with spaces.

    Example: vaekit arithmetic runs/portraits "attr:glasses=1,male=1 - attr:glasses=1,male=0 + attr:glasses=0,male=0"
    """
    path = target(out, run, "arithmetic", *_names(expression), overwrite=overwrite)
    found = loaded(run, device).arithmetic(expression, levels=levels, keep_detail=keep_detail)
    save(found, path, json_)


def denoise(
    run: Run,
    data: Annotated[str | None, Parameter(help="Images to use. Default: the run's own test images.")] = None,
    /,
    *,
    noise_std: Annotated[
        float | None, Parameter(help="Add noise of this standard deviation first; pixels are in [0, 1].")
    ] = None,
    split: Split = None,
    count: Annotated[int, Parameter(help="Number of images.")] = 10,
    seed: Seed = 0,
    out: Out = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Remove noise from images.

    With --noise-std, the command adds noise to the images, removes it again, and reports the gain in PSNR.

    Example: vaekit denoise runs/digits --noise-std 0.3 --out denoised.png
    """
    path = target(out, run, "denoise", data, overwrite=overwrite)
    opened = loaded(run, device)
    save(opened.denoise_sheet(opened.pick(data, split, count), noise_std, seed), path, json_)


def inpaint(
    run: Run,
    data: Annotated[str | None, Parameter(help="Images to use. Default: the run's own test images.")] = None,
    /,
    *,
    mask: Annotated[
        str, Parameter(help="Hidden part: center:HxW, random:HxW, box:TOP,LEFT,HxW, or a picture, white where hidden.")
    ],
    split: Split = None,
    count: Annotated[int, Parameter(help="Number of images.")] = 10,
    seed: Seed = 0,
    out: Out = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Hide part of the images and fill it in.

    Visible pixels stay as they are.

    Example: vaekit inpaint runs/digits --mask center:4x4 --out filled.png
    """
    path = target(out, run, "inpaint", data, mask, overwrite=overwrite)
    opened = loaded(run, device)
    save(opened.inpaint_sheet(opened.pick(data, split, count), mask, seed), path, json_)


def _names(*expressions: str) -> list[str]:
    """Return the expressions and the names in them, some of which are paths; what cannot be parsed fails later."""
    from vaekit.latent.arithmetic import parse

    names = list(expressions)
    for text in expressions:
        with suppress(UserError):
            names += [name for _, name in parse(text)]
    return names


def _parse_levels(text: str | None) -> int | bool:
    """Parse the number of levels to show, or all (True); False for none."""
    if text is None:
        return False
    if text != "all" and not text.isdecimal():
        raise UserError(f"levels {text}: expected a number of levels, or all", "levels")
    return text == "all" or int(text)
