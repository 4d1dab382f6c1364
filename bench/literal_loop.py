"""The two original systems as plain PyTorch loops, with which vaekit's recipes are compared.

A DataLoader over PIL images decodes and converts one image at a time. The modules are plain PyTorch, Adam is unfused,
and every step calls ``loss.item()``. Nothing here uses vaekit, and nothing is tuned.

    python bench/literal_loop.py ../shared/data/mnist --epochs 1
    python bench/literal_loop.py faces/ --seed-vae --budget-seconds 600
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

__all__ = ["Faces", "Pictures", "SeedVAE", "read_mnist", "run_seed_ae", "run_seed_vae", "seed_ae"]

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
SSE = nn.MSELoss(reduction="sum")


def to_tensor(picture: Image.Image) -> Tensor:
    """Convert a PIL image to float32 [C, H, W] in [0, 1], like ``ToTensor``."""
    pixels = np.array(picture, copy=True)
    pixels = pixels.reshape(picture.size[1], picture.size[0], -1)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous().to(torch.float32).div(255)


def read_idx(path: Path) -> np.ndarray:
    """Read a gzipped IDX file: two zeros, type, number of dimensions, big-endian sizes, bytes."""
    with gzip.open(path) as file:
        raw = file.read()
    sizes = np.frombuffer(raw, ">i4", count=raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(sizes)


def read_mnist(folder: Path, part: str, limit: int | None = None) -> Pictures:
    """Return the images of ``part`` (``train`` or ``t10k``) as PIL images, with their labels."""
    images = read_idx(folder / f"{part}-images-idx3-ubyte.gz")[:limit]
    labels = read_idx(folder / f"{part}-labels-idx1-ubyte.gz")[:limit]
    return Pictures([Image.fromarray(image) for image in images], labels.tolist())


class Pictures(Dataset[tuple[Tensor, int]]):
    """Images in memory, converted one by one."""

    def __init__(self, pictures: list[Image.Image], labels: list[int]) -> None:
        self.pictures, self.labels = pictures, labels

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return to_tensor(self.pictures[index]), self.labels[index]


class Faces(Dataset[tuple[Tensor, int]]):
    """Image files, decoded on demand: shorter side to ``size``, center crop, color."""

    def __init__(self, files: list[Path], size: int = 256) -> None:
        self.files, self.size = files, size

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture = Image.open(self.files[index]).convert("RGB")
        scale = self.size / min(picture.size)
        width, height = (max(self.size, round(side * scale)) for side in picture.size)
        left, top = (width - self.size) // 2, (height - self.size) // 2
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
        return to_tensor(picture.crop((left, top, left + self.size, top + self.size))), 0


def seed_ae() -> nn.Sequential:
    """784 → 200 → 20 → 200 → 784, with a deterministic latent."""
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, 20)),
        *(nn.Linear(20, 200), nn.ReLU(), nn.Linear(200, 784), nn.Sigmoid(), nn.Unflatten(1, (1, 28, 28))),
    )


class SeedVAE(nn.Module):
    """The convolutional VAE for 256×256 color faces: 63,332,411 parameters."""

    def __init__(self, latent_dim: int = 100) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            *(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU()),
            *(nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3, 2, 0), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(31 * 31 * 32, 1024), nn.ReLU()),
        )
        self.mu = nn.Linear(1024, latent_dim)
        self.log_std = nn.Linear(1024, latent_dim)
        self.decoder = nn.Sequential(
            *(nn.Linear(latent_dim, 1024), nn.ReLU(), nn.Linear(1024, 31 * 31 * 32), nn.ReLU()),
            nn.Unflatten(1, (32, 31, 31)),
            *(nn.ConvTranspose2d(32, 16, 3, 2, 0, output_padding=1), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.ConvTranspose2d(16, 8, 3, 2, 1, output_padding=1), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.ConvTranspose2d(8, 3, 3, 2, 1, output_padding=1), nn.Sigmoid()),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``x`` [B, 3, 256, 256] → its reconstruction, and the posterior's ``mu`` and ``std`` [B, L]."""
        features = self.encoder(x)
        mu, std = self.mu(features), torch.exp(self.log_std(features))
        z = mu + std * torch.randn_like(std) if self.training else mu
        return self.decoder(z), mu, std


def kl_to_standard_normal(mu: Tensor, std: Tensor) -> Tensor:
    """Summed over the batch and the dimensions, in nats."""
    return (std**2 / 2 + mu**2 / 2 - torch.log(std) - 0.5).sum()


def seed_ae_loss(model: nn.Module, x: Tensor) -> Tensor:
    loss: Tensor = SSE(model(x), x)
    return loss


def seed_vae_loss(model: nn.Module, x: Tensor) -> Tensor:
    reconstruction, mu, std = model(x)
    loss: Tensor = SSE(reconstruction, x) + kl_to_standard_normal(mu, std)
    return loss


@dataclass
class Loop:
    """What a training loop needs: a model, its loss summed over a batch, an optimizer and a loader."""

    model: nn.Module
    loss: Callable[[nn.Module, Tensor], Tensor]
    optimizer: torch.optim.Optimizer
    loader: DataLoader[tuple[Tensor, int]]

    def epoch(self, until: float = math.inf) -> tuple[float, int]:
        """Train for one epoch, or until the time ``until``; returns seconds and steps."""
        self.model.train()
        start, steps, running = time.perf_counter(), 0, 0.0
        for x, _ in self.loader:
            self.optimizer.zero_grad()
            loss = self.loss(self.model, x)
            loss.backward()
            self.optimizer.step()
            running += loss.item()
            steps += 1
            if time.perf_counter() >= until:
                break
        return time.perf_counter() - start, steps


def run_seed_ae(folder: Path, epochs: int = 10, limit: int | None = None, seed: int = 0) -> dict[str, Any]:
    """Train ``seed-ae`` on MNIST; returns the seconds of each epoch, and the final test error."""
    torch.manual_seed(seed)
    model = seed_ae()
    optimizer = torch.optim.Adam(model.parameters(), lr=2.5e-4, foreach=False, fused=False)
    loader = DataLoader(read_mnist(folder, "train", limit), batch_size=32, shuffle=True)
    loop = Loop(model, seed_ae_loss, optimizer, loader)
    seconds = [loop.epoch()[0] for _ in range(epochs)]
    test = read_mnist(folder, "t10k", limit)
    sse = squared_error(lambda x: model(x), model, test)
    return {"system": "seed-ae", "seconds_per_epoch": seconds, **errors(sse, len(test), 784)}


def run_seed_vae(
    folder: Path, epochs: int = 10, limit: int | None = None, seed: int = 0, budget_seconds: float = math.inf
) -> dict[str, Any]:
    """Train ``seed-vae`` on a folder of faces; a tenth of the files is held out for testing."""
    torch.manual_seed(seed)
    train, test = split(folder, limit)
    model = SeedVAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, weight_decay=1e-5, foreach=False, fused=False)
    loop = Loop(model, seed_vae_loss, optimizer, DataLoader(train, batch_size=16, shuffle=True))
    seconds: list[float] = []
    until, steps = time.perf_counter() + budget_seconds, 0
    while len(seconds) < epochs and time.perf_counter() < until:
        took, count = loop.epoch(until)
        seconds.append(took)
        steps += count
    sse = squared_error(lambda x: model(x)[0], model, test)
    return {
        "system": "seed-vae",
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": steps,
        "seconds_per_epoch": seconds,
        "seconds_per_step": sum(seconds) / steps,
        **errors(sse, len(test), 3 * 256 * 256),
        "test_rate_nats": rate(model, test),
    }


def split(folder: Path, limit: int | None) -> tuple[Faces, Faces]:
    """Split the files below ``folder`` in a fixed random order: nine tenths for training, one for testing."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    random.Random(0).shuffle(files)
    files = files[:limit]
    held_out = max(1, len(files) // 10)
    return Faces(files[held_out:]), Faces(files[:held_out])


@torch.no_grad()
def squared_error(reconstruct: Callable[[Tensor], Tensor], model: nn.Module, images: Dataset[Any]) -> float:
    """Return the squared error summed over all pixels of all images."""
    model.eval()
    return sum(SSE(reconstruct(x), x).item() for x, _ in DataLoader(images, batch_size=64))


@torch.no_grad()
def rate(model: SeedVAE, images: Faces) -> float:
    """Return the mean KL divergence of the posteriors from the prior, in nats per image."""
    model.eval()
    batches = (model(x)[1:] for x, _ in DataLoader(images, batch_size=64))
    return sum(kl_to_standard_normal(mu, std).item() for mu, std in batches) / len(images)


def errors(sse: float, images: int, values: int) -> dict[str, float]:
    """Return the error per image, and the PSNR of the mean over all values of all images, on the [0, 1] scale."""
    return {
        "test_images": images,
        "test_sse_per_image": sse / images,
        "test_psnr_db": -10 * math.log10(sse / images / values),
    }


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("data", type=Path, help="the folder of MNIST's four IDX files, or of faces")
    parser.add_argument("--seed-vae", action="store_true", help="the VAE for faces, not the AE for digits")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--limit", type=int, help="most images to read")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget-seconds", type=float, default=math.inf, help="with --seed-vae")
    given = parser.parse_args()
    if given.seed_vae:
        result = run_seed_vae(given.data, given.epochs, given.limit, given.seed, given.budget_seconds)
    else:
        result = run_seed_ae(given.data, given.epochs, given.limit, given.seed)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
