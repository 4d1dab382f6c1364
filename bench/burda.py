"""Do VAE and IWAE with the network of Burda et al. (2016) reach the published log-likelihood of binarized MNIST?

    OMP_NUM_THREADS=1 python bench/burda.py MNIST --k 1 --epochs 1500 --out runs/burda
    OMP_NUM_THREADS=1 python bench/burda.py MNIST --k 50 --epochs 1000 --out runs/burda --minutes 110

The network is 784-200-200-50 (tanh), with a Bernoulli likelihood and a standard normal prior. k = 1 maximizes the ELBO,
k > 1 the importance-weighted bound with the doubly reparameterized gradient (Tucker et al. 2018). It is trained on all
60,000 training images, binarized anew in every step. The log-likelihood is the bound of 5,000 samples on the 10,000
test images, each binarized once. Networks compute in bfloat16 during training (``--precision``), which is twice as fast
on cores with bf16 products; weights, losses and measurements are float32. The layers are so small that one thread is
fastest. The same command resumes; ``--minutes`` stops early and stores the curve so far.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from headline import Headline
from machine import RESULTS, write_result

import vaekit as vk
from vaekit.errors import Interrupted
from vaekit.runs.folder import read_metrics

__all__ = ["headlines", "settings", "trained"]

PUBLISHED_NLL = {1: 86.76, 5: 85.54, 50: 84.78}  # Burda et al. 2016, Table 1: one stochastic layer
NAME = "burda"


def settings(k: int) -> dict[str, Any]:
    """Return the settings of their models, with this script's schedule."""
    return {
        "net": "mlp",
        "hidden": "200,200",
        "activation": "tanh",
        "latent_dim": 50,
        "prior": "standard-normal",
        "likelihood": "bernoulli",
        "objective": "elbo" if k == 1 else "iwae-dreg",
        "samples": k,
        "kl_warmup": 0,
        "posterior_std_gain": 1,
        "train_on_val": True,
        "start_at_mean": True,
        "batch_size": 100,
        "learning_rate": 2e-3,
        "ema_power": 16,
    }


def trained(data: str, k: int, epochs: float, out: Path, minutes: float | None, precision: str) -> vk.Run | None:
    """Return the finished run; None if the time ended first."""
    timer = None
    if minutes is not None:
        timer = threading.Timer(60 * minutes, os.kill, (os.getpid(), signal.SIGINT))
        timer.daemon = True
        timer.start()
    try:
        return vk.train(data, "vae", out, epochs=epochs, binarize="dynamic", precision=precision, settings=settings(k))
    except Interrupted as reason:
        print(reason)
        return None
    finally:
        if timer is not None:
            timer.cancel()


def curve(out: Path) -> list[dict[str, Any]]:
    """Return the bound of K samples on the first 1,000 test images, at up to forty evenly spaced epochs."""
    lines = [line for line in read_metrics(out) if line.get("kind") == "validation"]
    name = "validation_iwae_nats" if any("validation_iwae_nats" in line for line in lines) else "validation_elbo_nats"
    kept = lines[:: max(1, len(lines) // 40)]
    kept += [] if not lines or kept[-1] is lines[-1] else [lines[-1]]
    return [{"epoch": line["epoch"], name.removeprefix("validation_"): round(line[name], 3)} for line in kept]


def headlines(result: dict[str, Any]) -> Iterator[Headline]:
    """Compare log p(x) with the published values."""
    for name, row in result["results"].items():
        what = "Dynamically binarized MNIST, network of Burda et al. (2016), one seed: −log p(x) from 5,000 samples, "
        figure = f"{row['nll_nats']:.2f} ± {row['nll_nats_error']:.2f} nats" if row["is_finished"] else ""
        yield Headline(f"{what}{name}", figure, f"published: {row['published_nll_nats']:.2f}")
    best = result["results"].get("k=5")
    if best and best["is_finished"]:
        yield Headline(
            "−log p(x) of dynamically binarized MNIST, `iwae` with k = 5 and the network of Burda et al. (2016), one "
            "seed, ± standard error over test images",
            f"{best['nll_nats']:.1f} ± {best['nll_nats_error']:.1f} nats; published: {best['published_nll_nats']:.1f}",
            in_readme=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="MNIST")
    parser.add_argument("--k", type=int, required=True)
    parser.add_argument("--epochs", type=float, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/burda"))
    parser.add_argument("--minutes", type=float, help="stop after this time")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--samples", type=int, default=5000, help="samples of the final bound")
    given = parser.parse_args()
    out = given.out / f"k{given.k}"
    run = trained(given.data, given.k, given.epochs, out, given.minutes, given.precision)
    found: dict[str, Any] = {
        "k": given.k,
        "epochs": given.epochs,
        "is_finished": run is not None,
        "settings": settings(given.k),
        "precision": given.precision,
        "published_nll_nats": PUBLISHED_NLL.get(given.k),
        "curve": curve(out),
    }
    if run is not None:
        numbers = run.evaluate(iwae_samples=given.samples)
        del numbers["kl_per_dim_nats"]
        found |= {"nll_nats": -numbers["iwae_nats"], "nll_nats_error": numbers["iwae_nats_error"], "test": numbers}
    path = RESULTS / f"{NAME}.json"
    results = json.loads(path.read_text())["results"] if path.exists() else {}
    result = {"data": "MNIST, binarized dynamically", "results": results | {f"k={given.k}": found}}
    write_result(NAME, result, headlines)
    print({name: found.get(name) for name in ("k", "epochs", "is_finished", "nll_nats", "nll_nats_error")})


if __name__ == "__main__":
    main()
