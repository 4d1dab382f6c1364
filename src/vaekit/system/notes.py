"""Notes to the user on stderr. A note that cannot be written is dropped, so that it never ends the work."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, TextIO, cast

from vaekit.errors import argument, in_python, printable, worded

__all__ = ["naming", "note", "note_once", "spoken", "stderr"]

#: An argument as a note about images writes it.
_OF_A_NOTE = re.compile(r"(?<![\w\-\ue000])(size|fit|frames)=(\d+(?:x\d+)?|crop|pad|stretch|all)\b")

_NAMING: list[Callable[[str, str | None], str]] = [in_python]  # the last one is in use


def note(text: str) -> None:
    """Print one line to stderr."""
    print(spoken(text), file=stderr(), flush=True)


def spoken(text: str) -> str:
    """Format the arguments in a text: with Python's names, or as set by :func:`naming`.

    Notes about images are stored with them, as Python writes them (``fit=pad``), so these arguments have no mark.
    """
    return worded(_OF_A_NOTE.sub(lambda match: argument(match[1], match[2]), text), _NAMING[-1])


@contextmanager
def naming(shown: Callable[[str, str | None], str]) -> Iterator[None]:
    """Make notes format arguments with ``shown`` during the body (:func:`vaekit.errors.worded`)."""
    _NAMING.append(shown)
    try:
        yield
    finally:
        _NAMING.pop()


@cache
def note_once(text: str) -> None:
    """Print a note with the program's name, once per process for each text."""
    note(f"vaekit: {printable(spoken(text))}")


def stderr() -> TextIO:
    """Wrap the current ``sys.stderr`` so that writing never fails: a closed pipe, a full disk, a closed terminal."""
    return cast(TextIO, _Lossy(sys.stderr))


class _Lossy:
    """A text stream whose failed writes are dropped. Other attributes are those of the wrapped stream."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):  # ValueError: the stream is closed
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
