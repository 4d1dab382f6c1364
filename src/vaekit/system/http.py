"""Static files on 127.0.0.1, for a page that runs in the browser of this machine.

The files are listed once, at the start: a request is looked up among their names and never becomes a path, so there is
nothing to walk out of. Only GET and HEAD are answered, and only under a name of this machine, so that no page of
another site reaches it through a name of its own (DNS rebinding).

A browser keeps what a page leaves behind (service workers, caches) per origin, that is per port, and a service worker
answers in place of the server. So each start takes a free port and a random path: what an earlier page has left
does not apply to this one. Requests outside that path tell the browser to drop what it keeps for the port.

A connection has a few seconds to ask and some minutes to take the answer. When all places are taken, the connection
that has been asking longest makes room.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from vaekit.errors import UserError
from vaekit.system.regular_files import is_plain, open_plain

__all__ = ["HEADERS", "HOST", "bind", "files_in", "serve"]

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
_CLEARED = '"cache", "storage"'  # service workers are part of the storage
_AT_ONCE = 128  # connections; others wait in the queue of the system
_WAITING = 2048
_REFUSED_BYTES = 1 << 20
_ASKING_SECONDS = 5.0  # from the connection to the end of the request
_GRACE_SECONDS = 1.0  # the same, where others wait for the place
_ANSWERING_SECONDS = 600.0  # from the connection to the end of the answer
_SILENT_SECONDS = 20  # of a client that takes nothing


def serve(files: Mapping[str, Path], port: int | None = None, ready: Callable[[str], None] = print) -> None:
    """Answers until interrupted; ``ready`` is called with the address of ``index.html``, once it can be opened.

    Args:
        files: what can be asked for, by its name relative to the address.
        port: of 127.0.0.1; None takes any that is free.
        ready: receives the address.

    Raises:
        UserError: if the port is taken.
    """
    with bind(files, port) as server:
        ready(server.address)
        server.serve_forever(poll_interval=0.1)


def bind(files: Mapping[str, Path], port: int | None = None) -> Server:
    """The server of these files, not yet answering; raises :class:`UserError` if ``port`` is taken."""
    try:
        return Server(files, port or 0)
    except OSError as error:
        if port is not None and error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise UserError(f"--port {port} cannot be taken ({error.strerror}); give another, or none") from error
        raise


def files_in(folder: Path) -> dict[str, Path]:
    """The regular files of a folder, by their relative names; links are left out."""
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if is_plain(path)}


class Server(ThreadingHTTPServer):
    """The files under a random path of one port."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = _WAITING

    def __init__(self, files: Mapping[str, Path], port: int) -> None:
        self.root = f"/{secrets.token_urlsafe(12)}/"
        self.files = {self.root + name: path for name, path in files.items()}
        self._places = threading.BoundedSemaphore(_AT_ONCE)
        self._since: dict[socket.socket, float] = {}  #: open connections, the oldest first
        self._answering: set[socket.socket] = set()  #: those whose request is complete
        super().__init__((HOST, port), _Handler)

    @property
    def address(self) -> str:
        """Of the page."""
        return f"http://{HOST}:{self.server_address[1]}{self.root}"

    def process_request(self, request: Any, client_address: Any) -> None:
        while not self._places.acquire(timeout=0.05):
            self._end_late(_GRACE_SECONDS)
        self._since[request] = time.monotonic()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._since.pop(request, None)
            self._answering.discard(request)
            self._places.release()

    def answers(self, request: Any) -> None:
        """Notes that a connection has sent all of its request."""
        self._answering.add(request)

    def service_actions(self) -> None:
        """Called by ``serve_forever`` between connections."""
        self._end_late(_ASKING_SECONDS)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone, or was too slow, is nothing to report."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    def _end_late(self, asking_seconds: float) -> None:
        """Closes connections that take too long; the thread of each then ends by itself."""
        now = time.monotonic()
        for request, since in list(self._since.items()):
            limit = _ANSWERING_SECONDS if request in self._answering else asking_seconds
            if now - since > limit:
                with contextlib.suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """HTTP/1.0: a connection per answer, so that no idle client holds a place."""

    server: Server
    server_version, sys_version = "vaekit", ""
    timeout = _SILENT_SECONDS

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
        self.send_header("Clear-Site-Data", _CLEARED)
        self._send_headers("text/plain; charset=utf-8", len(words))
        if self.command != "HEAD":
            self.wfile.write(words)
        self._take_in()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: the terminal is the user's."""

    def _answer(self, with_body: bool) -> None:
        self.server.answers(self.connection)
        host = self.headers.get("Host", "").rsplit(":", 1)[0]
        if host not in _NAMES:
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return
        path = self._asked_for()
        try:
            file = None if path is None else open_plain(path)
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

    def _asked_for(self) -> Path | None:
        if "Service-Worker" in self.headers:  # sent with the script of one alone; the page has none
            return None
        name = unquote(self.path.partition("?")[0], errors="replace")
        return self.server.files.get(name + "index.html" if name == self.server.root else name)

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
