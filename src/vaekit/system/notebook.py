"""Progress of training in a notebook: a display with the bar, and one with the pictures of the last epoch.

IPython is imported only if it is already running.
"""

from __future__ import annotations

import base64
import html
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from vaekit.errors import counted, printable
from vaekit.system.notes import spoken
from vaekit.system.progress import Progress, described, pace

__all__ = ["NotebookBar", "is_notebook"]

_SECONDS_BETWEEN_UPDATES = 0.2


def is_notebook() -> bool:
    """Whether this process is the kernel of a notebook, which can show HTML."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return any(each.__name__ == "ZMQInteractiveShell" for each in type(shell).mro())


class NotebookBar(Progress):
    """A live bar in the output of the cell, updated in place."""

    def __init__(self) -> None:
        self._bar, self._pictures = _Display(), _Display()
        self._total, self._images, self._pace, self._numbers, self._last = 1, 0, "starting", "", 0.0

    def start(self, total_images: int, done_images: int) -> None:
        """Show the bar."""
        self._total, self._images = total_images, done_images
        self._draw()

    def update(self, images: int, rate: float, numbers: dict[str, Any]) -> None:
        """Move the bar, at most five times a second."""
        self._images, self._pace, self._numbers = images, pace(self._total - images, rate), described(numbers)
        now = time.monotonic()
        if now - self._last >= _SECONDS_BETWEEN_UPDATES or images >= self._total:
            self._last = now
            self._draw()

    def epoch(self, record: Mapping[str, object], pictures: Sequence[Path]) -> None:
        """Replace the pictures of the previous epoch."""
        psnr = record.get("validation_psnr_db")
        text = f"epoch {record['epoch']}" + (f", PSNR {psnr:.2f} dB" if isinstance(psnr, float) else "")
        images = "".join(_image(path) for path in pictures)
        self._pictures.show(f"<div>{html.escape(text)}</div>{images}", text)

    def say(self, text: str) -> None:
        """Print a sentence that stays in the output of the cell."""
        print(printable(spoken(text)))
        if self._images >= self._total:  # the result was measured
            self._pace = ""
            self._draw()

    def stop(self) -> None:
        """Leave the bar where training ended."""
        self._draw()

    def _draw(self) -> None:
        parts = (f"{self._images:,} of {counted(self._total, 'image')}", self._pace, self._numbers)
        text = " · ".join(" ".join(part.split()) for part in parts if part)
        bar = f'<progress value="{self._images}" max="{self._total}" style="width: 16em"></progress>'
        self._bar.show(f"<div>{bar} {html.escape(text)}</div>", text)


class _Display:
    """One output of a cell, created with its first content and then updated in place."""

    def __init__(self) -> None:
        self._id = ""

    def show(self, markup: str, text: str) -> None:
        """Replace the content: HTML, and text for front ends without HTML."""
        from IPython.display import display, update_display

        data = {"text/html": markup, "text/plain": text}
        if self._id:
            update_display(data, display_id=self._id, raw=True)
        else:
            self._id = uuid4().hex
            display(data, display_id=self._id, raw=True)


def _image(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    kind = path.stem.partition("-")[2].lstrip("0123456789-")
    return f'<figure><img alt="{kind}" src="data:image/png;base64,{data}"><figcaption>{kind}</figcaption></figure>'
