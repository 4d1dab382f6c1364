"""The command line: one function per verb, no logic of its own. Heavy imports happen inside the verbs.

Exit codes: 0 done; 2 a mistake that the user can mend; 1 a fault of ours; 130 or 143 interrupted.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cyclopts import CycloptsError

from vaekit.cli import measuring, playing, shipping, training
from vaekit.cli.flags import app
from vaekit.errors import Interrupted, UserError, lacks_memory, printable

__all__ = ["app", "main", "measuring", "playing", "shipping", "training"]


def main(tokens: list[str] | None = None) -> int:
    """Runs one command and returns its exit code; a mistake of the user's is one sentence on stderr."""
    try:
        with _termination():
            app(tokens, exit_on_error=False, print_error=False, result_action="return_none")
            sys.stdout.flush()
    except UserError as error:
        return _fail(_with_flag(error), 2)
    except CycloptsError as error:
        return _fail(f"{' '.join(str(error).split())} See 'vaekit --help'.", 2)
    except Interrupted as error:
        return _fail(str(error), error.exit_code)
    except _Terminated:
        return _fail("stopped by SIGTERM; nothing was left half written", 143)
    except KeyboardInterrupt:
        return _fail("stopped; nothing was left half written", 130)
    except BrokenPipeError:  # whoever read our output has seen enough; what is left of it goes nowhere
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        return 0
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        return _fail(_NO_MEMORY, 2)
    except OSError as error:
        return _fail(f"{error.filename or 'the system'}: {error.strerror or error}; check the path and your rights", 2)
    return 0


#: Parameters whose flags have other names.
_FLAGS = {"compiled": "compile", "data": "DATA", "is_orthogonal": "orthogonal", "iwae_samples": "iwae"}


def _with_flag(error: UserError) -> str:
    """What a user of the command line reads: the flag in place of the name that the parameter has in Python."""
    name = error.parameter
    if not name:
        return str(error)
    flag = _FLAGS.get(name, name.replace("_", "-"))
    return ("" if flag.isupper() else "--") + flag + str(error).removeprefix(name)


_NO_MEMORY = "there is not enough memory for that; give a smaller --batch-size, --size or width, or fewer samples"


class _Terminated(KeyboardInterrupt):
    """SIGTERM outside of the training loop, which has a way of its own to stop."""


@contextmanager
def _termination() -> Iterator[None]:
    """SIGTERM unwinds like Ctrl-C, so that what is half written is taken away."""

    def stop(*_: object) -> None:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _fail(message: str, code: int) -> int:
    print("vaekit:", "\n".join(map(printable, message.split("\n"))), file=sys.stderr)
    return code
