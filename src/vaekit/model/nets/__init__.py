"""Networks: tensors in, tensors out, no probability.

An encoder maps images ``[B, C, H, W]`` to features ``[B, encoder.features]``; a decoder maps latents ``[B, L]`` to
``[B, channels, H, W]``, real numbers that a likelihood head interprets.
"""

from vaekit.model.nets.mlp import MLPDecoder, MLPEncoder
from vaekit.model.nets.resnet import Grid, ResNetDecoder, ResNetEncoder, default_patch
from vaekit.model.nets.seed_conv import SeedConvDecoder, SeedConvEncoder

__all__ = [
    "Grid",
    "MLPDecoder",
    "MLPEncoder",
    "ResNetDecoder",
    "ResNetEncoder",
    "SeedConvDecoder",
    "SeedConvEncoder",
    "default_patch",
]
