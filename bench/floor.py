"""How near training is to the bare kernels: forward, backward and update on tensors that are already there.

    floor    the recipe's own network and objective on one resident float batch with resident noise; torch's fused Adam
    step     ``Trainer.step``: batch chosen, made float, noise drawn, gradients checked and clipped, weights averaged
    train    all of ``vk.train`` between the first and the last step: pictures, validation and checkpoints included

    python bench/floor.py ../shared/data/mnist --rounds 5

The three take turns in one process, several rounds; medians, and the ratios to the floor, are written down. Reading the
data, importing and the report after the last step are not counted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from machine import write_result
from turns import take_turns

import vaekit as vk
from vaekit import training
from vaekit.build import build_objective
from vaekit.config import Length
from vaekit.data import Images, to_float
from vaekit.intake import is_trained_on, make_config
from vaekit.models import Batch
from vaekit.objectives import Step
from vaekit.recipes import Recipe, get, override
from vaekit.schedules import rate_weight
from vaekit.trainer import Trainer

__all__ = ["Case", "measure"]


@dataclass(frozen=True)
class Case:
    """What is trained: a recipe, its data, and for how many steps a round lasts."""

    name: str
    recipe: str
    source: str
    size: int | None
    steps: int
    settings: dict[str, Any]


def cases(mnist: str) -> list[Case]:
    return [
        Case("seed-ae, batch 32", "seed-ae", mnist, None, 1875, {}),
        Case("seed-ae, batch 512", "seed-ae", mnist, None, 118, {"batch_size": 512}),
        Case("vae, 64 px", "vae", "portraits:1000", 64, 100, {}),
        Case("seed-vae, 256 px", "seed-vae", "portraits:200", 256, 11, {}),
    ]


def bare(trainer: Trainer) -> Callable[[], None]:
    """One step of the same model on one resident batch."""
    objective = Step(trainer.model, build_objective(trainer.row))
    x = to_float(trainer.pixels[: trainer.batch_size])
    noise = torch.randn(1, len(x), trainer.model.latent_dim)
    weight = torch.tensor(rate_weight(trainer.row, 0.5))
    row = trainer.row
    optimiser = torch.optim.Adam(trainer.parameters, row.learning_rate, weight_decay=row.weight_decay, fused=True)

    def step() -> None:
        optimiser.zero_grad()
        loss = objective(Batch(x), noise, weight).loss
        (loss.sum() if row.reduction == "sum" else loss.mean()).backward()
        optimiser.step()

    return step


def timed(step: Callable[[], Any], steps: int) -> float:
    """Seconds per step."""
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - start) / steps


def whole(images: Images, row: Recipe, steps: int, batch_size: int) -> float:
    """Seconds per step of a real training of about ``steps`` steps, from its first step to its last."""
    marks: list[float] = []
    run, finish = training._run, training._finish

    def marked(*arguments: Any) -> None:
        marks.append(time.perf_counter())
        run(*arguments)
        marks.append(time.perf_counter())

    training._run, training._finish = marked, lambda *_: None
    try:
        with tempfile.TemporaryDirectory() as folder:
            training.train(images, row, Path(folder) / "run", Length(images=steps * batch_size))
    finally:
        training._run, training._finish = run, finish
    return (marks[1] - marks[0]) / steps


def measure(case: Case, rounds: int) -> dict[str, Any]:
    """Every figure of one case."""
    images = vk.open_images(case.source, case.size)
    row = override(get(case.recipe), case.settings)
    config = make_config(images, row, Length(images=10**9))
    trainer = Trainer(config, images.selection(is_trained_on(images, row)), torch.device("cpu"))
    sides: dict[str, Callable[[int], float]] = {
        "floor": lambda _: timed(step, case.steps),
        "step": lambda _: timed(trainer.step, case.steps),
        "train": lambda _: whole(images, row, case.steps, trainer.batch_size),
    }
    step = bare(Trainer(config, trainer.pixels, trainer.device))
    timed(step, 3), timed(trainer.step, 3)  # the first ones are slower
    seconds = take_turns(sides, rounds)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(case.name, {name: f"{1000 * value:.3f} ms" for name, value in medians.items()}, flush=True)
    return {
        "recipe": case.recipe,
        "batch_size": trainer.batch_size,
        "steps_per_round": case.steps,
        "seconds_per_step": seconds,
        "median_seconds_per_step": medians,
        "step_over_floor": medians["step"] / medians["floor"],
        "train_over_floor": medians["train"] / medians["floor"],
        "images_per_second": trainer.batch_size / medians["train"],
    }


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("data", help="the folder of MNIST's four IDX files")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    given = parser.parse_args()
    result = {case.name: measure(case, given.rounds) for case in cases(given.data) if given.only in case.name}
    print(json.dumps({name: {k: v for k, v in r.items() if "over" in k} for name, r in result.items()}, indent=2))
    if not given.only:
        print(f"written to {write_result('floor', {'rounds': given.rounds, 'cases': result}).name}")


if __name__ == "__main__":
    main()
