"""Notes to whoever watches, on stderr. One that cannot be written is lost, and never ends the work that it tells of."""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import cache
from typing import Any, TextIO, cast

from vaekit.errors import printable

__all__ = ["note", "note_once", "stderr"]


def note(text: str) -> None:
    """Prints one line to stderr."""
    print(text, file=stderr(), flush=True)


@cache
def note_once(text: str) -> None:
    """:func:`note` about something that is not used; a process prints the same text once."""
    note(f"vaekit: {printable(text)}")


def stderr() -> TextIO:
    """The present ``sys.stderr``, without its errors: a closed pipe, a full disk, a terminal that has gone."""
    return cast(TextIO, _Lossy(sys.stderr))


class _Lossy:
    """A text stream whose failed writes are dropped. Everything but writing is left to the stream itself."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):  # ValueError: the stream was closed
            if self._stream is not None:
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            if self._stream is not None:
                self._stream.flush()

    def isatty(self) -> bool:
        with suppress(OSError, ValueError):
            return self._stream is not None and self._stream.isatty()
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
