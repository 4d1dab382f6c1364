"""Commands that compute latents, neighbors, metrics and verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from vaekit.cli.app import AllSplit, Device, Json, Out, Overwrite, Run, Seed, Split
from vaekit.cli.output import say
from vaekit.cli.shared import check_outputs, counted, loaded, save, target

__all__ = ["doctor", "encode", "evaluate", "map_", "neighbors", "score"]


def encode(
    run: Run,
    data: Annotated[str | None, Parameter(help="Images to use. Default: all images of the run.")] = None,
    /,
    *,
    out: Annotated[Path, Parameter(help="File to write: .npz, .parquet or .csv.")],
    overwrite: Overwrite = False,
    split: AllSplit = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Write the latents or codes of images to a file, with labels.

    Example: vaekit encode runs/portraits --out latents.npz
    """
    check_outputs(out, run=run, inputs=[data], overwrite=overwrite)
    opened = loaded(run, device)
    written = opened.save_latents(out, data, split)
    if opened.leads:
        say(written.numbers, json_)


def neighbors(
    run: Run,
    image: Annotated[str, Parameter(help="Image file or folder.")],
    data: Annotated[str | None, Parameter(help="Images to use. Default: all images of the run.")] = None,
    /,
    *,
    split: AllSplit = None,
    count: Annotated[int, Parameter(help="Number of neighbors.")] = 9,
    out: Out = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Find the images most similar to a given one.

    The command compares the latents of all images of the run, or of DATA. It leaves out IMAGE itself, but not copies of
    it. If IMAGE is a folder, each of its images gets a row. Distances are in standard deviations of
    the prior; an autoencoder has none, so its distances are in the units of its latents. The picture shows at most 20
    neighbors of each image, --json all of them.

    Example: vaekit neighbors runs/portraits me.png --count 9 --out alike.png
    """
    path = target(out, run, "neighbors", image, data, overwrite=overwrite)
    found = loaded(run, device).neighbors(image, data, split, count)
    lines = [[f"{each['name']} {each['distance']:.2f}" for each in row] for row in found["neighbors"]]
    save(found, path, json_, {"neighbors": {"nearest first": lines}})


def map_(
    run: Run,
    data: Annotated[str | None, Parameter(help="Images to use. Default: all images of the run.")] = None,
    /,
    *,
    split: AllSplit = None,
    out: Out = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    json_: Annotated[
        bool,
        Parameter(name="--json", negative="", show_default=False, help="Print one JSON object, with all points."),
    ] = False,
) -> None:
    """Draw a map of images, with similar ones close together.

    The axes are the first two principal components of the latents.

    Example: vaekit map runs/portraits --out map.png
    """
    path = target(out, run, "map", data, overwrite=overwrite)
    found = loaded(run, device).map(data, split)
    save(found, path, json_, {name: value for name, value in found.items() if name != "points"})


def evaluate(
    run: Run,
    data: Annotated[str | None, Parameter(help="Images to use. Default: the run's own test images.")] = None,
    /,
    *,
    split: Split = None,
    iwae: Annotated[
        int | None, Parameter(help="Also estimate the importance-weighted bound from this many samples, such as 5000.")
    ] = None,
    samples: Annotated[
        int | None, Parameter(help="Also compare this many generated images with the real ones, such as 2000.")
    ] = None,
    features: Annotated[
        Path | None, Parameter(help="Inception-v3 weights for that comparison: .safetensors with torchvision's names.")
    ] = None,
    per_image: Annotated[Path | None, Parameter(help="CSV file to write, with the metrics of each image.")] = None,
    overwrite: Overwrite = False,
    factors: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Also measure disentanglement by labels and attributes: MIG, SAP, DCI, FactorVAE score.",
        ),
    ] = False,
    seed: Seed = 0,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Measure the quality of a run on its test images, or on others.

    The command prints the reconstruction error and PSNR, and for models with a likelihood the evidence lower bound in
    nats. Means come with their standard errors. The page docs/numbers.md defines every number.

    Example: vaekit evaluate runs/portraits --split test --json
    """
    check_outputs(per_image, run=run, inputs=[data], overwrite=overwrite)
    opened = loaded(run, device)
    found = opened.evaluate(
        data, split, seed, iwae_samples=iwae, samples=samples, features=features, per_image=per_image, factors=factors,
        counted=counted(opened),
    )  # fmt: skip
    if opened.leads:
        say(found.numbers, json_)


def score(
    run: Run,
    data: Annotated[str | None, Parameter(help="Images to use. Default: the run's own test images.")] = None,
    /,
    *,
    split: Split = None,
    by: Annotated[
        str | None,
        Parameter(
            help="negative_elbo_nats, distortion_nats, rate_nats or sse. Default: negative_elbo_nats, or sse for an "
            "autoencoder."
        ),
    ] = None,
    false_alarms: Annotated[float, Parameter(help="Fraction of normal images that may be flagged.")] = 0.05,
    normal_images: Annotated[
        str | None, Parameter(help="Normal images that set the threshold. Default: the run's held-out images.")
    ] = None,
    normal: Annotated[
        tuple[str, ...],
        Parameter(
            negative="", show_default=False, help="Group of images that are normal, such as label:good; repeatable."
        ),
    ] = (),
    table: Annotated[Path | None, Parameter(help="CSV file to write, with the scores of each image.")] = None,
    count: Annotated[int, Parameter(help="Number of images to show.")] = 10,
    seed: Seed = 0,
    out: Out = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Find unusual images, and show where they are unusual.

    The picture shows the most unusual images, their reconstructions, and maps that are bright where the model finds
    pixels unlikely. It names the images, and marks those that are flagged. If labels say which images are normal, the
    command also prints how well the score separates the two kinds.

    Plain images, such as a black frame, often look likely to a model and are not flagged. The page docs/evaluation.md
    describes this and other limitations.

    Example: vaekit score runs/portraits photos/ --false-alarms 0.05 --out strange.png
    """
    inputs = (data, normal_images)
    check_outputs(table, run=run, inputs=inputs, overwrite=overwrite)
    path = target(out, run, "score", *inputs, overwrite=overwrite)
    opened = loaded(run, device)
    found = opened.score(
        data, split, by=by, false_alarms=false_alarms, normal=normal, normal_images=normal_images, seed=seed,
        table=table, count=count, counted=counted(opened),
    )  # fmt: skip
    save(found, path, json_, {**found.numbers, "strangest": _strangest(found.numbers)})


def _strangest(numbers: Mapping[str, Any]) -> list[str]:
    """Return a line for each of the strangest images, with its score, and whether it is flagged."""
    rows = numbers["strangest"]
    lines = [f"{row['name']}: {row[numbers['by']]:,.2f}" + ", flagged" * row["flagged"] for row in rows]
    more = numbers["flagged"] - sum(row["flagged"] for row in rows)
    return lines + [f"and {more:,} more flagged (see --count and --table)"] * (more > 0)


def doctor(
    run: Run,
    data: Annotated[str | None, Parameter(help="Where the training images are now. Default: where they were.")] = None,
    /,
    *,
    data_: Annotated[str | None, Parameter(name="--data", show=False)] = None,  # the old spelling
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Diagnose a run and suggest the next command.

    The verdict is healthy, or names a problem such as overfitting or broken data. The command also prints the numbers
    behind it. The page docs/numbers.md explains each verdict and its thresholds.

    Example: vaekit doctor runs/portraits
    """
    found = loaded(run, device).doctor(data_ if data is None else data)
    if json_:
        say(found.numbers, True)
    else:
        print(found)
