"""Paths between latents: straight lines, and great circles in the noise of the prior.

In a hierarchy, the first levels move along the path, and the finer ones follow (:mod:`vaekit.latent.levels`). If they
keep their detail, ε goes from one end to the other on a great circle, level by level. A straight line between two
independent ε would have half their variance in the middle, and the pictures there would lose detail.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vaekit.errors import UserError, nearest
from vaekit.latent.levels import Moved, in_chunks, top_size
from vaekit.model.ladder import LadderModel
from vaekit.model.latent_model import LatentModel

__all__ = ["PATHS", "check_path", "points", "spherical"]

PATHS = ("linear", "spherical")  #: kinds of paths between two latents

_TINY = 1e-12
_NO_PLANE = 1e-3  # sine of the angle below which two directions do not span a plane


def check_path(path: str) -> None:
    """Raise :class:`UserError` unless ``path`` is one of :data:`PATHS`."""
    if path not in PATHS:
        raise UserError(f"path {path}: {nearest(path, PATHS)}", "path")


def points(
    model: LatentModel, z_a: Tensor, z_b: Tensor, steps: int, path: str = "linear", what: Moved | None = None
) -> Tensor:
    """Return latents on a path, including its ends.

    Args:
        model: The model in eval mode.
        z_a: Start ``[..., L]``.
        z_b: End ``[..., L]``.
        steps: Number of latents.
        path: ``linear`` is a straight line in equal steps. ``spherical`` follows a great circle in the noise of a
            normal prior (:func:`spherical`), where samples are close to a sphere. For a prior that is not normal, the
            normal with its moments is used; for an autoencoder, the circle is around the origin of the latent space.
        what: What moves in a hierarchy; by default its top level.

    Returns:
        Latents ``[steps, ..., L]``.
    """
    check_path(path)
    weights = torch.linspace(0, 1, steps).view(-1, *[1] * z_a.ndim)
    if isinstance(model, LadderModel):
        return _in_levels(model, z_a, z_b, weights, path, what or Moved())
    return _linear(z_a, z_b, weights) if path == "linear" else _spherical(model, z_a, z_b, weights)


def spherical(a: Tensor, b: Tensor, weights: Tensor) -> Tensor:
    """Interpolate from a to b, ``[..., L]``: direction by slerp (Shoemake 1985, Eq. 1), length linearly.

    Parallel and opposite vectors, and zero vectors, are interpolated linearly. ``weights`` from 0 to 1 are broadcast.

    >>> round(float(spherical(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0]), torch.tensor([0.5])).norm()), 4)
    2.0
    """
    lengths = a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True)
    units = a / lengths[0].clamp(min=_TINY), b / lengths[1].clamp(min=_TINY)
    angle = (units[0] * units[1]).sum(-1, keepdim=True).clamp(-1, 1).acos()
    sine = angle.sin()
    turned = (((1 - weights) * angle).sin() * units[0] + (weights * angle).sin() * units[1]) / sine.clamp(min=_TINY)
    along = turned * (lengths[0] * (1 - weights) + lengths[1] * weights)
    has_no_plane = (sine < _NO_PLANE) | (torch.minimum(*lengths) < _TINY)
    return torch.where(has_no_plane, _linear(a, b, weights), along)


def _linear(a: Tensor, b: Tensor, weights: Tensor) -> Tensor:
    return a * (1 - weights) + b * weights


@torch.inference_mode()
def _spherical(model: LatentModel, z_a: Tensor, z_b: Tensor, weights: Tensor) -> Tensor:
    """Interpolate latents on a sphere in noise space."""
    pz, device = model.drawn_from(), model.device
    normal = None if pz is None else pz.moments
    if normal is None:
        return spherical(z_a, z_b, weights)
    noise_a, noise_b = (normal.to_noise(z.to(device)).cpu() for z in (z_a, z_b))
    return normal.from_noise(spherical(noise_a, noise_b, weights).to(device)).cpu()


def _in_levels(model: LadderModel, z_a: Tensor, z_b: Tensor, weights: Tensor, path: str, what: Moved) -> Tensor:
    """Interpolate the first levels of a hierarchy, and complete the others."""
    size, prior = top_size(model, what.levels), model.drawn_from()
    flat = (z.reshape(-1, model.latent_dim) for z in (z_a, z_b))
    noise_a, noise_b = (in_chunks(model, prior.to_noise, z).view(z_a.shape) for z in flat)
    detail = [
        spherical(a, b, weights) if what.keeps_detail else torch.zeros_like(_linear(a, b, weights))
        for a, b in zip(model.split_levels(noise_a), model.split_levels(noise_b), strict=True)
    ][what.levels :]
    if path == "linear":
        kept, top = what.levels, _linear(z_a, z_b, weights)[..., :size]
    else:
        kept, top = 0, spherical(noise_a[..., :size], noise_b[..., :size], weights)
    joined = torch.cat([top, *detail], dim=-1)  # with kept = 0, all of it is noise; otherwise the first levels are z
    return in_chunks(model, lambda z: model.completed(z, kept, noise=z), joined.flatten(0, -2)).view(joined.shape)
