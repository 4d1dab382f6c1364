"""Verbs that say something of images and runs: codes, neighbours, numbers, verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from vaekit.cli.app import SEED, AllSplit, Device, Json, Out, Split, app
from vaekit.cli.output import say
from vaekit.cli.shared import check_out, check_overwrites_no_input, counted, loaded, save

__all__ = ["doctor", "encode", "evaluate", "map_", "neighbours", "score"]


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
    opened = loaded(run, device)
    check_overwrites_no_input(out, run, data)
    written = opened.save_codes(out, data, split)
    if opened.leads:
        say(written.numbers, json_)


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
    found = loaded(run, device).neighbours(image, data, split, count)
    lines = [[f"{each['name']} {each['distance']:.2f}" for each in row] for row in found["neighbours"]]
    shown = None if json_ else {"neighbours": {"nearest first": lines}}
    save(found, out, run, "neighbours", json_, shown, inputs=(image, data))


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
    found = loaded(run, device).map(data, split)
    shown = None if json_ else {name: value for name, value in found.items() if name != "points"}
    save(found, out, run, "map", json_, shown, inputs=(data,))


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
    factors: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Also how far the codes keep labels and attributes of DATA apart: MIG, SAP, DCI, FactorVAE score.",
        ),
    ] = False,
    seed: Annotated[int, Parameter(help="Of the posterior samples.", validator=SEED)] = 0,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Measure a run on its own test part, or on DATA: error, PSNR, and where there is a density the bound in nats.

    Means over images come with their standard errors. What each number means: docs/numbers.md.

    Example: vaekit evaluate runs/portraits --split test --json
    """
    opened = loaded(run, device)
    check_overwrites_no_input(per_image, run, data)
    found = opened.evaluate(
        data, split, seed, iwae_samples=iwae, samples=samples, features=features, per_image=per_image, factors=factors,
        counted=counted(opened),
    )  # fmt: skip
    if opened.leads:
        say(found.numbers, json_)


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
    seed: Annotated[int, Parameter(help="Of the posterior samples.", validator=SEED)] = 0,
    out: Out = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Find the images of DATA (default: the run's own test images) that are strange to the model, and where in them.

    The sheet shows the strangest, their reconstructions, and bright what the model finds unlikely. With labels that say
    what is normal also how well both are told apart. Where this is weak: docs/evaluation.md.

    Example: vaekit score runs/portraits photos/ --false-alarms 0.05 --out strange.png
    """
    check_out(out)
    opened = loaded(run, device)
    check_overwrites_no_input(table, run, data, normal_images)
    check_overwrites_no_input(out, run, data, normal_images)
    found = opened.score(
        data, split, by=by, false_alarms=false_alarms, normal=normal, normal_images=normal_images, seed=seed,
        table=table, count=count, counted=counted(opened),
    )  # fmt: skip
    save(found, out, run, "score", json_, inputs=(data, normal_images))


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
    found = loaded(run, device).doctor(data)
    if json_:
        say(found.numbers, True)
    else:
        print(found)
