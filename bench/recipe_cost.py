"""How long does a training step of each recipe take, relative to ``vae``? This is the value "cost" of a recipe.

    python bench/recipe_cost.py --rounds 5
    python bench/recipe_cost.py --rounds 5 --only grid-vae      adds one to the stored ones, with its own machine

Times are per image, for the forward pass, backward pass and update, on color images of 32 px, with each recipe's
network and batch size, in turns. The original VAE is compared with ``vae`` at 256 px.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from typing import Any

import torch
from machine import RESULTS, describe, write_result
from turns import take_turns

from vaekit import open_images
from vaekit.config.options import TrainOptions
from vaekit.config.table import RECIPES
from vaekit.data import Selection
from vaekit.model.conditioning import matrix
from vaekit.runs.new_config import make_config
from vaekit.training.model_trainer import ModelTrainer

__all__ = ["seconds_per_image"]

_STEPS = 12


def seconds_per_image(trainer: ModelTrainer) -> float:
    """Return the median of several steps, after two that are not counted."""
    seconds = []
    for _ in range(_STEPS + 2):
        before = time.perf_counter()
        trainer.step()
        seconds.append(time.perf_counter() - before)
    return statistics.median(seconds[2:]) / trainer.batch_size


def trainer_of(name: str, images: Any) -> ModelTrainer:
    config = replace(make_config(images, RECIPES[name], TrainOptions()), total_images=10**9)
    known = matrix(config.conditions, images) if config.conditions else None
    return ModelTrainer(config, Selection(images.pixels, torch.arange(len(images)), known), torch.device("cpu"))


def measure(names: list[str], size: int, rounds: int) -> dict[str, float]:
    """Return the time per image of each recipe relative to ``vae``, medians over the rounds."""
    images = open_images("portraits:256", size=size)
    trainers = {name: trainer_of(name, images) for name in names}
    found = take_turns({name: (lambda _, t=t: {"s": seconds_per_image(t)}) for name, t in trainers.items()}, rounds)
    medians = {name: statistics.median(row["s"] for row in rows) for name, rows in found.items()}
    return {name: value / medians["vae"] for name, value in medians.items()}


def add(name: str, rounds: int) -> None:
    """Measures one more recipe, and notes the machine if it is not that of the others."""
    stored = json.loads((RESULTS / "recipe_cost.json").read_text())
    stored["times_of_vae"][name] = measure(["vae", name], 256 if name == "seed-vae" else 32, rounds)[name]
    stored.setdefault("added_on", {}).pop(name, None)
    if describe() != stored["machine"]:
        stored["added_on"][name] = describe()
    (RESULTS / "recipe_cost.json").write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=RECIPES)
    given = parser.parse_args()
    if given.only:
        add(given.only, given.rounds)
        return
    costs = measure([name for name in RECIPES if name != "seed-vae"], 32, given.rounds)
    costs |= {"seed-vae": measure(["vae", "seed-vae"], 256, given.rounds)["seed-vae"]}
    write_result("recipe_cost", {"times_of_vae": costs, "size": 32, "size_of_seed_vae": 256})


if __name__ == "__main__":
    main()
