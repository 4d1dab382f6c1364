"""Datasets that are downloaded by name: what can go wrong on the network, and the reader of CIFAR-10."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import struct
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vaekit as vk
from vaekit.data import Form, open_images, peek
from vaekit.data.sources.download import Download
from vaekit.data.sources.known import KNOWN, KnownSet
from vaekit.errors import UserError
from vaekit.system.drafts import is_draft


class Server(ThreadingHTTPServer):
    """Serves ``files`` by path, with a length only if ``lengths`` has one; counts requests."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.lengths: dict[str, int] = {}
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def place(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name = self.path.strip("/")
        self.server.asked.append(name)
        if name not in self.server.files:
            self.send_error(404)
            return
        self.send_response(200)
        if name in self.server.lengths:
            self.send_header("Content-Length", str(self.server.lengths[name]))
        self.end_headers()
        self.wfile.write(self.server.files[name])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of a tiny mnist and cifar10, which the table points to, and an empty cache."""
    monkeypatch.setenv("VAEKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with Server() as running:
        running.files = {**mnist_files(), "cifar-10-binary.tar.gz": cifar_archive()}
        for name in ("mnist", "cifar10"):
            monkeypatch.setitem(KNOWN, name, served(running, name))
        monkeypatch.setitem(KNOWN, "fashion-mnist", KnownSet(KNOWN["mnist"].files, KNOWN["fashion-mnist"].classes))
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


def served(server: Server, title: str) -> KnownSet:
    """Return the row of the table for the server's current content."""
    names = [name for name in server.files if name.startswith("cifar") == (title == "cifar10")]
    known = {name: hashlib.sha256(server.files[name]).hexdigest() for name in names}
    return KnownSet(tuple(Download(n, len(server.files[n]), known[n], (server.place + n,)) for n in names))


def idx(array: np.ndarray) -> bytes:
    return gzip.compress(struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes())


def mnist_files() -> dict[str, bytes]:
    noise = np.random.default_rng(0).integers(0, 256, (25, 8, 8), dtype=np.uint8)
    digits = np.arange(25, dtype=np.uint8) % 10
    return {
        "train-images-idx3-ubyte.gz": idx(noise[:20]),
        "train-labels-idx1-ubyte.gz": idx(digits[:20]),
        "t10k-images-idx3-ubyte.gz": idx(noise[20:]),
        "t10k-labels-idx1-ubyte.gz": idx(digits[20:]),
    }


def cifar_records(seed: int, count: int) -> np.ndarray:
    records = np.random.default_rng(seed).integers(0, 256, (count, 3073), dtype=np.uint8)
    records[:, 0] = np.arange(count) % 3
    return records


def cifar_archive(**replaced: bytes) -> bytes:
    files = {f"data_batch_{i}": cifar_records(i, 6).tobytes() for i in (10, 2, 1)}
    files |= {"test_batch": cifar_records(0, 4).tobytes()} | replaced
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, data in [("batches.meta.txt", b"plane\ncar\nbird\n\n"), *((f"{n}.bin", d) for n, d in files.items())]:
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def cached(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file())


def test_the_table() -> None:
    assert list(KNOWN) == ["mnist", "fashion-mnist", "cifar10"]
    for known in KNOWN.values():
        for file in known.files:
            assert len(bytes.fromhex(file.sha256)) == 32 and file.size_bytes > 4000
            assert all(url.startswith("http") and url.endswith("/" + file.name) for url in file.urls)
    assert sum(file.size_bytes for file in KNOWN["mnist"].files) == 11_594_722
    assert len(KNOWN["fashion-mnist"].classes) == 10


def test_fetched_once_and_said_first(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = open_images("mnist")
    said = capsys.readouterr().err
    assert said.startswith("mnist: downloading 0.0 MB from http://127.0.0.1") and str(tmp_path / "cache") in said
    assert len(server.asked) == 4 and cached(tmp_path) == sorted(mnist_files())
    assert images.source == "mnist" and (images.parts == 2).sum() == 5 and images.classes[9] == "9"
    assert open_images("mnist").fingerprint == images.fingerprint
    assert peek("mnist")[1] == 25
    assert len(server.asked) == 4 and capsys.readouterr().err == ""


def test_classes_have_their_names(server: Server) -> None:
    images, plain = open_images("fashion-mnist"), open_images("mnist")
    assert images.classes[:2] == ("T-shirt/top", "Trouser") and images.labels.equal(plain.labels)
    assert len(images.select("label:Ankle boot")) == 2


@pytest.mark.parametrize("title", ["mnist", "fashion-mnist"])
def test_a_damaged_or_left_over_file_in_the_cache_is_fetched_again(server: Server, tmp_path: Path, title: str) -> None:
    whole = open_images(title).fingerprint
    folder = tmp_path / "cache" / "downloads" / title
    name = "train-images-idx3-ubyte.gz"
    os.truncate(folder / name, 100)
    (folder / f".{name}.part").write_bytes(bytes(10**6))
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(bytes(len(server.files["t10k-labels-idx1-ubyte.gz"])))
    server.asked.clear()
    assert open_images(title).fingerprint == whole
    assert server.asked == [name, "t10k-labels-idx1-ubyte.gz"]
    assert cached(tmp_path) == sorted(mnist_files())


def longer(server: Server, name: str) -> None:
    server.files[name] += b"more"


def longer_and_says_so(server: Server, name: str) -> None:
    longer(server, name)
    server.lengths[name] = len(server.files[name])


def cut_off(server: Server, name: str) -> None:
    server.files[name] = server.files[name][:-50]


def cut_off_unsaid(server: Server, name: str) -> None:
    server.lengths[name] = len(server.files[name])
    cut_off(server, name)


def another(server: Server, name: str) -> None:
    server.files[name] = bytes(len(server.files[name]))


def gone(server: Server, name: str) -> None:
    del server.files[name]


def no_server(server: Server, name: str) -> None:
    server.server_close()
    server.shutdown()


FAULTS = {
    longer: "it has more than the",
    longer_and_says_so: "bytes, expected",
    cut_off: "it ended after",
    cut_off_unsaid: "it ended after",
    another: "its SHA-256 differs from the expected one",
    gone: "HTTP 404",
    no_server: "refused",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("command", ["data mnist", "train mnist --out run", "train mnist --out run --dry-run"])
def test_what_the_network_does_is_one_sentence(
    server: Server, tmp_path: Path, vaekit: Callable, fault: Callable, command: str
) -> None:
    fault(server, "train-images-idx3-ubyte.gz")
    answer = vaekit(*command.split())
    first, last = answer.err.splitlines()
    assert (answer.code, answer.out) == (2, "")
    assert first.startswith("mnist: downloading")
    assert last.startswith("vaekit: mnist: cannot download train-images-idx3-ubyte.gz (127.0.0.1:")
    assert FAULTS[fault] in last and "use that instead" in last and len(last) < 500
    assert cached(tmp_path) == [] and not Path("run").exists()


def test_the_second_address_is_tried(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    files = KNOWN["mnist"].files
    twice = [Download(f.name, f.size_bytes, f.sha256, (server.place + "gone/" + f.name, *f.urls)) for f in files]
    monkeypatch.setitem(KNOWN, "mnist", KnownSet(tuple(twice)))
    assert len(open_images("mnist")) == 25 and len(server.asked) == 8


def test_no_more_than_is_known_is_taken(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "t10k-labels-idx1-ubyte.gz"
    written: list[int] = []
    server.files[name] += bytes(10**6)
    monkeypatch.setattr("os.fsync", lambda number: written.append(os.fstat(number).st_size))
    with pytest.raises(UserError, match="it has more than the"):
        open_images("mnist")
    assert written == [f.size_bytes for f in KNOWN["mnist"].files if f.name != name]


def test_a_disk_that_refuses(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match=r"cannot write .*train-images-idx3-ubyte.gz \(No space left"):
        open_images("mnist")
    assert cached(tmp_path) == []
    monkeypatch.setenv("VAEKIT_CACHE", str(tmp_path / "here" / "file"))
    Path("file").write_text("")
    with pytest.raises(UserError, match="cannot write .*set VAEKIT_CACHE"):
        open_images("mnist")


KILLED = """
import os, sys
from vaekit.data import open_images
from vaekit.data.sources import download
from vaekit.data.sources.download import Download
from vaekit.data.sources.known import KNOWN, KnownSet
name, size, sha, url = sys.argv[1:]
KNOWN["cifar10"] = KnownSet((Download(name, int(size), sha, (url,)),))
real, calls = download._blocks, iter(range(100))
download._BLOCK_BYTES = 1000
def dying(*arguments):
    for number, block in enumerate(real(*arguments)):
        if number == 5: os.kill(os.getpid(), 9)
        yield block
download._blocks = dying
open_images("cifar10")
"""


def test_a_killed_download_is_no_file(server: Server, tmp_path: Path) -> None:
    (file,) = KNOWN["cifar10"].files
    words = [sys.executable, "-c", KILLED, file.name, str(file.size_bytes), file.sha256, *file.urls]
    environment = os.environ | {"PYTHONPATH": str(Path(vk.__file__).parents[1])}
    assert subprocess.run(words, env=environment, capture_output=True, timeout=120, check=False).returncode == -9
    folder = tmp_path / "cache" / "downloads" / "cifar10"
    assert not (folder / file.name).exists() and any(map(is_draft, folder.iterdir()))
    assert len(open_images("cifar10")) == 22
    assert cached(tmp_path) == [file.name]


def test_two_at_once_fetch_once(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    get, found = Handler.do_GET, []

    def slow(self: Handler) -> None:
        time.sleep(0.1)
        get(self)

    Handler.do_GET = slow
    try:
        threads = [threading.Thread(target=lambda: found.append(len(open_images("mnist")))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        Handler.do_GET = get
    assert found == [25, 25] and len(server.asked) == 4


def test_what_lies_here_comes_first(server: Server) -> None:
    Path("mnist").mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save("mnist/a.png")
    images = open_images("mnist")
    assert images.source == str(Path("mnist").resolve()) and any("the local path" in note for note in images.notes)
    assert len(peek("mnist")[0]) == 1 and server.asked == []


def test_names_that_are_nearly_right(server: Server) -> None:
    with pytest.raises(UserError, match="did you mean the set 'fashion-mnist'"):
        open_images("fashon-mnist")
    with pytest.raises(UserError, match="used as a whole; write mnist"):
        open_images("mnist:500")
    assert server.asked == []


def test_a_run_opens_its_set_again(server: Server, tmp_path: Path) -> None:
    run = vk.train("mnist", "ae", tmp_path / "run", images=20, settings={"width": "8"}, quiet=True)
    assert run.config.data.source == "mnist" and len(run.images("test")) == 5
    assert len(server.asked) == 4


def test_cifar_is_read_as_it_is_written(server: Server, tmp_path: Path) -> None:
    images = open_images("cifar10")
    assert images.shape == (3, 32, 32) and images.classes == ("plane", "car", "bird") and len(images) == 22
    records = np.concatenate([cifar_records(batch, count) for batch, count in ((1, 6), (2, 6), (10, 6), (0, 4))])
    assert (images.pixels.numpy().reshape(22, -1) == records[:, 1:]).all()
    assert images.labels.tolist() == records[:, 0].tolist()
    assert images.names[17:19] == ("train/000017", "test/000000") and (images.parts == 2).sum() == 4
    (tmp_path / "c.tar.gz").write_bytes(cifar_archive())
    assert open_images(tmp_path / "c.tar.gz").fingerprint == images.fingerprint
    assert open_images("cifar10", size=8, channels=1).shape == (1, 8, 8)
    assert peek(tmp_path / "c.tar.gz", Form((8, 8)))[1:] == (22, int((images.parts == 0).sum()), False)


@pytest.mark.parametrize(
    ("replaced", "said"),
    [
        ({"data_batch_2": bytes(3072)}, "data_batch_2.bin has 3,072 bytes, expected a multiple of 3,073"),
        ({"test_batch": b""}, "test_batch.bin has 0 bytes"),
        ({"test_batch": bytes([3]) + bytes(3072)}, "test_batch.bin has class 3, but batches.meta.txt has only 3"),
    ],
)
def test_cifar_that_is_damaged(replaced: dict[str, bytes], said: str, tmp_path: Path) -> None:
    (tmp_path / "c.tar.gz").write_bytes(cifar_archive(**replaced))
    with pytest.raises(UserError, match=said):
        open_images(tmp_path / "c.tar.gz")
