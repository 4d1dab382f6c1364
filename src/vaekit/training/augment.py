"""Augment images: flip, shift, and change brightness, contrast and saturation at random.

    x → flip → shift → color,    color(x) = b (m + c (y − m) + c s (x − y)), clamped to [0, 1]

with the luma y of each pixel, its mean m over the image, and factors of brightness b, contrast c and saturation s. Each
is a blend with a black, a uniform or a gray image, as in PIL's ``ImageEnhance`` and torchvision's ``ColorJitter``.
Those clamp after each blend, so their order matters. Here, colors are clamped once at the end.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["DRAWS", "augment"]

DRAWS = 6  #: random numbers per image, whichever options are used, so that options do not affect each other
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in PIL's conversion to "L"


def augment(x: Tensor, draws: Tensor, flip: bool = False, shift: int = 0, jitter: float = 0.0) -> Tensor:
    """Augment images with the random numbers drawn for them.

    In this order, for an image whose draws are u₀ … u₅:

    - flip: left and right are exchanged if u₀ < 1/2;
    - shift: down by ⌊u₁ (2 · shift + 1)⌋ − shift pixels, to the right by the same of u₂; the edge is repeated;
    - brightness b = 1 + jitter · (2u₃ − 1): x ← b x;
    - contrast c, the same of u₄: x ← m + c (x − m), with the mean luma m of the image;
    - saturation s, the same of u₅: x ← y + s (x − y), with the luma y = 0.299 R + 0.587 G + 0.114 B of the pixel
      (ITU-R BT.601; torchvision rounds the first to 0.2989); gray images have none.

    The fourth channel is opacity: it is flipped and shifted, and its color is not changed.

    Args:
        x: float ``[B, C, H, W]`` in [0, 1] with 1 (gray), 3 (RGB) or 4 channels (RGB and opacity); not modified.
        draws: Uniform on [0, 1), ``[B, 6]``.
        flip: Whether to mirror half of the images.
        shift: Largest shift in pixels, below height and width.
        jitter: Largest change of each color factor, at least 0 and below 1.

    >>> x, draws = torch.arange(3.0).div(2).view(1, 1, 1, 3), torch.tensor([[0.4, 0.0, 0.9, 0.5, 0.5, 0.5]])
    >>> augment(x, draws, flip=True), augment(x, draws, shift=1)
    (tensor([[[[1.0000, 0.5000, 0.0000]]]]), tensor([[[[0.0000, 0.0000, 0.5000]]]]))
    """
    is_flipped = draws[:, 0] < 0.5 if flip else None
    if shift:
        x = _moved(x, is_flipped, (draws[:, 1:3] * (2 * shift + 1)).long() - shift)
    elif is_flipped is not None:
        x = torch.where(is_flipped.view(-1, 1, 1, 1), x.flip(-1), x)
    return _recolored(x, 1 + jitter * (2 * draws[:, 3:].to(x.dtype) - 1)) if jitter else x


def _moved(x: Tensor, is_flipped: Tensor | None, offsets: Tensor) -> Tensor:
    """Flip and shift images by reading each pixel from its source.

    ``is_flipped`` ``[B]``; ``offsets`` ``[B, 2]`` in pixels, down and to the right.
    """
    height, width = x.shape[2:]
    rows, columns = (
        (torch.arange(side, device=x.device) - offset).clamp(0, side - 1)
        for side, offset in zip((height, width), offsets.t().unsqueeze(-1), strict=True)
    )
    if is_flipped is not None:
        columns = torch.where(is_flipped.unsqueeze(-1), width - 1 - columns, columns)
    index = (rows.unsqueeze(2) * width + columns.unsqueeze(1)).view(len(x), 1, height * width)
    return x.flatten(2).gather(2, index.expand(-1, x.shape[1], -1)).view(x.shape)


def _recolored(x: Tensor, factors: Tensor) -> Tensor:
    """Scale brightness, contrast and saturation by ``factors`` ``[B, 3]``."""
    brightness, contrast, saturation = factors[..., None, None, None].unbind(1)
    if x.shape[1] == 4:
        return torch.cat([_recolored(x[:, :3], factors), x[:, 3:]], 1)
    luma = x
    if x.shape[1] == 3:
        red, green, blue = x.split(1, 1)
        luma = _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue
        x = torch.lerp(luma, x, saturation)
    return (torch.lerp(luma.mean((2, 3), keepdim=True), x, contrast) * brightness).clamp(0, 1)
