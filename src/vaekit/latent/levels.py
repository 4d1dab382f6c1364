"""Move the first levels of a hierarchy, and let the finer ones follow.

    zᵢ' = μᵢ' + σᵢ' εᵢ        μᵢ', σᵢ': of the prior of level i given the moved levels above
    εᵢ  = (zᵢ − μᵢ) / σᵢ      of the image, under its own prior, if its detail is kept; otherwise 0

Finer levels only make sense together with the levels above. So εᵢ is kept, not zᵢ: the place of a latent in its prior,
which the levels above do not determine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vaekit.model.ladder import LadderModel
from vaekit.model.latent_model import LatentModel

__all__ = ["Moved", "follow", "from_prior_noise", "in_chunks", "progression", "to_prior_noise", "top_size"]

_AT_ONCE = 128


@dataclass(frozen=True)
class Moved:
    """What a verb moves of a hierarchy. Models without levels move as a whole."""

    levels: int = 1  #: number of levels to move, from the top
    keeps_detail: bool = False  #: whether finer levels keep their place in the prior, or take its mean


def top_size(model: LatentModel, levels: int) -> int:
    """Return how many numbers the first levels have together."""
    return sum(model.level_sizes[:levels])


def follow(model: LatentModel, z: Tensor, moved: Tensor, what: Moved) -> Tensor:
    """Complete moved latents: their first levels are used, and the finer ones follow from these.

    Args:
        model: The model in eval mode.
        z: The original latents ``[L]`` or ``[N, L]``.
        moved: The moved latents ``[N, L]``.
        what: What is moved, and whether the detail of ``z`` is kept.

    Returns:
        Latents ``[N, L]`` on the CPU; ``moved`` itself if the model has no levels.
    """
    if not isinstance(model, LadderModel):
        return moved
    size = top_size(model, what.levels)
    return in_chunks(
        model,
        lambda own, new: model.with_top(own, new[:, :size], keep_detail=what.keeps_detail),
        z.expand_as(moved),
        moved,
    )


def progression(model: LadderModel, z: Tensor, counts: Sequence[int]) -> Tensor:
    """Return latents of which only the first levels are kept, and the others are at the mean of their prior.

    Args:
        model: The model in eval mode.
        z: Latents ``[N, L]``.
        counts: Numbers of levels to keep.

    Returns:
        Latents ``[len(counts), N, L]`` on the CPU.
    """
    return torch.stack([in_chunks(model, lambda own, count=count: model.completed(own, count), z) for count in counts])


def to_prior_noise(model: LadderModel, z: Tensor) -> Tensor:
    """Return the noise ``[N, L]`` that the prior maps to the latents z ``[N, L]``: all εᵢ."""
    return in_chunks(model, lambda own: model.drawn_from().to_noise(own), z)


def from_prior_noise(model: LadderModel, noise: Tensor) -> Tensor:
    """Return the latents ``[N, L]`` to which the prior maps noise ``[N, L]``."""
    return in_chunks(model, lambda own: model.drawn_from().from_noise(own), noise)


@torch.inference_mode()
def in_chunks(model: LatentModel, function: Callable[..., Tensor], *latents: Tensor) -> Tensor:
    """Apply a function of latents ``[N, L]`` on the device of the model, in chunks; the result is on the CPU."""
    model.check_eval_mode()
    chunks = zip(*(each.split(model.at_once(_AT_ONCE)) for each in latents), strict=True)
    return torch.cat([function(*(each.to(model.device) for each in chunk)).cpu() for chunk in chunks])
