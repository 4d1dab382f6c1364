"""Python programs that start fast: each is forked from a process that has already imported torch and vaekit."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["Forked", "run"]

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["vaekit.cli", "vaekit.api", "vaekit.run", "vaekit.training.loop", "sklearn.datasets", "torch.distributed"]
)


class Forked:
    """A running program with the interface of ``subprocess.Popen`` for ``python -c program words``."""

    def __init__(self, program: str, *words: object, env: dict[str, str]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._outputs = [Path(self._folder.name) / name for name in ("stdout", "stderr")]
        arguments = (program, [str(word) for word in words], env, self._outputs)
        self._process = _CONTEXT.Process(target=_run, args=arguments, daemon=True)
        _start(self._process)

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        assert self._process.pid
        os.kill(self._process.pid, number)

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Wait for the end; return the text on stdout and on stderr."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("a forked program", timeout)
        out, err = (path.read_text() for path in self._outputs)
        return out, err


def run(program: str, *words: object, env: dict[str, str], timeout: float = 120) -> tuple[int | None, str, str]:
    """Exit code, stdout and stderr of a program."""
    process = Forked(program, *words, env=env)
    said = process.communicate(timeout)
    return process.returncode, *said


def _start(process: multiprocessing.process.BaseProcess) -> None:
    """Start a process; the first call also starts the process that all are forked from.

    That process must not start threads, and its log settings must be set before torch is imported.
    """
    settings = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    settings |= {"TORCH_CPP_LOG_LEVEL": "ERROR"}
    before = dict(os.environ)
    os.environ.update(settings)
    try:
        process.start()
    finally:
        os.environ.clear()
        os.environ.update(before)


def _run(program: str, words: list[str], env: dict[str, str], outputs: list[Path]) -> None:
    os.environ.clear()
    os.environ.update(env)
    for descriptor, path in enumerate(outputs, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.argv = ["-c", *words]
    exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})
