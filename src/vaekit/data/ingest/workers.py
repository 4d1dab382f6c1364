"""Decode many files in parallel, with threads or with worker processes.

Threads start instantly but take turns when Python code runs. Workers need a fifth of a second to start and then use all
cores. Threads therefore decode small sets, and workers large ones.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from queue import Empty, Queue
from typing import IO, NamedTuple

import numpy as np

from vaekit.errors import UserError
from vaekit.pixels.bit_depth import EIGHT_BITS
from vaekit.pixels.byte_ranges import Readable
from vaekit.pixels.image_form import Form
from vaekit.pixels.worker import Written, decode_into
from vaekit.system.machine_load import usable_cores

__all__ = ["FileResult", "Target", "Task", "cores", "decode_all"]

_FEWEST_FOR_WORKERS = 1500
_CHUNK = 32  # files per request
_TIMEOUT_SECONDS = 300.0  # for one chunk
_PACKAGE = Path(__file__).resolve().parents[3]
_START = "from vaekit.pixels.worker import main; main()"


class Task(NamedTuple):
    """A file or frame to decode, and its row in the array."""

    row: int
    frame: int
    span: Readable  #: for a worker, a :class:`~vaekit.pixels.byte_ranges.Span`


class FileResult(NamedTuple):
    """Result of a task, as in :class:`~vaekit.pixels.worker.Written`, with a binary content hash (b"" on failure)."""

    row: int
    content: bytes
    why: str = ""
    lasts: bool = True
    peak: int = EIGHT_BITS
    has_more: bool = False


@dataclass(frozen=True)
class Target:
    """Destination of the pixels, uint8 ``[N, C, H, W]``, and the file it is mapped from if workers can open it."""

    pixels: np.ndarray
    path: Path | None = None
    handles: tuple[int, ...] = ()  #: open file descriptors that spans refer to


#: Batches of results, what a thread raised, and None when a thread has ended.
_Results = Queue[list[FileResult] | BaseException | None]


def decode_all(
    tasks: Iterable[Task], count: int, target: Target, form: Form
) -> Generator[list[FileResult], None, None]:
    """Decode ``count`` tasks and yield batches of results in order of completion."""
    chunks = _Chunks(tasks)
    results: _Results = Queue()
    workers: list[_Worker] = []
    number = max(1, min(cores(), -(-count // _CHUNK)))

    def serve() -> None:
        try:
            decode = _decoder(target, form, workers) if _wants_workers(count, target) else None
            for chunk in chunks:
                results.put(decode(chunk) if decode else _decode_here(chunk, target, form))
        except BaseException as error:
            results.put(error)
        finally:
            results.put(None)

    threads = [threading.Thread(target=serve, daemon=True) for _ in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield from _batches(results, number, workers)
    finally:
        chunks.end()
        for worker in list(workers):
            worker.end()
        for thread in threads:
            thread.join()
        for worker in workers:  # started while the threads were ending
            worker.end()


def _batches(results: _Results, running: int, workers: list[_Worker]) -> Iterator[list[FileResult]]:
    """Yield batches until all ``running`` threads have ended; raises what a thread raised."""
    while running:
        try:
            answer = results.get(timeout=1)
        except Empty:
            for worker in list(workers):
                worker.kill_if_stuck()
            continue
        if isinstance(answer, BaseException):
            raise answer
        if answer is None:
            running -= 1
        else:
            yield answer


def cores() -> int:
    """Return the number of cores this process may use, at most 32, because more would wait for the disk."""
    return min(len(usable_cores()), 32)


def _wants_workers(count: int, target: Target) -> bool:
    is_possible = os.name == "posix" and bool(sys.executable) and not getattr(sys, "frozen", False)
    return is_possible and target.path is not None and count >= _FEWEST_FOR_WORKERS


def _decode_here(chunk: list[Task], target: Target, form: Form) -> list[FileResult]:
    return [_result(task, decode_into(target.pixels[task.row], task.span, task.frame, form)) for task in chunk]


def _result(task: Task, written: Written) -> FileResult:
    return FileResult(task.row, bytes.fromhex(written.content), *written[1:])


class _Chunks:
    """Hands out tasks in chunks to threads."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._tasks, self._lock, self._ended = iter(tasks), threading.Lock(), False

    def __iter__(self) -> Iterator[list[Task]]:
        while True:
            with self._lock:
                chunk = [] if self._ended else list(islice(self._tasks, _CHUNK))
            if not chunk:
                return
            yield chunk

    def end(self) -> None:
        self._ended = True


def _decoder(target: Target, form: Form, workers: list[_Worker]) -> Callable[[list[Task]], list[FileResult]]:
    """Return a function that decodes chunks in its own worker, or in this process if none can be started."""
    current = _Worker.start(target, form, workers)

    def decode(chunk: list[Task]) -> list[FileResult]:
        nonlocal current
        if current is None:
            return _decode_here(chunk, target, form)
        answer = current.decode(chunk)
        if answer is not None:
            return [_result(task, written) for task, written in zip(chunk, answer, strict=True)]
        current.end()
        current = _Worker.start(target, form, workers)
        if len(chunk) == 1:
            return [FileResult(chunk[0].row, b"", "its decoder crashed or did not finish", lasts=False)]
        if current is None:
            raise UserError("cannot start another process to decode images; free some memory and try again")
        return [result for task in chunk for result in decode([task])]

    return decode


class _Worker:
    """A worker process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._busy_since: float | None = None

    @classmethod
    def start(cls, target: Target, form: Form, workers: list[_Worker]) -> _Worker | None:
        """Start a worker and wait for its first answer; None if that fails."""
        paths = [str(_PACKAGE), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        order = {
            "path": str(target.path),
            "shape": target.pixels.shape,
            "size": form.size,
            "rest": [form.channels, form.fit, form.background, form.frames],
        }
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                encoding="utf-8",
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
                pass_fds=target.handles,
            )
        except OSError:
            return None
        worker = cls(process)
        workers.append(worker)
        if worker._send(json.dumps(order)) and worker.decode([]) == []:
            return worker
        worker.end()
        return None

    def decode(self, chunk: list[Task]) -> list[Written] | None:
        """Return the worker's result for each task; None if it has died."""
        line = json.dumps([[task.row, task.frame, task.span] for task in chunk])
        self._busy_since = time.monotonic()
        try:
            answer = self._pipe(self._process.stdout).readline() if self._send(line) else ""
            return [Written(*fields) for fields in json.loads(answer)] if answer.endswith("\n") else None
        except (ValueError, TypeError):  # the worker was killed or sent garbage
            return None
        finally:
            self._busy_since = None

    def kill_if_stuck(self) -> None:
        """Kill the process if it has worked on one chunk for minutes."""
        if self._busy_since is not None and time.monotonic() - self._busy_since > _TIMEOUT_SECONDS:
            self._process.kill()

    def end(self) -> None:
        """Kill the process and drop its current chunk."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):  # unsent data is discarded
                self._pipe(pipe).close()

    def _send(self, line: str) -> bool:
        try:
            pipe = self._pipe(self._process.stdin)
            pipe.write(line + "\n")
            pipe.flush()
        except (OSError, ValueError):
            return False
        return True

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe
