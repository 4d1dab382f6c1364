"""The command line: one function per command, without logic of its own. Heavy imports happen inside the functions.

Exit codes: 0 success; 2 a mistake that the user can fix; 1 a bug in vaekit; 129, 130 or 143 interrupted.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn, TextIO

from cyclopts import CycloptsError

from vaekit.cli.app import app, command
from vaekit.cli.flags import shown_by
from vaekit.cli.mistakes import explained
from vaekit.errors import Interrupted, UserError, endings, lacks_memory, printable
from vaekit.system.notes import naming, note, spoken, stderr

__all__ = ["app", "main"]


def main(tokens: list[str] | None = None) -> int:
    """Run one command and return its exit code. A mistake of the user prints one sentence to stderr."""
    tokens = sys.argv[1:] if tokens is None else tokens
    _prepare_terminal()
    # torch itself prints a stack of C++ frames about a lost connection
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    # if stderr is closed, the command continues
    with redirect_stderr(stderr()), naming(shown_by(app, tokens)):
        code = _run(tokens)
    if not _can_flush(sys.stderr):  # otherwise the interpreter would flush it again at exit, and fail
        _drop_output("stderr")
    return code


def _run(tokens: list[str]) -> int:
    try:
        with _interruption():
            name = next((token for token in tokens if token in app and not token.startswith("-")), None)
            if name is not None:
                command(name)
            app.meta(tokens, exit_on_error=False, print_error=False, result_action="return_none")
            sys.stdout.flush()
    except UserError as error:
        return _fail(spoken(error.text), 2)
    except CycloptsError as error:
        name = f"{tokens[0]} " if tokens and tokens[0] in app else ""
        return _fail(f"{explained(error, tokens)} See 'vaekit {name}--help'.", 2)
    except Interrupted as error:
        return _fail(str(error), error.exit_code)
    except _Terminated as error:
        return _fail(f"stopped by {error.signal.name}; no half-written files remain", 128 + error.signal)
    except KeyboardInterrupt:
        return _fail(_STOPPED, 130)
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        return _fail(_NO_MEMORY, 2)
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # rich prints tables and help, and exits with 1
            return 0
        raise
    except OSError as error:
        is_gone = isinstance(error, BrokenPipeError) and _has_no_reader(sys.stdout)
        if error.filename is None:  # if it is stdout, the interpreter must not flush it again at exit
            _drop_output("stdout")
        if is_gone:  # the reader closed the pipe
            return 0
        return _fail(
            f"{error.filename or 'the system'}: {error.strerror or error}; check the path and its permissions", 2
        )
    return 0


def _has_no_reader(stream: TextIO) -> bool:
    """Whether a stream is a pipe without a reader; True where the system cannot tell."""
    try:
        poll = select.poll()
        poll.register(stream.fileno(), 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (AttributeError, OSError, ValueError):
        return True


def _can_flush(stream: TextIO) -> bool:
    """Flush a stream; return whether everything could be written."""
    try:
        stream.flush()
    except (OSError, ValueError):
        return False
    return True


_NO_MEMORY = "there is not enough memory; use smaller images, a smaller batch, a smaller network or fewer samples"


class _Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP outside of the training loop, which handles them itself."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = signal.Signals(number)


_STOPPED = "stopped; no half-written files remain"
_NARROWEST = 20  # columns; help does not fit into fewer


@contextmanager
def _interruption() -> Iterator[None]:
    """Make these signals unwind the stack as Ctrl-C does, so that half-written files are removed."""

    def stop(number: int, _: object) -> None:
        raise _Terminated(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in endings()}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        before[signal.SIGINT] = signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(_: int, frame: FrameType | None) -> NoReturn:
    """Unwind the stack on Ctrl-C, or exit at once while a command imports modules, which cannot be undone."""
    if _is_importing(frame):
        os._exit(_fail(_STOPPED, 130))
    raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    """Whether a command is importing its modules, and has not begun its work."""
    inner_is_import, found = False, False
    while frame is not None:
        is_import = frame.f_code.co_filename.startswith("<frozen importlib")
        if inner_is_import and not is_import:
            found = Path(frame.f_code.co_filename).parent == Path(__file__).parent
        inner_is_import, frame = is_import, frame.f_back
    return found


def _prepare_terminal() -> None:
    """Make stdout and stderr accept any text, even if the shell closed them, and set a width that help fits into."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  (until the end)
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    width = shutil.get_terminal_size().columns
    if "COLUMNS" in os.environ or width < _NARROWEST:
        os.environ["COLUMNS"] = str(max(width, _NARROWEST))


def _drop_output(name: str) -> None:
    """Discard the buffer of a stream and all further output to it."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, getattr(sys, name).fileno())
        os.close(nowhere)


def _fail(message: str, code: int) -> int:
    lines = "\n".join(map(printable, message.split("\n")))
    note(f"vaekit: {lines}")
    return code
