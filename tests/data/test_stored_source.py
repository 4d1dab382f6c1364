"""The images that a stored run names are opened without the network, and without searching the disk."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vaekit as vk
from vaekit.data import open_in, open_stored
from vaekit.errors import UserError
from vaekit.pixels.image_form import Form


@pytest.fixture
def asked() -> Iterator[list[object]]:
    """Requests to the network, none of which is answered."""
    found: list[object] = []

    def refuse(*what: object, **_: object) -> None:
        found.append(what)
        raise OSError("no network here")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        yield found


def renamed(run: Path, tmp_path: Path, source: str) -> vk.Run:
    """A copy of a run that says it was trained on ``source``."""
    path = Path(shutil.copytree(run, tmp_path / "run"))
    config = json.loads((path / "config.json").read_text())
    config["data"]["source"] = source
    (path / "config.json").write_text(json.dumps(config))
    return vk.load(path)


@pytest.mark.parametrize("source", ["mnist", "cifar10", "hf://me/private", "hf://me/private:train"])
def test_a_stored_remote_source_asks_nothing_of_the_network(
    digits_ae: Path, tmp_path: Path, asked: list[object], source: str
) -> None:
    if source.startswith("hf"):
        pytest.importorskip("datasets", reason="the extra hub is not installed")
    run = renamed(digits_ae, tmp_path, source)
    with pytest.raises(UserError, match=f"pass {source} as DATA"):
        run.evaluate()
    assert asked == []
    if not source.startswith("hf"):  # that library tries for half a minute
        with pytest.raises(UserError):
            open_in(source, Form.of(8))
        assert asked  # or the test would say nothing


def test_a_stored_set_of_the_hub_is_read_from_the_cache(
    tmp_path: Path, asked: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets", reason="the extra hub is not installed")
    features = datasets.Features({"image": datasets.Image()})
    pixels = [np.full((8, 8, 3), 9 * i, np.uint8) for i in range(12)]
    table = datasets.Dataset.from_dict({"image": [Image.fromarray(each) for each in pixels]}, features)
    table.to_parquet(str(tmp_path / "x.parquet"))
    cache = tmp_path / "cache"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    files = {"train": str(tmp_path / "x.parquet")}
    datasets.load_dataset("parquet", "default", data_files=files, cache_dir=str(cache))
    (cache / "parquet").rename(cache / "me___faces")
    for path in list(cache.glob("me___faces/*")):  # what the library makes of a set of the hub
        path.rename(path.with_name("default"))
    for path in list(cache.glob("me___faces/*/*/*/parquet-*.arrow")):
        path.rename(path.with_name(path.name.replace("parquet-", "faces-")))
    asked.clear()
    images = open_stored("hf://me/faces:train", Form.of())
    assert [int(each.max()) for each in images.pixels] == [9 * i for i in range(12)] and asked == []


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("/", "the root of a disk"),
        ("/x/../..", "the root of a disk"),
        (os.path.expanduser("~"), "a complete home folder"),
        ("/proc/self", "a system folder"),
        ("/dev/zero", "a system folder"),
        ("/usr", "a system folder"),
        ("//server/share", "another machine"),
        ("\\\\server\\share", "another machine"),
        ("faces", "not an absolute path"),
        ("../faces", "not an absolute path"),
        ("~/faces", "not an absolute path"),
    ],
)
def test_an_odd_place_is_refused_in_a_sentence(digits_ae: Path, tmp_path: Path, source: str, what: str) -> None:
    run = renamed(digits_ae, tmp_path, source)
    with pytest.raises(UserError, match=f"{what}.*; pass it as DATA to open it anyway"):
        run.evaluate()


def test_a_link_to_an_odd_place_is_that_place(tmp_path: Path) -> None:
    (tmp_path / "faces").symlink_to("/", target_is_directory=True)
    with pytest.raises(UserError, match="the root of a disk"):
        open_stored(str(tmp_path / "faces"), Form.of())


def test_a_pipe_is_refused_before_it_is_read(tmp_path: Path) -> None:
    for name in ("x.npy", "x.png", "x.zip", "x"):
        os.mkfifo(tmp_path / name)
        for source in (str(tmp_path / name), [str(tmp_path / name)]):
            with pytest.raises(UserError, match="a named pipe; name a regular file"):
                vk.open_images(source)


def test_other_stored_sources_open_as_ever(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((5, 8, 8), np.uint8))
    assert len(open_stored(str(tmp_path / "x.npy"), Form.of())) == 5
    assert len(open_stored("portraits:5", Form.of(8))) == 5
