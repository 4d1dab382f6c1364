"""Verbs that take images: train a model of them, say what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from vaekit.cli.app import SEED, Background, Channels, Device, Fit, Frames, Json, Size, app
from vaekit.cli.output import say
from vaekit.cli.shared import check_overwrites_no_input
from vaekit.errors import UserError
from vaekit.system.notes import note

__all__ = ["data", "recipes", "train"]


@app.command
def train(
    data: str,
    /,
    *,
    recipe: Annotated[str, Parameter(help="A row of 'vaekit recipes'.")] = "vae",
    size: Size = None,
    channels: Channels = None,
    fit: Fit = "crop",
    background: Background = "white",
    frames: Frames = "first",
    out: Annotated[Path | None, Parameter(help="Run folder. Default: runs/DATA-RECIPE.")] = None,
    epochs: Annotated[float | None, Parameter(help="Passes over the training images.")] = None,
    images: Annotated[int | None, Parameter(help="Images to train on in all, repeats counted.")] = None,
    budget: Annotated[
        str | None, Parameter(help="Wall time, such as 90s, 10m or 1h30m.", allow_leading_hyphen=True)
    ] = None,
    batch_size: Annotated[
        int | Literal["auto"] | None, Parameter(help="Images per step; auto: as many as the GPU holds.")
    ] = None,
    learning_rate: Annotated[float | None, Parameter(help="Peak learning rate of Adam.")] = None,
    latent_dim: Annotated[int | None, Parameter(help="Numbers in a latent vector.")] = None,
    likelihood: Annotated[
        str | None,
        Parameter(
            help="Of pixel values: normal, laplace or continuous-bernoulli (densities); discretized-logistic, "
            "discretized-logistic-mixture, discretized-normal or categorical (of bytes: bits per dimension); bernoulli "
            "(binary pixels). Default: the recipe's."
        ),
    ] = None,
    binarize: Annotated[
        str | None,
        Parameter(
            help="Make pixels black or white: dynamic (drawn anew in every step), static (drawn once) or threshold. "
            "The likelihood is then bernoulli."
        ),
    ] = None,
    flip: Annotated[
        bool | None, Parameter(negative="", help="Mirror half of the training images; wrong for digits and text.")
    ] = None,
    shift: Annotated[int | None, Parameter(help="Move training images by up to so many pixels.")] = None,
    jitter: Annotated[
        float | None, Parameter(help="Change brightness, contrast and saturation by up to this fraction, such as 0.2.")
    ] = None,
    noise_std: Annotated[
        float | None,
        Parameter(help="Learn to remove noise of up to this standard deviation, such as 0.5, from images in [0, 1]."),
    ] = None,
    seed: Annotated[
        int, Parameter(help="Of the weights, the order, the noise and the augmentation.", validator=SEED)
    ] = 0,
    device: Device = "auto",
    threads: Annotated[
        int | None,
        Parameter(help="Threads on the CPU. Default: as in the run so far, else one per free core."),
    ] = None,
    precision: Annotated[
        str | None, Parameter(help="fp32 or bf16, of the networks in training. Default: what the device is good at.")
    ] = None,
    compile_: Annotated[
        Literal["on", "off"] | None, Parameter(name="--compile", help="Through torch.compile. Default: off.")
    ] = None,
    micro_batch: Annotated[
        int | None, Parameter(help="Images per forward pass, where a whole batch does not fit into memory.")
    ] = None,
    patience: Annotated[
        int | None, Parameter(help="End after so many epochs without improvement; keep the best weights.")
    ] = None,
    tensorboard: Annotated[
        bool, Parameter(negative="", show_default=False, help="Write the numbers for TensorBoard too, into the run.")
    ] = False,
    set_: Annotated[
        tuple[str, ...],
        Parameter(name="--set", negative="", show_default=False, help="NAME=VALUE of the recipe; repeatable."),
    ] = (),
    init: Annotated[Path | None, Parameter(help="Start from the weights of this run.")] = None,
    dry_run: Annotated[bool, Parameter(negative="", show_default=False, help="Print the plan, train nothing.")] = False,
    json_: Json = False,
) -> None:
    """Train a model of DATA into a run folder. The same command again goes on where it was; more epochs extend it.

    DATA is a folder of images (class subfolders and metadata.csv or .jsonl are understood), a .zip or .tar.gz of one,
    MNIST's or CIFAR-10's binary files, a .npy or .npz file, or a built-in: digits, portraits, portraits:COUNT. Fetched
    once if nothing here has that name: mnist, fashion-mnist, cifar10. With the extra hub: hf://OWNER/NAME[:SPLIT].

    Example: vaekit train photos/ --size 64 --budget 10m
    """
    from vaekit.system.machine_load import spin_less

    spin_less(threads)
    from vaekit import api

    settings = _settings(set_)
    common: dict[str, Any] = dict(
        size=size, channels=channels, fit=fit, background=background, frames=frames,
        epochs=epochs, images=images, budget=budget, batch_size=batch_size, seed=seed,
        learning_rate=learning_rate, latent_dim=latent_dim, likelihood=likelihood, binarize=binarize, flip=flip,
        shift=shift, jitter=jitter, noise_std=noise_std, device=device, threads=threads, precision=precision,
        compiled=compile_ and compile_ == "on", micro_batch=micro_batch, patience=patience, settings=settings,
    )  # fmt: skip
    if dry_run:
        say(api.plan(data, recipe, out, init=init, **common), json_)
        return
    run = api.train(data, recipe, out, init=init, tensorboard=tensorboard, **common)
    if json_ and run.leads:
        named = {"binarize": binarize} if binarize else {}
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


def _settings(texts: tuple[str, ...]) -> dict[str, str]:
    settings = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UserError(f"--set {text}: expected NAME=VALUE, for example --set beta=4")
        settings[name.strip().replace("-", "_")] = value.strip()
    return settings
