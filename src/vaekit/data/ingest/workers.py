"""Decoding many files at once, by threads or by worker processes, whichever is faster for so many.

Threads cost nothing to start and wait for each other wherever Python runs; workers take a fifth of a second to start
and then use every core. So few files are given to threads, many to workers.
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
from vaekit.pixels.deep import EIGHT_BITS
from vaekit.pixels.form import Form
from vaekit.pixels.spans import Readable
from vaekit.pixels.worker import Written, decode_into
from vaekit.system.machine_load import usable_cores

__all__ = ["Found", "Target", "Task", "cores", "decode_all"]

_FEWEST_FOR_WORKERS = 1500
_CHUNK = 32  # files asked for at once
_PATIENCE_SECONDS = 300.0  # with one chunk
_PACKAGE = Path(__file__).resolve().parents[3]
_START = "from vaekit.pixels.worker import main; main()"


class Task(NamedTuple):
    """A file, or a frame of it, and the row of the array it goes to."""

    row: int
    frame: int
    span: Readable  #: of a worker, a :class:`~vaekit.pixels.spans.Span`


class Found(NamedTuple):
    """What came of a task, as in :class:`~vaekit.pixels.worker.Written`; the content is 32 bytes, or b''."""

    row: int
    content: bytes
    why: str = ""
    lasts: bool = True
    peak: int = EIGHT_BITS
    has_more: bool = False


@dataclass(frozen=True)
class Target:
    """Where the pixels go: uint8 [N, C, H, W], and the file it is mapped from, if others can open it."""

    pixels: np.ndarray
    path: Path | None = None
    handles: tuple[int, ...] = ()  #: open files that spans name by number


def decode_all(tasks: Iterable[Task], count: int, target: Target, form: Form) -> Generator[list[Found], None, None]:
    """Decodes ``count`` tasks; yields what came of them, some at a time, in the order in which they are done."""
    chunks = _Chunks(tasks)
    found: Queue[list[Found] | BaseException | None] = Queue()
    workers: list[_Worker] = []
    number = max(1, min(cores(), -(-count // _CHUNK)))

    def serve() -> None:
        try:
            decode = _asker(target, form, workers) if _wants_workers(count, target) else None
            for chunk in chunks:
                found.put(decode(chunk) if decode else _decode_here(chunk, target, form))
        except BaseException as error:
            found.put(error)
        finally:
            found.put(None)

    threads = [threading.Thread(target=serve, daemon=True) for _ in range(number)]
    for thread in threads:
        thread.start()
    try:
        running = number
        while running:
            try:
                answer = found.get(timeout=1)
            except Empty:
                for worker in list(workers):
                    worker.end_if_stuck()
                continue
            if isinstance(answer, BaseException):
                raise answer
            if answer is None:
                running -= 1
            else:
                yield answer
    finally:
        chunks.end()
        for worker in list(workers):
            worker.end()
        for thread in threads:
            thread.join()
        for worker in workers:  # one may have been started meanwhile
            worker.end()


def cores() -> int:
    """How many this process may use, at most 32: more would wait for the disk."""
    return min(len(usable_cores()), 32)


def _wants_workers(count: int, target: Target) -> bool:
    is_possible = os.name == "posix" and bool(sys.executable) and not getattr(sys, "frozen", False)
    return is_possible and target.path is not None and count >= _FEWEST_FOR_WORKERS


def _decode_here(chunk: list[Task], target: Target, form: Form) -> list[Found]:
    return [_found(task, decode_into(target.pixels[task.row], task.span, task.frame, form)) for task in chunk]


def _found(task: Task, written: Written) -> Found:
    return Found(task.row, bytes.fromhex(written.content), *written[1:])


class _Chunks:
    """Tasks handed out in pieces to whichever thread asks."""

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


def _asker(target: Target, form: Form, workers: list[_Worker]) -> Callable[[list[Task]], list[Found]]:
    """What decodes a chunk in a worker of its own; in this process where none can be started."""
    current = _Worker.start(target, form, workers)

    def ask(chunk: list[Task]) -> list[Found]:
        nonlocal current
        if current is None:
            return _decode_here(chunk, target, form)
        answer = current.ask(chunk)
        if answer is not None:
            return [_found(task, said) for task, said in zip(chunk, answer, strict=True)]
        current.end()
        current = _Worker.start(target, form, workers)
        if len(chunk) == 1:
            return [Found(chunk[0].row, b"", "its decoder crashed, or did not come to an end", lasts=False)]
        if current is None:
            raise UserError("no process can be started any more to decode images; free some memory and try again")
        return [found for task in chunk for found in ask([task])]

    return ask


class _Worker:
    """A process that decodes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._asked: float | None = None  # when, while it works

    @classmethod
    def start(cls, target: Target, form: Form, workers: list[_Worker]) -> _Worker | None:
        """A worker that has answered once; None if none can be started."""
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
        if worker._send(json.dumps(order)) and worker.ask([]) == []:
            return worker
        worker.end()
        return None

    def ask(self, chunk: list[Task]) -> list[Written] | None:
        """What the worker says of each task; None if it has died."""
        line = json.dumps([[task.row, task.frame, task.span] for task in chunk])
        self._asked = time.monotonic()
        try:
            answer = self._pipe(self._process.stdout).readline() if self._send(line) else ""
            return [Written(*said) for said in json.loads(answer)] if answer.endswith("\n") else None
        except (ValueError, TypeError):  # it was ended, or says what no worker says
            return None
        finally:
            self._asked = None

    def end_if_stuck(self) -> None:
        """Ends a process that has been at one piece of work for minutes."""
        if self._asked is not None and time.monotonic() - self._asked > _PATIENCE_SECONDS:
            self._process.kill()

    def end(self) -> None:
        """Ends the process; what it was at is lost."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):  # what was to be sent has nowhere to go
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
