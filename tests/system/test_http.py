"""The server of the explorer: it answers only GET and HEAD for a list of files, and only on this machine."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPResponse

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vaekit.errors import UserError
from vaekit.system import http as serving
from vaekit.system.http import HEADERS, bind, files_in

SECRET = b"nobody is to read this"


FAILURES: list[str] = []  #: of the server itself, not of a client that has gone
ROOT: dict[int, str] = {}  #: the random path of the server of a port, without the last slash


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    around = tmp_path_factory.mktemp("around")
    (around / "secret.txt").write_bytes(SECRET)
    folder = around / "site"
    (folder / "model").mkdir(parents=True)
    (folder / "index.html").write_text("<h1>hello</h1>")
    (folder / "model" / "a b.bin").write_bytes(bytes(range(256)) * 4096)
    (folder / "empty.json").write_bytes(b"")
    (folder / "link.txt").symlink_to(around / "secret.txt")
    (folder / "out").symlink_to(around, target_is_directory=True)
    with bind(files_in(folder)) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "http.server.ThreadingHTTPServer.handle_error", lambda *_: FAILURES.append(traceback.format_exc())
        )
        ROOT[server.server_address[1]] = server.root.rstrip("/")
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    connection.putrequest(method, ROOT[port] + path, skip_host="Host" in headers, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def raw(port: int, request: bytes) -> bytes:
    """Return the answer to invalid requests."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_files_come_with_their_kind_and_with_the_headers(port: int) -> None:
    for path, kind, body in [
        ("/", "text/html; charset=utf-8", b"<h1>hello</h1>"),
        ("/index.html?x=1", "text/html; charset=utf-8", b"<h1>hello</h1>"),
        ("/model/a%20b.bin", "application/octet-stream", bytes(range(256)) * 4096),
        ("/empty.json", "application/json", b""),
    ]:
        answer, found = ask(port, path)
        assert (answer.status, answer.headers["Content-Type"], found) == (200, kind, body)
        assert int(answer.headers["Content-Length"]) == len(body)
        assert HEADERS.items() <= dict(answer.headers).items()
        answer, found = ask(port, path, "HEAD")
        assert (answer.status, found, int(answer.headers["Content-Length"])) == (200, b"", len(body))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "FOO"])
def test_other_methods_are_refused(port: int, method: str) -> None:
    answer, _ = ask(port, "/", method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


def test_a_refused_request_with_a_body_is_answered(port: int) -> None:
    body = b"x" * 500_000
    request = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert b" 405 " in raw(port, request + body).split(b"\r\n")[0]


def test_a_name_that_is_not_of_this_machine_is_refused(port: int) -> None:
    for host in ("evil.example", f"evil.example:{port}", "", "127.0.0.1.evil.example"):
        assert ask(port, "/", Host=host)[0].status == 421
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", "localhost", "127.0.0.1"):
        assert ask(port, "/", Host=host)[0].status == 200
    assert b" 421 " in raw(port, b"GET / HTTP/1.0\r\n\r\n").split(b"\r\n")[0]


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/..%2fsecret.txt",
        "/%2e%2e/secret.txt",
        "/%2e%2e%2fsecret.txt",
        "/%252e%252e/secret.txt",
        "/model/../../secret.txt",
        "/model/..%5c..%5csecret.txt",
        "/..\\secret.txt",
        "//secret.txt",
        "/./../secret.txt",
        "/%c0%ae%c0%ae/secret.txt",
        "/\uff0e\uff0e/secret.txt".encode().decode("latin-1"),
        "/link.txt",
        "/out/secret.txt",
        "/model",
        "/model/",
        "/index.html/",
        "/index.html%00.png",
        "/%",
        "/%zz",
        "/" + "a" * 5000,
        "http://127.0.0.1/../secret.txt",
        "../secret.txt",
        "*",
    ],
)
def test_nothing_outside_is_reached(port: int, path: str) -> None:
    for root in ("", ROOT[port] if path.startswith("/") else ""):
        answer = raw(port, f"GET {root}{path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode("latin-1"))
        assert SECRET not in answer
        assert answer.split(b" ", 2)[1] in (b"404", b"400", b"414")


def test_each_start_has_a_path_of_its_own_and_answers_under_it_alone(port: int) -> None:
    with bind({}) as other:
        assert len(other.root) > 12 and other.root != ROOT[port] + "/"
    for path in ("/", "/index.html", "/model/a%20b.bin", "/sw.js"):
        answer = raw(port, f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        assert b" 404 " in answer and b'Clear-Site-Data: "cache", "storage"' in answer
    assert "Clear-Site-Data" not in ask(port, "/")[0].headers  # the page keeps its own settings while it is open


def test_no_service_worker_is_given_its_script(port: int) -> None:
    assert ask(port, "/index.html")[0].status == 200
    assert ask(port, "/index.html", **{"Service-Worker": "script"})[0].status == 404


@given(st.binary(max_size=200))
@example(b"\x00" * 10)
@example(b"GET")
@example(b"GET / HTTP/9.9\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"a: b\r\n" * 200 + b"\r\n")
@example(b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n")
def test_no_request_ends_the_server(port: int, request_: bytes) -> None:
    assert SECRET not in raw(port, request_)
    assert ask(port, "/")[0].status == 200
    assert FAILURES == []


def test_a_thousand_at_once_are_all_answered(port: int) -> None:
    together = threading.Barrier(100)

    def visit(i: int) -> bytes:
        if i < 100:
            together.wait(30)
        return ask(port, "/model/a%20b.bin" if i % 10 == 0 else "/")[1]

    with ThreadPoolExecutor(100) as pool:
        found = list(pool.map(visit, range(1000)))
    assert {len(body) for i, body in enumerate(found) if i % 10 == 0} == {256 * 4096}
    assert {body for i, body in enumerate(found) if i % 10} == {b"<h1>hello</h1>"}


def test_slow_connections_hold_up_nobody(port: int) -> None:
    """More clients than connections, each sending a byte now and then."""
    slow = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(serving._MOST_CONNECTIONS + 40)]
    dripping = threading.Event()

    def drip() -> None:
        while not dripping.wait(0.1):
            for each in slow:
                with contextlib.suppress(OSError):
                    each.send(b"G")

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        begun = time.monotonic()
        assert ask(port, "/")[0].status == 200
        assert time.monotonic() - begun < 3 * serving._CROWDED_REQUEST_SECONDS
    finally:
        dripping.set()
        thread.join()
        for each in slow:
            each.close()


def test_a_connection_has_only_so_long_to_ask(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_REQUEST_SECONDS", 0.3)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as slow:
        begun = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - begun < 10:
                slow.send(b"G")
                time.sleep(0.05)
        assert time.monotonic() - begun < 5


def test_it_listens_to_this_machine_alone(port: int) -> None:
    with bind({}) as other:
        assert other.server_address[0] == "127.0.0.1"
        with pytest.raises(UserError, match="port .* is not available"):
            bind({}, other.server_address[1])
