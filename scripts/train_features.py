"""Trains the small classifier whose features ``vaekit evaluate --samples`` compares sets of images by.

    python scripts/train_features.py ../shared/data/cifar10.tar.gz

Deterministic on one machine; about five minutes on two cores. Writes ``src/vaekit/features.safetensors`` in float16.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn import functional as F

import vaekit as vk
from vaekit.augment import DRAWS, augment
from vaekit.data import to_float
from vaekit.features import SIDE, FeatureNet

TARGET = Path(__file__).resolve().parents[1] / "src" / "vaekit" / "features.safetensors"
NAME = "cifar10-classifier-1"
BATCH, RATE = 128, 3e-3


def accuracy(net: FeatureNet, images: vk.Images) -> float:
    """The share of images whose class is the most probable one."""
    assert images.labels is not None
    with torch.inference_mode():
        said = torch.cat([net.answer(net(to_float(chunk))).argmax(1) for chunk in images.pixels.split(500)])
    return float((said == images.labels).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="CIFAR-10 in class folders")
    parser.add_argument("--epochs", type=int, default=8)
    given = parser.parse_args()
    torch.manual_seed(0)
    images = vk.open_images(given.data, SIDE, channels=3)
    train, test = images[images.parts != 2], images.part("test")
    assert train.labels is not None
    net = FeatureNet(len(images.classes))
    steps = given.epochs * (len(train) // BATCH)
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.2)
    for epoch in range(given.epochs):
        for rows in torch.randperm(len(train)).split(BATCH)[: len(train) // BATCH]:
            x = augment(to_float(train.pixels[rows]), torch.rand(len(rows), DRAWS), flip=True, shift=3, jitter=0.2)
            optimiser.zero_grad()
            F.cross_entropy(net.answer(net(x)), train.labels[rows], label_smoothing=0.05).backward()
            optimiser.step()
            schedule.step()
        print(f"epoch {epoch + 1}: {accuracy(net, test):.4f} of {len(test):,} test images", flush=True)
    facts = {"name": NAME, "test_accuracy": f"{accuracy(net, test):.4f}", "classes": ", ".join(images.classes)}
    save_file({key: value.half().contiguous() for key, value in net.state_dict().items()}, TARGET, facts)
    print(f"{TARGET.name}: {TARGET.stat().st_size:,} bytes, {facts}")


if __name__ == "__main__":
    main()
