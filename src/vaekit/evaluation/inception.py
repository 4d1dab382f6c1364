"""Inception-v3 (Szegedy et al. 2016, Table 1 and Figures 5, 6, 7 and 10) up to its last feature grid, as a table.

A unit is a convolution without bias, a batch normalization (ε = 0.001) with stored statistics, and a ReLU. A branch is
a sequence of steps; a block is a set of parallel branches whose channels are concatenated in order. Names and shapes of
the parameters are those of torchvision's ``inception_v3``, whose average pooling includes the padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from vaekit.errors import UserError

__all__ = ["SIDE", "SIZE", "Inception", "check_weights", "shapes"]

SIDE = 299  # pixels per side of the input
SIZE = 2048  # channels of the last grid
CLASSES = 1000

_EPSILON = 0.001


@dataclass(frozen=True)
class _Unit:
    """A convolution: name within its block, output channels, kernel (height, width), stride and padding."""

    name: str
    outputs: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padded: bool = True

    @property
    def padding(self) -> tuple[int, int]:
        height, width = self.kernel
        return (height // 2, width // 2) if self.padded and self.stride == 1 else (0, 0)


_MEAN, _MAX = "mean", "max"  # 3x3 pooling: stride 1 with padding, and stride 2 without
_Step = _Unit | tuple[_Unit, ...] | str  # a tuple is a set of parallel units, whose channels are concatenated
_Branch = tuple[_Step, ...]
_Block = tuple[_Branch, ...]

_SQUARE, _ROW, _COLUMN = (3, 3), (1, 7), (7, 1)


def _block_a(pooled: int) -> _Block:
    """Return a block on a 35x35 grid; the 5x5 convolution has a parallel branch of two 3x3 ones (Figure 5)."""
    return (
        (_Unit("branch1x1", 64),),
        (_Unit("branch5x5_1", 48), _Unit("branch5x5_2", 64, (5, 5))),
        (_Unit("branch3x3dbl_1", 64), _Unit("branch3x3dbl_2", 96, _SQUARE), _Unit("branch3x3dbl_3", 96, _SQUARE)),
        (_MEAN, _Unit("branch_pool", pooled)),
    )


def _block_c(width: int) -> _Block:
    """Return a block on a 17x17 grid; each 7x7 convolution is factored into a row and a column (Figure 6)."""
    return (
        (_Unit("branch1x1", 192),),
        (_Unit("branch7x7_1", width), _Unit("branch7x7_2", width, _ROW), _Unit("branch7x7_3", 192, _COLUMN)),
        (
            _Unit("branch7x7dbl_1", width),
            _Unit("branch7x7dbl_2", width, _COLUMN),
            _Unit("branch7x7dbl_3", width, _ROW),
            _Unit("branch7x7dbl_4", width, _COLUMN),
            _Unit("branch7x7dbl_5", 192, _ROW),
        ),
        (_MEAN, _Unit("branch_pool", 192)),
    )


def _fork(name: str) -> tuple[_Unit, _Unit]:
    """Factor a 3x3 convolution into a parallel row and column."""
    return _Unit(f"{name}a", 384, (1, 3)), _Unit(f"{name}b", 384, (3, 1))


_BLOCK_B: _Block = (  # 35 × 35 → 17 × 17 (Figure 10)
    (_Unit("branch3x3", 384, _SQUARE, stride=2),),
    (_Unit("branch3x3dbl_1", 64), _Unit("branch3x3dbl_2", 96, _SQUARE), _Unit("branch3x3dbl_3", 96, _SQUARE, stride=2)),
    (_MAX,),
)
_BLOCK_D: _Block = (  # 17 × 17 → 8 × 8 (Figure 10)
    (_Unit("branch3x3_1", 192), _Unit("branch3x3_2", 320, _SQUARE, stride=2)),
    (
        _Unit("branch7x7x3_1", 192),
        _Unit("branch7x7x3_2", 192, _ROW),
        _Unit("branch7x7x3_3", 192, _COLUMN),
        _Unit("branch7x7x3_4", 192, _SQUARE, stride=2),
    ),
    (_MAX,),
)
_BLOCK_E: _Block = (  # on 8 × 8 (Figure 7)
    (_Unit("branch1x1", 320),),
    (_Unit("branch3x3_1", 384), _fork("branch3x3_2")),
    (_Unit("branch3x3dbl_1", 448), _Unit("branch3x3dbl_2", 384, _SQUARE), _fork("branch3x3dbl_3")),
    (_MEAN, _Unit("branch_pool", 192)),
)
_STEM: _Branch = (  # 299 × 299 × 3 → 35 × 35 × 192
    _Unit("Conv2d_1a_3x3", 32, _SQUARE, stride=2),
    _Unit("Conv2d_2a_3x3", 32, _SQUARE, padded=False),
    _Unit("Conv2d_2b_3x3", 64, _SQUARE),
    _MAX,
    _Unit("Conv2d_3b_1x1", 80),
    _Unit("Conv2d_4a_3x3", 192, _SQUARE, padded=False),
    _MAX,
)
_BLOCKS: tuple[tuple[str, _Block], ...] = (
    ("", (_STEM,)),
    ("Mixed_5b.", _block_a(32)),
    ("Mixed_5c.", _block_a(64)),
    ("Mixed_5d.", _block_a(64)),
    ("Mixed_6a.", _BLOCK_B),
    ("Mixed_6b.", _block_c(128)),
    ("Mixed_6c.", _block_c(160)),
    ("Mixed_6d.", _block_c(160)),
    ("Mixed_6e.", _block_c(192)),
    ("Mixed_7a.", _BLOCK_D),
    ("Mixed_7b.", _BLOCK_E),
    ("Mixed_7c.", _BLOCK_E),
)
#: parts that are needed for training only; a file may contain them, and their shapes identify the network
_AUXILIARY: _Branch = (_Unit("AuxLogits.conv0", 128), _Unit("AuxLogits.conv1", 768, (5, 5)))
_LOGITS = {"AuxLogits.fc": 768, "fc": SIZE}


class Inception:
    """The network without its logits, with each normalization folded into its convolution.

    Args:
        weights: Parameters that pass :func:`check_weights`.
        device: Device to compute on.
    """

    def __init__(self, weights: Mapping[str, Tensor], device: torch.device | str = "cpu") -> None:
        names = [name for name, _, _ in _units()]
        self._folded = {name: tuple(t.to(device) for t in _folded(weights, name)) for name in names}

    def __call__(self, x: Tensor) -> Tensor:
        """Map images ``[N, 3, 299, 299]`` in [-1, 1] to the mean over the last grid, ``[N, 2048]``."""
        for prefix, block in _BLOCKS:
            x = torch.cat([self._branch(prefix, branch, x) for branch in block], 1)
        return x.mean((2, 3))

    def _branch(self, prefix: str, branch: _Branch, x: Tensor) -> Tensor:
        for step in branch:
            if step == _MEAN:
                x = functional.avg_pool2d(x, 3, stride=1, padding=1)
            elif step == _MAX:
                x = functional.max_pool2d(x, 3, stride=2)
            else:
                x = torch.cat([self._unit(prefix, unit, x) for unit in _parallel(step)], 1)
        return x

    def _unit(self, prefix: str, unit: _Unit, x: Tensor) -> Tensor:
        weight, bias = self._folded[prefix + unit.name]
        return functional.conv2d(x, weight, bias, unit.stride, unit.padding).relu_()


def shapes(with_logits: bool = True) -> dict[str, tuple[int, ...]]:
    """Return the shapes of parameters and buffers by name, as in torchvision's ``state_dict``.

    Args:
        with_logits: Whether to include the logits and the auxiliary classifier.
    """
    result: dict[str, tuple[int, ...]] = {}
    auxiliary = _units_of("", _AUXILIARY, 768)[0] if with_logits else []
    for name, inputs, unit in (*_units(), *auxiliary):
        result[f"{name}.conv.weight"] = (unit.outputs, inputs, *unit.kernel)
        result |= {f"{name}.bn.{part}": (unit.outputs,) for part in ("weight", "bias", "running_mean", "running_var")}
    if with_logits:
        result |= {f"{name}.weight": (CLASSES, inputs) for name, inputs in _LOGITS.items()}
        result |= {f"{name}.bias": (CLASSES,) for name in _LOGITS}
    return result


def check_weights(weights: Mapping[str, Tensor], where: str) -> None:
    """Raise :class:`UserError` unless names and shapes are those of Inception-v3, with or without its logits."""
    known, needed = shapes(), shapes(with_logits=False)
    given = {name: tuple(tensor.shape) for name, tensor in weights.items() if not name.endswith("num_batches_tracked")}
    wrong = [f"{name!r} is missing" for name in needed if name not in given]
    wrong += [f"{name!r} is unknown" for name in given if name not in known]
    wrong += [f"{n!r} is {list(s)} instead of {list(known[n])}" for n, s in given.items() if s != known.get(n, s)]
    if wrong:
        more = f" (and {len(wrong) - 1} more like this)" if len(wrong) > 1 else ""
        raise UserError(f"{where} does not contain the weights of torchvision's inception_v3: {wrong[0]}{more}")


def _folded(weights: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """Fold a normalization into a kernel and bias: γ (w x − μ) / √(σ² + ε) + β = (γ w / √…) x + (β − γ μ / √…)."""
    gamma, beta, mean, variance = (
        weights[f"{name}.bn.{part}"].double() for part in ("weight", "bias", "running_mean", "running_var")
    )
    gain = gamma / (variance + _EPSILON).sqrt()
    kernel = weights[f"{name}.conv.weight"].double() * gain[:, None, None, None]
    return kernel.float(), (beta - mean * gain).float()


def _units() -> Iterator[tuple[str, int, _Unit]]:
    """Yield the name, the input channels and the unit of every convolution."""
    channels = 3
    for prefix, block in _BLOCKS:
        joined = 0
        for branch in block:
            units, outputs = _units_of(prefix, branch, channels)
            joined += outputs
            yield from units
        channels = joined


def _units_of(prefix: str, branch: _Branch, channels: int) -> tuple[list[tuple[str, int, _Unit]], int]:
    """Return names, input channels and units of a branch, and its output channels."""
    units: list[tuple[str, int, _Unit]] = []
    for step in branch:
        if not isinstance(step, str):
            parallel = _parallel(step)
            units += [(prefix + unit.name, channels, unit) for unit in parallel]
            channels = sum(unit.outputs for unit in parallel)
    return units, channels


def _parallel(step: _Step) -> tuple[_Unit, ...]:
    assert not isinstance(step, str)
    return step if isinstance(step, tuple) else (step,)
