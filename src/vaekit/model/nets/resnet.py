"""A small residual network for images of any size from 8 to 512 pixels, square or not.

Pixels are first folded into channels (``patch``), so that convolutions run on a coarse grid, where they are cheap. They
are unfolded at the end, large patches in two steps to avoid visible seams. In between, each level halves the grid and
doubles the channels up to a limit, until about 4×4 cells are left. There is no normalization layer. Residual branches
start at zero instead (Zhang et al. 2019, "Fixup"). This is faster on small batches, and treats each image separately.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit.config.recipe import Recipe
from vaekit.model.contracts import LatentShape, Network, Shape
from vaekit.pixels.sizes import suggested

__all__ = [
    "FINEST_PATCH",
    "Fold",
    "Grid",
    "ResBlock",
    "ResNet",
    "ResNetDecoder",
    "ResNetEncoder",
    "default_patch",
    "level_widths",
    "unfold",
    "widths_of",
]

_SMALLEST_GRID = 4
_WIDEST = 4  #: channels grow at most this many times
FINEST_PATCH = 4  #: the largest fold with a 3×3 convolution, whose cost grows with the fourth power
_FINE_CHANNELS = 16  #: channels of the grid between the two steps of unfolding


def default_patch(height: int, width: int) -> int:
    """The power of two that folds the longer side to between 9 and 16 cells; 1 below 16 pixels.

    >>> [default_patch(s, s) for s in (8, 28, 64, 256)]
    [1, 2, 4, 16]
    """
    result: int = 2 ** max(0, math.ceil(math.log2(max(height, width) / 16)))
    return result


def level_widths(cells: int, width: int, smallest: int = _SMALLEST_GRID) -> list[int]:
    """Channels of each level for a grid of ``cells`` along its shorter side, halved to no fewer than ``smallest``.

    >>> level_widths(16, 64)
    [64, 128, 256]
    """
    return widths_of(max(0, int(math.log2(max(1, cells) / smallest))), width)


def widths_of(halvings: int, width: int) -> list[int]:
    """Channels of each level of a grid that is halved so many times.

    >>> widths_of(3, 10)
    [10, 20, 40, 40]
    """
    return [width * min(2**level, _WIDEST) for level in range(halvings + 1)]


class ResNet(Network):
    """``net=resnet``, defined by ``recipe.width``, ``depth``, ``patch`` and ``smallest_grid``."""

    latents = ("vector", "codes")
    prefers_channels_last = True

    def encoder(self, shape: Shape) -> ResNetEncoder:
        width, patch = self._sizes()
        return ResNetEncoder(shape, width, self.recipe.depth, patch, self.recipe.smallest_grid)

    def decoder(self, shape: Shape, latent_dim: int) -> ResNetDecoder:
        (width, patch), row = self._sizes(), self.recipe
        return ResNetDecoder(shape, width, row.depth, patch, latent_dim, row.smallest_grid, row.latent == "codes")

    def latent_shapes(self, shape: Shape) -> tuple[LatentShape, ...]:
        if self.recipe.latent != "codes":
            return super().latent_shapes(shape)
        _, rows, columns = Grid(shape, *self._sizes(), self.recipe.smallest_grid).coarsest
        return ((rows, columns, self.recipe.code_size),)

    def features(self, encoder: nn.Module, shape: Shape) -> int:
        return math.prod(Grid(shape, *self._sizes(), self.recipe.smallest_grid).coarsest)

    @classmethod
    def refuses(cls, recipe: Recipe, shape: Shape) -> str | None:
        if all(8 <= side <= 512 for side in shape[1:]):
            return None
        wanted = suggested([shape[1:]])
        sizes = f"{wanted.arguments} ({wanted.reason})" if wanted.fit != "crop" else wanted.arguments
        return f"net=resnet needs sides from 8 to 512 pixels, but the images are {shape[1]}x{shape[2]}; give {sizes}"

    def _sizes(self) -> tuple[int, int]:
        assert self.recipe.width is not None and self.recipe.patch is not None, "the recipe is resolved"
        return self.recipe.width, self.recipe.patch


class ResBlock(nn.Module):
    """``x + conv(silu(conv(silu(x))))``, initially the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv1(F.silu(x))
        result: Tensor = x + self.conv2(F.silu(hidden))
        return result


class Grid:
    """The sizes that encoder and decoder share: padded size, folded grid, widths of the levels."""

    def __init__(self, shape: Shape, width: int, patch: int, smallest: int = _SMALLEST_GRID) -> None:
        self.channels, self.height, self.image_width = shape
        self.widths = level_widths(math.ceil(min(self.height, self.image_width) / patch), width, smallest)
        stride = patch * 2 ** (len(self.widths) - 1)
        self.rows, self.columns = math.ceil(self.height / stride), math.ceil(self.image_width / stride)
        self.padding = (self.columns * stride - self.image_width, self.rows * stride - self.height)

    @property
    def coarsest(self) -> tuple[int, int, int]:
        """Channels, rows and columns of the last level."""
        return self.widths[-1], self.rows, self.columns


class Fold(nn.Module):
    """:class:`torch.nn.PixelUnshuffle` in one pass, in the memory layout and precision of the next convolution."""

    def __init__(self, patch: int) -> None:
        super().__init__()
        self.patch = patch

    def forward(self, x: Tensor) -> Tensor:
        device = x.device.type
        is_rounded = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if is_rounded else x.dtype
        cells = x.unflatten(3, (-1, self.patch)).unflatten(2, (-1, self.patch)).permute(0, 2, 4, 1, 3, 5)
        result: Tensor = cells.to(dtype, memory_format=torch.contiguous_format).flatten(3).permute(0, 3, 1, 2)
        return result


class ResNetEncoder(nn.Module):
    """Images ``[B, C, H, W]`` in [0, 1] → features ``[B, encoder.features]``: the coarsest grid, flattened."""

    def __init__(self, shape: Shape, width: int, depth: int, patch: int, smallest: int = 4) -> None:
        super().__init__()
        grid = Grid(shape, width, patch, smallest)
        self.padding = grid.padding
        kernel = 3 if patch <= FINEST_PATCH else 1
        self.stem = nn.Sequential(
            Fold(patch), nn.Conv2d(shape[0] * patch**2, grid.widths[0], kernel, padding=kernel // 2)
        )
        layers: list[nn.Module] = []
        for channels, following in zip(grid.widths, [*grid.widths[1:], None], strict=True):
            layers += [ResBlock(channels) for _ in range(depth)]
            if following:
                layers += [nn.Conv2d(channels, following, 2, stride=2)]
        self.levels = nn.Sequential(*layers)
        self.features = math.prod(grid.coarsest)

    def forward(self, x: Tensor) -> Tensor:
        right, bottom = self.padding
        if right or bottom:
            x = F.pad(x, (0, right, 0, bottom), mode="replicate")
        return F.silu(self.levels(self.stem(x - 0.5))).flatten(1)


class ResNetDecoder(nn.Module):
    """Latents ``[B, L]`` → ``[B, channels, H, W]``; if ``is_grid``, a latent holds the vectors of the grid's cells."""

    def __init__(
        self,
        shape: Shape,
        width: int,
        depth: int,
        patch: int,
        latent_dim: int,
        smallest: int = 4,
        is_grid: bool = False,
    ) -> None:
        super().__init__()
        grid = Grid(shape, width, patch, smallest)
        self.height, self.image_width = shape[1:]
        widths = grid.widths[::-1]
        self.first = nn.Sequential(
            *(
                _laid_out(latent_dim, grid)
                if is_grid
                else (nn.Linear(latent_dim, math.prod(grid.coarsest)), nn.Unflatten(1, grid.coarsest))
            )
        )
        layers: list[nn.Module] = []
        for channels, following in zip(widths, [*widths[1:], None], strict=True):
            layers += [ResBlock(channels) for _ in range(depth)]
            if following:
                layers += [nn.ConvTranspose2d(channels, following, 2, stride=2)]
        self.levels = nn.Sequential(*layers)
        self.last = unfold(widths[-1], shape[0], patch)

    def forward(self, z: Tensor) -> Tensor:
        image: Tensor = self.last(F.silu(self.levels(self.first(z))))
        for dim, side in ((2, self.height), (3, self.image_width)):
            if image.shape[dim] != side:  # even a slice of everything would copy the gradient
                image = torch.narrow(image, dim, 0, side)
        return image


class _Cells(nn.Module):
    """Flattened vectors of cells ``[B, P · D]`` → ``[B, D, rows, columns]``."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns

    def forward(self, z: Tensor) -> Tensor:
        result: Tensor = z.unflatten(1, (self.rows, self.columns, -1)).permute(0, 3, 1, 2)
        return result


def _laid_out(latent_dim: int, grid: Grid) -> tuple[nn.Module, nn.Module]:
    channels, rows, columns = grid.coarsest
    return _Cells(rows, columns), nn.Conv2d(latent_dim // (rows * columns), channels, 3, padding=1)


def unfold(width: int, channels: int, patch: int) -> nn.Sequential:
    """Features ``[B, width, h, w]`` → ``[B, channels, h·patch, w·patch]``."""
    if patch > FINEST_PATCH and patch % FINEST_PATCH == 0:
        coarse = patch // FINEST_PATCH
        to_fine = (nn.Conv2d(width, _FINE_CHANNELS * coarse**2, 1), nn.PixelShuffle(coarse), nn.SiLU())
        return nn.Sequential(*to_fine, *unfold(_FINE_CHANNELS, channels, FINEST_PATCH))
    return nn.Sequential(nn.Conv2d(width, channels * patch**2, 3, padding=1), nn.PixelShuffle(patch))
