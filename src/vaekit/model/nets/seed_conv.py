"""The network of the original system B, layer by layer as specified for 256×256 color images.

The third convolution has no padding, so a side of S pixels becomes S/8 − 1; its transpose restores S/4 when S is a
multiple of 8. Other sides are refused.
"""

from __future__ import annotations

from torch import nn

from vaekit.config.recipe import Recipe
from vaekit.errors import argument
from vaekit.model.contracts import Network, Shape
from vaekit.model.nets.linear import Linear

__all__ = ["SeedConv", "SeedConvDecoder", "SeedConvEncoder", "seed_grid"]


def seed_grid(side: int) -> int:
    """Cells along a side of ``side`` pixels after the three convolutions.

    >>> seed_grid(256)
    31
    """
    return side // 8 - 1


class SeedConv(Network):
    """``net=seed-conv``."""

    has_batch_norm = True

    def encoder(self, shape: Shape) -> SeedConvEncoder:
        return SeedConvEncoder(shape)

    def decoder(self, shape: Shape, latent_dim: int) -> SeedConvDecoder:
        return SeedConvDecoder(shape, latent_dim)

    def features(self, encoder: nn.Module, shape: Shape) -> int:
        return SeedConvEncoder.features

    @classmethod
    def refuses(cls, recipe: Recipe, shape: Shape) -> str | None:
        if all(side % 8 == 0 and side >= 16 for side in shape[1:]):
            return None
        return (
            f"recipe {recipe.name!r} needs sides that are multiples of 8 and at least 16, but the images are "
            f"{shape[1]}x{shape[2]}; give {argument('size', 256)} (its specification) or another such size"
        )


class SeedConvEncoder(nn.Sequential):
    """Images ``[B, C, H, W]`` → features ``[B, 1024]``."""

    features = 1024

    def __init__(self, shape: Shape) -> None:
        channels, height, width = shape
        super().__init__(
            nn.Conv2d(channels, 8, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=0),
            nn.ReLU(),
            nn.Flatten(),
            Linear(seed_grid(height) * seed_grid(width) * 32, self.features),
            nn.ReLU(),
        )


class SeedConvDecoder(nn.Sequential):
    """Latents ``[B, L]`` → ``[B, C, H, W]``."""

    def __init__(self, shape: Shape, latent_dim: int) -> None:
        channels, height, width = shape
        grid = (32, seed_grid(height), seed_grid(width))
        super().__init__(
            Linear(latent_dim, 1024),
            nn.ReLU(),
            Linear(1024, grid[0] * grid[1] * grid[2]),
            nn.ReLU(),
            nn.Unflatten(1, grid),
            nn.ConvTranspose2d(32, 16, 3, stride=2, padding=0, output_padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.ConvTranspose2d(16, 8, 3, stride=2, padding=1, output_padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.ConvTranspose2d(8, channels, 3, stride=2, padding=1, output_padding=1),
        )
