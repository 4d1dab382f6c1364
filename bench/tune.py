"""What does each setting of a recipe contribute? One change at a time, compared on validation images.

    python bench/tune.py fast-ae ../shared/data/mnist
    python bench/tune.py vae portraits:4000 --size 64 --images 5000
    python bench/tune.py ladder-vae SMILES --size 64 --likelihood discretized-logistic-mixture --images 20000
    python bench/tune.py grid-vae SMILES --size 64 --images 40000

Every setting trains on the same number of training images, and is compared by the loss of the recipe on the validation
part. The seconds show its cost. The first row is the default.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import write_result

import vaekit as vk
from vaekit.config import table as recipes
from vaekit.config.recipe import LIKELIHOODS, Recipe, override, with_likelihood
from vaekit.evaluation import metrics as evaluate

__all__ = ["CHANGES", "tried"]

CHANGES: dict[str, list[dict[str, Any]]] = {
    "fast-ae": [
        *({"batch_size": b, "learning_rate": r} for b, r in ((32, 0.006), (32, 0.009), (128, 0.014), (256, 0.02))),
        *({"learning_rate": r} for r in (0.006, 0.008, 0.015)),
        *({"adam_beta2": b} for b in (0.9, 0.98, 0.999)),
        *({"warmup": w} for w in (0.05, 0.1, 0.3)),
        {"start_at_mean": False},
        {"schedule": "constant", "learning_rate": 0.002},
    ],
    "vae": [
        *({"learning_rate": r} for r in (5e-4, 2e-3)),
        *({"adam_beta2": b} for b in (0.95, 0.99)),
        *({"batch_size": b} for b in (8, 32)),
        {"batch_size": 32, "learning_rate": 1.5e-3, "adam_beta2": 0.99},
        {"kl_warmup": 0.1},
        {"warmup": 0.1},
        {"posterior_std_gain": 1.0},
    ],
    "ladder-vae": [
        {"posterior_mean_gain": 0.0},
        *({"clip_norm": c} for c in (0.0, 1.0, 30.0)),
        {"posterior_mean_gain": 0.0, "clip_norm": 1.0},
        *({"posterior_mean_gain": gain} for gain in (1.0, 10.0)),
        *({"learning_rate": r} for r in (5e-4, 2e-3)),
        {"batch_size": 32},
        {"mixture_components": 10},
        {"kl_warmup": 0.3},
        *({"level_groups": count} for count in (1, 3)),
    ],
    "grid-vae": [
        *({"clip_norm": c} for c in (3.0, 30.0)),
        *({"learning_rate": r} for r in (5e-4, 2e-3)),
        {"clip_norm": 30.0, "learning_rate": 2e-3},
        {"batch_size": 8},
        {"posterior_std_gain": 1.0},
        {"kl_warmup": 0.0},
    ],
}


def tried(row: Recipe, source: str, size: int | None, images: int | None, change: dict[str, Any]) -> dict[str, Any]:
    """Train once, and measure on the validation part."""
    data = vk.open_images(source, size)
    row = override(row, {**change, "train_on_val": False})
    with tempfile.TemporaryDirectory() as folder:
        before = time.perf_counter()
        run = vk.train(data, recipe=row, out=f"{folder}/run", images=images, quiet=True)
        seconds = time.perf_counter() - before
        numbers = run.evaluate(data, split="val")
    loss = evaluate.loss_nats(numbers, row)
    found = {k: numbers[k] for k in ("sse_per_image", "psnr_db", "elbo_nats")}
    images = run.config.total_images
    return {
        "change": change,
        "validation_loss_nats": loss,
        "bits_per_dim": numbers.get("bits_per_dim"),
        "images": images,
        **found,
        "seconds": seconds,
    }


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("recipe", choices=sorted(CHANGES))
    parser.add_argument("data")
    parser.add_argument("--size", type=int)
    parser.add_argument(
        "--images", type=int, help="training images in total, counting repeats (by default, the recipe's own length)"
    )
    parser.add_argument("--likelihood", choices=LIKELIHOODS, help="instead of the recipe's own")
    given = parser.parse_args()
    row, rows = recipes.get(given.recipe), []
    if given.likelihood:
        row = with_likelihood(row, given.likelihood)
    for change in [{}, *CHANGES[given.recipe]]:
        rows.append(tried(row, given.data, given.size, given.images, change))
        print({k: round(v, 3) if isinstance(v, float) else v for k, v in rows[-1].items()}, flush=True)
        of = {"recipe": given.recipe, "data": Path(given.data).name, "size": given.size, "defaults": row.to_dict()}
        path = write_result(f"tuning_{given.recipe}", of | {"rows": rows})
    print(f"written to {path.name}")


if __name__ == "__main__":
    main()
