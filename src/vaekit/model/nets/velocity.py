"""Networks for the velocity of a latent at a time, given a condition: v(z, t, c).

    vector    a residual MLP
    grid      a small U-Net (Ronneberger et al. 2015) with attention on its coarsest grid (Ho et al. 2020, App. B)

Time and condition become one embedding, which scales and shifts the features of every block (Perez et al. 2018, Eq. 2;
Dhariwal & Nichol 2021, Sec. 3.1). The last layer starts at zero, so the first velocity is zero.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit.model.contracts import LatentShape

__all__ = ["GridVelocity", "VectorVelocity", "Velocity", "default_width", "velocity_of"]

_FREQUENCIES = 32  # of the sines and cosines of the time
_HIGHEST = 100.0  # the highest of them, in radians per unit of time
_WIDTHS = {"vector": 256, "grid": 64}
_COARSEST = 4  # cells along the shorter side, at least, on the coarsest grid
_MOST_HALVINGS = 2
_HEAD = 32  # channels of an attention head
_GROUP = 16  # channels that are normalized together


def default_width(shape: LatentShape) -> int:
    """The width of the network for a latent of ``shape``."""
    return _WIDTHS["vector" if len(shape) == 1 else "grid"]


def velocity_of(shape: LatentShape, width: int, depth: int, condition_size: int = 0) -> Velocity:
    """The network for a latent of ``shape``: a vector ``(L,)`` or a grid ``(channels, rows, columns)``."""
    kind = VectorVelocity if len(shape) == 1 else GridVelocity
    return kind(shape, width, depth, condition_size)


class Velocity(nn.Module):
    """Latents ``[B, L]``, times ``[B]`` in [0, 1] and conditions ``[B, C]`` or None → velocities ``[B, L]``.

    Without a condition, the network is given zeros, which mean unknown.
    """

    def __init__(self, width: int, condition_size: int) -> None:
        super().__init__()
        self.condition_size = condition_size
        self.time_embedding = nn.Sequential(nn.Linear(2 * _FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))
        self.condition_embedding = nn.Linear(condition_size, width, bias=False) if condition_size else None

    def embedding(self, t: Tensor, condition: Tensor | None) -> Tensor:
        """The embedding ``[B, width]`` of times ``[B]`` and conditions."""
        frequencies = torch.logspace(0, math.log10(_HIGHEST), _FREQUENCIES, device=t.device, dtype=t.dtype)
        angles = t[:, None] * frequencies
        embedded: Tensor = self.time_embedding(torch.cat([angles.sin(), angles.cos()], dim=1))
        if self.condition_embedding is not None and condition is not None:
            embedded = embedded + self.condition_embedding(condition)
        return F.silu(embedded)


class VectorVelocity(Velocity):
    """A residual MLP for latents of ``shape`` ``(L,)``."""

    def __init__(self, shape: LatentShape, width: int, depth: int, condition_size: int = 0) -> None:
        super().__init__(width, condition_size)
        (size,) = shape
        self.first = nn.Linear(size, width)
        self.blocks = nn.ModuleList(_DenseBlock(width) for _ in range(2 * depth))
        self.last = _zeroed(nn.Linear(width, size))

    def forward(self, z: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        embedded, h = self.embedding(t, condition), self.first(z)
        for block in self.blocks:
            h = block(h, embedded)
        result: Tensor = self.last(F.silu(h))
        return result


class GridVelocity(Velocity):
    """A U-Net for latents of ``shape`` ``(channels, rows, columns)``, each flattened.

    There are ``depth`` blocks on each grid, down and up. Each grid has half the rows and columns of the one before,
    rounded up. The first has ``width`` channels, and the others twice as many.
    """

    def __init__(self, shape: LatentShape, width: int, depth: int, condition_size: int = 0) -> None:
        super().__init__(2 * width, condition_size)
        channels, rows, columns = self.shape = shape
        halvings = min(_MOST_HALVINGS, int(math.log2(max(1, min(rows, columns) / _COARSEST))))
        widths, embedded = [width * min(2, 2**level) for level in range(halvings + 1)], 2 * width
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.down = nn.ModuleList(_Stage(each, each, depth, embedded) for each in widths)
        self.shrink = nn.ModuleList(
            nn.Conv2d(each, following, 2, stride=2) for each, following in zip(widths, widths[1:], strict=False)
        )
        self.middle = _Attention(widths[-1])
        self.up = nn.ModuleList(_Stage(2 * each, each, depth, embedded) for each in reversed(widths))
        self.grow = nn.ModuleList(
            nn.ConvTranspose2d(following, each, 2, stride=2)
            for each, following in reversed([*zip(widths, widths[1:], strict=False)])
        )
        self.last = nn.Sequential(_norm(width), nn.SiLU(), _zeroed(nn.Conv2d(width, channels, 3, padding=1)))

    def forward(self, z: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        embedded, h = self.embedding(t, condition), self.first(z.unflatten(1, self.shape))
        kept: list[Tensor] = []
        for stage, shrink in zip(self.down, [*self.shrink, None], strict=True):
            h = stage(h, embedded)
            kept.append(h)
            h = h if shrink is None else shrink(_even(h))
        h = self.middle(h)
        for stage, grow in zip(self.up, [*self.grow, None], strict=True):
            beside = kept.pop()
            h = stage(torch.cat([h[..., : beside.shape[2], : beside.shape[3]], beside], dim=1), embedded)
            h = h if grow is None else grow(h)
        result: Tensor = self.last(h).flatten(1)
        return result


class _DenseBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.embedded = nn.Linear(width, 2 * width)
        self.inner, self.outer = nn.Linear(width, width), _zeroed(nn.Linear(width, width))

    def forward(self, h: Tensor, embedded: Tensor) -> Tensor:
        scale, shift = self.embedded(embedded).chunk(2, dim=1)
        hidden = self.inner(self.norm(h) * (1 + scale) + shift)
        result: Tensor = h + self.outer(F.silu(hidden))
        return result


class _Stage(nn.Module):
    """The blocks on one grid."""

    def __init__(self, before: int, after: int, depth: int, embedded: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_ConvBlock(after if number else before, after, embedded) for number in range(depth))

    def forward(self, h: Tensor, embedded: Tensor) -> Tensor:
        for block in self.blocks:
            h = block(h, embedded)
        return h


class _ConvBlock(nn.Module):
    def __init__(self, before: int, after: int, embedded: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = _norm(before), nn.GroupNorm(_groups(after), after, affine=False)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.embedded = nn.Linear(embedded, 2 * after)
        self.conv2 = _zeroed(nn.Conv2d(after, after, 3, padding=1))
        self.skip = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(self, h: Tensor, embedded: Tensor) -> Tensor:
        hidden = self.norm2(self.conv1(F.silu(self.norm1(h))))
        scale, shift = self.embedded(embedded)[:, :, None, None].chunk(2, dim=1)
        result: Tensor = self.skip(h) + self.conv2(F.silu(hidden * (1 + scale) + shift))
        return result


class _Attention(nn.Module):
    """Every cell attends to all cells of ``[B, C, rows, columns]``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = math.gcd(channels, max(1, channels // _HEAD))
        self.norm = _norm(channels)
        self.read, self.write = nn.Conv2d(channels, 3 * channels, 1), _zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, h: Tensor) -> Tensor:
        query, key, value = (
            each.flatten(2).unflatten(1, (self.heads, -1)).mT for each in self.read(self.norm(h)).chunk(3, dim=1)
        )
        seen = F.scaled_dot_product_attention(query, key, value).mT.flatten(1, 2)
        result: Tensor = h + self.write(seen.unflatten(2, h.shape[2:]))
        return result


def _even(h: Tensor) -> Tensor:
    """Repeat the last row and column of maps whose sides are odd."""
    bottom, right = (side % 2 for side in h.shape[2:])
    return F.pad(h, (0, right, 0, bottom), mode="replicate") if right or bottom else h


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(_groups(channels), channels)


def _groups(channels: int) -> int:
    return math.gcd(channels, max(1, channels // _GROUP))


def _zeroed(layer: nn.Linear | nn.Conv2d) -> nn.Module:
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
