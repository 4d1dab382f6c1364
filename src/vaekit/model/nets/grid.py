"""A residual encoder and decoder with a latent grid, fully convolutional, for images of 8 to 512 pixels.

    image [C, H, W] → fold → stages, each with half the resolution of the one before → latent [D, ⌈H / f⌉, ⌈W / f⌉]

A cell of the latent has D numbers (``latent_channels``) for f × f pixels (``downsampling``; Esser et al. 2021, Sec.
3.1; Rombach et al. 2022, Sec. 3.1). The building blocks are those of ``net=resnet``: pixels are folded into channels,
residual branches start at zero, and nothing is normalized. There are no dense layers and no attention. A cell therefore
depends only on pixels within a known distance, the *reach*, and no shape of a weight depends on the size of the image.
So larger images can be processed in overlapping tiles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from torch import Tensor, nn
from torch.nn import functional as F

from vaekit.config.recipe import Recipe
from vaekit.errors import argument
from vaekit.model.contracts import LatentShape, Network, Reach, Shape
from vaekit.model.nets.resnet import FINEST_PATCH, Fold, ResBlock, unfold, widths_of
from vaekit.pixels.sizes import suggested

__all__ = ["GridDecoder", "GridEncoder", "GridNet", "default_downsampling"]

_SMALLEST, _LARGEST = 8, 512  # pixels per side of an image
_DOWNSAMPLINGS = (4, 8, 16)
_WIDTH = 64


def default_downsampling(height: int, width: int) -> int:
    """The pixels per side of a cell, more for larger images, but never more than an image has.

    >>> [default_downsampling(*sides) for sides in ((8, 8), (64, 64), (128, 96), (256, 256), (512, 512), (8, 512))]
    [4, 4, 8, 8, 16, 8]
    """
    longer = max(height, width)
    wanted = 4 if longer < 128 else 8 if longer < 512 else 16
    return max(each for each in _DOWNSAMPLINGS if each <= min(wanted, height, width) or each == _DOWNSAMPLINGS[0])


@dataclass(frozen=True)
class _Plan:
    """The sizes that encoder and decoder share."""

    width: int
    depth: int
    patch: int
    downsampling: int
    latent_channels: int

    @property
    def widths(self) -> list[int]:
        """Channels of each level, finest first; the coarsest has the cells of the latent."""
        return widths_of((self.downsampling // self.patch).bit_length() - 1, self.width)

    @property
    def kernel(self) -> int:
        """Kernel size of the first convolution, on the folded image."""
        return 3 if self.patch <= FINEST_PATCH else 1

    @property
    def reach(self) -> Reach:
        """The distance in cells on which the output of each part depends.

        A 3 × 3 convolution adds one cell of its own grid. There are two in every block, one at the latent, and one at
        the pixels. The others stay within a block of pixels.
        """
        strides = [self.patch << level for level in range(len(self.widths))]
        inner = 2 * self.depth * sum(strides) + self.downsampling
        at_pixels = (self.patch * (self.kernel // 2), min(self.patch, FINEST_PATCH))
        return Reach(self.downsampling, *(math.ceil((inner + outer) / self.downsampling) for outer in at_pixels))


class GridNet(Network):
    """``net=grid``, defined by ``recipe.downsampling``, ``latent_channels``, ``width``, ``depth`` and ``patch``."""

    latents = ("grid",)
    latent_settings = ("downsampling", "latent_channels")
    prefers_channels_last = True

    def encoder(self, shape: Shape) -> GridEncoder:
        return GridEncoder(shape[0], self._plan)

    def decoder(self, shape: Shape, latent_dim: int) -> GridDecoder:
        return GridDecoder(shape, self._plan)

    def latent_shapes(self, shape: Shape) -> tuple[LatentShape, ...]:
        rows, columns = _cells(shape[1:], self._plan.downsampling)
        return ((self._plan.latent_channels, rows, columns),)

    def features(self, encoder: nn.Module, shape: Shape) -> int:
        return 2 * math.prod(self.latent_shapes(shape)[0])

    def reach(self) -> Reach:
        return self._plan.reach

    @classmethod
    def resolved(cls, recipe: Recipe, shape: Shape) -> Recipe:
        if recipe.downsampling is None:
            recipe = replace(recipe, downsampling=default_downsampling(*shape[1:]))
        assert recipe.downsampling is not None
        return replace(
            recipe,
            latent_channels=recipe.downsampling if recipe.latent_channels is None else recipe.latent_channels,
            width=_WIDTH if recipe.width is None else recipe.width,
            patch=min(recipe.downsampling, FINEST_PATCH) if recipe.patch is None else recipe.patch,
        )

    @classmethod
    def refuses(cls, recipe: Recipe, shape: Shape) -> str | None:
        height, width = shape[1:]
        downsampling, patch, images = recipe.downsampling, recipe.patch, f"the images are {height}x{width}"
        if not all(_SMALLEST <= side <= _LARGEST for side in (height, width)):
            wanted = suggested([(height, width)])
            sizes = f"{wanted.arguments} ({wanted.reason})" if wanted.fit != "crop" else wanted.arguments
            return f"net=grid needs sides from {_SMALLEST} to {_LARGEST} pixels, but {images}; give {sizes}"
        if downsampling not in _DOWNSAMPLINGS:
            return f"{argument('downsampling', downsampling)}: expected 4, 8 or 16"
        if downsampling > min(height, width):
            return (
                f"{argument('downsampling', downsampling)}: a cell would be larger than an image: {images}; "
                f"give {argument('downsampling', 4)}"
            )
        if patch is None or downsampling % patch:
            return f"{argument('patch', patch)}: does not divide downsampling={downsampling}; leave it out"
        return None

    @property
    def _plan(self) -> _Plan:
        row = self.recipe
        assert row.width and row.patch and row.downsampling and row.latent_channels, "the recipe is resolved"
        return _Plan(row.width, row.depth, row.patch, row.downsampling, row.latent_channels)


class GridEncoder(nn.Module):
    """Images ``[B, C, H, W]`` in [0, 1], of any size → features ``[B, 2 · L]``: two flattened grids of L numbers."""

    def __init__(self, channels: int, plan: _Plan) -> None:
        super().__init__()
        self.downsampling = plan.downsampling
        widths, folded = plan.widths, channels * plan.patch**2
        self.stem = nn.Sequential(Fold(plan.patch), nn.Conv2d(folded, widths[0], plan.kernel, padding=plan.kernel // 2))
        layers: list[nn.Module] = []
        for width, following in zip(widths, [*widths[1:], None], strict=True):
            layers += [ResBlock(width) for _ in range(plan.depth)]
            if following:
                layers += [nn.Conv2d(width, following, 2, stride=2)]
        self.levels = nn.Sequential(*layers)
        self.last = nn.Conv2d(widths[-1], 2 * plan.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        bottom, right = (-side % self.downsampling for side in x.shape[2:])
        if right or bottom:
            x = F.pad(x, (0, right, 0, bottom), mode="replicate")
        grids: Tensor = self.last(F.silu(self.levels(self.stem(x - 0.5))))
        return grids.flatten(1)


class GridDecoder(nn.Module):
    """Latents ``[B, L]``, each a flattened grid ``[D, rows, columns]`` → ``[B, channels, H, W]``."""

    def __init__(self, shape: Shape, plan: _Plan) -> None:
        super().__init__()
        self.height, self.image_width = shape[1:]
        widths = plan.widths[::-1]
        latent = (plan.latent_channels, *_cells(shape[1:], plan.downsampling))
        self.first = nn.Sequential(nn.Unflatten(1, latent), nn.Conv2d(latent[0], widths[0], 3, padding=1))
        layers: list[nn.Module] = []
        for width, following in zip(widths, [*widths[1:], None], strict=True):
            layers += [ResBlock(width) for _ in range(plan.depth)]
            if following:
                layers += [nn.ConvTranspose2d(width, following, 2, stride=2)]
        self.levels = nn.Sequential(*layers)
        self.last = unfold(widths[-1], shape[0], plan.patch)

    def forward(self, z: Tensor) -> Tensor:
        image: Tensor = self.last(F.silu(self.levels(self.first(z))))
        for dim, side in ((2, self.height), (3, self.image_width)):
            if image.shape[dim] != side:  # even a slice of everything would copy the gradient
                image = image.narrow(dim, 0, side)
        return image


def _cells(sides: tuple[int, int], downsampling: int) -> tuple[int, int]:
    return math.ceil(sides[0] / downsampling), math.ceil(sides[1] / downsampling)
