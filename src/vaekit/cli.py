"""The command line: one function per verb, no logic of its own. Heavy imports happen inside the verbs.

Exit codes: 0 done; 2 a mistake that the user can mend; 1 a fault of ours; 130 or 143 interrupted.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from cyclopts import App, CycloptsError, Parameter, Token, convert, validators

from vaekit import __version__
from vaekit.errors import Interrupted, UserError, lacks_memory, printable
from vaekit.say import say, say_diagnosis

__all__ = ["app", "main"]


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
_PORT = validators.Number(gte=1, lte=65535)
_SEED = validators.Number(gte=0, lt=2**63)
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
    seed: Annotated[
        int, Parameter(help="Of the weights, the order, the noise and the augmentation.", validator=_SEED)
    ] = 0,
    device: Device = "auto",
    threads: Annotated[int | None, Parameter(help="Cores to use.")] = None,
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
    from vaekit import api

    settings = _settings(set_)
    common: dict[str, Any] = dict(
        size=size, channels=channels, fit=fit, background=background, frames=frames,
        epochs=epochs, images=images, budget=budget, batch_size=batch_size, seed=seed,
        learning_rate=learning_rate, latent_dim=latent_dim, likelihood=likelihood, binarize=binarize, flip=flip,
        shift=shift, jitter=jitter, device=device, threads=threads, precision=precision,
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
        say({"written": str(write), "images": len(images)}, json_)
        return
    if sheet is None:
        say(images_of.survey(source, form), json_)
        return
    from vaekit.overview import overview
    from vaekit.pictures import check_ending

    check_ending(sheet)  # before a long reading
    images, found = images_of.surveyed(source, form)
    overview(images).save(sheet)
    say({**found, "sheet": str(sheet)}, json_)


@app.command
def recipes(*, json_: Json = False) -> None:
    """Show the table of recipes.

    Example: vaekit recipes
    """
    from vaekit.recipes import RECIPES

    if json_:
        say({name: row.to_dict() for name, row in RECIPES.items()}, True)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("recipe", "good for", "paper", "cost", box=None, pad_edge=False)
    for row in RECIPES.values():
        table.add_row(row.name, row.summary, row.paper, row.cost)
    Console().print(table)


@app.command
def generate(
    run: Path,
    /,
    *,
    count: Annotated[int, Parameter(help="How many images.")] = 18,
    seed: Annotated[int, Parameter(help="Image i of a seed is the same whatever the count.", validator=_SEED)] = 0,
    out: Out = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Draw new images from the prior.

    Example: vaekit generate runs/portraits --count 18 --out new.png
    """
    _save(_load(run, device).generate(count, seed), out, run, "generate", as_json=json_)


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
    opened = _load(run, device)
    _save(opened.compare(opened.pick(data, split, count)), out, run, "reconstruct", as_json=json_)


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
    from vaekit.animation import is_animated

    moves = is_animated(out, animate)
    sheet = _load(run, device).interpolate(start, end, *more, steps=steps, path=path)
    _save(sheet, out, run, "interpolate", as_json=json_, moves=moves)


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
    from vaekit.animation import is_animated

    moves = is_animated(out, animate)
    sheet, axes = _load(run, device).traverse(image, count, steps, reach)
    _save(sheet, out, run, "traverse", axes, json_, moves=moves)


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
    _check_out(out)
    sheet, found = _load(run, device).edit_sheet_of_words(image, add, remove, direction, method, orthogonal)
    _save(sheet, out, run, "edit", found, json_)


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
    _save(_load(run, device).arithmetic(expression), out, run, "arithmetic", as_json=json_)


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
    seed: Annotated[int, Parameter(help="Of the added noise.", validator=_SEED)] = 0,
    out: Out = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Clean noisy images of DATA. With --noise-std the images are taken as clean, noise is added, the gain reported.

    Example: vaekit denoise runs/digits --noise-std 0.3 --out denoised.png
    """
    opened = _load(run, device)
    sheet, numbers = opened.denoise_sheet(opened.pick(data, split, count), noise_std, seed)
    _save(sheet, out, run, "denoise", numbers, json_)


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
    seed: Annotated[int, Parameter(help="Of random masks and starting points.", validator=_SEED)] = 0,
    out: Out = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Hide part of the images of DATA and fill it in; visible pixels stay as they are.

    Example: vaekit inpaint runs/digits --mask center:4x4 --out filled.png
    """
    opened = _load(run, device)
    sheet, numbers = opened.inpaint_sheet(opened.pick(data, split, count), mask, seed)
    _save(sheet, out, run, "inpaint", numbers, json_)


@app.command
def encode(
    run: Path,
    data: str | None = None,
    /,
    *,
    out: Annotated[Path, Parameter(help="File to write: .npz, .parquet or .csv.")],
    split: AllSplit = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Write the codes of DATA (default: all images of the run) as a file, with names and labels.

    Example: vaekit encode runs/portraits --out latents.npz
    """
    opened = _load(run, device)
    written = opened.save_codes(out, data, split)
    if opened.leads:
        say(written, json_)


@app.command
def neighbours(
    run: Path,
    image: str,
    data: str | None = None,
    /,
    *,
    split: AllSplit = None,
    count: Annotated[int, Parameter(help="How many neighbours.")] = 9,
    out: Out = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Find the images of DATA (default: all of the run) whose codes are nearest to that of IMAGE, a file or a folder.

    Every image is looked at. Distances are in standard deviations of the prior, of an autoencoder between codes as they
    are. A folder has a row per image, in the order of its names. The sheet shows 20 neighbours at most, --json all.

    Example: vaekit neighbours runs/portraits me.png --count 9 --out alike.png
    """
    sheet, found = _load(run, device).neighbours(image, data, split, count)
    lines = [[f"{each['name']} {each['distance']:.2f}" for each in row] for row in found]
    _save(sheet, out, run, "neighbours", {"neighbours": found if json_ else {"nearest first": lines}}, json_)


@app.command(name="map")
def map_(
    run: Path,
    data: str | None = None,
    /,
    *,
    split: AllSplit = None,
    out: Out = None,
    device: Device = "auto",
    json_: Annotated[bool, Parameter(name="--json", negative="", help="Print the point of every image too.")] = False,
) -> None:
    """Lay the images of DATA (default: all of the run) out where their codes lie: a mosaic, alike beside alike.

    The plane is that of the first two principal components of the codes.

    Example: vaekit map runs/portraits --out map.png
    """
    picture, found = _load(run, device).map(data, split)
    shown = found if json_ else {name: value for name, value in found.items() if name != "points"}
    _save(picture, out, run, "map", shown, json_)


@app.command
def evaluate(
    run: Path,
    data: str | None = None,
    /,
    *,
    split: Split = None,
    iwae: Annotated[
        int | None, Parameter(help="Also the importance-weighted bound of so many samples per image, such as 5000.")
    ] = None,
    samples: Annotated[
        int | None, Parameter(help="Also the distances of so many new images from those of DATA, such as 2000.")
    ] = None,
    features: Annotated[
        Path | None, Parameter(help="Inception-v3 weights (.safetensors, torchvision's names) to compare samples by.")
    ] = None,
    per_image: Annotated[Path | None, Parameter(help="CSV file to write, with a line of numbers per image.")] = None,
    seed: Annotated[int, Parameter(help="Of the posterior samples.", validator=_SEED)] = 0,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Measure a run on its own test part, or on DATA: error, PSNR, and where there is a density the bound in nats.

    Means over images come with their standard errors. What each number means: docs/numbers.md.

    Example: vaekit evaluate runs/portraits --split test --json
    """
    opened = _load(run, device)
    more: dict[str, Any] = dict(iwae_samples=iwae, samples=samples, features=features, per_image=per_image)
    more["counted"] = _counted(opened)
    numbers = opened.evaluate(data, split, seed, **more)
    if opened.leads:
        say(numbers, json_)


@app.command
def score(
    run: Path,
    data: str | None = None,
    /,
    *,
    split: Split = None,
    by: Annotated[
        str | None,
        Parameter(help="negative_elbo_nats, distortion_nats, rate_nats or sse. Default: the first that the model has."),
    ] = None,
    false_alarms: Annotated[float, Parameter(help="Of normal images, the fraction that may be flagged.")] = 0.05,
    normal_images: Annotated[
        str | None, Parameter(help="Normal images to set the threshold by. Default: the run's own held-out ones.")
    ] = None,
    normal: Annotated[
        tuple[str, ...],
        Parameter(
            negative="", show_default=False, help="Which of DATA are normal: a group such as label:good; repeatable."
        ),
    ] = (),
    table: Annotated[Path | None, Parameter(help="CSV file to write, with the scores of every image.")] = None,
    count: Annotated[int, Parameter(help="How many of the strangest images to show.")] = 10,
    seed: Annotated[int, Parameter(help="Of the posterior samples.", validator=_SEED)] = 0,
    out: Out = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Find the images of DATA (default: the run's own test images) that are strange to the model, and where in them.

    The sheet shows the strangest, their reconstructions, and bright what the model finds unlikely. With labels that say
    what is normal also how well both are told apart. Where this is weak: docs/anomalies.md.

    Example: vaekit score runs/portraits photos/ --false-alarms 0.05 --out strange.png
    """
    _check_out(out)
    opened = _load(run, device)
    found = opened.score(
        data, split, by=by, false_alarms=false_alarms, normal=normal, normal_images=normal_images, seed=seed,
        table=table, count=count, counted=_counted(opened),
    )  # fmt: skip
    _save(found.sheet(), out, run, "score", {**found.numbers, "strangest": found.strangest()}, json_)


@app.command
def doctor(
    run: Path,
    /,
    data: Annotated[
        str | None, Parameter(help="Where the images that it was trained on are now. Default: where they were.")
    ] = None,
    *,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Say what is wrong with a training, if anything, what that rests on, and the command to try next.

    The verdict is one of healthy, still improving, collapsed, over-regularised, overfitting and broken data. What each
    means, and the thresholds: docs/numbers.md.

    Example: vaekit doctor runs/portraits
    """
    opened = _load(run, device)
    diagnosis = opened.doctor(data)
    say_diagnosis(diagnosis, opened.next_command(diagnosis, data), json_)


@app.command
def export(
    run: Path,
    data: Annotated[
        str | None,
        Parameter(help="Images to compare with PyTorch on, 100 at most. Default: the run's own test images."),
    ] = None,
    /,
    *,
    out: Annotated[Path, Parameter(help="Folder to write.")],
    precision: Annotated[str, Parameter(help="fp32 or fp16, of the networks.")] = "fp32",
    json_: Json = False,
) -> None:
    """Write a run as a folder that needs no PyTorch: ONNX networks, what to do around them, an example, checksums.

    It is compared with PyTorch on real images before it is called done.

    Example: vaekit export runs/portraits --out portraits-onnx
    """
    opened = _load(run, "cpu")
    if opened.leads:
        say(opened.export(out, data, precision=precision), json_)


@app.command
def explore(
    run: Path,
    /,
    *,
    port: Annotated[
        int | None,
        Parameter(help="Of 127.0.0.1. Default: 8642 where it is free.", validator=validators.Number(gte=1, lte=65535)),
    ] = None,
    no_browser: Annotated[
        bool, Parameter(negative="", show_default=False, help="Print the address, open nothing.")
    ] = False,
    json_: Json = False,
) -> None:
    """Open a run in the browser: samples, sliders, your own photos, a map. The model computes there; Ctrl-C ends it.

    The page is kept in the run folder.

    Example: vaekit explore runs/portraits
    """
    from vaekit import explorer

    explorer.check_page()  # before loading anything
    opened = _load(run, "cpu")
    if not opened.leads:
        return

    def ready(address: str) -> None:
        say({"explorer": address}, json_)
        sys.stdout.flush()
        if not no_browser:
            import webbrowser

            webbrowser.open(address)

    with suppress(KeyboardInterrupt):  # the way to end it
        explorer.explore(opened, port, ready)


@app.command
def publish(
    run: Path,
    site: Path,
    /,
    *,
    count: Annotated[int, Parameter(help="Images on the map, at most.")] = 1000,
    without_images: Annotated[
        bool,
        Parameter(
            negative="", show_default=False, help="Leave out images of the data and their names; show what it draws."
        ),
    ] = False,
    json_: Json = False,
) -> None:
    """Write the page of 'vaekit explore' into the folder SITE, for any host of static files.

    Whoever visits it downloads the model, and sees images of your data unless you leave them out. Browsers open it from
    a host alone, not as a file; here 'python -m http.server -d SITE' is one.

    Example: vaekit publish runs/portraits portraits-site
    """
    from vaekit import explorer

    explorer.check_page()  # before loading anything
    opened = _load(run, "cpu")
    if opened.leads:
        say(explorer.publish(opened, site, count, with_images=not without_images), json_)


@app.command
def verify(
    folder: Path,
    /,
    *,
    digest: Annotated[
        str | None, Parameter(help="What 'vaekit export' printed; finds out whoever changes all.")
    ] = None,
    json_: Json = False,
) -> None:
    """Check that an exported folder is whole and unchanged, and that it computes here what PyTorch computed there.

    Example: vaekit verify portraits-onnx
    """
    from vaekit.artefact import verify as verified

    say(verified(folder, digest), json_)


def main(tokens: list[str] | None = None) -> int:
    """Runs one command and returns its exit code; a mistake of the user's is one sentence on stderr."""
    try:
        with _termination():
            app(tokens, exit_on_error=False, print_error=False, result_action="return_none")
            sys.stdout.flush()
    except UserError as error:
        return _fail(str(error), 2)
    except CycloptsError as error:
        return _fail(f"{' '.join(str(error).split())} See 'vaekit --help'.", 2)
    except Interrupted as error:
        return _fail(str(error), error.exit_code)
    except _Terminated:
        return _fail("stopped by SIGTERM; nothing was left half written", 143)
    except KeyboardInterrupt:
        return _fail("stopped; nothing was left half written", 130)
    except BrokenPipeError:  # whoever read our output has seen enough; what is left of it goes nowhere
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        return 0
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        return _fail(_NO_MEMORY, 2)
    except OSError as error:
        return _fail(f"{error.filename or 'the system'}: {error.strerror or error}; check the path and your rights", 2)
    return 0


_NO_MEMORY = "there is not enough memory for that; give a smaller --batch-size, --size or width, or fewer samples"


class _Terminated(KeyboardInterrupt):
    """SIGTERM outside of the training loop, which has a way of its own to stop."""


@contextmanager
def _termination() -> Iterator[None]:
    """SIGTERM unwinds like Ctrl-C, so that what is half written is taken away."""

    def stop(*_: object) -> None:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _load(run: Path, device: str) -> Any:
    from vaekit import api

    opened = api.load(run, device)
    if not opened.is_finished and opened.leads:
        seen, total = opened.images_seen(), opened.config.total_images
        print(
            f"vaekit: {run} is not finished, its weights are those after {seen:,} of {total:,} images", file=sys.stderr
        )
    return opened


def _save(
    sheet: Any,
    out: Path | None,
    run: Path,
    verb: str,
    numbers: Mapping[str, Any] | None = None,
    as_json: bool = False,
    moves: bool = False,
) -> None:
    from vaekit.animation import animated
    from vaekit.team import join

    if not join().leads:
        return
    path = out or Path(f"{os.path.basename(os.path.abspath(run))}-{verb}.{'webp' if moves else 'png'}")
    (animated(sheet) if moves else sheet).save(path)
    say({"picture": str(path), **(numbers or {})}, as_json)


def _check_out(out: Path | None) -> None:
    """Before long work."""
    from vaekit.pictures import check_ending

    if out is not None:
        check_ending(out)


def _counted(run: Any) -> Any:
    from vaekit.progress import counted_aloud, counted_silently

    return counted_aloud() if run.leads else counted_silently


def _settings(texts: tuple[str, ...]) -> dict[str, str]:
    settings = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UserError(f"--set {text}: expected NAME=VALUE, for example --set beta=4")
        settings[name.strip().replace("-", "_")] = value.strip()
    return settings


def _fail(message: str, code: int) -> int:
    print("vaekit:", "\n".join(map(printable, message.split("\n"))), file=sys.stderr)
    return code
