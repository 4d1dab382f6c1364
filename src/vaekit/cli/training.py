"""Commands about data and training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from vaekit.cli.app import SEED, Device, Json, Overwrite, Run, app
from vaekit.cli.output import say
from vaekit.cli.shared import check_idle, check_outputs, loaded
from vaekit.cli.train_flags import OUTPUT_GROUP, FormFlags, TrainFlags, keywords
from vaekit.config.recipe import Recipe
from vaekit.errors import UserError
from vaekit.system.notes import note, spoken

__all__ = ["data", "fit_prior", "recipes", "train"]


def train(
    data: Annotated[str, Parameter(help="Images to train on.")],
    /,
    *,
    flags: Annotated[TrainFlags, Parameter(name="*")] = TrainFlags(),  # noqa: B008  (frozen)
    dry_run: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Check everything and print the plan; do not train.",
            group=OUTPUT_GROUP,
        ),
    ] = False,
    json_: Annotated[
        bool,
        Parameter(name="--json", negative="", show_default=False, help="Print the result as JSON.", group=OUTPUT_GROUP),
    ] = False,
) -> None:
    """Train a model on images, or resume a run.

    The result is a run folder. Run the same command again to resume an interrupted run; give more epochs or images
    to extend a finished one.

    DATA is a folder of images, a .zip or .tar archive of such a folder, a .npy or .npz file, or a folder with the
    binary files of MNIST or CIFAR-10. The names of subfolders are the labels; a metadata.csv or metadata.jsonl adds
    attributes.

    DATA can also be a name. digits, portraits and portraits:COUNT are built in. mnist, fashion-mnist and cifar10 are
    downloaded once. hf://OWNER/NAME[:SPLIT] is a dataset of the Hugging Face hub (needs the extra "hub").

    Example: vaekit train photos/ --size 64 --budget 10m
    """
    from vaekit.system.machine_load import spin_less

    options = keywords(flags)
    spin_less(options["threads"])
    from vaekit import api

    if dry_run:
        from vaekit.runs.verbs.plan import in_words

        plan = api.plan(data, **options)
        say(plan if json_ else in_words(plan), json_)
        return
    run = api.train(data, **options)
    if json_ and run.leads:
        named = {"binarize": options["binarize"]} if options["binarize"] else {}
        say({"run": str(run.path), **named, **run.final_numbers()}, True)


def data(
    data: Annotated[str | None, Parameter(help="Images to inspect.")] = None,
    /,
    *,
    flags: Annotated[FormFlags, Parameter(name="*")] = FormFlags(),  # noqa: B008  (frozen)
    write: Annotated[
        Path | None, Parameter(help="Folder to write the images to, as PNG files with a metadata.csv.")
    ] = None,
    sheet: Annotated[
        Path | None,
        Parameter(help="Picture of the dataset to write: .png, .webp or .jpg, with a row per class."),
    ] = None,
    overwrite: Overwrite = False,
    count: Annotated[int | None, Parameter(help="Number of faces to draw, if DATA is portraits.")] = None,
    prune: Annotated[
        bool, Parameter(negative="", show_default=False, help="Empty the cache of decoded images; takes no DATA.")
    ] = False,
    json_: Json = False,
) -> None:
    """Inspect a dataset, or write it to a folder.

    DATA is anything that 'vaekit train' takes.

    Example: vaekit data portraits --write faces --count 200 --size 128
    """
    from vaekit import data as images_of

    if prune == (data is not None):
        raise UserError("give DATA (a folder, an archive, the name of a dataset), or --prune without it")
    if prune:
        say({"freed_bytes": images_of.prune()}, json_)
        return
    if write is not None and sheet is not None:
        raise UserError("--sheet and --write exclude each other; give one of them")
    source = f"{data}:{count}" if count is not None else data
    form = images_of.Form.of(**keywords(flags))
    if write is not None:
        images = images_of.open_in(source, form)
        images_of.write_folder(images, write)
        for remark in images.remarks:
            note(f"vaekit: {remark}")
        say({"written": str(write), "images": len(images)}, json_)
        return
    if sheet is None:
        say(_spoken(images_of.survey(source, form)), json_)
        return
    from vaekit.figures.contact_sheet import overview
    from vaekit.figures.grid import check_ending

    check_ending(sheet)  # before reading takes long
    check_outputs(sheet, run=None, inputs=[data], overwrite=overwrite)
    images, found = images_of.surveyed(source, form)
    overview(images).save(sheet)
    say(_spoken({**found, "sheet": str(sheet)}), json_)


def _spoken(found: dict[str, Any]) -> dict[str, Any]:
    """Write the arguments in the notes of a survey as flags."""
    return {**found, "notes": [spoken(text) for text in found["notes"]]}


def recipes(
    name: Annotated[str | None, Parameter(help="Recipe to describe. Default: list all recipes.")] = None,
    /,
    *,
    json_: Json = False,
) -> None:
    """List the recipes, or describe one.

    The description names the paper, the cost (the training time per image, relative to the recipe vae), the commands
    that work with the recipe, and the values that differ from their default. Change a value with 'train --set'.

    Example: vaekit recipes vq-vae
    """
    from vaekit.config.table import RECIPES, get

    if name is not None:
        say(get(name).to_dict() if json_ else _described(get(name)), json_)
        return
    if json_:
        say({name: row.to_dict() for name, row in RECIPES.items()}, True)
        return
    from rich.console import Console
    from rich.table import Table

    rows = Table("recipe", "what it is", box=None, pad_edge=False)
    for row in RECIPES.values():
        rows.add_row(row.name, row.summary)
    console = Console()
    console.print(rows)
    console.print("\n'vaekit recipes NAME' describes one of them.")


def _described(row: Recipe) -> dict[str, Any]:
    """Return the description of a recipe, as lines of text."""
    from vaekit.config.capabilities import NEEDS, serves
    from vaekit.config.table import own_values

    return {
        "recipe": row.name,
        "what it is": row.summary,
        "paper": row.paper,
        "latents": row.latent,
        "cost": f"{row.cost} times the training time of vae",
        "commands": [verb for verb in NEEDS if verb in app and serves(verb, row)],
        "values": [f"{name} {mine} (default: {default})" for name, (mine, default) in own_values(row).items()],
    }


def fit_prior(
    run: Run,
    /,
    *,
    kind: Annotated[
        str | None,
        Parameter(
            help="mixture (of normals), flow, flow-matching, or none to remove the fitted prior. Default: mixture for "
            "a latent vector, flow-matching for a latent grid."
        ),
    ] = None,
    components: Annotated[
        int | None,
        Parameter(help="Components of the mixture. Default: the best of 1, 2, 5 and 10."),
    ] = None,
    images: Annotated[
        int | None, Parameter(help="Flow matching: latents to train on, counting repeats. Default: 200,000.")
    ] = None,
    budget: Annotated[str | None, Parameter(help="Flow matching: wall time instead of --images, such as 15m.")] = None,
    width: Annotated[
        int | None, Parameter(help="Flow matching: width of the network. Default: 64 for grids, 256 for vectors.")
    ] = None,
    depth: Annotated[int | None, Parameter(help="Flow matching: depth of the network. Default: 2.")] = None,
    batch_size: Annotated[int | None, Parameter(help="Flow matching: latents per step. Default: 64.")] = None,
    learning_rate: Annotated[float | None, Parameter(help="Flow matching: peak learning rate. Default: 0.001.")] = None,
    seed: Annotated[int | None, Parameter(help="Random seed. Default: 0.", validator=SEED)] = None,
    device: Device = "auto",
    quiet: Annotated[bool, Parameter(negative="", show_default=False, help="Show no progress.")] = False,
    json_: Json = False,
) -> None:
    """Fit a prior to the latents of a finished run.

    The run stores the fitted prior, and 'vaekit generate' samples from it. So an autoencoder can generate images, too.

    A mixture or a flow needs a latent vector. The command prints the log density of held-out latents under the fitted
    prior and under a single normal; higher is better.

    With --kind flow-matching, the command trains a network that turns noise into latents, for a latent vector or a
    latent grid. Labels and attributes of the images become conditions of 'vaekit generate'. Run the same command again
    to resume an interrupted training. The command prints the error of the network on held-out latents, and the lowest
    error possible if the latents were standard normal noise; lower is better.

    Example: vaekit fit-prior runs/photos --kind flow-matching --budget 15m
    """
    check_idle(run)
    opened = loaded(run, device)
    found = opened.fit_prior(
        kind, components, seed, images=images, budget=budget, width=width, depth=depth, batch_size=batch_size,
        learning_rate=learning_rate, quiet=quiet,
    )  # fmt: skip
    if opened.leads:
        say(found.numbers, json_)
