"""A training that has no images and no recipe: a velocity field from noise to a ring of points (flow matching).

x_t = (1 − t) ε + t x,    loss = ‖v(x_t, t) − (x − ε)‖²      Lipman et al. 2023, Eq. 22 and 23 with σ_min = 0
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from vaekit.model.contracts import Terms
from vaekit.model.inference import Batch
from vaekit.model.trainable import Trainable
from vaekit.system.distributed import ALONE, Team
from vaekit.system.rng import NOISE, stream
from vaekit.training.schedules import epoch_order
from vaekit.training.trainer import Trainer
from vaekit.training.values import TrainingValues

__all__ = ["RADIUS", "Field", "Ring", "field_trainer", "samples_of"]

RADIUS = 2.0


class Field(Trainable[nn.Sequential]):
    """``model`` maps a point and a time ``[B, 3]`` to a velocity ``[B, 2]``."""

    name = "the field"

    def __init__(self, width: int = 16) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            super().__init__(nn.Sequential(nn.Linear(3, width), nn.SiLU(), nn.Linear(width, 2)))
        self.dtype: torch.dtype | None = None

    def forward(self, batch: Batch, noise: Tensor, ramp: Tensor) -> Terms:
        """Of each example the first two numbers of the noise are ε, and the sigmoid of the third is t."""
        start, t = noise[0, :, :2], noise[0, :, 2:].sigmoid()
        x = torch.cat([(1 - t) * start + t * batch.x, t], 1)
        with torch.autocast("cpu", self.dtype, enabled=self.dtype is not None):
            velocity = self.model(x)
        squares = (velocity.to(x.dtype) - (batch.x - start)).square().sum(1)
        return Terms(squares, squares, None)

    def compute_in(self, dtype: torch.dtype) -> None:
        self.dtype = dtype


class Ring:
    """Batches of 8 of the 20 points of an epoch."""

    size = 8

    def __init__(self, total: int, team: Team = ALONE, dtype: torch.dtype = torch.float32) -> None:
        angles = torch.linspace(0, 2 * math.pi, 21, dtype=dtype)[:-1]
        self.points = RADIUS * torch.stack([angles.cos(), angles.sin()], 1)
        self.total, self.team = total, team

    def index_at(self, images: int) -> Tensor:
        epoch, offset = divmod(images, len(self.points))
        count = min(self.size, len(self.points) - offset, self.total - images)
        return epoch_order(0, epoch, len(self.points))[offset : offset + count]

    def batch(self, index: Tensor, images: int, steps: int) -> tuple[Batch, Tensor]:
        noise = torch.randn(1, len(index), 3, generator=stream(0, NOISE, steps)).to(self.points)
        return Batch(self.team.share(self.points[index])), self.team.share(noise, 1)


def field_trainer(
    step: Trainable[nn.Sequential] | None = None,
    total: int = 100,
    team: Team = ALONE,
    dtype: torch.dtype = torch.float32,
    **values: Any,
) -> Trainer[nn.Sequential]:
    """Of :class:`Field`, or of another ``step``, on the CPU."""
    values = {"learning_rate": 0.01, "schedule": "constant", **values}
    batches = Ring(total, team, dtype)
    trained = (Field() if step is None else step).to(dtype)
    return Trainer(trained, batches, TrainingValues(total_images=total, **values), torch.device("cpu"), team)


@torch.no_grad()
def samples_of(model: nn.Module, count: int) -> Tensor:
    """Points ``[count, 2]`` that the field carries from noise to time 1, by Euler's method."""
    x, steps = torch.randn(count, 2, generator=torch.Generator().manual_seed(0)), 50
    for step in range(steps):
        t = torch.full((count, 1), step / steps)
        x = x + model(torch.cat([x, t], 1)) / steps
    return x
