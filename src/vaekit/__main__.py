"""The program ``vaekit``, and ``python -m vaekit``: ready for Ctrl-C before anything is imported that takes time."""

import os
import signal
import sys

__all__ = ["main"]


def main() -> int:
    """Runs the command line and returns its exit code."""
    hears_ctrl_c = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if hears_ctrl_c:
        signal.signal(signal.SIGINT, _leave)
    _occupy_standard_streams()
    from vaekit.cli import main as run

    if hears_ctrl_c:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    code = run()
    if hears_ctrl_c:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done: what Python takes down is nobody's loss
    return code


def _leave(*_: object) -> None:
    """Ends the program at once: nothing is half written while modules are imported."""
    os.write(2, b"vaekit: stopped; nothing was left half written\n")
    os._exit(130)


def _occupy_standard_streams() -> None:
    """Opens what the shell closed (``>&-``), or the first file that is opened would take its place."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
