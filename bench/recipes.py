"""Do the recipes do what they promise? Each is compared with the baseline that its claim refers to.

    python bench/recipes.py bounds ../shared/data/mnist    vamp prior, flow posterior, flow prior, and a normal prior
    python bench/recipes.py fitted ../shared/data/mnist    samples of rae-l2 and of ae, each with several priors
    python bench/recipes.py codes ../shared/data/mnist     how many of 512 codes are used
    python bench/recipes.py factors                        the MIG of the drawn portraits' attributes

``bounds`` and ``factors`` use three seeds, ``fitted`` and ``codes`` one. Differences are paired: both models share the
seed, the order of the images and the binarized pixels. The error of a mean difference is its standard error over seeds.
Each run has a fixed number of images and one thread, so other work on the machine changes only the seconds.
Results are added to ``bench/results/recipes.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from headline import Headline
from machine import RESULTS, write_result

__all__ = ["SECTIONS", "headlines"]

MLP = {"net": "mlp", "hidden": "300,300", "batch_size": 100}
IWAE_SAMPLES = 100
SEEDS = (0, 1, 2)
STANDARD = ("standard normal prior", "vae", {"prior": "standard-normal"})
RIVALS = (("vamp prior", "vamp-vae", {}), ("flow posterior", "iaf-vae", {}), ("flow prior", "flow-vae", {}))
BOUND_IMAGES = 300_000
Found = dict[str, Any]


def trained(data: str, out: str, recipe: str, settings: Found, **options: Any) -> Any:
    """Train a run; returns it and the seconds."""
    import torch

    import vaekit as vk

    torch.set_num_threads(1)
    before = time.monotonic()
    run = vk.train(data, recipe=recipe, out=out, settings=settings, threads=1, quiet=True, **options)
    return run, time.monotonic() - before


def _bound(data: str, out: str, name: str, recipe: str, settings: dict[str, Any], seed: int, images: int) -> Found:
    values = {**MLP, "latent_dim": 40, **settings}
    run, seconds = trained(data, out, recipe, values, binarize="static", seed=seed, images=images)
    numbers = run.evaluate(iwae_samples=IWAE_SAMPLES)
    kept = ("iwae_nats", "iwae_nats_error", "elbo_nats", "rate_nats")
    return {"name": name, "seed": seed, "seconds": seconds, **{key: numbers[key] for key in kept}}


def bounds(data: str, folder: Path) -> Found:
    """Measure the importance-weighted bound on statically binarized MNIST after equal numbers of images."""
    jobs = [
        (data, str(folder / f"{side[1]}-{seed}"), *side, seed, BOUND_IMAGES)
        for seed in SEEDS
        for side in (STANDARD, *RIVALS)
    ]
    models = in_turns(_bound, jobs)
    gains = {name: paired(models, "iwae_nats", STANDARD[0], name) for name, *_ in RIVALS}
    return {"images": BOUND_IMAGES, "iwae_samples": IWAE_SAMPLES, "models": models, "gain_nats": gains}


def paired(models: list[Found], key: str, base: str, other: str) -> Found:
    """Return the gain of ``other`` over ``base`` in ``key`` for each seed, its mean, and its standard error."""
    value = {(row["name"], row["seed"]): row[key] for row in models}
    each = [value[other, seed] - value[base, seed] for seed in SEEDS]
    return {"each": each, "mean": statistics.mean(each), "error": statistics.stdev(each) / len(each) ** 0.5}


def _fitted(data: str, out: str, recipe: str, images: int, samples: int) -> Found:
    import torch

    from vaekit.model.priors import MixturePrior

    run, seconds = trained(data, out, recipe, {"latent_dim": 16, "likelihood": "normal"}, images=images)
    found = {"recipe": recipe, "seconds": seconds, "psnr_db": run.evaluate()["psnr_db"]}
    latents = run.stored()[0]["latents"].double()
    normal = MixturePrior(latents.shape[1], 1)
    normal.mean.copy_(latents.mean(0))
    normal.factor.copy_(torch.linalg.cholesky(torch.cov(latents.mT)))
    standard = MixturePrior(latents.shape[1], 1)
    for name, fitted in (("standard_normal", standard), ("one_normal", normal)):
        run.model.fitted_prior = fitted
        found[f"frechet_{name}"] = run.evaluate(samples=samples)["frechet_distance"]
    for kind in ("mixture", "flow"):
        found[kind] = run.fit_prior(kind).numbers
        found[f"frechet_{kind}"] = run.evaluate(samples=samples)["frechet_distance"]
    return found


def fitted(data: str, folder: Path) -> Found:
    """Measure the Fréchet distance of 10,000 samples: normal latents, a fitted normal, a mixture, and a flow."""
    jobs = [(data, str(folder / recipe), recipe, 100_000, 10_000) for recipe in ("ae", "rae-l2")]
    return {"models": in_turns(_fitted, jobs)}


def _codes(data: str, out: str, recipe: str, images: int) -> Found:
    import torch

    from vaekit.data import to_float

    run, seconds = trained(data, out, recipe, {}, images=images)
    pixels = run.images("test").pixels
    with torch.inference_mode():
        words = torch.cat([run.model.encode(to_float(some)).words for some in pixels.split(500)])
    count = run.model.posterior.quantiser.count
    uses = torch.bincount(words.flatten(), minlength=count).double()
    share = uses / uses.sum()
    numbers = run.evaluate(samples=5000)
    return {
        "recipe": recipe,
        "seconds": seconds,
        "words": count,
        "cells": words.shape[1],
        "used": float((uses > 0).double().mean()),
        "perplexity": float((-(share * share.clamp(min=1e-12).log()).sum()).exp()),
        **{key: numbers[key] for key in ("psnr_db", "distortion_nats", "rate_nats", "elbo_nats", "frechet_distance")},
    }


def codes(data: str, folder: Path) -> Found:
    """Measure the share of codes that the test images use, and the quality of the model."""
    jobs = [(data, str(folder / recipe), recipe, 100_000) for recipe in ("vq-vae", "fsq-vae")]
    return {"models": in_turns(_codes, jobs)}


def _factors(data: str, out: str, recipe: str, seed: int, images: int) -> Found:
    run, seconds = trained(data, out, recipe, {"latent_dim": 10}, images=images, size=32, seed=seed)
    numbers = run.evaluate(factors=True)
    kept = ("mig", "sap", "dci_disentanglement", "dci_completeness", "dci_informativeness", "factor_vae_score")
    told = {key: numbers[key] for key in (*kept, "psnr_db", "rate_nats")}
    return {"recipe": recipe, "seed": seed, "seconds": seconds, **told}


def factors(data: str, folder: Path) -> Found:
    """Measure the disentanglement of portraits' attributes at 32 px with 10 latents, three seeds each."""
    recipes = ("vae", "beta-tcvae")
    jobs = [(data, str(folder / f"{r}-{seed}"), r, seed, 60_000) for seed in SEEDS for r in recipes]
    models = in_turns(_factors, jobs)
    means = {r: statistics.mean(m["mig"] for m in models if m["recipe"] == r) for r in recipes}
    return {"models": models, "mean_mig": means}


def in_turns(function: Callable[..., Found], jobs: list[tuple[Any, ...]]) -> list[Found]:
    """Return the results of all jobs, each in a fresh process, ``$BENCH_PROCESSES`` (2) at a time."""
    processes = int(os.environ.get("BENCH_PROCESSES", "2"))
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        found = []
        for future in [pool.submit(function, *job) for job in jobs]:
            found.append(future.result())
            print(json.dumps(found[-1]), flush=True)
        return found


SECTIONS: dict[str, Callable[..., Found]] = {
    "bounds": bounds,
    "fitted": fitted,
    "codes": codes,
    "factors": factors,
}


def headlines(result: dict[str, Any]) -> Iterator[Headline]:
    """Return the result of each section."""
    for name, make in (("bounds", _bounds), ("fitted", _samples), ("codes", _words), ("factors", _factors)):
        found = result["results"].get(name)
        yield make(found) if found else Headline(f"section `{name}`", "")


def _bounds(found: dict[str, Any]) -> Headline:
    base = [row["iwae_nats"] for row in found["models"] if row["name"] == "standard normal prior"]
    gains = (f"{name} {gain['mean']:+.2f} ± {gain['error']:.2f}" for name, gain in found["gain_nats"].items())
    return Headline(
        f"Statically binarized MNIST, one dense network, {found['images']:,} images, three seeds: paired gain in the "
        f"importance-weighted bound of {found['iwae_samples']} samples, in nats",
        "; ".join(gains),
        f"standard normal prior: {statistics.mean(base):.2f}",
    )


def _samples(found: dict[str, Any]) -> Headline:
    plain, short = found["models"]
    return Headline(
        "MNIST, `ae` with a fitted mixture as the prior, one seed: Fréchet distance of 10,000 samples, over vaekit's "
        "own features (not FID)",
        f"{plain['frechet_mixture']:.2f}",
        f"standard normal latents: {plain['frechet_standard_normal']:.1f}; a fitted normal: "
        f"{plain['frechet_one_normal']:.2f}; `rae-l2` with a mixture: "
        f"{short['frechet_mixture']:.2f}, with a flow: {short['frechet_flow']:.2f}",
    )


def _words(found: dict[str, Any]) -> Headline:
    figures = (f"`{row['recipe']}` {row['used']:.0%} ({row['perplexity']:.0f})" for row in found["models"])
    return Headline("MNIST: share of 512 codes in use on test images (perplexity)", ", ".join(figures))


def _factors(found: dict[str, Any]) -> Headline:
    figures = []
    for name, mean in found["mean_mig"].items():
        each = ", ".join(f"{row['mig']:.3f}" for row in found["models"] if row["recipe"] == name)
        figures.append(f"`{name}` {mean:.3f} ({each})")
    return Headline(
        "Disentanglement (MIG) of the attributes of drawn portraits: mean (three seeds)", "; ".join(figures)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("section", choices=SECTIONS)
    parser.add_argument("data", nargs="?", default="portraits:10000")
    parser.add_argument("--out", type=Path, default=Path("build/bench-recipes"), help="where the runs are kept")
    given = parser.parse_args()
    found = SECTIONS[given.section](given.data, given.out / given.section)
    path = RESULTS / "recipes.json"
    stored = json.loads(path.read_text())["results"] if path.exists() else {}
    write_result("recipes", {"results": {**stored, given.section: found}}, headlines)


if __name__ == "__main__":
    main()
