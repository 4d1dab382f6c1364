"""The batches of a prior that is fitted afterward: latents of the training images, with their conditions.

A latent is drawn from its posterior anew in every epoch, as in the training of the decoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vaekit.config.run_config import Condition
from vaekit.data import Images
from vaekit.latent.flow_prior import FlowConfig
from vaekit.latent.ops import finite, posteriors
from vaekit.model.conditioning import hidden_parts, matrix
from vaekit.model.distributions.latent import DiagonalNormal
from vaekit.model.flow_matching import FlowMatchingPrior, channel_moments
from vaekit.model.inference import Batch
from vaekit.model.latent_model import LatentModel
from vaekit.system.distributed import ALONE, Team
from vaekit.system.rng import EVALUATION, HIDING, NOISE, stream
from vaekit.training.schedules import epoch_order

__all__ = ["LatentBatches", "Latents", "encoded", "fixed_draw"]


@dataclass(frozen=True, eq=False)
class Latents:
    """Posteriors of N images, and their conditions."""

    mean: Tensor  #: float32 ``[N, L]``
    std: Tensor  #: float32 ``[N, L]``; 0 for points
    conditions: Tensor | None  #: float32 ``[N, C]``

    def __len__(self) -> int:
        return len(self.mean)

    def standardized(self, prior: FlowMatchingPrior) -> Latents:
        """The same in the units of the field."""
        return Latents(prior.standardized(self.mean), self.std / prior.spread(prior.std), self.conditions)

    def moments(self, prior: FlowMatchingPrior) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation per dimension of a vector or per channel of a grid."""
        return channel_moments(self.mean, self.std, prior.shape)


@torch.inference_mode()
def encoded(
    model: LatentModel,
    images: Images,
    rows: np.ndarray,
    conditions: tuple[Condition, ...],
    flip: bool = False,
    team: Team = ALONE,
) -> Latents:
    """Return the posteriors of some images; with ``flip``, those of the mirrored images follow.

    Args:
        model: The model in eval mode.
        images: The images.
        rows: Positions of some of them.
        conditions: What the prior is conditioned on.
        flip: Whether to add mirrored images.
        team: The processes that share the work; all get the result.

    Raises:
        NotFinite: If a latent is NaN or infinite.
    """
    chosen, views = images.selection(rows), 1 + flip
    mean, std = torch.zeros(2, views, len(chosen), model.latent_dim)
    for mirrored in range(views):
        for part, qz in posteriors(model, chosen, team=team, mirrored=bool(mirrored)):
            mean[mirrored, part] = qz.mean.cpu()
            std[mirrored, part] = qz.log_std.exp().cpu() if isinstance(qz, DiagonalNormal) else 0.0
    team.sum_(mean)
    team.sum_(std)
    known = matrix(conditions, images)[torch.from_numpy(rows)].repeat(views, 1) if conditions else None
    return Latents(finite(mean, "latents").flatten(0, 1), finite(std, "latents").flatten(0, 1), known)


class LatentBatches:
    """Batches of standardized latents. Order, noise and hidden conditions follow from the position."""

    def __init__(self, config: FlowConfig, latents: Latents, device: torch.device, team: Team = ALONE) -> None:
        self.size = config.batch_size
        self._config, self._latents, self._device, self._team = config, latents, device, team
        self._order: tuple[int, Tensor] | None = None

    def index_at(self, images: int) -> Tensor:
        """Return the positions of the batch after ``images`` latents. A batch ends where an epoch or the run ends."""
        epoch, offset = divmod(images, len(self._latents))
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, epoch_order(self._config.seed, epoch, len(self._latents)))
        size = min(self.size, len(self._latents) - offset, self._config.total_images - images)
        return self._order[1][offset : offset + size]

    def batch(self, index: Tensor, images: int, steps: int) -> tuple[Batch, Tensor]:
        """Return this process's share of the latents at ``index``, and noise ``[1, B, L + 1]``."""
        seed, size = self._config.seed, self._latents.mean.shape[1]
        draws = torch.randn(len(index), 2 * size + 1, generator=stream(seed, NOISE, steps))
        hiding = torch.rand(len(index), len(self._config.conditions) + 1, generator=stream(seed, HIDING, steps))
        index, draws, hiding = (self._team.share(each) for each in (index, draws, hiding))
        z = self._latents.mean[index] + self._latents.std[index] * draws[:, size + 1 :]
        condition = self._latents.conditions
        if condition is not None:
            condition = condition[index] * hidden_parts(self._config.conditions, hiding)
            condition = condition.to(self._device)
        return Batch(z.to(self._device), condition=condition), draws[None, :, : size + 1].to(self._device)


def fixed_draw(latents: Latents, seed: int) -> tuple[Tensor, Tensor]:
    """Return one sample ``[N, L]`` of each posterior, and noise ``[N, L + 1]`` for measuring; always the same."""
    size = latents.mean.shape[1]
    draws = torch.randn(len(latents), 2 * size + 1, generator=stream(seed, EVALUATION, 0))
    return latents.mean + latents.std * draws[:, size + 1 :], draws[:, : size + 1]
