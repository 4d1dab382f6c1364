"""Are the first steps of `vae` at 256 px stable? Runs that diverge end in losses of 10²⁰ and more.

    python bench/stability.py FACES

Measured are the first 280 steps of a run of 112,000 images with 100 latents: three seeds, with and without mirrored
images, and with two gains of the posterior's log standard deviation (`posterior_std_gain`).
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

import torch
from machine import write_result

import vaekit as vk
from vaekit.config.options import TrainOptions
from vaekit.config.table import get, override
from vaekit.data.subsets import is_trained_on
from vaekit.runs.new_config import make_config
from vaekit.training.model_trainer import ModelTrainer

__all__ = ["first_steps"]

STEPS, SIDE, IMAGES, LATENTS = 280, 256, 112_000, 100
GIVEN_UP_AT = 1e12  # nats
WARMED_UP = 100  # steps after which the highest loss counts


def first_steps(images: vk.Images, seed: int, **values: Any) -> dict[str, Any]:
    """Record the loss, and end a run that diverges."""
    row = override(get("vae"), {"latent_dim": LATENTS, "batch_size": 16, **values})
    config = make_config(images, row, TrainOptions(images=IMAGES, seed=seed))
    trainer = ModelTrainer(config, images.selection(is_trained_on(images, row)), torch.device("cpu"))
    losses: list[float] = []
    while len(losses) < STEPS and (not losses or losses[-1] < GIVEN_UP_AT) and not trainer.skipped:
        losses.append(float(trainer.step().loss.mean()))
    return {
        **values,
        "seed": seed,
        "steps": len(losses),
        "diverged": len(losses) < STEPS,
        "highest_loss_nats": max(losses[WARMED_UP:], default=None),
        "last_loss_nats": statistics.median(losses[-20:]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="real faces")
    given = parser.parse_args()
    images = vk.open_images(given.data, SIDE, channels=3)
    rows = []
    for gain in (1.0, get("vae").posterior_std_gain):
        for seed in range(3):
            for flip in (False, True):
                rows.append(first_steps(images, seed, posterior_std_gain=gain, flip=flip))
                print(rows[-1], flush=True)
    print(f"written to {write_result('stability', {'steps': STEPS, 'rows': rows}).name}")


if __name__ == "__main__":
    main()
