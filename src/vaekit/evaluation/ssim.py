"""Structural similarity of images (Wang, Bovik, Sheikh & Simoncelli 2004, Eq. 13).

    SSIM(x, y) = (2 μ_x μ_y + C1) (2 σ_xy + C2) / ((μ_x² + μ_y² + C1) (σ_x² + σ_y² + C2))

in every window, with moments weighted by a normal window of 11x11 pixels with standard deviation 1.5 and sum 1;
C1 = 0.01², C2 = 0.03² on the [0, 1] scale. Windows are inside the image; there is no padding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vaekit.errors import UserError

__all__ = ["ssim"]

WINDOW = 11  # pixels
SIGMA = 1.5  # pixels
C1, C2 = 0.01**2, 0.03**2  # (K L)², with a range L of 1

_AT_ONCE = 1 << 18  # values per chunk, few enough for the CPU cache


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Return the structural similarity of each pair of float images ``[N, C, H, W]`` in [0, 1].

    It is averaged over windows and channels. The window is the largest odd square that fits, at most 11x11, so smaller
    images get a smaller window with the same standard deviation. Computed in float64, because a variance is a small
    difference of squares; on the CPU if the device lacks float64.

    Args:
        x: Images.
        y: Images of the same shape.

    Returns:
        float64 ``[N]``, at most 1.

    Raises:
        UserError: If the shapes differ or the images are not floats.

    >>> light, dark = torch.full((1, 1, 11, 11), 0.5), torch.zeros(1, 1, 11, 11)
    >>> ssim(light, light).tolist(), round(float(ssim(light, dark)), 7)
    ([1.0], 0.0003998)
    """
    if x.ndim != 4 or x.shape != y.shape:
        raise UserError(f"ssim expects two sets [N, C, H, W] of one shape, got {list(x.shape)} and {list(y.shape)}")
    if not (x.is_floating_point() and y.is_floating_point()):
        raise UserError(f"ssim expects floats in [0, 1], got {x.dtype} and {y.dtype}; see vaekit.data.to_float")
    size = max(1, _AT_ONCE // max(1, x[:1].numel()))
    return torch.cat([_of_chunk(a, b) for a, b in zip(x.split(size), y.split(size), strict=True)])


def _of_chunk(x: Tensor, y: Tensor) -> Tensor:
    x, y = _double(x), _double(y)
    window = _window(min(WINDOW, *x.shape[-2:]))
    mean_x, mean_y = _weighted(x, window), _weighted(y, window)
    var_x = _weighted(x * x, window) - mean_x * mean_x
    var_y = _weighted(y * y, window) - mean_y * mean_y
    cov = _weighted(x * y, window) - mean_x * mean_y
    light = (2 * mean_x * mean_y + C1) / (mean_x * mean_x + mean_y * mean_y + C1)
    structure = (2 * cov + C2) / (var_x + var_y + C2)
    return (light * structure).mean((1, 2, 3))


def _window(fits: int) -> Tensor:
    """Return a normal density on the largest odd window of at most ``fits`` pixels, normalized to sum 1: ``[w]``."""
    side = fits - 1 + fits % 2
    places = torch.arange(side, dtype=torch.float64) - side // 2
    weights = torch.exp(-0.5 * (places / SIGMA) ** 2)
    return weights / weights.sum()


def _weighted(x: Tensor, window: Tensor) -> Tensor:
    """Return the weighted mean in every window, ``[N, C, H − w + 1, W − w + 1]``, first along one axis, then the other.

    Shifted images are added, because a float64 convolution is fifteen times slower on the CPU.
    """
    for axis in (-2, -1):
        places = x.shape[axis] - len(window) + 1
        means = torch.zeros_like(x.narrow(axis, 0, places))
        for shift, weight in enumerate(window.tolist()):
            means.add_(x.narrow(axis, shift, places), alpha=weight)
        x = means
    return x


def _double(x: Tensor) -> Tensor:
    return (x.cpu() if x.device.type == "mps" else x).double()
