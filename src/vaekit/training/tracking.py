"""Write metrics of a training: always to ``metrics.jsonl``, optionally to TensorBoard."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from vaekit.errors import UserError, argument
from vaekit.runs import folder as runs

__all__ = ["Record", "Tracker", "check_tensorboard"]

Record = dict[str, str | float | None]  #: a line of ``metrics.jsonl``

_FOLDER = "tensorboard"  #: in the run folder


class Tracker:
    """Writes lines of metrics. A line is flat; ``kind`` groups the curves, and ``images`` is the horizontal axis."""

    def __init__(
        self,
        out: Path,
        tensorboard: bool = False,
        images: int = 0,
        on_log: Callable[[Record], None] | None = None,
    ) -> None:
        self._out, self._on_log = out, on_log
        self._writer = _tensorboard(out, images) if tensorboard else None

    def add(self, line: Record) -> None:
        """Write one line."""
        runs.append_metrics(self._out, line)
        if self._writer is not None:
            _add_scalars(self._writer, line)
        if self._on_log is not None:
            self._on_log(line)

    def close(self) -> None:
        """Flush buffered lines."""
        if self._writer is not None:
            self._writer.close()


class _Writer(Protocol):
    """The methods of a ``SummaryWriter`` that are used."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """Add one point to the curve ``tag``."""

    def close(self) -> None:
        """Flush buffered points."""


def _add_scalars(writer: _Writer, line: Record) -> None:
    images = line["images"]
    assert isinstance(images, int)
    for name, value in line.items():
        if isinstance(value, int | float) and name != "images":
            writer.add_scalar(f"{line['kind']}/{name}", value, images)


def check_tensorboard() -> None:
    """Check that TensorBoard's writer is installed.

    Raises:
        UserError: It is not.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import torch.utils.tensorboard  # noqa: F401
        except ImportError as error:
            raise UserError(
                f"{argument('tensorboard')} needs the package tensorboard, which is not installed; "
                "pip install 'vaekit[track]', or leave it out: metrics.jsonl has the same numbers"
            ) from error


def _tensorboard(out: Path, images: int) -> _Writer:
    check_tensorboard()
    from torch.utils.tensorboard import SummaryWriter

    writer: _Writer = SummaryWriter(str(out / _FOLDER), purge_step=images + 1 if images else 0)
    return writer
