"""How well a model tells what it was not trained on, by the scores of ``vaekit score``.

    digits   MNIST: trained on the training images of nine digits, the tenth is the anomaly among all test images;
             each digit in turn, ``vae`` with 2 and with 32 latents; by default with a dense network, which twenty
             trainings on two cores take minutes for
    faces    a run of faces against the test images of another set, all of which are anomalous

    python bench/anomalies.py digits MNIST --images 60000
    python bench/anomalies.py faces runs/bench/smiles-64 CIFAR

Published beside ours: Tonnaer (thesis, TU Eindhoven), Chapter 3, Anomaly Detection with Variational Autoencoders,
Table 3.3: the same protocol, the bound of a VAE with 2 and with 32 latents as score. Its networks are smaller and
others.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import RESULTS, write_result
from results_of import describe_run

import vaekit as vk
from vaekit.anomalies import SCORES, scores_of, separation
from vaekit.evaluate import measure

__all__ = ["digits", "faces"]

PUBLISHED = {
    2: [0.96, 0.73, 0.97, 0.94, 0.73, 0.92, 0.95, 0.77, 0.92, 0.66],
    32: [0.81, 0.09, 0.92, 0.87, 0.78, 0.86, 0.87, 0.51, 0.89, 0.58],
}


def digits(data: str, latents: int, images: int, seed: int, net: str) -> dict[str, Any]:
    """AUROC of every score for each digit, and the means."""
    whole = vk.open_images(data)
    assert whole.labels is not None
    labels = whole.labels.numpy()
    test = whole.part("test")
    assert test.labels is not None
    found: dict[str, list[float]] = {name: [] for name in SCORES}
    aupr: list[float] = []
    for digit in range(10):
        with tempfile.TemporaryDirectory() as folder:
            options: dict[str, Any] = {"images": images, "latent_dim": latents, "seed": seed, "quiet": True}
            options["settings"] = {"net": net}
            run = vk.train(whole[labels != digit], "vae", Path(folder) / "run", **options)
            scores = scores_of(measure(run.model, test.pixels).columns)
        is_anomalous = (test.labels == digit).numpy()
        told = {name: separation(each, is_anomalous, 0.0) for name, each in scores.items()}
        for name in SCORES:
            found[name].append(round(told[name]["auroc"], 4))
        aupr.append(round(told["negative_elbo_nats"]["aupr"], 4))
        print(latents, digit, {name: found[name][-1] for name in SCORES}, flush=True)
    return {
        "latent_dim": latents,
        "auroc": found,
        "mean_auroc": {name: round(statistics.mean(each), 4) for name, each in found.items()},
        "aupr": aupr,
        "mean_aupr": round(statistics.mean(aupr), 4),
        "published_auroc": PUBLISHED[latents],
        "published_mean_auroc": round(statistics.mean(PUBLISHED[latents]), 4),
    }


def faces(run: vk.Run, others: str) -> dict[str, Any]:
    """AUROC of every score: the run's own test images against those of another set."""
    own, strange = run.images("test").pixels, run.choose(others, "test").pixels
    is_anomalous = np.repeat([False, True], [len(own), len(strange)])
    scores = scores_of(measure(run.model, torch.cat([own, strange])).columns)
    told = {name: separation(each, is_anomalous, 0.0) for name, each in scores.items()}
    return {
        "run": describe_run(run),
        "normal_images": len(own),
        "anomalous_images": len(strange),
        "anomalies": Path(others).name,
        "auroc": {name: round(each["auroc"], 4) for name, each in told.items()},
        "aupr": {name: round(each["aupr"], 4) for name, each in told.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=("digits", "faces"))
    parser.add_argument("data", help="MNIST, or the run of faces")
    parser.add_argument("others", nargs="?", help="faces: the images that are none")
    parser.add_argument("--images", type=int, default=60_000, help="to train each model on, repeats counted")
    parser.add_argument("--latents", type=int, nargs="+", default=[2, 32])
    parser.add_argument("--net", default="mlp", help="of the recipe vae: mlp or resnet")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    path = RESULTS / "anomalies.json"
    result = json.loads(path.read_text()) if path.exists() else {}
    result.pop("machine", None)
    if given.which == "faces":
        result["faces"] = faces(vk.load(given.data), given.others)
    else:
        result["digits"] = {
            "recipe": "vae",
            "net": given.net,
            "images_trained_on": given.images,
            "models": [digits(given.data, latents, given.images, given.seed, given.net) for latents in given.latents],
        }
    print(write_result("anomalies", result).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
