"""The two networks of a hierarchy of latents: a bottom-up encoder, and a top-down decoder that reads all latents.

    x → fold → map of the finest grid → … → map of the coarsest grid
    z₁ → h → (h, z₂) → … → (h, z_G) → unfold → output

Pixels are folded into channels (``patch``); each further grid has half the rows and columns, rounded up. The first
level of the latent is a vector, and each grid from the coarsest to the finest is one more level. A level has one or
more groups of latents. Residual blocks precede each group, so it depends on all groups above it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit.config.recipe import Recipe
from vaekit.model import registry
from vaekit.model.contracts import LatentShape, Network, Shape
from vaekit.model.nets.resnet import FINEST_PATCH, Fold, ResBlock, ResNet, unfold, widths_of

__all__ = ["Group", "Ladder", "LadderDecoder", "LadderEncoder", "Plan"]

_CHANNELS = 4  #: default channels of a group of latents
_WIDTH = 32  #: default channels of the finest grid
_MEAN_GAIN = 3.0  #: ``posterior_mean_gain`` of ``ladder-vae``, except for binary images, which have little detail


@dataclass(frozen=True)
class Group:
    """Latents ``[channels, *grid]`` that are sampled together, and the map that they depend on."""

    grid: int  #: number of the grid, 0 for the finest
    rows: int
    columns: int
    width: int  #: channels of the map
    channels: int

    @property
    def shape(self) -> Shape:
        """Of the latents."""
        return self.channels, self.rows, self.columns

    @property
    def size(self) -> int:
        """The number of latents."""
        return math.prod(self.shape)


class Plan:
    """The sizes that all parts of a hierarchy share: grids, widths, groups and the shapes of the levels."""

    def __init__(self, recipe: Recipe, shape: Shape) -> None:
        assert recipe.width is not None and recipe.patch is not None, "the recipe is resolved"
        self.patch, self.depth = recipe.patch, recipe.depth
        self.grids = _grids(math.ceil(shape[1] / self.patch), math.ceil(shape[2] / self.patch), recipe.smallest_grid)
        self.widths = widths_of(len(self.grids) - 1, recipe.width)
        self.padding = (self.grids[0][1] * self.patch - shape[2], self.grids[0][0] * self.patch - shape[1])
        self.top_size = recipe.top_latents
        count, channels = recipe.level_groups, recipe.latent_channels or _CHANNELS
        self.groups = [
            Group(grid, *self.grids[grid], self.widths[grid], channels)
            for grid in reversed(range(len(self.grids)))
            for _ in range(count)
        ]
        finer = ((count * channels, *grid) for grid in reversed(self.grids))
        self.latent_shapes: tuple[LatentShape, ...] = ((self.top_size,), *(finer if count else ()))
        self.levels = [0, *(len(self.grids) - group.grid for group in self.groups)]  #: of the vector and of each group

    @property
    def sizes(self) -> list[int]:
        """The numbers of latents of the top vector and of each group."""
        return [self.top_size, *(group.size for group in self.groups)]

    @property
    def map_shapes(self) -> list[Shape]:
        """Of the encoder's maps, finest first."""
        return [(width, *grid) for width, grid in zip(self.widths, self.grids, strict=True)]


class Ladder(Network):
    """``net=ladder``, defined by ``recipe.width``, ``depth``, ``patch``, ``smallest_grid`` and the latent sizes."""

    latents = ("levels",)
    latent_settings = ("top_latents", "latent_channels", "level_groups", "patch", "smallest_grid")
    prefers_channels_last = True

    @classmethod
    def resolved(cls, recipe: Recipe, shape: Shape) -> Recipe:
        gain = recipe.posterior_mean_gain
        if gain is None:
            gain = 0.0 if registry.likelihood(recipe.likelihood).is_binary else _MEAN_GAIN
        return replace(recipe, width=recipe.width or _WIDTH, posterior_mean_gain=gain)

    def encoder(self, shape: Shape) -> LadderEncoder:
        return LadderEncoder(shape[0], Plan(self.recipe, shape))

    def decoder(self, shape: Shape, latent_dim: int) -> LadderDecoder:
        return LadderDecoder(shape, Plan(self.recipe, shape))

    def latent_shapes(self, shape: Shape) -> tuple[LatentShape, ...]:
        return Plan(self.recipe, shape).latent_shapes

    def features(self, encoder: nn.Module, shape: Shape) -> int:
        return sum(map(math.prod, Plan(self.recipe, shape).map_shapes))

    @classmethod
    def refuses(cls, recipe: Recipe, shape: Shape) -> str | None:
        return ResNet.refuses(recipe, shape)


class LadderEncoder(nn.Module):
    """Images ``[B, C, H, W]`` in [0, 1] → features ``[B, F]``: the maps of all grids, finest first, flattened."""

    def __init__(self, channels: int, plan: Plan) -> None:
        super().__init__()
        self.padding = plan.padding
        kernel = 3 if plan.patch <= FINEST_PATCH else 1
        folded = channels * plan.patch**2
        self.stem = nn.Sequential(Fold(plan.patch), nn.Conv2d(folded, plan.widths[0], kernel, padding=kernel // 2))
        self.blocks = nn.ModuleList(_blocks(width, plan.depth) for width in plan.widths)
        pairs = zip(plan.widths, plan.widths[1:], strict=False)
        self.halvings = nn.ModuleList(nn.Conv2d(one, other, 3, stride=2, padding=1) for one, other in pairs)

    def forward(self, x: Tensor) -> Tensor:
        right, bottom = self.padding
        if right or bottom:
            x = F.pad(x, (0, right, 0, bottom), mode="replicate")
        h: Tensor = self.stem(x - 0.5)
        maps = []
        for number, blocks in enumerate(self.blocks):
            h = blocks(self.halvings[number - 1](h) if number else h)
            maps.append(F.silu(h).flatten(1))
        return torch.cat(maps, dim=1)


class LadderDecoder(nn.Module):
    """Latents ``[B, L]`` → ``[B, channels, H, W]``; priors and posteriors use the maps in between.

    Args:
        shape: Shape of the output.
        plan: The sizes of the hierarchy.
    """

    def __init__(self, shape: Shape, plan: Plan) -> None:
        super().__init__()
        self.height, self.image_width = shape[1:]
        self.plan = plan
        coarsest = plan.map_shapes[-1]
        self.first = nn.Sequential(nn.Linear(plan.top_size, math.prod(coarsest)), nn.Unflatten(1, coarsest))
        self.blocks, self.merges, grid = nn.ModuleList(), nn.ModuleList(), len(plan.grids) - 1
        for group in plan.groups:
            self.blocks.append(nn.Sequential(*_finer(plan, grid, group.grid), _blocks(group.width, plan.depth)))
            self.merges.append(nn.Conv2d(group.channels, group.width, 1))
            grid = group.grid
        self.last = nn.Sequential(
            *_finer(plan, grid, 0),
            _blocks(plan.widths[0], plan.depth),
            nn.SiLU(),
            unfold(plan.widths[0], shape[0], plan.patch),
        )

    def forward(self, z: Tensor) -> Tensor:
        top, *others = z.split(self.plan.sizes, dim=-1)
        h = self.begin(top)
        for number, latents in enumerate(others):
            h = self.merge(number, self.before(number, h), latents)
        return self.finish(h)

    def begin(self, z: Tensor) -> Tensor:
        """The top vector ``[B, L₁]`` → the first map."""
        h: Tensor = self.first(z)
        return h

    def before(self, number: int, h: Tensor) -> Tensor:
        """The map after the group above → the map for group ``number``."""
        result: Tensor = self.blocks[number](h)
        return result

    def read(self, h: Tensor) -> Tensor:
        """A map → the input of priors and posteriors."""
        return F.silu(h)

    def merge(self, number: int, h: Tensor, z: Tensor) -> Tensor:
        """The map with the latents of group ``number`` ``[B, Lᵢ]`` added to it."""
        result: Tensor = h + self.merges[number](z.unflatten(1, self.plan.groups[number].shape))
        return result

    def finish(self, h: Tensor) -> Tensor:
        """The last map → the output."""
        image: Tensor = self.last(h)
        return image[..., : self.height, : self.image_width]


class _Doubled(nn.Module):
    """A map ``[B, C, h, w]`` → ``[B, C', *grid]``, a grid of twice the size, or one less in a direction."""

    def __init__(self, channels: int, following: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid
        self.conv = nn.ConvTranspose2d(channels, following, 2, stride=2)

    def forward(self, h: Tensor) -> Tensor:
        rows, columns = self.grid
        result: Tensor = self.conv(h)[..., :rows, :columns]
        return result


def _grids(rows: int, columns: int, smallest: int) -> list[tuple[int, int]]:
    """All grids, finest first, halved (rounded up) as long as the shorter side keeps ``smallest`` cells.

    >>> _grids(14, 14, 4), _grids(16, 9, 4)
    ([(14, 14), (7, 7), (4, 4)], [(16, 9), (8, 5)])
    """
    grids = [(rows, columns)]
    while min(rows, columns) > smallest and math.ceil(min(rows, columns) / 2) >= smallest:
        rows, columns = math.ceil(rows / 2), math.ceil(columns / 2)
        grids.append((rows, columns))
    return grids


def _finer(plan: Plan, grid: int, wanted: int) -> list[nn.Module]:
    """The layer from one grid to a finer or equal one."""
    steps = range(grid, wanted, -1)
    return [_Doubled(plan.widths[i], plan.widths[i - 1], plan.grids[i - 1]) for i in steps]


def _blocks(width: int, depth: int) -> nn.Sequential:
    return nn.Sequential(*(ResBlock(width) for _ in range(depth)))
