"""The exception for mistakes that the user can mend, and the one for a run that was interrupted.

The text of a :class:`UserError` is a single sentence or two: what is wrong, where, what was expected, and the remedy.
The command line prints it without a traceback and exits with code 2.
"""

from __future__ import annotations

import difflib
import re
import signal
from collections.abc import Iterable

__all__ = [
    "Interrupted",
    "NotFinite",
    "UserError",
    "counted",
    "endings",
    "lacks_memory",
    "nearest",
    "printable",
    "storable",
]

_UNSTORABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


class UserError(ValueError):
    """A mistake in what the user gave: an argument, a file, a folder, a name.

    Args:
        text: the sentence. It begins with ``parameter`` if that is given.
        parameter: the Python name of the argument that is wrong. The command line shows the flag in its place.
    """

    def __init__(self, text: str, parameter: str = "") -> None:
        super().__init__(text)
        self.parameter = parameter


class NotFinite(UserError):
    """A model gives numbers that are not finite: its weights have diverged, or were damaged."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"the model gives {what} that are not finite: its weights have diverged, or the run is damaged; train "
            "again into another --out, with a smaller --learning-rate if this happens again"
        )


class Interrupted(Exception):
    """Training was stopped by a signal, with its state saved; ``exit_code`` is 128 plus the signal's number."""

    def __init__(self, number: int, where: object) -> None:
        name = signal.Signals(number).name
        super().__init__(f"stopped by {name}; the state is saved in {where}, repeat the same command to go on")
        self.exit_code = 128 + number


def endings() -> list[signal.Signals]:
    """The signals that ask a process to end: SIGTERM and SIGHUP, unless one is ignored as under ``nohup``."""
    known = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows has no SIGHUP
    return [number for number in known if signal.getsignal(number) is not signal.SIG_IGN]


def counted(count: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "image"), counted(1234, "image")
    ('1 image', '1,234 images')
    """
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def lacks_memory(error: BaseException) -> bool:
    """Whether it says that there is not enough memory; PyTorch has no type of its own for that on a CPU.

    >>> lacks_memory(MemoryError()), lacks_memory(RuntimeError("shapes differ"))
    (True, False)
    """
    words = ("allocate", "out of memory", "Storage size calculation overflowed")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )


def printable(text: str) -> str:
    """The text with what no terminal shows (line ends, bytes that are no UTF-8) written out.

    >>> print(printable("two\\nlines of a naïve name"))
    two\\nlines of a naïve name
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def storable(text: str) -> str:
    r"""A name as every file can hold it: bytes that are not UTF-8 and control characters are written out.

    >>> print(storable("caf\udce9 \x1b[31m"), storable("naïve") == "naïve")
    caf\udce9 \x1b[31m True
    """
    return _UNSTORABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def nearest(name: str, choices: Iterable[str]) -> str:
    """Says which of ``choices`` is closest to ``name``, or lists them all.

    >>> nearest("sed-ae", ["seed-ae", "vae"])
    "did you mean 'seed-ae'?"
    >>> nearest("zzz", ["seed-ae", "vae"])
    'choose from: seed-ae, vae'
    """
    choices = list(choices)
    close = difflib.get_close_matches(name, choices, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return "choose from: " + (", ".join(choices) or "(there are none)")
