"""A folder of static files on 127.0.0.1, for a page that runs in the browser of this machine.

What can be asked for is listed once, at the start: a request is looked up among those names and never becomes a path,
so there is nothing to walk out of. Only GET and HEAD are answered, and only under a name of this machine, so that no
page of another site reaches it through a name of its own (DNS rebinding). Who else uses this machine can ask, too.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from vaekit.errors import UserError

__all__ = ["HEADERS", "HOST", "bind", "serve"]

HOST = "127.0.0.1"

#: Sent with everything: the page may load what is here and nothing else, and its threads may share memory.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}

_TYPES = {
    ".bin": "application/octet-stream",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".onnx": "application/octet-stream",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".webp": "image/webp",
}
_NAMES = ("127.0.0.1", "localhost")
_AT_ONCE = 32  # answers; further requests wait in the queue of the system
_WAITING = 2048
_REFUSED_BYTES = 1 << 20
_PATIENCE_SECONDS = 20  # for a client that says or takes nothing


def serve(folder: Path, port: int | None = None, ready: Callable[[str], None] = print) -> None:
    """Answers until interrupted. ``ready`` is told the address, once it can be opened.

    ``port``: the one to take, or the usual one where it is free, else any. Raises :class:`UserError` if the port asked
    for is taken.
    """
    with bind(folder, port) as server:
        ready(f"http://{HOST}:{server.server_address[1]}/")
        server.serve_forever(poll_interval=0.1)


def bind(folder: Path, port: int | None = None) -> ThreadingHTTPServer:
    """The server of a folder, not yet answering."""
    files = {f"/{path.relative_to(folder).as_posix()}": path for path in folder.rglob("*") if _is_plain(path)}
    for wanted in (8642, 0) if port is None else (port,):
        try:
            return _Server(files, wanted)
        except OSError as error:
            if port is not None and error.errno in (errno.EADDRINUSE, errno.EACCES):
                raise UserError(f"--port {port} cannot be taken ({error.strerror}); give another, or none") from error
            if wanted == 0 or error.errno != errno.EADDRINUSE:
                raise
    raise AssertionError("the last port is any that is free")


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = _WAITING

    def __init__(self, files: Mapping[str, Path], port: int) -> None:
        self.files = files
        self._places = threading.BoundedSemaphore(_AT_ONCE)
        super().__init__((HOST, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._places.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is nothing to tell of."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """HTTP/1.0: a connection per answer, so that no idle client holds a place."""

    server: _Server
    server_version, sys_version = "vaekit", ""
    timeout = _PATIENCE_SECONDS

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """One line of text, never what was asked for."""
        if code == HTTPStatus.NOT_IMPLEMENTED:  # of a method that there is no function for
            code = HTTPStatus.METHOD_NOT_ALLOWED
        words = f"{int(code)} {HTTPStatus(code).phrase}\n".encode()
        self.send_response(code)
        if code == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self._send_headers("text/plain; charset=utf-8", len(words))
        if self.command != "HEAD":
            self.wfile.write(words)
        self._take_in()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: the terminal is the user's."""

    def _answer(self, with_body: bool) -> None:
        host = self.headers.get("Host", "").rsplit(":", 1)[0]
        if host not in _NAMES:
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return
        name = unquote(self.path.partition("?")[0], errors="replace")
        path = self.server.files.get("/index.html" if name == "/" else name)
        try:
            file = None if path is None else open(path, "rb")  # noqa: SIM115  (closed below, errors are answered)
        except OSError:
            file = None
        if path is None or file is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        with file:
            self.send_response(HTTPStatus.OK)
            self._send_headers(_TYPES.get(path.suffix, "application/octet-stream"), os.fstat(file.fileno()).st_size)
            if with_body:
                self.connection.sendfile(file)

    def _take_in(self) -> None:
        """What came with a request that is refused: closing before it is read would throw away the answer."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(0.2)
            left = _REFUSED_BYTES
            while left > 0 and (data := self.connection.recv(65536)):
                left -= len(data)

    def _send_headers(self, kind: str, length: int) -> None:
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
