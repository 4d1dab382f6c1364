"""How alike two images are to the eye: structural similarity.

    SSIM(x, y) = (2 μx μy + C₁)(2 σxy + C₂) / ((μx² + μy² + C₁)(σx² + σy² + C₂))        Wang et al. 2004, Eq. 13

Means, variances and the covariance are weighted by a Gaussian window of 11 × 11 pixels with a standard deviation of 1.5
(their Sec. III-C), at every place where it fits into the image; C₁ = 0.01² and C₂ = 0.03² on the [0, 1] scale.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["ssim"]

_SIDE, _STD = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Per image, float64 ``[N]``, at most 1, of float images ``[N, C, H, W]`` on the [0, 1] scale; the mean over places
    and channels.

    Images with a side below 11 have the largest window of an odd side that fits.

    >>> x = torch.linspace(0, 1, 256).view(1, 1, 16, 16)
    >>> ssim(x, x), ssim(x, 1 - x) < 0
    (tensor([1.], dtype=torch.float64), tensor([True]))
    """
    count = len(x)
    side = min(_SIDE, *((length - 1) // 2 * 2 + 1 for length in x.shape[-2:]))
    line = torch.exp(-0.5 * ((torch.arange(side, dtype=torch.float64) - side // 2) / _STD).square())
    line = (line / line.sum()).to(x.device)
    x, y = (images.double().flatten(0, 1).unsqueeze(1) for images in (x, y))

    def mean(values: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(values, line.view(1, 1, -1, 1)), line.view(1, 1, 1, -1))

    mean_x, mean_y = mean(x), mean(y)
    variances = mean(x * x) - mean_x.square() + mean(y * y) - mean_y.square()
    covariance = mean(x * y) - mean_x * mean_y
    similarity = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    similarity = similarity / ((mean_x.square() + mean_y.square() + _C1) * (variances + _C2))
    return similarity.flatten(1).mean(1).view(count, -1).mean(1)
