"""Verbs that take images: train a model of them, say what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from vaekit.cli.app import Background, Channels, Fit, Frames, Json, Size, app
from vaekit.cli.output import say
from vaekit.cli.shared import check_overwrites_no_input
from vaekit.cli.train_flags import OUTPUT_GROUP, TrainFlags, keywords
from vaekit.errors import UserError
from vaekit.system.notes import note

__all__ = ["data", "recipes", "train"]


@app.command
def train(
    data: Annotated[str, Parameter(help="Images to train on.")],
    /,
    *,
    flags: Annotated[TrainFlags, Parameter(name="*")] = TrainFlags(),  # noqa: B008  (frozen)
    dry_run: Annotated[
        bool, Parameter(negative="", show_default=False, help="Print the plan; do not train.", group=OUTPUT_GROUP)
    ] = False,
    json_: Annotated[
        bool,
        Parameter(name="--json", negative="", show_default=False, help="Print the result as JSON.", group=OUTPUT_GROUP),
    ] = False,
) -> None:
    """Train a model on images.

    The result is a run folder. Run the same command again to resume an interrupted training. More epochs extend a
    finished one.

    DATA is a folder of images, with class subfolders or a metadata.csv or metadata.jsonl if you have labels; a .zip or
    .tar archive of such a folder; the binary files of MNIST or CIFAR-10; a .npy or .npz file; or the name of a data
    set. digits, portraits and portraits:COUNT are built in. mnist, fashion-mnist and cifar10 are downloaded once, and
    hf://OWNER/NAME[:SPLIT] is read from the Hugging Face hub (needs the extra "hub").

    Example: vaekit train photos/ --size 64 --budget 10m
    """
    from vaekit.system.machine_load import spin_less

    options = keywords(flags)
    spin_less(options["threads"])
    from vaekit import api

    if dry_run:
        say(api.plan(data, **options), json_)
        return
    run = api.train(data, **options)
    if json_ and run.leads:
        named = {"binarize": options["binarize"]} if options["binarize"] else {}
        say({"run": str(run.path), **named, **run.final_numbers()}, True)


@app.command
def data(
    data: str | None = None,
    /,
    *,
    size: Size = None,
    channels: Channels = None,
    fit: Fit = "crop",
    background: Background = "white",
    frames: Frames = "first",
    write: Annotated[
        Path | None, Parameter(help="Write the images as PNG files with a metadata.csv into this folder.")
    ] = None,
    sheet: Annotated[
        Path | None,
        Parameter(help="Draw a picture of it: .png, .webp or .jpg; a row per class where there are labels."),
    ] = None,
    count: Annotated[int | None, Parameter(help="How many of a drawn built-in (portraits).")] = None,
    prune: Annotated[
        bool, Parameter(negative="", show_default=False, help="Take all decoded images out of the cache; without DATA.")
    ] = False,
    json_: Json = False,
) -> None:
    """Say what is in DATA, draw it at a glance, or write it out as a folder.

    DATA is what 'vaekit train' takes: a folder, an archive, a file, a built-in, or a set to fetch by name.

    Example: vaekit data portraits --write faces --count 200 --size 128
    """
    from vaekit import data as images_of

    if prune == (data is not None):
        raise UserError("vaekit data takes DATA (a folder, an archive, a built-in), or --prune alone")
    if prune:
        say({"freed_bytes": images_of.prune()}, json_)
        return
    if write is not None and sheet is not None:
        raise UserError("--sheet and --write do different things; give one of them")
    source = f"{data}:{count}" if count is not None else data
    form = images_of.Form.of(size, channels, fit, background, frames)
    if write is not None:
        images = images_of.open_in(source, form)
        images_of.write_folder(images, write)
        for remark in images.remarks:
            note(f"vaekit: {remark}")
        say({"written": str(write), "images": len(images)}, json_)
        return
    if sheet is None:
        say(images_of.survey(source, form), json_)
        return
    from vaekit.figures.contact_sheet import overview
    from vaekit.figures.grid import check_ending

    check_ending(sheet)  # before a long reading
    check_overwrites_no_input(sheet, None, data)
    images, found = images_of.surveyed(source, form)
    overview(images).save(sheet)
    say({**found, "sheet": str(sheet)}, json_)


@app.command
def recipes(*, json_: Json = False) -> None:
    """Show the table of recipes; cost is the time per image, in times of vae's.

    Example: vaekit recipes
    """
    from vaekit.config.table import RECIPES

    if json_:
        say({name: row.to_dict() for name, row in RECIPES.items()}, True)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("recipe", "latents", "good for", "paper", "cost", box=None, pad_edge=False)
    for row in RECIPES.values():
        table.add_row(row.name, row.latent, row.summary, row.paper, row.cost)
    Console().print(table)
