"""The program ``vaekit``, and ``python -m vaekit``: handles Ctrl-C before anything slow is imported."""

import os
import signal
import sys

__all__ = ["main"]


def main() -> int:
    """Run the command line and return its exit code."""
    hears_ctrl_c = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if hears_ctrl_c:
        signal.signal(signal.SIGINT, _leave)
    _occupy_standard_streams()
    from vaekit.cli import main as run

    if hears_ctrl_c:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    code = run()
    if hears_ctrl_c:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the work is done, and Python is only shutting down
    return code


def _leave(*_: object) -> None:
    """Exit at once: while modules are imported, no file is half written."""
    os.write(2, b"vaekit: stopped; no half-written files remain\n")
    os._exit(130)


def _occupy_standard_streams() -> None:
    """Open the streams that the shell closed (``>&-``); otherwise the next opened file would take their place."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
