"""Half-written files of a killed process are removed by the next process that writes there, and nothing else is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import vaekit as vk
from vaekit.errors import UserError
from vaekit.runs.folder import append_metrics, clear_leftovers, is_leftover
from vaekit.system import drafts
from vaekit.system.drafts import draft
from vaekit.system.files import atomic_write_text
from vaekit.system.locks import only_writer
from vaekit.system.new_folder import check_new_folder, whole_folder

HOLDER = """
import sys, time
from pathlib import Path
from vaekit.system.drafts import draft
with draft(Path(sys.argv[1])) as folder:
    (folder / "half").write_bytes(bytes(1000))
    print(folder, flush=True)
    time.sleep(100)
"""


def holder(parent: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that is writing in ``parent``, and its draft."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(parent)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def killed(parent: Path) -> Path:
    process, folder = holder(parent)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (folder / "half").exists()
    return folder


def test_the_next_draft_removes_a_leftover_and_leaves_one_that_is_being_written(tmp_path: Path) -> None:
    left = killed(tmp_path)
    process, held = holder(tmp_path)
    try:
        assert not left.exists()
        with draft(tmp_path) as own, draft(tmp_path):
            assert held.exists() and own.exists()
    finally:
        process.kill()
        process.wait()
    with draft(tmp_path):
        assert not held.exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", ["folder", "file", "images", "clear"])
def test_all_that_write_remove_leftovers(how: str, tmp_path: Path) -> None:
    left = killed(tmp_path)
    assert is_leftover(left)
    if how == "folder":
        with whole_folder(tmp_path / "new"):
            pass
    elif how == "file":
        atomic_write_text(tmp_path / "new", "text")
    elif how == "images":
        vk.data.write_folder(vk.open_images("portraits:2", size=8), tmp_path / "new")
    else:
        clear_leftovers(tmp_path)
    assert not left.exists() and [path.name for path in tmp_path.iterdir()] in (["new"], [])


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("precious")
    (tmp_path / f"{drafts._PREFIX}link").symlink_to(tmp_path / "kept", target_is_directory=True)
    (tmp_path / f"{drafts._PREFIX}file").write_text("precious")
    with draft(tmp_path):
        pass
    assert (tmp_path / "kept" / "file").read_text() == "precious"
    assert (tmp_path / f"{drafts._PREFIX}file").exists()


def test_without_locks_only_old_drafts_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drafts, "_locked", lambda _: None)
    new, old = tmp_path / f"{drafts._PREFIX}new", tmp_path / f"{drafts._PREFIX}old"
    for folder in (new, old):
        folder.mkdir()
    long_ago = time.time() - drafts._OLD_SECONDS - 10
    os.utime(old, (long_ago, long_ago))
    with draft(tmp_path):
        assert new.exists() and not old.exists()


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    """If a stranger puts links where vaekit writes, the files they point to do not change."""
    (tmp_path / "run").mkdir()
    precious = tmp_path / "precious"
    precious.write_text("precious")
    for name in (".lock", "metrics.jsonl", ".config.json.part", "config.json"):
        (tmp_path / "run" / name).symlink_to(precious)
    with pytest.raises(vk.UserError, match=r"\.lock is a symbolic link"), only_writer(tmp_path / "run", print):
        pass
    with pytest.raises(vk.UserError, match=r"metrics\.jsonl: it is a symbolic link"):
        append_metrics(tmp_path / "run", {})
    atomic_write_text(tmp_path / "run" / "config.json", "new")
    assert precious.read_text() == "precious" and not (tmp_path / "run" / "config.json").is_symlink()


def test_a_new_folder_creates_its_parents_and_removes_them_if_it_fails(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b" / "site"
    check_new_folder(out)
    with pytest.raises(RuntimeError, match="^failed$"), whole_folder(out) as folder:
        (folder / "file").write_text("x")
        raise RuntimeError("failed")
    assert not list(tmp_path.iterdir())
    with whole_folder(out) as folder:
        (folder / "file").write_text("x")
    assert [path.name for path in out.parent.iterdir()] == ["site"] and (out / "file").read_text() == "x"
    with pytest.raises(UserError, match="cannot write .*: .*/site/file is not a folder; choose another name"):
        check_new_folder(out / "file" / "site")
