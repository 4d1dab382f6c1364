"""How well do the scores of ``vaekit score`` detect images of a kind that was not trained on?

    digits   MNIST: ``vae`` with 2 and with 32 latents is trained on nine digits, and the tenth is the anomaly among all
             test images; each digit in turn; by default with a dense network, so that twenty runs take minutes
    things   a run on gray faces; all test photographs of CIFAR-10 are anomalous, in gray and at the size of the faces;
             compared with PCA and with plain statistics

    python bench/anomalies.py digits MNIST --images 60000
    python bench/anomalies.py things runs/bench/smiles-64-gray CIFAR

Both are gray, because in color the mean saturation alone separates them (its AUROC is printed too). The pictures of
CIFAR-10 are enlarged from 32 px and smoother than the faces, as the total variation shows.

Published values: Tonnaer (thesis, TU Eindhoven), Chapter 3, Anomaly Detection with Variational Autoencoders, Table 3.3:
the same protocol, with the bound of a VAE with 2 and with 32 latents as the score, and smaller networks.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from headline import Headline
from machine import RESULTS, write_result
from results_of import describe_run
from sklearn.decomposition import PCA
from torch import Tensor

import vaekit as vk
from vaekit.evaluation.anomaly import SCORES, scores_of, separation
from vaekit.evaluation.metrics import measure

__all__ = ["digits", "headlines", "things"]

PUBLISHED = {
    2: [0.96, 0.73, 0.97, 0.94, 0.73, 0.92, 0.95, 0.77, 0.92, 0.66],
    32: [0.81, 0.09, 0.92, 0.87, 0.78, 0.86, 0.87, 0.51, 0.89, 0.58],
}


def digits(data: str, latents: int, images: int, seed: int, net: str) -> dict[str, Any]:
    """Return the AUROC of every score for each digit, and the means."""
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


def things(run: vk.Run, others: str) -> dict[str, Any]:
    """Return the AUROC of the scores, PCA and plain statistics: the run's test images against those of another set."""
    if run.shape[0] != 1:
        raise SystemExit("the run must be of gray images: vaekit train SMILES --size 64 --channels 1 ...")
    own, strange = run.images("test").pixels, run.choose(others, "test").pixels
    both, is_anomalous = torch.cat([own, strange]), np.repeat([False, True], [len(own), len(strange)])
    ours = scores_of(measure(run.model, both).columns)
    pca = PCA(run.model.latent_dim, random_state=0).fit(_floats(run.images("train").pixels))
    plain = {"pca_sse": pca_error(pca, _floats(both)), **statistics_of(both)}
    return {
        "run": describe_run(run),
        "normal_images": len(own),
        "anomalous_images": len(strange),
        "anomalies": Path(others).name,
        "pca_components": run.model.latent_dim,
        "auroc": {name: auroc(each, is_anomalous) for name, each in ours.items()},
        "baselines": {name: auroc(each, is_anomalous) for name, each in plain.items()},
        "in_color": {"mean_saturation": saturation_auroc(run, others)},
    }


def auroc(scores: Any, is_anomalous: np.ndarray) -> float:
    """Return the share of pairs in which the anomaly has the higher score."""
    return round(separation(np.asarray(scores), is_anomalous, 0.0)["auroc"], 4)


def pca_error(pca: PCA, flat: np.ndarray) -> np.ndarray:
    """Return the squared error [N] of the reconstructions."""
    return np.square(pca.inverse_transform(pca.transform(flat)) - flat).sum(1)


def statistics_of(pixels: Tensor) -> dict[str, np.ndarray]:
    """Return mean, contrast and total variation of gray images uint8 [N, 1, H, W], each also negated."""
    x = pixels.double() / 255
    variation = x.diff(dim=-1).abs().mean((1, 2, 3)) + x.diff(dim=-2).abs().mean((1, 2, 3))
    found = {"mean": x.mean((1, 2, 3)), "contrast": x.flatten(1).std(1), "total_variation": variation}
    signed = ((f"{sign}{name}", value * int(f"{sign}1")) for name, value in found.items() for sign in "+-")
    return {name: value.numpy() for name, value in signed}


def saturation_auroc(run: vk.Run, others: str) -> float:
    """Return the AUROC of the mean range of the channels, for a comparison in color."""
    size = run.config.data.size
    sets = [vk.open_images(source, size, 3).part("test").pixels for source in (run.config.data.source, others)]
    spans = [((x.amax(1) - x.amin(1)).double() / 255).mean((1, 2)).numpy() for x in sets]
    return auroc(np.concatenate(spans), np.repeat([False, True], [len(span) for span in spans]))


def _floats(pixels: Tensor) -> np.ndarray:
    return (pixels.flatten(1).float() / 255).numpy()


def headlines(result: dict[str, Any]) -> Iterator[Headline]:
    """Compare the area under the ROC curve with published figures and plain statistics."""
    for model in result["digits"]["models"]:
        yield Headline(
            f"`vaekit score` on MNIST, dense `vae`, {model['latent_dim']} latents: mean AUROC, each digit in turn "
            "left out of training, as the anomaly",
            f"{model['mean_auroc']['negative_elbo_nats']:.2f}",
            f"published, with another network: {model['published_mean_auroc']:.2f}; chance: 0.5",
        )
    what = "`vaekit score`, photographs of objects among faces, all gray: AUROC of the ELBO of a `vae` of faces"
    if "things" not in result:
        yield Headline(what, "")
        return
    found = result["things"]
    plain = {name: value for name, value in found["baselines"].items() if name != "pca_sse"}
    best = max(plain, key=plain.__getitem__)
    yield Headline(
        what,
        f"{found['auroc']['negative_elbo_nats']:.3f}",
        f"squared error of PCA with as many components: {found['baselines']['pca_sse']:.3f}; best simple statistic "
        f"({best[1:].replace('_', ' ')}): {plain[best]:.3f}; mean saturation of the color images: "
        f"{found['in_color']['mean_saturation']:.3f}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=("digits", "things"))
    parser.add_argument("data", help="MNIST, or the run of gray faces")
    parser.add_argument("others", nargs="?", help="things: images other than faces")
    parser.add_argument(
        "--images", type=int, default=60_000, help="training images per model in total, counting repeats"
    )
    parser.add_argument("--latents", type=int, nargs="+", default=[2, 32])
    parser.add_argument("--net", default="mlp", help="network of the recipe vae: mlp or resnet")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    path = RESULTS / "anomalies.json"
    result = json.loads(path.read_text()) if path.exists() else {}
    result.pop("machine", None)
    if given.which == "things":
        result["things"] = things(vk.load(given.data), given.others)
    else:
        result["digits"] = {
            "recipe": "vae",
            "net": given.net,
            "images_trained_on": given.images,
            "models": [digits(given.data, latents, given.images, given.seed, given.net) for latents in given.latents],
        }
    print(write_result("anomalies", result, headlines).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
