"""What bound do hierarchies of latents reach in the same time as other recipes, and how does it compare with codecs?

    python bench/ladder.py MNIST --binarize dynamic --budget 2h
    python bench/ladder.py MNIST --binarize static --budget 2h
    python bench/ladder.py CIFAR --budget 2h
    python bench/ladder.py SMILES --size 64 --budget 2h

Every recipe trains for the same time, measured from opening the images to the report, on all images except the test
part. OMP_NUM_THREADS limits the threads. README.md in this folder has the commands of the stored rows. All figures are
the importance-weighted bound on all test images, with ``--samples`` samples. For binarized images, they are −log p(x)
in nats, and the hierarchy is also measured with 5,000 samples on the first 1,000 images. Images with 256 values get a
mixture of discretized logistics, and the figures are bits per pixel value, beside those of codecs. Static binarization
is drawn once by vaekit: it is not the fixed set of other publications, but has the same distribution. A finished run is
not trained again; the same command resumes.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from bits import TITLES, codecs, entropy_bits
from headline import Headline
from machine import RESULTS, write_result
from results_of import describe_run

import vaekit as vk
from vaekit.config.recipe import with_likelihood
from vaekit.config.table import get
from vaekit.model.factory import resolve
from vaekit.runs.folder import read_metrics

__all__ = ["headlines", "measured", "trained"]

NAME = "ladder"
OF_BITS = ("ladder-vae", "vae")
OF_NATS = ("ladder-vae", "vae", "flow-vae", "vamp-vae")
UNIFORM_BITS = 8.0
NOT_NAMED = ("train_on_val", "flip", "epochs", "latent_dim")  # equal for all recipes, or following from other values
LIKELIHOOD = "discretized-logistic-mixture"


def trained(given: argparse.Namespace, recipe: str, out: Path) -> vk.Run:
    """Train a recipe for the budget, or open the run that is finished."""
    options: dict[str, Any] = {"binarize": given.binarize} if given.binarize else {"likelihood": LIKELIHOOD}
    settings: dict[str, Any] = {"train_on_val": True}
    if recipe == "ladder-vae":
        settings |= dict(pair.split("=", 1) for pair in given.set)
    return vk.train(
        given.data,
        recipe,
        out,
        size=given.size,
        budget=given.budget,
        flip=not given.binarize,
        settings=settings,
        **options,
    )


def measured(run: vk.Run, samples: int, more_samples: int, images: int) -> dict[str, Any]:
    """Return the numbers of a run: the bound of a few samples on all test images, and of many on some."""
    numbers = run.evaluate(iwae_samples=samples)
    kept = ("images", "iwae_samples", "iwae_nats", "iwae_nats_error")
    some = run.evaluate(run.choose().pixels[:images], iwae_samples=more_samples) if images else None
    speeds = [line["images_per_second"] for line in read_metrics(run.path) if line.get("kind") == "train"]
    return {
        **describe_run(run),
        "threads": run.config.engine.threads,
        "settings": _changed(run),
        "images_per_second": statistics.median(speeds),
        "test": {name: value for name, value in numbers.items() if not name.startswith("kl_per_dim")},
        "more_samples": some and {name: some[name] for name in kept},
        "nll_nats": -numbers["iwae_nats"],
        "nll_nats_error": numbers["iwae_nats_error"],
        "bits_per_dim": numbers["iwae_bits_per_dim"],
    }


def _changed(run: vk.Run) -> dict[str, Any]:
    """Return the values of the recipe that are not its defaults for these images and this likelihood."""
    row, data = run.config.recipe, run.config.data
    default = resolve(with_likelihood(get(row.name), row.likelihood), (data.channels, *data.size), data.train_images)
    names = [each.name for each in fields(row) if each.name not in NOT_NAMED]
    if row.likelihood != LIKELIHOOD:
        names.remove("mixture_components")
    return {name: getattr(row, name) for name in names if getattr(row, name) != getattr(default, name)}


def headlines(result: dict[str, Any]) -> Iterator[Headline]:
    """Yield a row for each set of images: the hierarchy beside the other recipes or codecs."""
    for name, row in result["results"].items():
        ladder, others = row["recipes"].get("ladder-vae"), dict(row["recipes"])
        others.pop("ladder-vae", None)
        if ladder is None:
            continue
        if row["binarize"]:
            rest = ", ".join(f"`{recipe}`: {found['nll_nats']:.2f}" for recipe, found in others.items())
            figure, unit = f"{ladder['nll_nats']:.2f} ± {ladder['nll_nats_error']:.2f}", "−log p(x) in nats"
        else:
            rest = ", ".join(f"{what}: {bits:.2f}" for what, bits in row["codecs"].items())
            rest += "".join(f", `{recipe}`: {found['bits_per_dim']:.2f}" for recipe, found in others.items())
            figure, unit = f"{ladder['bits_per_dim']:.2f}", "bits per dimension"
        cores = "one core" if ladder["threads"] == 1 else f"{ladder['threads']} cores"
        changed = "".join(f" --set {key}={value}" for key, value in ladder["settings"].items())
        what = f"`ladder-vae{changed}` after {ladder['budget_seconds'] / 60:.0f} min on {cores}"
        yield Headline(f"{TITLES.get(name, name)}: {unit} of test images, {what}", figure, rest)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="MNIST, CIFAR or SMILES")
    parser.add_argument("--binarize", choices=("dynamic", "static"))
    parser.add_argument("--size", type=int)
    parser.add_argument("--budget", default="2h", help="time for each recipe")
    parser.add_argument("--recipes", nargs="+", help="default: ladder-vae, vae and, for nats, two other priors")
    parser.add_argument("--samples", type=int, default=100, help="of the bound on all test images")
    parser.add_argument("--more-samples", type=int, default=5000, help="of the bound on some test images")
    parser.add_argument("--images", type=int, default=1000, help="number of those images; 0: none")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of ladder-vae")
    parser.add_argument("--out", type=Path, default=Path("runs/ladder"))
    given = parser.parse_args()
    name = data = Path(given.data).name.partition(".")[0]
    if given.binarize:
        name = f"{'Dynamically' if given.binarize == 'dynamic' else 'Statically'} binarized {data.upper()}"
    folder = given.out / f"{data}-{given.binarize or 'bits'}"
    found: dict[str, Any] = {"budget": given.budget, "binarize": given.binarize, "recipes": {}}
    for recipe in given.recipes or (OF_NATS if given.binarize else OF_BITS):
        run = trained(given, recipe, folder / recipe)
        if not given.binarize and "codecs" not in found:
            found["codecs"] = _codecs(run)
        row = measured(run, given.samples, given.more_samples, given.images if recipe == "ladder-vae" else 0)
        found["recipes"][recipe] = row
        print(recipe, {key: row[key] for key in ("nll_nats", "bits_per_dim", "images_trained_on", "images_per_second")})
        _store(name, found)


def _codecs(run: vk.Run) -> dict[str, float]:
    """Return bits per pixel value of the test images without a model."""
    pixels = run.choose().pixels.numpy()
    size = codecs(pixels)
    named = {"PNG": size["png_together"], "WebP": size["webp_lossless_together"]}
    return {"uniform": UNIFORM_BITS, "single values": entropy_bits(pixels), **named}


def _store(name: str, found: dict[str, Any]) -> None:
    """Write what is known so far, beside earlier results on other images."""
    path = RESULTS / f"{NAME}.json"
    results = json.loads(path.read_text())["results"] if path.exists() else {}
    earlier = results.get(name, {"recipes": {}})
    merged = {**found, "recipes": {**earlier["recipes"], **found["recipes"]}}
    write_result(NAME, {"results": {**results, name: merged}}, headlines)


if __name__ == "__main__":
    main()
