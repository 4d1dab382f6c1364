"""The cache of decoded images: the same bytes as without it, whatever happens."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from forked import Forked
from PIL import Image

from vaekit.data import Form, Images, open_images, prune
from vaekit.data.ingest import cache
from vaekit.data.ingest import cache_writer as building
from vaekit.data.ingest import loader as load
from vaekit.data.ingest import workers as ingest
from vaekit.data.ingest.files import list_folder
from vaekit.data.sources import archive
from vaekit.errors import UserError
from vaekit.pixels.byte_ranges import Span

COUNT = 40


@pytest.fixture(autouse=True)
def folder_of_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A separate cache for each test, used from ten images on."""
    monkeypatch.setenv("VAEKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(load, "_FEWEST_CACHED", 10)
    return tmp_path / "cache" / "images"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files that are decoded."""
    names: list[str] = []
    real = ingest.decode_into

    def counting(target, span, frame, form):
        names.append(Path(str(span.source)).name)
        return real(target, span, frame, form)

    monkeypatch.setattr(ingest, "decode_into", counting)
    return names


def photos(folder: Path, count: int = COUNT, seed: int = 0) -> Path:
    """Pictures in two classes, with old time stamps."""
    noise = np.random.default_rng(seed).integers(0, 256, (count, 12, 10, 3), dtype=np.uint8)
    for index, pixels in enumerate(noise):
        path = folder / "ab"[index % 2] / f"{index:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        os.utime(path, (1e9, 1e9))
    return folder


def settle(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give files old time stamps, because recent ones are not trusted."""
    monkeypatch.setattr("vaekit.data.ingest.cache_writer._RACY_NS", -(10**12))


def same(one: Images, other: Images) -> bool:
    return (
        one.pixels.equal(other.pixels)
        and (one.names, one.fingerprint, one.skipped) == (other.names, other.fingerprint, other.skipped)
        and (one.parts == other.parts).all()
    )


def plain(source: Path, monkeypatch: pytest.MonkeyPatch, **options: object) -> Images:
    """Open images without the cache."""
    with monkeypatch.context() as patch:
        patch.setattr(load, "_FEWEST_CACHED", 10**9)
        return open_images(source, **options)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.glob("*/*")) if path.is_file()}


def test_a_second_opening_decodes_nothing(tmp_path: Path, decoded: list[str], monkeypatch) -> None:
    source = photos(tmp_path / "photos")
    settle(source, monkeypatch)
    first = open_images(source, size=8)
    assert len(decoded) == COUNT
    second = open_images(source, size=8)
    assert len(decoded) == COUNT and same(first, second) and same(first, plain(source, monkeypatch, size=8))
    assert not second.is_mapped  # there is room for it in memory


def test_only_what_changed_is_decoded_again(tmp_path: Path, decoded: list[str], monkeypatch) -> None:
    source = photos(tmp_path / "photos")
    settle(source, monkeypatch)
    open_images(source, size=8)
    Image.new("RGB", (12, 10), "red").save(source / "a" / "000.png")
    (source / "b" / "001.png").unlink()
    Image.new("RGB", (12, 10), "blue").save(source / "b" / "new.png")
    decoded.clear()
    after = open_images(source, size=8)
    assert sorted(decoded) == ["000.png", "new.png"]
    assert same(after, plain(source, monkeypatch, size=8)) and len(after) == COUNT


def test_a_file_changed_within_its_size_and_second_is_noticed(tmp_path: Path, monkeypatch) -> None:
    source = photos(tmp_path / "photos")
    before = open_images(source, size=8)  # the times of change of these files are of this moment
    data = (source / "b" / "001.png").read_bytes()
    path, status = source / "a" / "000.png", (source / "a" / "000.png").stat()
    path.write_bytes(data[: status.st_size].ljust(status.st_size, b"\0"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert open_images(source, size=8).fingerprint != before.fingerprint


@pytest.mark.parametrize("pack", ["folder", "zip", "tar", "tar.gz"])
def test_sources_share_pixels(pack: str, tmp_path: Path, folder_of_cache: Path, monkeypatch) -> None:
    source = photos(tmp_path / "photos")
    settle(source, monkeypatch)
    first = open_images(source, size=8)
    other = tmp_path / f"other.{pack}"
    if pack == "folder":
        shutil.copytree(source, other)
    elif pack == "zip":
        with zipfile.ZipFile(other, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(source.rglob("*.png")):
                archive.write(path, path.relative_to(source))
    else:
        with tarfile.open(other, f"w:{pack[4:]}") as tar:
            tar.add(source, ".")
    second = open_images(other, size=8)
    assert same(first, second) and open_images(other, size=8).pixels.equal(first.pixels)
    assert len(list((folder_of_cache / "pixels").iterdir())) == 1
    assert len(list((folder_of_cache / "index").iterdir())) == 2


def test_forms_lie_side_by_side(tmp_path: Path, folder_of_cache: Path, monkeypatch) -> None:
    source = photos(tmp_path / "photos")
    forms = [dict(size=8), dict(size=8, channels=1), dict(size=8, fit="pad"), dict(size=(8, 12)), dict(channels=4)]
    for _ in range(2):
        for form in forms:
            assert same(open_images(source, **form), plain(source, monkeypatch, **form)), form
    assert len(list((folder_of_cache / "pixels").iterdir())) == len(forms)


def test_unreadable_files_leave_no_gap(tmp_path: Path, decoded: list[str], monkeypatch) -> None:
    source = photos(tmp_path / "photos")
    settle(source, monkeypatch)
    for name in ("a/002.png", "b/039.png", "a/000.png"):
        (source / name).write_bytes(b"no image")
    first = open_images(source, size=8)
    assert len(first) == COUNT - 3 and [name for name, _ in first.skipped] == ["a/000.png", "a/002.png", "b/039.png"]
    decoded.clear()
    assert same(first, open_images(source, size=8)) and not decoded
    assert same(first, plain(source, monkeypatch, size=8))
    Image.new("RGB", (12, 10), "red").save(source / "a" / "002.png")
    again = open_images(source, size=8)
    assert len(again) == COUNT - 2 and same(again, plain(source, monkeypatch, size=8))


def gray_and_one_red(folder: Path) -> Path:
    """Write a folder of gray images whose last one is red."""
    folder.mkdir()
    for index in range(COUNT):
        Image.new("L", (10, 10), index).save(folder / f"{index:03d}.png")
    Image.new("RGB", (10, 10), "red").save(folder / "zzz.png")
    return folder


def test_color_that_turns_up_late(tmp_path: Path, monkeypatch) -> None:
    source = gray_and_one_red(tmp_path / "gray")
    monkeypatch.setattr(load, "_BLOCK", 8)
    images = open_images(source, size=8)
    assert images.shape == (3, 8, 8) and images.pixels[-1, :, 0, 0].tolist() == [255, 0, 0]
    assert same(images, plain(source, monkeypatch, size=8))
    assert open_images(source, size=8, channels=1).shape == (1, 8, 8)


def test_unequal_sizes_are_refused_and_nothing_stays(tmp_path: Path, folder_of_cache: Path, monkeypatch) -> None:
    source = photos(tmp_path / "photos")
    monkeypatch.setattr(load, "_HEADERS", 4)
    Image.new("RGB", (30, 30)).save(source / "b" / "zzz.png")
    with pytest.raises(UserError, match="differ in size"):
        open_images(source)
    assert not files_of(folder_of_cache)
    with pytest.raises(UserError, match="at least half"):
        for path in source.rglob("*.png"):
            path.write_bytes(b"x")
        open_images(source, size=8)
    assert not files_of(folder_of_cache) and not list((folder_of_cache / "building").glob("*/*"))


def test_damage_in_the_cache_is_mended(tmp_path: Path, folder_of_cache: Path, monkeypatch) -> None:
    source = photos(tmp_path / "photos")
    settle(source, monkeypatch)
    first = open_images(source, size=8)
    whole = files_of(folder_of_cache)
    for name, data in whole.items():
        for broken in (b"", data[: len(data) // 2], b"x" * 100):
            (folder_of_cache / name).unlink()  # what is open keeps the old file
            (folder_of_cache / name).write_bytes(broken)
            assert same(first, open_images(source, size=8))
            assert files_of(folder_of_cache) == whole
        (folder_of_cache / name).unlink()
        assert same(first, open_images(source, size=8)) and files_of(folder_of_cache) == whole


def test_a_flipped_bit_in_the_cache_is_mended_and_said(
    tmp_path: Path, folder_of_cache: Path, decoded: list[str], monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = photos(tmp_path / "photos")
    settle(source, monkeypatch)
    first = open_images(source, size=8)
    whole = files_of(folder_of_cache)
    for name, data in whole.items():
        for place in range(0, len(data), 397):
            decoded.clear()
            (folder_of_cache / name).unlink()  # what is open keeps the old file
            (folder_of_cache / name).write_bytes(data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :])
            assert same(first, open_images(source, size=8)), (name, place)
            assert files_of(folder_of_cache) == whole
            assert len(decoded) == (1 if "pixels" in name else COUNT)
            assert " damaged" in capsys.readouterr().err


def test_a_flipped_bit_in_a_set_that_is_being_decoded(tmp_path: Path, folder_of_cache: Path, monkeypatch) -> None:
    source = photos(tmp_path / "photos")
    monkeypatch.setattr(building, "_FLUSH_SECONDS", 0.0)
    key = cache.Key(list_folder(source), [f"{'ab'[i % 2]}/{i:03d}.png" for i in range(COUNT)], Form((8, 8)))
    with key.locked():
        begun = building.Building(key, COUNT, (3, 8, 8))
        begun.record([ingest.FileResult(row, bytes([row + 1]) * 32) for row in range(3)])
        begun.close()
        journal, pixels = (key.building / name for name in ("journal", "pixels"))
        for path, place in ((journal, -1), (pixels, 0)):  # the last record, and the first image
            data = bytearray(path.read_bytes())
            data[place] ^= 1
            path.write_bytes(data)
        again = building.Building(key, COUNT, (3, 8, 8))
        assert {row: done.content for row, done in again.done.items()} == {1: b"\2" * 32}
        again.discard()


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch) -> None:
    source = photos(tmp_path / "photos")
    (tmp_path / "cache").write_bytes(b"a file")
    images = open_images(source, size=8)
    assert "decoded each time" in images.notes[-1] and "VAEKIT_CACHE" in images.notes[-1]
    assert images.pixels.equal(plain(source, monkeypatch, size=8).pixels)


def test_prune_empties_it_and_what_is_open_stays(tmp_path: Path, folder_of_cache: Path, vaekit) -> None:
    source = photos(tmp_path / "photos")
    images = open_images(source, size=8)
    before = images.pixels.clone()
    held = sum(len(data) for data in files_of(folder_of_cache).values())
    answer = vaekit("data", "--prune", "--json")
    assert answer.code == 0 and f'"freed_bytes": {held}' in answer.out
    assert not files_of(folder_of_cache) and images.pixels.equal(before)
    assert prune() == 0


def test_pixels_that_no_source_has_any_more_go(tmp_path: Path, folder_of_cache: Path) -> None:
    source = photos(tmp_path / "photos")
    open_images(source, size=8)
    Image.new("RGB", (12, 10), "red").save(source / "a" / "000.png")
    open_images(source, size=8)
    assert len(list((folder_of_cache / "pixels").iterdir())) == 1


KILLED = """
import os, sys, threading, time
from vaekit.data import open_images
from vaekit.data.ingest import cache_writer as building, loader as load
load._FEWEST_CACHED, building._FLUSH_SECONDS, building._RACY_NS = 10, 0.0, -(10**12)
if len(sys.argv) > 2:
    after, steps = int(sys.argv[2]), 0
    def count(event, arguments):
        global steps
        if event in ("open", "os.rename", "os.truncate", "os.remove") and "cache" in str(arguments[0]):
            steps += 1
            if steps > after:
                os._exit(9)
    class Killing(building.Building):
        def note(self, found):
            global steps
            super().note(found)
            steps += 1
            if steps > after:
                os._exit(9)
    load.Building = Killing
    sys.addaudithook(count)
images = open_images(sys.argv[1], size=8)
print(images.fingerprint, images.pixels.numpy().sum())
"""


def opened_elsewhere(source: Path, cache: Path, *words: object) -> Forked:
    return Forked(KILLED, source, *words, env={**os.environ, "VAEKIT_CACHE": str(cache)})


def test_killed_at_every_step_and_repeated_it_ends_with_the_same_bytes(tmp_path: Path, monkeypatch) -> None:
    source = photos(tmp_path / "photos", 200)
    (source / "a" / "000.png").write_bytes(b"no image")
    clean = opened_elsewhere(source, tmp_path / "clean")
    said, _ = clean.communicate(timeout=120)
    assert clean.returncode == 0
    wanted = files_of(tmp_path / "clean" / "images")
    for after in (0, 8, 15, 18, 19, 20, 21):
        cache = tmp_path / f"cache-{after}"
        killed = opened_elsewhere(source, cache, after)
        killed.communicate(timeout=120)
        assert killed.returncode == 9
        again = opened_elsewhere(source, cache)
        assert again.communicate(timeout=120)[0] == said
        assert files_of(cache / "images") == wanted, after


def test_two_at_once_end_with_the_same_bytes(tmp_path: Path) -> None:
    source = photos(tmp_path / "photos", 200)
    alone = opened_elsewhere(source, tmp_path / "clean")
    said = alone.communicate(timeout=120)[0]
    both = [opened_elsewhere(source, tmp_path / "cache-of-two") for _ in range(2)]
    assert [process.communicate(timeout=120)[0] for process in both] == [said, said]
    assert files_of(tmp_path / "cache-of-two" / "images") == files_of(tmp_path / "clean" / "images")


def test_what_could_not_be_reached_is_tried_again(tmp_path: Path, decoded: list[str], monkeypatch) -> None:
    source = photos(tmp_path / "photos")
    settle(source, monkeypatch)
    real = Span.read

    def failing(span: Span) -> bytes:
        if str(span.source).endswith("003.png"):
            raise OSError(errno.EIO, "Input/output error")
        return real(span)

    with monkeypatch.context() as patch:
        patch.setattr(Span, "read", failing)
        assert open_images(source, size=8).skipped == (("b/003.png", "[Errno 5] Input/output error"),)
    decoded.clear()
    assert same(open_images(source, size=8), plain(source, monkeypatch, size=8)) and "003.png" in decoded


def test_a_link_whose_target_is_gone_is_noticed(tmp_path: Path) -> None:
    source = photos(tmp_path / "photos")
    shutil.copy(source / "a" / "000.png", tmp_path / "target.png")
    (source / "a" / "link.png").symlink_to(tmp_path / "target.png")
    assert len(open_images(source, size=8)) == COUNT + 1
    (tmp_path / "target.png").unlink()
    assert open_images(source, size=8).skipped == (("a/link.png", "file not found"),)


def test_an_archive_replaced_while_it_is_read_is_read_again(tmp_path: Path, monkeypatch) -> None:
    settle(tmp_path, monkeypatch)
    paths = []
    for seed in (1, 2):
        paths.append(tmp_path / f"{seed}.tar")
        with tarfile.open(paths[-1], "w") as tar:
            tar.add(photos(tmp_path / f"photos-{seed}", seed=seed), ".")
    real = archive._tar_spans

    def slow(path: Path) -> object:
        found = real(path)
        os.replace(paths[1], paths[0])
        return found

    with monkeypatch.context() as patch:
        patch.setattr(archive, "_tar_spans", slow)
        open_images(paths[0], size=8)
    assert same(open_images(paths[0], size=8), plain(paths[0], monkeypatch, size=8))


def test_the_time_of_the_first_reading_counts_after_a_kill(tmp_path: Path, folder_of_cache: Path, monkeypatch) -> None:
    source = photos(tmp_path / "photos")  # their times of change are of this moment
    monkeypatch.setattr(building, "_FLUSH_SECONDS", 0.0)
    key = cache.Key(list_folder(source), [f"{'ab'[i % 2]}/{i:03d}.png" for i in range(COUNT)], Form((8, 8)))
    with key.locked():
        begun = building.Building(key, COUNT, (3, 8, 8))
        begun.record([ingest.FileResult(0, b"x" * 32)])
        begun.close()
        monkeypatch.setattr(time, "time_ns", lambda: 10**19)  # much later
        again = building.Building(key, COUNT, (3, 8, 8))
        assert again.done == {0: (b"x" * 32, -1, False)}
        again.record([ingest.FileResult(row, b"y" * 32) for row in range(1, COUNT)])
        again.finish([])
    index = key.index()
    assert index is not None and (index.stamps == cache.UNKNOWN).all()


def test_color_found_once_is_remembered_after_a_kill(tmp_path: Path, folder_of_cache: Path, monkeypatch) -> None:
    source = gray_and_one_red(tmp_path / "gray")
    monkeypatch.setattr(load, "_BLOCK", 8)
    with monkeypatch.context() as patch:
        patch.setattr(building.Building, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            open_images(source, size=8)
    shapes = []
    real = building.Building.__init__

    def noting(self: building.Building, key: cache.Key, count: int, shape: tuple[int, int, int]) -> None:
        real(self, key, count, shape)
        shapes.append((shape[0], len(self.done)))

    monkeypatch.setattr(building.Building, "__init__", noting)
    assert open_images(source, size=8).shape == (3, 8, 8)
    assert shapes == [(3, COUNT + 1)] and not list((folder_of_cache / "building").glob("*/*"))


def test_without_a_home_images_open_all_the_same(tmp_path: Path, monkeypatch) -> None:
    source = photos(tmp_path / "photos")
    for name in ("VAEKIT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "expanduser", lambda _: (_ for _ in ()).throw(RuntimeError("no home")))
    monkeypatch.setattr("vaekit.data.sources.open._path", Path)
    images = open_images(source, size=8)
    assert len(images) == COUNT and "there is no home folder" in images.notes[-1]


_BAD_WORKER = """
import os, sys, time
from vaekit.pixels import worker
real = worker.decode_noting
def decode(data, form, frame=0):
    if b"bring the decoder down" in data:
        os._exit(3)
    if b"never come back" in data:
        time.sleep(999)
    return real(data, form, frame)
worker.decode_noting = decode
worker.main()
"""


def test_a_decoder_that_crashes_or_hangs_costs_its_file_alone(tmp_path: Path, monkeypatch) -> None:
    source = photos(tmp_path / "photos")
    (source / "a" / "002.png").write_bytes(b"bring the decoder down")
    (source / "b" / "007.png").write_bytes(b"bring the decoder down")
    (source / "b" / "021.png").write_bytes(b"never come back")
    for name, value in (("_START", _BAD_WORKER), ("_FEWEST_FOR_WORKERS", 1), ("_TIMEOUT_SECONDS", 1.0)):
        monkeypatch.setattr(ingest, name, value)
    images = open_images(source, size=8)
    assert len(images) == COUNT - 3
    assert dict(images.skipped) == dict.fromkeys(
        ("a/002.png", "b/007.png", "b/021.png"), "its decoder crashed or did not finish"
    )
    assert subprocess.run(["pgrep", "-P", str(os.getpid()), "-f", "bring the"], check=False).returncode == 1


def test_workers_that_cannot_start_leave_it_to_threads(tmp_path: Path, monkeypatch) -> None:
    source = photos(tmp_path / "photos")
    monkeypatch.setattr(ingest, "_FEWEST_FOR_WORKERS", 1)
    monkeypatch.setattr(ingest, "_START", "print('hello'); raise SystemExit(1)")
    assert same(open_images(source, size=8), plain(source, monkeypatch, size=8))
