"""Datasets larger than memory: mapped files contain the same images, and leave nothing behind."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from vaekit.data import Images, Selection, open_images
from vaekit.data.convert import bytes_from_unit
from vaekit.data.ingest import mapped as scratch
from vaekit.errors import UserError

LIMIT = "VAEKIT_MAPPED_ABOVE_BYTES"


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder, with every array of more than a hundred bytes mapped."""
    monkeypatch.setenv(LIMIT, "100")
    monkeypatch.setenv("VAEKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def a_folder(folder: Path) -> Path:
    for index, pixels in enumerate(noise(20, 12, 10, 3)):
        path = folder / "photos" / "ab"[index % 2] / f"{index:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    (folder / "photos" / "a" / "broken.png").write_bytes(b"")
    return folder / "photos"


def an_archive(folder: Path) -> Path:
    with tarfile.open(folder / "photos.tar.gz", "w:gz") as archive:
        archive.add(a_folder(folder), "photos")
    return folder / "photos.tar.gz"


def saved(array: np.ndarray, folder: Path) -> Path:
    np.save(folder / "images.npy", array)
    return folder / "images.npy"


def an_idx(folder: Path) -> Path:
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(bytes([0, 0, 8, 3, 0, 0, 0, 12, 0, 0, 0, 8, 0, 0, 0, 8]) + noise(12, 8, 8).tobytes())
    return path


def an_npz(folder: Path) -> Path:
    np.savez(folder / "images.npz", x_train=noise(12, 8, 8), x_test=noise(5, 8, 8))
    return folder / "images.npz"


SOURCES: dict[str, tuple[Callable[[Path], object], dict]] = {
    "folder": (a_folder, {}),
    "folder, cut": (a_folder, {"size": 8, "channels": 1}),
    "archive": (an_archive, {"size": 8}),
    "portraits": (lambda _: "portraits:70", {"size": 8}),
    "gray portraits": (lambda _: "portraits:3", {"size": 8, "channels": 1}),
    "digits in three channels": (lambda _: "digits", {"channels": 3}),
    "npy": (lambda folder: saved(noise(12, 8, 8), folder), {}),
    "npy, one channel last": (lambda folder: saved(noise(12, 8, 8, 1), folder), {}),
    "npy, color": (lambda folder: saved(noise(12, 8, 8, 3), folder), {}),
    "npy, columns first": (lambda folder: saved(np.asfortranarray(noise(12, 8, 8)), folder), {}),
    "npy, floats": (lambda folder: saved(noise(12, 8, 8, 3) / np.float32(255), folder), {"size": 6}),
    "npz": (an_npz, {}),
    "idx": (an_idx, {}),
    "mirrored array": (lambda _: noise(12, 8, 8)[::-1, :, ::-1], {}),
    "read-only array": (lambda _: np.broadcast_to(noise(1, 8, 8), (12, 8, 8)), {}),
    "turned tensor": (lambda _: torch.from_numpy(noise(12, 8, 8, 3)).permute(0, 3, 1, 2), {}),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", SOURCES)
def test_the_same_images_in_a_mapped_file(kind: str, cache: Path, tmp_path: Path, monkeypatch) -> None:
    make, options = SOURCES[kind]
    source = make(tmp_path)
    mapped = open_images(source, **options)
    monkeypatch.delenv(LIMIT)
    plain = open_images(source, **options)
    assert mapped.is_mapped and not plain.is_mapped
    assert mapped.pixels.equal(plain.pixels) and mapped.fingerprint == plain.fingerprint
    assert (mapped.names, mapped.skipped) == (plain.names, plain.skipped)
    assert not cache.exists() or not list(cache.iterdir())


@pytest.mark.filterwarnings("error")
def test_what_needs_no_change_is_not_written_again(cache: Path, tmp_path: Path) -> None:
    path = saved(noise(12, 8, 8), tmp_path)
    before = path.read_bytes()
    images = open_images(path)
    images.pixels.zero_()
    assert images.is_mapped and not cache.exists() and path.read_bytes() == before
    readable = open_images(np.load(path, mmap_mode="r"))
    assert readable.is_mapped and not cache.exists() and readable.pixels.numpy().tobytes() == before[128:]


@pytest.mark.filterwarnings("error")
def test_an_npy_that_linux_will_not_promise_to_hold(cache: Path, tmp_path: Path, monkeypatch) -> None:
    path, load = saved(noise(12, 8, 8), tmp_path), np.load

    def refuse(*arguments: object, mmap_mode: str | None = None, **options: bool) -> object:
        if mmap_mode == "c":
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        return load(*arguments, mmap_mode=mmap_mode, **options)

    monkeypatch.setattr(np, "load", refuse)
    images = open_images(path)
    assert images.is_mapped and not cache.exists() and (images.pixels[:, 0].numpy() == noise(12, 8, 8)).all()


def test_a_slice_of_a_mapped_set_is_mapped_and_a_copy_is_not(cache: Path) -> None:
    images = open_images("portraits:30", size=8)
    assert images[2:].is_mapped and images[3].is_mapped and open_images(images).is_mapped
    assert not images[[2, 5]].is_mapped
    assert open_images(images[[2, 5]], size=12).is_mapped
    assert not Images(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), ("a",)).is_mapped


def test_the_room_is_reserved_and_the_file_has_no_name(cache: Path) -> None:
    array = scratch.empty((1, 1, 1000, 1000))
    assert array.shape == (1, 1, 1000, 1000) and scratch.is_mapped(array[0, :, 5:])
    assert cache.is_dir() and not list(cache.iterdir())
    if sys.platform == "linux":
        (found,) = {line for line in Path("/proc/self/maps").read_text().splitlines() if str(cache) in line}
        assert "(deleted)" in found and " rw-s " in found


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system reserves no room in files")
@pytest.mark.parametrize(("number", "remedy"), [(errno.ENOSPC, "VAEKIT_CACHE"), (errno.EDQUOT, "VAEKIT_CACHE")])
def test_a_full_disk_is_one_sentence(number: int, remedy: str, cache: Path, tmp_path: Path, monkeypatch) -> None:
    def full(*_: int) -> None:
        raise OSError(number, os.strerror(number))

    source = a_folder(tmp_path)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match=remedy) as caught:
        open_images(source)
    assert all(word in str(caught.value) for word in (str(cache), "bytes", os.strerror(number)))
    assert not list(cache.iterdir())


def test_what_exceeds_the_disk_is_refused_before_it_is_filled(cache: Path, monkeypatch) -> None:
    monkeypatch.setattr(scratch, "_reserve", lambda *_: pytest.fail("the disk was asked"))
    with pytest.raises(UserError, match=r"need 1,000,000,000\.0 GB in a file in .*No space left"):
        scratch.empty((10**12, 1, 1000, 1000))


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system reserves no room in files")
def test_a_disk_that_cannot_reserve_is_used_all_the_same(cache: Path, monkeypatch) -> None:
    def unable(*_: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", unable)
    assert scratch.empty((500,)).tolist() == [0] * 500


def test_no_address_space_has_another_remedy(cache: Path, monkeypatch) -> None:
    def no_space(*_: int) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(scratch, "mmap", SimpleNamespace(mmap=no_space))
    with pytest.raises(UserError, match="ulimit -v"):
        scratch.empty((500,))
    assert not list(cache.iterdir())


def test_a_cache_folder_that_cannot_be_written(cache: Path, tmp_path: Path, monkeypatch) -> None:
    cache.write_text("a file")
    with pytest.raises(UserError, match="set VAEKIT_CACHE"):
        open_images("portraits:30", size=8)
    monkeypatch.setenv("VAEKIT_CACHE", str(cache / "below"))
    with pytest.raises(UserError, match="set VAEKIT_CACHE"):
        open_images("portraits:30", size=8)


def test_where_the_cache_is(monkeypatch, tmp_path: Path) -> None:
    for name in ("VAEKIT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert scratch.cache_folder() == Path.home() / ".cache" / "vaekit"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert scratch.cache_folder() == tmp_path / "vaekit"
    monkeypatch.setenv("VAEKIT_CACHE", "~/elsewhere")
    assert scratch.cache_folder() == Path.home() / "elsewhere"


def test_the_limit(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.delenv(LIMIT, raising=False)
    assert 0 < scratch.mapped_limit_bytes() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 16
    monkeypatch.setenv(LIMIT, "7")
    assert scratch.mapped_limit_bytes() == 7
    monkeypatch.setenv(LIMIT, "1 GB")
    with pytest.raises(UserError, match="1 GB"):
        open_images(saved(noise(2, 4, 4), tmp_path))


def test_the_narrowest_group_counts(tmp_path: Path, monkeypatch) -> None:
    root, own = tmp_path / "groups", tmp_path / "own"
    (root / "a" / "b").mkdir(parents=True)
    for folder, text in (("", "9000\n"), ("a", "5000\n"), ("a/b", "max\n")):
        (root / folder / "memory.max").write_text(text)
    own.write_text("4:memory:/other\n0::/a/b\n")
    assert scratch._group_limits(own, root) == [5000, 9000]
    own.write_text("0::/\n")
    assert scratch._group_limits(own, root) == [9000]
    assert scratch._group_limits(tmp_path / "none", root) == []
    monkeypatch.setattr(scratch, "_group_limits", lambda: [5000])
    assert scratch._memory_bytes.__wrapped__() == 5000


def test_a_limit_of_address_space_counts(monkeypatch) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (4000, resource.RLIM_INFINITY))
    assert scratch._memory_bytes.__wrapped__() == 4000


def test_floats_become_bytes_in_pieces(monkeypatch) -> None:
    monkeypatch.setattr("vaekit.data.convert._PIECE", 40)
    pixels = noise(7, 5, 4)
    assert (bytes_from_unit(pixels / 255, "x") == pixels).all()


def test_a_selection_is_plain_indexing() -> None:
    pixels = torch.from_numpy(noise(9, 3, 4, 5))
    images = Images(pixels, tuple("abcdefghi"))
    mask = np.arange(9) % 3 != 1
    rows = torch.from_numpy(np.flatnonzero(mask))
    some = images.selection(mask)
    assert isinstance(some, Selection) and some.pixels.data_ptr() == pixels.data_ptr()
    assert len(some) == 6 and tuple(some.shape) == (6, 3, 4, 5)
    for index in (slice(None), slice(1, 4), slice(0, 0), torch.tensor([5, 0, 5]), torch.tensor([-1])):
        assert some[index].equal(pixels[rows][index]) and some[index].is_contiguous()
    assert all(a.equal(b) for a, b in zip(some.split(4), pixels[rows].split(4), strict=True))
    assert images.selection(np.array([7, 2, -1]))[:].equal(pixels[[7, 2, 8]])
    assert images.selection(np.zeros(9, bool))[:].shape == (0, 3, 4, 5)
    some[:].zero_()
    assert pixels.any()
    turned = Selection(pixels.contiguous(memory_format=torch.channels_last), rows)
    assert turned[1:3].equal(some[1:3])


ANONYMOUS = """
import sys
import numpy as np, torch
from vaekit.data import open_images
def anonymous():
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("RssAnon"))
open_images(np.zeros((20, 8, 8), np.uint8))
before = anonymous()
images = open_images(sys.argv[1], channels=int(sys.argv[2]))
some = images.selection(images.parts == 0)
largest = max(int(piece.max()) for piece in some.split(10))
size = images.pixels.numel()
print(images.is_mapped, size, len(images), len(some), largest, anonymous() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("shape", "channels"),
    [((3000, 320, 320), 1), ((300, 320, 320), 3), ((300, 320, 320, 3), 3)],
    ids=["as it is", "gray to color", "channels last"],
)
def test_hundreds_of_megabytes_take_few_of_memory(shape: tuple[int, ...], channels: int, tmp_path: Path) -> None:
    array = np.lib.format.open_memmap(tmp_path / "a.npy", mode="w+", dtype=np.uint8, shape=shape)
    array[::5, 6, 6] = 199  # the rest stays a hole, which takes no room on the disk
    del array
    environment = os.environ | {LIMIT: "1000000", "VAEKIT_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", ANONYMOUS, str(tmp_path / "a.npy"), str(channels)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=environment)
    is_mapped, *numbers = done.stdout.split()
    size, count, some, largest, grown = map(int, numbers)
    assert (is_mapped, count, largest) == ("True", shape[0], 199) and 0 < some < count
    assert grown < size / 5
    assert not (tmp_path / "cache").exists() or not list((tmp_path / "cache").iterdir())


KILLED = """
import os, signal
from vaekit.data import open_images
images = open_images("portraits:30", size=8)
os.kill(os.getpid(), signal.SIGKILL if images.is_mapped else signal.SIGTERM)
"""


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL")
def test_a_killed_process_leaves_nothing(cache: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED], timeout=120, check=False)
    assert done.returncode == -9 and not list(cache.iterdir())
