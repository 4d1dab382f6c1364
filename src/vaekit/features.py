"""What sets of images are compared by: the last layer of a small classifier before its answer.

It was trained by ``scripts/train_features.py`` on the ten classes of CIFAR-10, and comes with the package. Distances
over its 128 features compare models of the same images; they are no Inception distances, nor to be put beside any.
"""

from __future__ import annotations

from importlib.resources import as_file, files

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit.data import Selection, to_float

__all__ = ["SIDE", "FeatureNet", "Features"]

SIDE = 32  #: pixels; images of other sizes are brought to it, antialiased
_FILE = "features.safetensors"
_AT_ONCE = 256
_WIDTHS = (32, 64, 128, 128)


class FeatureNet(nn.Module):
    """Colour images ``[N, 3, 32, 32]`` in [0, 1] → features ``[N, 128]``; ``answer`` makes logits of the classes."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for width in _WIDTHS:
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.GroupNorm(8, width), nn.SiLU(), nn.AvgPool2d(2)]
            before = width
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * 4, 128), nn.SiLU())
        self.answer = nn.Linear(128, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.body((x - 0.5) * 4)


class Features:
    """The feature function of the package."""

    def __init__(self) -> None:
        with as_file(files("vaekit").joinpath(_FILE)) as path, safe_open(path, framework="pt") as file:
            self.name: str = file.metadata()["name"]
            weights = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
        self._net = FeatureNet()
        self._net.load_state_dict(weights)
        self._net.eval()
        self.size = self._net.answer.in_features

    @torch.inference_mode()
    def of(self, pixels: Tensor | Selection) -> Tensor:
        """Features ``[N, 128]``, float32, of uint8 images ``[N, C, H, W]``: grey ones as colour, opacity over white."""
        return torch.cat([self._net(_prepared(chunk)) for chunk in pixels.split(_AT_ONCE)])


def _prepared(pixels: Tensor) -> Tensor:
    x = to_float(pixels)
    if x.shape[1] == 4:
        x = x[:, :3] * x[:, 3:] + (1 - x[:, 3:])
    x = x.expand(-1, 3, -1, -1)
    if x.shape[2:] != (SIDE, SIDE):
        x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
    return x
