"""Discrete codes: the grid of codes of an image, and the latents of such grids.

    codes [N, rows, columns]  ⇄  z [N, rows · columns · D], the vector of each code, row by row

Everything else, such as :func:`vaekit.latent.ops.decode`, works on the latents z.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vaekit.data import Selection
from vaekit.errors import UserError
from vaekit.latent.ops import posteriors
from vaekit.model.latent_model import LatentModel
from vaekit.model.quantizers import CodePosterior, Tokens
from vaekit.system.distributed import ALONE, Team

__all__ = ["CodeGrid", "code_grid", "encode_codes", "latents_of"]


@dataclass(frozen=True)
class CodeGrid:
    """The codes of an image: one of ``count`` in each cell."""

    rows: int
    columns: int
    count: int


def code_grid(model: LatentModel) -> CodeGrid:
    """Return the size of the grid of a model whose latents are codes, and the number of codes."""
    posterior = _posterior(model)
    return CodeGrid(*posterior.grid[1:], posterior.quantiser.count)


@torch.inference_mode()
def encode_codes(model: LatentModel, pixels: Tensor | Selection, batch_size: int = 128, team: Team = ALONE) -> Tensor:
    """Encode images, uint8 ``[N, C, H, W]``, to codes, int64 ``[N, rows, columns]`` on the CPU, each from 0 to K − 1.

    Args:
        model: A model in eval mode whose latents are codes.
        pixels: The images.
        batch_size: Images per batch.
        team: Processes that share the work; all of them get the complete result.
    """
    grid = code_grid(model)
    codes = torch.zeros(len(pixels), grid.rows, grid.columns, dtype=torch.int64)
    for rows, qz in posteriors(model, pixels, batch_size, team):
        assert isinstance(qz, Tokens)
        codes[rows] = qz.tokens.unflatten(1, (grid.rows, grid.columns)).cpu()
    team.sum_(codes)
    return codes


@torch.inference_mode()
def latents_of(model: LatentModel, codes: Tensor, name: str = "codes") -> Tensor:
    """Return the latents ``[N, L]`` of codes, int64 ``[N, rows, columns]``, on the CPU.

    Args:
        model: A model whose latents are codes.
        codes: The codes.
        name: Name of the argument, for messages.

    Raises:
        UserError: If the shape differs, or a number is not a code of the model.
    """
    grid = code_grid(model)
    if codes.shape[1:] != (grid.rows, grid.columns):
        raise UserError(f"{name} have shape {tuple(codes.shape)}; expected [N, {grid.rows}, {grid.columns}]", name)
    if len(codes) and not 0 <= int(codes.min()) <= int(codes.max()) < grid.count:
        found = f"{int(codes.min())} to {int(codes.max())}"
        raise UserError(f"{name} are from {found}; expected codes from 0 to {grid.count - 1}", name)
    posterior = _posterior(model)
    return posterior.latents_of(codes.to(model.device)).cpu()


def _posterior(model: LatentModel) -> CodePosterior:
    assert isinstance(model.posterior, CodePosterior), "the latents of this model are not codes"
    return model.posterior
