"""Progress of training and other long loops: a live bar in a terminal or a notebook, plain lines, or nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vaekit.errors import printable
from vaekit.system.durations import duration_text
from vaekit.system.notes import note, spoken, stderr

__all__ = [
    "Bar",
    "Counted",
    "Lines",
    "Progress",
    "Silent",
    "choose",
    "count_silently",
    "counter_on_stderr",
    "described",
    "pace",
]

_SECONDS_BETWEEN_LINES = 15.0
_SECONDS_BEFORE_FIRST_LINE = 5.0  # outside of training

#: Callback of a loop: ``count(task, done, total)``, first with ``done = 0``; the task names what is counted.
Counted = Callable[[str, int, int], None]


def count_silently(task: str, done: int, total: int) -> None:
    """Report nothing."""


def counter_on_stderr() -> Counted:
    """Return a callback that prints progress to stderr after five seconds, then every 15 seconds."""
    start = last = 0.0

    def count(task: str, done: int, total: int) -> None:
        nonlocal start, last
        now = time.monotonic()
        if not done:
            start, last = now, now + _SECONDS_BEFORE_FIRST_LINE - _SECONDS_BETWEEN_LINES
        if not done or done == total or now - last < _SECONDS_BETWEEN_LINES:
            return
        last = now
        left = duration_text((now - start) * (total - done) / done)
        note(f"{task}: {done:,} of {total:,}, {left} left")

    return count


class Progress:
    """Interface that the training loop reports to. This base class shows nothing."""

    def start(self, total_images: int, done_images: int) -> None:
        """Begin or resume training."""

    def update(self, images: int, rate: float, numbers: dict[str, Any]) -> None:
        """Report the number of images seen, images per second and the latest means per image."""

    def epoch(self, record: Mapping[str, object], pictures: Sequence[Path]) -> None:
        """Report the validation record of an epoch and the picture files drawn after it."""

    def say(self, text: str) -> None:
        """Show a sentence that stays on the screen."""

    def stop(self) -> None:
        """End, because training has finished or was interrupted."""


Silent = Progress


class Lines(Progress):
    """Plain lines on stderr: one at the start, then at most one every 15 seconds."""

    def start(self, total_images: int, done_images: int) -> None:
        """Begin or resume training."""
        self._total, self._last = total_images, -_SECONDS_BETWEEN_LINES

    def update(self, images: int, rate: float, numbers: dict[str, Any]) -> None:
        """Print a line if the last one is old enough, and at the end."""
        now = time.monotonic()
        if now - self._last >= _SECONDS_BETWEEN_LINES or images >= self._total:
            self._last = now
            self.say(f"{100 * images / self._total:5.1f} %  {pace(self._total - images, rate)}  {described(numbers)}")

    def say(self, text: str) -> None:
        """Print one line."""
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
        """Show the bar."""
        self._total = total_images
        self._task = self._bar.add_task("", total=total_images, completed=done_images, text="")
        self._bar.start()

    def update(self, images: int, rate: float, numbers: dict[str, Any]) -> None:
        """Move the bar."""
        text = f"{pace(self._total - images, rate)}  {described(numbers)}"
        self._bar.update(self._task, completed=images, text=text)

    def say(self, text: str) -> None:
        """Print a sentence above the bar."""
        self._bar.console.print(printable(spoken(text)), markup=False, highlight=False)

    def stop(self) -> None:
        """Leave the bar as it is and restore the terminal."""
        self._bar.stop()


def choose(quiet: bool = False) -> Progress:
    """Return a bar in a notebook or a terminal and plain lines elsewhere, or nothing if ``quiet``."""
    from vaekit.system.notebook import NotebookBar, is_notebook

    if quiet:
        return Silent()
    if is_notebook():
        return NotebookBar()
    return Bar() if stderr().isatty() else Lines()


def pace(images_left: int, rate: float) -> str:
    """Return images per second and the time left, in a fixed width."""
    if not images_left:
        return f"{'trained; measuring the result':>31}"
    if not rate:
        return f"{'measuring the speed':>31}"
    return f"{rate:6.0f} images/s  {duration_text(images_left / rate):>8} left"


def described(numbers: dict[str, Any]) -> str:
    """Return the numbers in nats and the errors, by name.

    >>> described({"rate_nats": 1.23, "elbo_nats": None}), described({"velocity_error": 1.2345})
    ('rate 1.2  nats', 'velocity error 1.234')
    """
    known = {name: value for name, value in numbers.items() if value is not None}
    nats = [f"{name.removesuffix('_nats')} {value:.1f}" for name, value in known.items() if name.endswith("_nats")]
    errors = [f"{name.replace('_', ' ')} {value:.3f}" for name, value in known.items() if name.endswith("_error")]
    return "  ".join([*nats, *(["nats"] if nats else []), *errors])
