"""Dense networks: pixels as one long vector."""

from __future__ import annotations

import math

from torch import nn

from vaekit.model.nets.linear import Linear

__all__ = ["MLPDecoder", "MLPEncoder"]

_ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}


class MLPEncoder(nn.Sequential):
    """Images ``[B, C, H, W]`` → features ``[B, hidden[-1]]``, an activation after every layer."""

    def __init__(self, shape: tuple[int, int, int], hidden: tuple[int, ...], activation: str = "relu") -> None:
        super().__init__(nn.Flatten(), *_layers(math.prod(shape), hidden, activation))
        self.features = hidden[-1]


class MLPDecoder(nn.Sequential):
    """Latents ``[B, L]`` → ``[B, *shape]`` through the hidden widths in reverse order."""

    def __init__(
        self, shape: tuple[int, int, int], hidden: tuple[int, ...], latent_dim: int, activation: str = "relu"
    ) -> None:
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
