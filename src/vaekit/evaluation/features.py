"""Named feature functions of images. A distance between sets of images is meaningful only with their name.

    cifar10-classifier-1            a small classifier that ships with vaekit: 64 features, input 32x32
    inception-v3 (FILE, SHA-256)    the network of published FID, with weights that the user provides: 2,048, 299x299

Both take three channels in [-1, 1] at one size. Gray is repeated, transparent pixels are shown on white, and images of
another size are scaled bilinearly, with antialiasing when they shrink.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn import functional

from vaekit.data import Selection, to_float
from vaekit.errors import UserError, printable
from vaekit.evaluation.inception import SIDE as INCEPTION_SIDE
from vaekit.evaluation.inception import SIZE as INCEPTION_SIZE
from vaekit.evaluation.inception import Inception, check_weights
from vaekit.system.schema import JsonValue

__all__ = [
    "CLASSIFIER",
    "CLASSIFIER_FILE",
    "CLASSIFIER_STAGES",
    "METADATA",
    "Features",
    "Stage",
    "classifier_features",
    "digest",
    "inception",
    "prepare",
    "small_classifier",
]

CLASSIFIER = "cifar10-classifier-1"  # other weights need another name
CLASSIFIER_FILE = Path(__file__).parent / "data_files" / f"{CLASSIFIER}.safetensors"
METADATA = "vaekit"  # metadata key in the file

_CLASSIFIER_SIDE = 32
_PICKLES = {".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".tar"}
_CONVERT = (
    "import torch, safetensors.torch as s; s.save_file(torch.load('IN.pth', weights_only=True), 'OUT.safetensors')"
)


class Features(Protocol):
    """Features that a distance between sets of images is computed on."""

    @property
    def name(self) -> str:
        """Name of the function. Distances are comparable only within one name."""

    @property
    def size(self) -> int:
        """Number of features F per image."""

    def of(self, pixels: Tensor | Selection, batch_size: int = 64) -> Tensor:
        """Compute the features of images.

        Args:
            pixels: uint8 ``[N, C, H, W]`` with C = 1, 3 (RGB) or 4 (RGBA).
            batch_size: Limits the memory; affects the result only by rounding.

        Returns:
            float32 ``[N, F]`` on the CPU. Deterministic.

        Raises:
            UserError: If the number of channels is another.
        """


@dataclass(frozen=True)
class Stage:
    """A convolution of the small classifier, followed by a ReLU and, if ``pool``, 2x2 max pooling."""

    inputs: int
    outputs: int
    kernel: int
    stride: int = 1
    pool: bool = False


#: 32x32 → 16x16 → 8x8 → 4x4, followed by the mean
CLASSIFIER_STAGES = (
    Stage(3, 32, 5, stride=2),
    Stage(32, 64, 3, pool=True),
    Stage(64, 128, 3, pool=True),
    Stage(128, 64, 3),
)


@dataclass(frozen=True, eq=False)
class _Network:
    """A network as :class:`Features`: images are scaled to ``side`` x ``side`` and passed in batches."""

    name: str
    size: int
    side: int
    network: Callable[[Tensor], Tensor]
    device: torch.device

    @torch.inference_mode()
    def of(self, pixels: Tensor | Selection, batch_size: int = 64) -> Tensor:
        """Compute the features of images; see :meth:`Features.of`."""
        pieces = [self.network(prepare(batch.to(self.device), self.side)).cpu() for batch in pixels.split(batch_size)]
        return torch.cat([torch.empty(0, self.size), *pieces])


def small_classifier(device: torch.device | str = "cpu") -> Features:
    """Return the features of :data:`CLASSIFIER`: the 64 non-negative inputs to the logits of a CIFAR-10 classifier.

    The classifier was trained by ``scripts/train_features.py`` and ships with vaekit. It distinguishes objects, colors
    and textures of photographs at 32x32, and nothing finer. Its distances compare models of the same images. They are
    not FID, which uses another network.

    Raises:
        UserError: If the file is damaged.
    """
    weights, facts = _read(CLASSIFIER_FILE)
    if facts.get("name") != CLASSIFIER or facts.get("sha256") != digest(weights):
        raise UserError(f"{CLASSIFIER_FILE} is not the {CLASSIFIER} that ships with vaekit; reinstall vaekit")
    weights = {name: tensor.to(device, torch.float32) for name, tensor in weights.items()}

    def network(x: Tensor) -> Tensor:
        return classifier_features(weights, x)

    return _Network(CLASSIFIER, CLASSIFIER_STAGES[-1].outputs, _CLASSIFIER_SIDE, network, torch.device(device))


def inception(path: str | Path, device: torch.device | str = "cpu") -> Features:
    """Return Inception-v3 features (Szegedy et al. 2016; Heusel et al. 2017): the mean over the last grid.

    **Published FID uses other weights**: those of TensorFlow from 2015, in a slightly different network. With
    torchvision's weights the distance is as useful, but not comparable with published numbers. The name identifies the
    file.

    Args:
        path: safetensors file with the parameters of torchvision's ``inception_v3`` under its names. vaekit neither
            ships nor downloads it.
        device: Device to compute on.

    Raises:
        UserError: If the file is missing, a pickle, damaged, or of another network.
    """
    path = Path(path)
    _refuse_pickle(path)
    weights, _ = _read(path)
    check_weights(weights, str(path))
    name = f"inception-v3 ({printable(path.name)}, {_sha256(path)[:8]})"
    return _Network(name, INCEPTION_SIZE, INCEPTION_SIDE, Inception(weights, device), torch.device(device))


def prepare(pixels: Tensor, side: int) -> Tensor:
    """Convert uint8 images ``[N, C, H, W]`` to the input of a network: float32 ``[N, 3, side, side]`` in [-1, 1].

    >>> prepare(torch.full((1, 1, 2, 2), 255, dtype=torch.uint8), 1).flatten().tolist()
    [1.0, 1.0, 1.0]
    """
    x = _rgb(to_float(pixels))
    if x.shape[-2:] != (side, side):
        x = functional.interpolate(x, (side, side), mode="bilinear", align_corners=False, antialias=True)
    return x * 2 - 1


def classifier_features(weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Apply the small classifier without its logits to images ``[N, 3, 32, 32]`` in [-1, 1]; returns ``[N, 64]``."""
    for number, stage in enumerate(CLASSIFIER_STAGES):
        weight, bias = weights[f"{number}.weight"], weights[f"{number}.bias"]
        x = functional.conv2d(x, weight, bias, stage.stride, stage.kernel // 2).relu_()
        x = functional.max_pool2d(x, 2) if stage.pool else x
    return x.mean((2, 3))


def digest(weights: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of named tensors: name, type, shape and bytes of each, sorted by name."""
    sha = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        sha.update(tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def _rgb(x: Tensor) -> Tensor:
    """Convert floats in [0, 1] ``[N, C, H, W]`` to three channels, on white where transparent."""
    channels = x.shape[1]
    if channels == 4:
        return x[:, :3] * x[:, 3:] + (1 - x[:, 3:])
    if channels not in (1, 3):
        raise UserError(f"images have {channels} channels; expected 1 (gray), 3 (color) or 4 (with alpha)")
    return x.expand(-1, 3, -1, -1)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, JsonValue]]:
    """Read a safetensors file and the metadata that vaekit wrote."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get(METADATA, "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; expected weights as safetensors") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as safetensors ({error})") from error


def _refuse_pickle(path: Path) -> None:
    """Refuse pickles, which can run code when read; recognized by the extension or the first bytes."""
    try:
        with open(path, "rb") as file:
            start = file.read(2)
    except OSError:
        start = b""  # reported when the file is read
    if path.suffix.lower() in _PICKLES or start == b"PK" or start[:1] == b"\x80":
        raise UserError(
            f"{path} is a pickle, which can run code when it is read, so it is refused; "
            f'convert it once in a trusted environment, with python -c "{_CONVERT}", and use the .safetensors file'
        )


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
