"""What does bfloat16 gain in training on this machine, compared with float32, and what does it cost in quality?

    python bench/precision.py MNIST SMILES

Steps in both precisions take turns, with all cores. Then `vae` is trained twice on real faces of 64 px, on the same
number of images, and measured in float32.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from machine import write_result
from turns import take_turns

import vaekit as vk
from vaekit.config.options import TrainOptions
from vaekit.config.run_config import Engine
from vaekit.config.table import get, override
from vaekit.runs.new_config import make_config
from vaekit.training.model_trainer import ModelTrainer
from vaekit.training.setup import with_engine

__all__ = ["PRECISIONS", "quality", "steps"]

PRECISIONS = ("fp32", "bf16")
SEEDS, QUALITY_IMAGES, QUALITY_SIDE = 2, 24_000, 64
ROUNDS, SECONDS_A_TURN = 7, 2.0


def timed(trainer: ModelTrainer, _: int) -> float:
    """Return the milliseconds of a step, over several steps."""
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS_A_TURN:
        trainer.step().loss.sum().item()
        count += 1
    return 1e3 * (time.perf_counter() - began) / count


def steps(images: vk.Images, recipe: str, **values: Any) -> dict[str, Any]:
    """Return the milliseconds of a step in both precisions, and the precision that training would choose."""
    device = torch.device("cpu")
    config = with_engine(make_config(images, override(get(recipe), values), TrainOptions(images=10**9)), device)
    sides: dict[str, Callable[[int], float]] = {}
    for precision in PRECISIONS:
        trainer = ModelTrainer(replace(config, engine=Engine(precision=precision)), images.pixels, device)
        trainer.step()
        sides[precision] = partial(timed, trainer)
    found = take_turns(sides, ROUNDS)
    ratios = [b / a for a, b in zip(found["fp32"], found["bf16"], strict=True)]
    row = {"recipe": recipe, **values, "shape": list(images.shape), "batch_size": config.recipe.batch_size}
    row |= {f"{precision}_ms": round(statistics.median(found[precision]), 2) for precision in PRECISIONS}
    row |= {"bf16_over_fp32": round(statistics.median(ratios), 3), "spread": [round(f(ratios), 3) for f in (min, max)]}
    print(row | {"chosen": config.engine.precision}, flush=True)
    return row | {"chosen": config.engine.precision}


def quality(source: str, precision: str, seed: int) -> dict[str, Any]:
    """Return the test numbers of `vae` on real faces after training in a precision."""
    with tempfile.TemporaryDirectory() as folder:
        run = vk.train(
            source, "vae", Path(folder) / "run", size=QUALITY_SIDE, channels=3, images=QUALITY_IMAGES, seed=seed,
            precision=precision, quiet=True,
        )  # fmt: skip
        numbers = run.final_numbers()
    row = {
        "precision": precision,
        "seed": seed,
        "psnr_db": numbers["final_psnr_db"],
        "elbo_nats": numbers["final_elbo_nats"],
    }
    print(row, flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mnist", help="MNIST")
    parser.add_argument("smiles", help="real faces")
    given = parser.parse_args()
    mnist = vk.open_images(given.mnist)
    found = [steps(mnist, "seed-ae"), steps(mnist, "seed-ae", batch_size=512), steps(mnist, "fast-ae")]
    found += [steps(vk.open_images("portraits:128", size=side), "vae", latent_dim=100) for side in (32, 64, 256)]
    found.append(steps(vk.open_images("portraits:128", size=256), "seed-vae"))
    trained = [quality(given.smiles, precision, seed) for seed in range(SEEDS) for precision in PRECISIONS]
    result = {
        "steps": found,
        "quality": {"recipe": "vae", "side": QUALITY_SIDE, "images": QUALITY_IMAGES, "rows": trained},
    }
    print(f"written to {write_result('precision', result).name}")


if __name__ == "__main__":
    main()
