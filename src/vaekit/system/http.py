"""Serve static files on 127.0.0.1 to a browser on this machine.

The files are listed once, at the start. A request is looked up by name and never becomes a path, so path traversal is
impossible. Only GET and HEAD are answered, and only if the Host header names this machine, which prevents DNS
rebinding.

Browsers keep service workers and caches per origin, and a service worker answers in place of the server. Each start
therefore uses a free port and a random path, so that nothing left behind by an earlier page applies. Requests outside
that path are answered with a header that clears the browser's storage for the port.

A client has a few seconds to send its request and a few minutes to receive the answer. When all connections are in use,
the client that has been sending its request for longest is disconnected.
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

from vaekit.errors import UserError, argument
from vaekit.system.regular_files import is_plain, open_plain

__all__ = ["HEADERS", "HOST", "bind", "files_in", "serve"]

HOST = "127.0.0.1"

#: Sent with every response. The page may load files from this server only, and its threads may share memory.
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
_MOST_CONNECTIONS = 128  # more of them wait in the backlog
_BACKLOG = 2048
_REFUSED_BYTES = 1 << 20
_REQUEST_SECONDS = 5.0  # from the connection to the end of the request
_CROWDED_REQUEST_SECONDS = 1.0  # the same, while other clients wait for a connection
_ANSWER_SECONDS = 600.0  # from the connection to the end of the answer
_IDLE_SECONDS = 20  # without progress of a transfer


def serve(files: Mapping[str, Path], port: int | None = None, ready: Callable[[str], None] = print) -> None:
    """Serve ``files`` until interrupted.

    Args:
        files: Paths by the name under which they are served, relative to the address.
        port: Port on 127.0.0.1. None chooses a free one.
        ready: Called with the address of ``index.html`` once the server accepts connections.

    Raises:
        UserError: If the port is in use.
    """
    with bind(files, port) as server:
        ready(server.address)
        server.serve_forever(poll_interval=0.1)


def bind(files: Mapping[str, Path], port: int | None = None) -> Server:
    """Create the server without starting it; raises :class:`UserError` if ``port`` is in use."""
    try:
        return Server(files, port or 0)
    except OSError as error:
        if port is not None and error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise UserError(
                f"{argument('port')} {port} is not available ({error.strerror}); choose another, or omit it"
            ) from error
        raise


def files_in(folder: Path) -> dict[str, Path]:
    """Return the regular files below ``folder`` by relative name. Symbolic links are skipped."""
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if is_plain(path)}


class Server(ThreadingHTTPServer):
    """An HTTP server whose files are under a random path."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = _BACKLOG

    def __init__(self, files: Mapping[str, Path], port: int) -> None:
        self.root = f"/{secrets.token_urlsafe(12)}/"
        self.files = {self.root + name: path for name, path in files.items()}
        self._connections = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self._since: dict[socket.socket, float] = {}  #: open connections, oldest first
        self._answering: set[socket.socket] = set()  #: connections whose request is complete
        super().__init__((HOST, port), _Handler)

    @property
    def address(self) -> str:
        """URL of the page."""
        return f"http://{HOST}:{self.server_address[1]}{self.root}"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Wait for a free connection, then answer in a thread."""
        while not self._connections.acquire(timeout=0.05):
            self._close_slow(_CROWDED_REQUEST_SECONDS)
        self._since[request] = time.monotonic()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer one request and free its connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._since.pop(request, None)
            self._answering.discard(request)
            self._connections.release()

    def answers(self, request: Any) -> None:
        """Mark the request of a connection as complete."""
        self._answering.add(request)

    def service_actions(self) -> None:
        """Close slow connections; ``serve_forever`` calls this between connections."""
        self._close_slow(_REQUEST_SECONDS)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report an error, unless the client disconnected or timed out."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    def _close_slow(self, request_seconds: float) -> None:
        """Close the connections that exceed their time limit; the thread of each then ends by itself."""
        now = time.monotonic()
        for request, since in list(self._since.items()):
            limit = _ANSWER_SECONDS if request in self._answering else request_seconds
            if now - since > limit:
                with contextlib.suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """HTTP/1.0, one connection per answer, so that idle clients hold no connections."""

    server: Server
    server_version, sys_version = "vaekit", ""
    timeout = _IDLE_SECONDS

    def do_GET(self) -> None:
        """Answer a GET request."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Answer a HEAD request."""
        self._answer(with_body=False)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Send a status line as plain text, without echoing the request."""
        if code == HTTPStatus.NOT_IMPLEMENTED:  # the handler has no method for this verb
            code = HTTPStatus.METHOD_NOT_ALLOWED
        body = f"{int(code)} {HTTPStatus(code).phrase}\n".encode()
        self.send_response(code)
        if code == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.send_header("Clear-Site-Data", _CLEARED)
        self._send_headers("text/plain; charset=utf-8", len(body))
        if self.command != "HEAD":
            self.wfile.write(body)
        self._drain()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log nothing: the terminal belongs to the user."""

    def _answer(self, with_body: bool) -> None:
        self.server.answers(self.connection)
        host = self.headers.get("Host", "").rsplit(":", 1)[0]
        if host not in _NAMES:
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return
        path = self._requested_path()
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

    def _requested_path(self) -> Path | None:
        if "Service-Worker" in self.headers:  # sent only to fetch a service worker script; the page has none
            return None
        name = unquote(self.path.partition("?")[0], errors="replace")
        return self.server.files.get(name + "index.html" if name == self.server.root else name)

    def _drain(self) -> None:
        """Read the body of a refused request, because closing the connection early would discard the answer."""
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
