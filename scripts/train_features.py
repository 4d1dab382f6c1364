"""Trains the small classifier whose features ship with the package, on CIFAR-10, and writes its file.

    python scripts/train_features.py ../shared/data/cifar10.tar.gz

Each batch normalization is folded into its convolution before the file is written, so that the features of an image
never depend on other images. The weights are stored as float16. The accuracy in the file is that of the stored weights
on the test images, which are used once, at the end. The bytes depend on the machine, so a new training needs a new
name: increment the number in ``vaekit.evaluation.features.CLASSIFIER``.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

import vaekit as vk
from vaekit.evaluation.features import (
    CLASSIFIER,
    CLASSIFIER_FILE,
    CLASSIFIER_STAGES,
    METADATA,
    Stage,
    classifier_features,
    digest,
    prepare,
)

__all__ = ["accuracy", "folded", "train"]

SIDE = 32
BATCH = 128
PEAK_RATE = 6e-3
SHIFT = 2  # largest shift in pixels
CHUNK = 500


def train(pixels: Tensor, labels: Tensor, epochs: int, seed: int) -> tuple[nn.Sequential, nn.Linear]:
    """Train the stages (convolution, normalization, ReLU) and the logits on uint8 ``[N, 3, 32, 32]``."""
    torch.manual_seed(seed)
    stages = nn.Sequential(*map(_stage, CLASSIFIER_STAGES)).to(memory_format=torch.channels_last)
    logits = nn.Linear(CLASSIFIER_STAGES[-1].outputs, int(labels.max()) + 1)
    parameters = [*stages.parameters(), *logits.parameters()]
    optimizer = torch.optim.AdamW(parameters, PEAK_RATE, weight_decay=0.02)
    # the last, smaller batch is left out, because its batch statistics are poor
    per_epoch = len(pixels) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=per_epoch * epochs, pct_start=0.25)
    started = time.monotonic()
    for epoch in range(epochs):
        right = 0
        for rows in torch.randperm(len(pixels)).split(BATCH)[:per_epoch]:
            x = _varied(prepare(pixels[rows], SIDE))
            with torch.autocast("cpu", torch.bfloat16):  # less than half the time on processors that have it
                features = stages(x).mean((2, 3))
            said = logits(features.float())
            loss = functional.cross_entropy(said, labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            right += int((said.argmax(1) == labels[rows]).sum())
        print(
            f"epoch {epoch + 1}: {right / (per_epoch * BATCH):.3f} right, {time.monotonic() - started:.0f} s",
            flush=True,
        )
    return stages.eval(), logits.eval()


def folded(stages: nn.Sequential, logits: nn.Linear) -> dict[str, Tensor]:
    """Return float16 weights under the names that :func:`vaekit.evaluation.features.classifier_features` reads."""
    weights = {"logits.weight": logits.weight, "logits.bias": logits.bias}
    for number, stage in enumerate(stages):
        conv, norm = stage[0], stage[1]
        gain = norm.weight / (norm.running_var + norm.eps).sqrt()
        weights[f"{number}.weight"] = conv.weight * gain[:, None, None, None]
        weights[f"{number}.bias"] = norm.bias - norm.running_mean * gain
    return {name: tensor.detach().half().contiguous() for name, tensor in weights.items()}


@torch.inference_mode()
def accuracy(weights: dict[str, Tensor], pixels: Tensor, labels: Tensor) -> float:
    """Return the accuracy of the stored weights."""
    weights = {name: tensor.float() for name, tensor in weights.items()}
    features = torch.cat([classifier_features(weights, prepare(some, SIDE)) for some in pixels.split(CHUNK)])
    said = functional.linear(features, weights["logits.weight"], weights["logits.bias"]).argmax(1)
    return float((said == labels).double().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="CIFAR-10, with labels and parts")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=CLASSIFIER_FILE)
    given = parser.parse_args()

    images = vk.open_images(given.data, channels=3)
    seen, test = images.part("train"), images.part("test")
    assert seen.labels is not None and test.labels is not None, "the images have no labels"
    weights = folded(*train(seen.pixels, seen.labels, given.epochs, given.seed))
    facts = {
        "name": CLASSIFIER,
        "test_accuracy": round(accuracy(weights, test.pixels, test.labels), 4),
        "classes": images.classes,
        "train_images": len(seen),
        "epochs": given.epochs,
        "sha256": digest(weights),
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, given.out, {METADATA: json.dumps(facts, sort_keys=True)})
    print(json.dumps(facts, indent=1), f"{given.out.stat().st_size:,} bytes")


def _stage(stage: Stage) -> nn.Sequential:
    conv = nn.Conv2d(stage.inputs, stage.outputs, stage.kernel, stage.stride, stage.kernel // 2, bias=False)
    pool = [nn.MaxPool2d(2)] if stage.pool else []
    return nn.Sequential(conv, nn.BatchNorm2d(stage.outputs), nn.ReLU(), *pool)


def _varied(x: Tensor) -> Tensor:
    """Mirror half of a batch, and move all images by the same few pixels, repeating edges."""
    x = torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(3), x)
    top, left = torch.randint(0, 2 * SHIFT + 1, (2,)).tolist()
    padded = functional.pad(x, [SHIFT] * 4, mode="replicate")
    return padded[:, :, top : top + SIDE, left : left + SIDE].contiguous(memory_format=torch.channels_last)


if __name__ == "__main__":
    main()
