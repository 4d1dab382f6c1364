"""Exceptions for mistakes that the user can fix and for interrupted runs, and helpers for their messages.

The text of a :class:`UserError` is one or two sentences: what is wrong, where, what was expected, and the remedy. The
command line prints it without a traceback and exits with code 2.

Messages name arguments with :func:`argument`: Python shows ``batch_size``, and the command line ``--batch-size``.
"""

from __future__ import annotations

import difflib
import re
import signal
from collections.abc import Callable, Iterable

__all__ = [
    "Interrupted",
    "NotFinite",
    "UserError",
    "argument",
    "counted",
    "endings",
    "in_python",
    "lacks_memory",
    "nearest",
    "printable",
    "storable",
    "worded",
]

_OPEN, _CLOSE = "\ue000", "\ue001"  # private characters, which no text of a user holds by chance
_ARGUMENT = re.compile(f"{_OPEN}(\\w+)(?:=(.*?))?{_CLOSE}", re.DOTALL)

_UNSTORABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def argument(name: str, value: object = None) -> str:
    """Mark the name of an argument, and optionally a value, in the text of an error or note.

    >>> error = UserError(f"{argument('epochs')} and {argument('budget')} exclude each other")
    >>> print(error)
    epochs and budget exclude each other
    >>> print(UserError(f"too large; try {argument('size', 64)}"))
    too large; try size=64
    """
    return f"{_OPEN}{name}{'' if value is None else f'={value}'}{_CLOSE}"


def in_python(name: str, value: str | None) -> str:
    """Format an argument as Python writes it."""
    return name if value is None else f"{name}={value}"


def worded(text: str, shown: Callable[[str, str | None], str] = in_python) -> str:
    """Replace each :func:`argument` in a text by ``shown(name, value)``, where the value may be None.

    >>> worded(f"give a smaller {argument('batch_size')}", lambda name, value: f"--{name.replace('_', '-')}")
    'give a smaller --batch-size'
    """
    return _ARGUMENT.sub(lambda match: shown(match[1], match[2]), text)


class UserError(ValueError):
    """A mistake in the user's input: an argument, a file, a folder or a name.

    Args:
        text: The message. :func:`argument` marks the arguments that it names.
        parameter: Python name of the invalid argument, if the text begins with that name unmarked.
    """

    def __init__(self, text: str, parameter: str = "") -> None:
        if parameter and text.startswith(parameter):
            text = argument(parameter) + text.removeprefix(parameter)
        super().__init__(worded(text))
        self.text = text  #: the sentence, its arguments still marked


class NotFinite(UserError):
    """A model returns NaN or infinity: its weights have diverged or are damaged.

    Args:
        what: The quantity, as a plural noun.
    """

    def __init__(self, what: str) -> None:
        super().__init__(
            f"the model returns {what} that are not finite: its weights have diverged, or the run is damaged; train "
            f"again with another {argument('out')}, and with a smaller {argument('learning_rate')} if this recurs"
        )


class Interrupted(Exception):
    """Training was stopped by a signal after its state was saved.

    Args:
        number: Number of the signal. ``exit_code`` is 128 plus this number.
        where: The run folder.
    """

    def __init__(self, number: int, where: object) -> None:
        name = signal.Signals(number).name
        super().__init__(f"stopped by {name}; the state is saved in {where}, start the same training again to resume")
        self.exit_code = 128 + number


def endings() -> list[signal.Signals]:
    """Return the signals that ask a process to end, SIGTERM and SIGHUP, except those ignored as under ``nohup``."""
    known = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows has no SIGHUP
    return [number for number in known if signal.getsignal(number) is not signal.SIG_IGN]


def counted(count: int, noun: str) -> str:
    """Format a number with its noun.

    >>> counted(1, "image"), counted(1234, "image"), counted(2, "class")
    ('1 image', '1,234 images', '2 classes')
    """
    return f"{count:,} {noun}" + ("" if count == 1 else "es" if noun.endswith("s") else "s")


def lacks_memory(error: BaseException) -> bool:
    """Whether an exception reports a lack of memory. PyTorch has no exception type for this on CPUs.

    >>> lacks_memory(MemoryError()), lacks_memory(RuntimeError("shapes differ"))
    (True, False)
    """
    texts = ("allocate", "out of memory", "Storage size calculation overflowed")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in texts)
    )


def printable(text: str) -> str:
    r"""Escape what terminals cannot show, such as line ends and bytes that are not UTF-8.

    >>> print(printable("two\nlines of a naïve name"))
    two\nlines of a naïve name
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def storable(text: str) -> str:
    r"""Escape control characters and bytes that are not UTF-8, so that any file can store the text.

    >>> print(storable("caf\udce9 \x1b[31m"), storable("naïve") == "naïve")
    caf\udce9 \x1b[31m True
    """
    return _UNSTORABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def nearest(name: str, choices: Iterable[str]) -> str:
    """Suggest the entry of ``choices`` that is closest to ``name``, or list them all.

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
