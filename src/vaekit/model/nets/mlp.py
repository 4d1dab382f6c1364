"""Dense networks: pixels as one long vector."""

from __future__ import annotations

import math

from torch import nn

from vaekit.model.contracts import Network, Shape
from vaekit.model.nets.linear import Linear

__all__ = ["MLP", "MLPDecoder", "MLPEncoder"]

_ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}


class MLP(Network):
    """``net=mlp``: layers of the widths ``recipe.hidden``, in reverse order in the decoder."""

    can_start_at_mean = True
    can_be_recorded = True  # the graph of a small network costs as much as its arithmetic

    def encoder(self, shape: Shape) -> MLPEncoder:
        return MLPEncoder(shape, self.recipe.hidden, self.recipe.activation)

    def decoder(self, shape: Shape, latent_dim: int) -> MLPDecoder:
        return MLPDecoder(shape, self.recipe.hidden, latent_dim, self.recipe.activation)

    def features(self, encoder: nn.Module, shape: Shape) -> int:
        return self.recipe.hidden[-1]


class MLPEncoder(nn.Sequential):
    """Images ``[B, C, H, W]`` → features ``[B, hidden[-1]]``, an activation after every layer."""

    def __init__(self, shape: Shape, hidden: tuple[int, ...], activation: str = "relu") -> None:
        super().__init__(nn.Flatten(), *_layers(math.prod(shape), hidden, activation))
        self.features = hidden[-1]


class MLPDecoder(nn.Sequential):
    """Latents ``[B, L]`` → ``[B, *shape]`` through the hidden widths in reverse order."""

    def __init__(self, shape: Shape, hidden: tuple[int, ...], latent_dim: int, activation: str = "relu") -> None:
        backwards = hidden[::-1]
        last = Linear(backwards[-1], math.prod(shape))
        super().__init__(*_layers(latent_dim, backwards, activation), last, nn.Unflatten(1, shape))

    @property
    def last(self) -> nn.Linear:
        """The layer with one output for every pixel value."""
        layer = self[-2]
        assert isinstance(layer, nn.Linear)
        return layer


def _layers(inputs: int, widths: tuple[int, ...], activation: str) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for width in widths:
        layers += [Linear(inputs, width), _ACTIVATIONS[activation]()]
        inputs = width
    return layers
