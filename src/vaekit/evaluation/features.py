"""Named functions from images to features: a distance between sets of images means nothing without the name of its own.

    cifar10-classifier-1            our own small classifier, which comes with the package: 64 numbers, seen at 32 × 32
    inception-v3 (FILE, SHA-256)    the network of published FID, with weights that the user has: 2,048, at 299 × 299

Both see three channels on the [-1, 1] scale, at one size: gray is repeated, what is transparent lies over white, and
images of another size are scaled bilinearly, with anti-aliasing when they shrink.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn import functional

from vaekit.data import Selection, to_float
from vaekit.errors import UserError, printable
from vaekit.evaluation.inception import SIDE as INCEPTION_SIDE
from vaekit.evaluation.inception import SIZE as INCEPTION_SIZE
from vaekit.evaluation.inception import Inception, check_weights

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

CLASSIFIER = "cifar10-classifier-1"  # a file with other numbers needs another name
CLASSIFIER_FILE = Path(__file__).parent / "data_files" / f"{CLASSIFIER}.safetensors"
METADATA = "vaekit"  # the key of the facts in the file

_CLASSIFIER_SIDE = 32
_PICKLES = {".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".tar"}
_CONVERT = (
    "import torch, safetensors.torch as s; s.save_file(torch.load('IN.pth', weights_only=True), 'OUT.safetensors')"
)


class Features(Protocol):
    """What a distance between sets of images is taken over."""

    @property
    def name(self) -> str:
        """Which function it is; numbers of two names are never compared."""

    @property
    def size(self) -> int:
        """How many numbers an image has, F."""

    def of(self, pixels: Tensor | Selection, batch_size: int = 64) -> Tensor:
        """Features float32 ``[N, F]``, on the CPU, of images uint8 ``[N, C, H, W]``, C one of 1, 3 (RGB), 4 (RGBA).

        Deterministic; ``batch_size`` bounds the memory and changes the result by rounding alone.
        Raises :class:`~vaekit.errors.UserError` for another number of channels.
        """


@dataclass(frozen=True)
class Stage:
    """One convolution of the small classifier, a ReLU after it, and a 2 × 2 maximum where ``pool``."""

    inputs: int
    outputs: int
    kernel: int
    stride: int = 1
    pool: bool = False


#: 32 × 32 → 16 × 16 → 8 × 8 → 4 × 4, of which the mean is taken
CLASSIFIER_STAGES = (
    Stage(3, 32, 5, stride=2),
    Stage(32, 64, 3, pool=True),
    Stage(64, 128, 3, pool=True),
    Stage(128, 64, 3),
)


@dataclass(frozen=True, eq=False)
class _Network:
    """A network as :class:`Features`: images are brought to ``side`` × ``side`` and shown to it in pieces."""

    name: str
    size: int
    side: int
    network: Callable[[Tensor], Tensor]
    device: torch.device

    @torch.inference_mode()
    def of(self, pixels: Tensor | Selection, batch_size: int = 64) -> Tensor:
        pieces = [self.network(prepare(some.to(self.device), self.side)).cpu() for some in pixels.split(batch_size)]
        return torch.cat([torch.empty(0, self.size), *pieces])


def small_classifier(device: torch.device | str = "cpu") -> Features:
    """The features of :data:`CLASSIFIER`: what a small classifier of CIFAR-10 sees before its logits, 64 numbers ≥ 0.

    It was trained by ``scripts/train_features.py`` and comes with the package: nothing is fetched. It tells objects,
    colours and textures of photographs at 32 × 32, and knows nothing finer, so its distances compare models of the
    same images; they are no FID, which is of another network.
    """
    weights, facts = _read(CLASSIFIER_FILE)
    if facts.get("name") != CLASSIFIER or facts.get("sha256") != digest(weights):
        raise UserError(f"{CLASSIFIER_FILE} is not the {CLASSIFIER} that vaekit came with; install vaekit again")
    weights = {name: tensor.to(device, torch.float32) for name, tensor in weights.items()}

    def network(x: Tensor) -> Tensor:
        return classifier_features(weights, x)

    return _Network(CLASSIFIER, CLASSIFIER_STAGES[-1].outputs, _CLASSIFIER_SIDE, network, torch.device(device))


def inception(path: str | Path, device: torch.device | str = "cpu") -> Features:
    """Inception-v3 features (Szegedy et al. 2016; Heusel et al. 2017): the mean over the last grid, 2,048 numbers.

    ``path`` is a safetensors file with the parameters of torchvision's ``inception_v3`` under its names, which vaekit
    neither has nor fetches. **Published FID is of other weights**: TensorFlow's of 2015, in a slightly different
    network. With torchvision's the distance is as good a ruler, but its numbers are not comparable with those in
    papers; the name says which file they are of.

    Raises :class:`~vaekit.errors.UserError` for a file that is missing, pickled, damaged, or of another network.
    """
    path = Path(path)
    _refuse_pickle(path)
    weights, _ = _read(path)
    check_weights(weights, str(path))
    name = f"inception-v3 ({printable(path.name)}, {_sha256(path)[:8]})"
    return _Network(name, INCEPTION_SIZE, INCEPTION_SIDE, Inception(weights, device), torch.device(device))


def prepare(pixels: Tensor, side: int) -> Tensor:
    """Images uint8 ``[N, C, H, W]`` as networks are shown them: float32 ``[N, 3, side, side]`` in [-1, 1].

    >>> prepare(torch.full((1, 1, 2, 2), 255, dtype=torch.uint8), 1).flatten().tolist()
    [1.0, 1.0, 1.0]
    """
    x = _colour(to_float(pixels))
    if x.shape[-2:] != (side, side):
        x = functional.interpolate(x, (side, side), mode="bilinear", align_corners=False, antialias=True)
    return x * 2 - 1


def classifier_features(weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """The small classifier below its logits: images ``[N, 3, 32, 32]`` in [-1, 1] → ``[N, 64]``."""
    for number, stage in enumerate(CLASSIFIER_STAGES):
        weight, bias = weights[f"{number}.weight"], weights[f"{number}.bias"]
        x = functional.conv2d(x, weight, bias, stage.stride, stage.kernel // 2).relu_()
        x = functional.max_pool2d(x, 2) if stage.pool else x
    return x.mean((2, 3))


def digest(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 of named tensors: of each in order of names, its name, type, shape and bytes."""
    sha = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        sha.update(tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def _colour(x: Tensor) -> Tensor:
    """Floats in [0, 1] ``[N, C, H, W]`` in three channels, over white where transparent."""
    channels = x.shape[1]
    if channels == 4:
        return x[:, :3] * x[:, 3:] + (1 - x[:, 3:])
    if channels not in (1, 3):
        raise UserError(f"images have {channels} channels; expected 1 (gray), 3 (colour) or 4 (with alpha)")
    return x.expand(-1, 3, -1, -1)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a safetensors file, and the facts that vaekit wrote beside them."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get(METADATA, "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}; expected weights as safetensors") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as safetensors ({error})") from error


def _refuse_pickle(path: Path) -> None:
    """A pickle can run code when it is read: it is known by the end of its name or by its first bytes."""
    try:
        with open(path, "rb") as file:
            start = file.read(2)
    except OSError:
        start = b""  # what is wrong with it is said when it is read
    if path.suffix.lower() in _PICKLES or start == b"PK" or start[:1] == b"\x80":
        raise UserError(
            f"{path} is a pickle, which can run code when it is read, so it is refused; "
            f'convert it once where it is trusted, with python -c "{_CONVERT}", and give the .safetensors file'
        )


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
