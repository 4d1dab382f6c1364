"""How training speaks to the person who waits: a live bar in a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from vaekit.errors import printable
from vaekit.system.durations import duration_text
from vaekit.system.notes import note, spoken, stderr

__all__ = ["Bar", "Counted", "Lines", "Progress", "Silent", "choose", "counted_aloud", "counted_silently"]

_SECONDS_BETWEEN_LINES = 15.0
_SECONDS_OF_PATIENCE = 5.0  # before a loop that is no training says how far it is

#: Says of a loop what it does, how many images are done, none of them at its beginning, and of how many.
Counted = Callable[[str, int, int], None]


def counted_silently(what: str, done: int, total: int) -> None:
    """Says nothing."""


def counted_aloud() -> Counted:
    """Says it on stderr, in loops that take longer than five seconds: one line in a quarter of a minute."""
    start = last = 0.0

    def count(what: str, done: int, total: int) -> None:
        nonlocal start, last
        now = time.monotonic()
        if not done:
            start, last = now, now + _SECONDS_OF_PATIENCE - _SECONDS_BETWEEN_LINES
        if not done or done == total or now - last < _SECONDS_BETWEEN_LINES:
            return
        last = now
        left = duration_text((now - start) * (total - done) / done)
        note(f"{what}: {done:,} of {total:,} images, {left} left")

    return count


class Progress:
    """What the trainer calls; the base class says nothing."""

    def start(self, total_images: int, done_images: int) -> None:
        """Training begins or goes on."""

    def update(self, images: int, rate: float, numbers: dict[str, Any]) -> None:
        """``images`` have been seen, at ``rate`` per second; ``numbers`` are the latest means per image."""

    def say(self, text: str) -> None:
        """A sentence that stays on the screen."""

    def stop(self) -> None:
        """Training is over or interrupted."""


Silent = Progress


class Lines(Progress):
    """Plain lines on stderr, the first at once and then at most one in a quarter of a minute."""

    def start(self, total_images: int, done_images: int) -> None:
        self._total, self._last = total_images, -_SECONDS_BETWEEN_LINES

    def update(self, images: int, rate: float, numbers: dict[str, Any]) -> None:
        now = time.monotonic()
        if now - self._last >= _SECONDS_BETWEEN_LINES or images >= self._total:
            self._last = now
            self.say(f"{100 * images / self._total:5.1f} %  {_pace(self._total - images, rate)}  {_describe(numbers)}")

    def say(self, text: str) -> None:
        note(printable(spoken(text)))


class Bar(Progress):
    """A live bar on stderr."""

    def __init__(self) -> None:
        from rich import progress
        from rich.console import Console

        columns = (
            progress.TextColumn("{task.percentage:>5.1f} %"),
            progress.BarColumn(bar_width=24),
            progress.TextColumn("{task.fields[text]}"),
        )
        self._bar = progress.Progress(*columns, console=Console(file=stderr()), refresh_per_second=5)
        self._task: Any = None

    def start(self, total_images: int, done_images: int) -> None:
        self._total = total_images
        self._task = self._bar.add_task("", total=total_images, completed=done_images, text="")
        self._bar.start()

    def update(self, images: int, rate: float, numbers: dict[str, Any]) -> None:
        text = f"{_pace(self._total - images, rate)}  {_describe(numbers)}"
        self._bar.update(self._task, completed=images, text=text)

    def say(self, text: str) -> None:
        self._bar.console.print(printable(spoken(text)), markup=False, highlight=False)

    def stop(self) -> None:
        self._bar.stop()


def choose(quiet: bool = False) -> Progress:
    """A bar if stderr is a terminal, else lines; nothing when quiet."""
    if quiet:
        return Silent()
    return Bar() if stderr().isatty() else Lines()


def _pace(images_left: int, rate: float) -> str:
    if not images_left:
        return f"{'trained; measuring the result':>31}"
    if not rate:
        return f"{'measuring the speed':>31}"
    return f"{rate:6.0f} images/s  {duration_text(images_left / rate):>8} left"


def _describe(numbers: dict[str, Any]) -> str:
    shown = [(k.removesuffix("_nats"), v) for k, v in numbers.items() if k.endswith("_nats") and v is not None]
    return "  ".join(f"{name} {value:.1f}" for name, value in shown) + ("  nats" if shown else "")
