"""A small convolutional classifier that we train ourselves, as the judge of edits and of samples.

    p(attribute | image)   one logistic unit per attribute over shared features
    features               what those units see; the Fréchet distance of two sets of images is taken over them

It judges at 64 px at most: larger images are shrunk with anti-aliasing first, both in training and in judging.
Training images are blurred and made noisy at random, because it must also be right on reconstructions, which
are softer than photographs; it never sees a reconstruction while it is trained.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Classifier", "accuracies", "cached_classifier", "shrink", "train_classifier"]

LARGEST_SIDE = 64  # of the shorter side, in pixels
WIDTHS = (32, 64, 96)  # each stage halves the side
FEATURES = 128
BATCH = 64
LEARNING_RATE = 2e-3
MOST_BLUR = 1.6  # standard deviation in pixels
MOST_NOISE = 0.05  # standard deviation on the [0, 1] scale
CHUNK = 256
METADATA = "classifier"


class Classifier(nn.Module):
    """Images [N, 1 or 3, H, W] → probabilities of ``names``; ``size`` and ``gray`` say what it is shown."""

    def __init__(self, names: tuple[str, ...], size: tuple[int, int], gray: bool, channels: int) -> None:
        super().__init__()
        self.names, self.size, self.gray, self.channels = names, size, gray, channels
        widths = (1 if gray else channels, *WIDTHS)
        stages = [_stage(a, b, 5 if i == 0 else 3) for i, (a, b) in enumerate(zip(widths, widths[1:], strict=False))]
        cells = [-(-side // 8) for side in size]
        self.body = nn.Sequential(
            *stages,
            nn.Conv2d(WIDTHS[-1], WIDTHS[-1], 3, padding=1, bias=False),
            nn.BatchNorm2d(WIDTHS[-1]),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(WIDTHS[-1] * cells[0] * cells[1], FEATURES),
            nn.ReLU(),
        )
        self.head = nn.Linear(FEATURES, len(names))

    def forward(self, x: Tensor) -> Tensor:
        """Prepared images [B, c, h, w] in [0, 1] → logits [B, len(names)]."""
        return self.head(self.body(_centered(x)))

    def prepare(self, pixels: Tensor) -> Tensor:
        """uint8, or floats in [0, 1], [N, C, H, W] → floats in [0, 1] as the network is shown them."""
        x = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()
        if self.gray:
            x = x.mean(1, keepdim=True)
        return _resize(x, self.size)

    @torch.inference_mode()
    def features(self, pixels: Tensor) -> Tensor:
        """float32 [N, 128]: the last layer before the probabilities. Deterministic, in eval mode."""
        self.eval()
        return torch.cat([self.body(_centered(self.prepare(chunk))) for chunk in pixels.split(CHUNK)])

    @torch.inference_mode()
    def predict(self, pixels: Tensor) -> dict[str, np.ndarray]:
        """Probabilities [N] for each name; ``pixels`` uint8 or floats in [0, 1], [N, C, H, W]."""
        columns = torch.sigmoid(self.head(self.features(pixels))).double().numpy().T
        return dict(zip(self.names, columns, strict=True))

    def save(self, path: Path) -> None:
        """Writes weights and shape as one safetensors file."""
        facts = {"names": self.names, "size": self.size, "gray": self.gray, "channels": self.channels}
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({k: v.contiguous() for k, v in self.state_dict().items()}, path, {METADATA: json.dumps(facts)})

    @classmethod
    def load(cls, path: Path) -> Classifier:
        """The inverse of :meth:`save`, in eval mode."""
        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()[METADATA])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        found = cls(tuple(facts["names"]), tuple(facts["size"]), facts["gray"], facts["channels"])
        found.load_state_dict(weights)
        return found.eval()


def train_classifier(pixels: Tensor, targets: Mapping[str, np.ndarray], epochs: int = 8, seed: int = 0) -> Classifier:
    """Trains on uint8 images [N, C, H, W] and one 0/1 column [N] per name; gray images are judged in gray."""
    torch.manual_seed(seed)
    gray = all(bool((pixels[:, :1] == pixels[:, i : i + 1]).all()) for i in range(pixels.shape[1]))
    model = Classifier(tuple(targets), _judged_size(pixels), gray, pixels.shape[1])
    x = torch.cat([(model.prepare(chunk) * 255).round().to(torch.uint8) for chunk in pixels.split(CHUNK)])
    y = torch.from_numpy(np.stack([np.asarray(targets[name], np.float32) for name in model.names], 1))
    steps = max(1, len(x) // BATCH) * epochs
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.2)
    model.train()
    for _ in range(epochs):
        # The last, shorter batch is left out: batch statistics of a few images are poor.
        for rows in torch.randperm(len(x)).split(BATCH)[: max(1, len(x) // BATCH)]:
            logits = model(_soften(x[rows].float() / 255))
            loss = functional.binary_cross_entropy_with_logits(logits, y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def cached_classifier(
    folder: Path, fingerprint: str, pixels: Tensor, targets: Mapping[str, np.ndarray], epochs: int, seed: int
) -> tuple[Classifier, float | None]:
    """:func:`train_classifier`, or what an equal call left in ``folder``; and the seconds it took, None if none.

    ``fingerprint`` stands for the content of the training images; the code of this file is part of the key.
    """
    parts = [fingerprint, list(pixels.shape), sorted(targets), epochs, seed, Path(__file__).read_text("utf-8")]
    path = folder / f"classifier-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}.safetensors"
    if path.exists():
        return Classifier.load(path), None
    started = time.monotonic()
    model = train_classifier(pixels, targets, epochs, seed)
    seconds = time.monotonic() - started
    model.save(path)
    return model, seconds


def accuracies(model: Classifier, pixels: Tensor, targets: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The fraction of images on which the more probable answer is the right one, per name."""
    said = model.predict(pixels)
    return {name: float(((said[name] > 0.5) == (np.asarray(targets[name]) > 0.5)).mean()) for name in model.names}


def shrink(pixels: Tensor, side: int) -> Tensor:
    """uint8 [N, C, H, W] with the shorter side at most ``side``, anti-aliased; smaller images as they are."""
    size = _scaled(pixels.shape[-2], pixels.shape[-1], side)
    chunks = [_resize(chunk.float() / 255, size) for chunk in pixels.split(CHUNK)]
    return torch.cat([(chunk.clamp(0, 1) * 255).round().to(torch.uint8) for chunk in chunks])


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(x.shape[-2:]) == size:
        return x
    return functional.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)


def _judged_size(pixels: Tensor) -> tuple[int, int]:
    return _scaled(pixels.shape[-2], pixels.shape[-1], LARGEST_SIDE)


def _scaled(height: int, width: int, side: int) -> tuple[int, int]:
    factor = min(1.0, side / min(height, width))
    return round(height * factor), round(width * factor)


def _stage(before: int, after: int, kernel: int) -> nn.Sequential:
    conv = nn.Conv2d(before, after, kernel, stride=2, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU())


def _centered(x: Tensor) -> Tensor:
    return (x - 0.5) * 4


def _soften(x: Tensor) -> Tensor:
    """A random half of a batch [B, C, H, W] in [0, 1] blurred, another half made noisy, by random amounts."""
    x = x.clone()
    blurred, noisy = torch.rand(len(x)) < 0.5, torch.rand(len(x)) < 0.5
    if blurred.any() and min(x.shape[-2:]) > 4:
        x[blurred] = _blur(x[blurred], 0.3 + (MOST_BLUR - 0.3) * float(torch.rand(())))
    if noisy.any():
        x[noisy] += torch.randn_like(x[noisy]) * torch.rand(int(noisy.sum()), 1, 1, 1) * MOST_NOISE
    return x.clamp(0, 1)


def _blur(x: Tensor, std: float) -> Tensor:
    """Gaussian blur of images [B, C, H, W], ``std`` in pixels, the border repeated."""
    channels = x.shape[1]
    kernel = torch.exp(-0.5 * (torch.arange(-3, 4) / std) ** 2)
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1).repeat(channels, 1, 1, 1)
    x = functional.pad(x, (3, 3, 3, 3), mode="replicate")
    return functional.conv2d(functional.conv2d(x, kernel, groups=channels), kernel.mT, groups=channels)


def facts(model: Classifier, seconds: float | None) -> dict[str, Any]:
    """What a result file says of its judge."""
    took = {} if seconds is None else {"training_seconds": round(seconds, 1)}
    return {"height_width": list(model.size), "gray": model.gray, "features": FEATURES, **took}
