"""Call the user's functions with the numbers and pictures of a training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from vaekit.training.tracking import Record

__all__ = ["Callbacks", "OnEpoch", "OnLog", "both"]

OnLog = Callable[[Record], object]
OnEpoch = Callable[[Record, Sequence[Path]], object]


def both(first: OnEpoch, second: OnEpoch | None) -> OnEpoch:
    """Combine two callbacks into one."""

    def call(record: Record, pictures: Sequence[Path]) -> None:
        first(record, pictures)
        if second is not None:
            second(record, pictures)

    return call


class Callbacks:
    """Calls ``on_log`` and ``on_epoch``, and keeps the first exception that one of them raises.

    A mistake in a callback must not lose the state of the training. So the callbacks are not called again, and the loop
    raises the exception after the state is saved.
    """

    def __init__(self, on_log: OnLog | None = None, on_epoch: OnEpoch | None = None) -> None:
        self._on_log, self._on_epoch = on_log, on_epoch
        self._failure: BaseException | None = None

    @property
    def failed(self) -> bool:
        """Whether a callback has raised an exception."""
        return self._failure is not None

    def log(self, record: Record) -> None:
        """Pass on one record of ``metrics.jsonl``."""
        if self._on_log is not None and not self.failed:
            on_log = self._on_log
            self._call(lambda: on_log(dict(record)))

    def epoch(self, record: Record, pictures: Sequence[Path]) -> None:
        """Pass on the validation record of an epoch, and the picture files drawn after it."""
        if self._on_epoch is not None and not self.failed:
            on_epoch = self._on_epoch
            self._call(lambda: on_epoch(dict(record), tuple(pictures)))

    def raise_failure(self) -> None:
        """Raise the exception of the callback, if there was one."""
        if self._failure is not None:
            raise self._failure

    def _call(self, function: Callable[[], object]) -> None:
        try:
            function()
        except BaseException as error:  # noqa: B902  (raised again by raise_failure)
            self._failure = error
