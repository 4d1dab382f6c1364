"""A file that exists is replaced only with ``--overwrite``, and a direction of folders too."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

import vaekit as vk
from vaekit.cli.app import COMMANDS, app

#: One command for each flag that names a file to write, by command.
WRITES = {
    "generate": "generate faces --count 1 --out o.png --overwrite",
    "reconstruct": "reconstruct faces --count 1 --out o.png --overwrite",
    "denoise": "denoise faces --count 1 --out o.png --overwrite",
    "inpaint": "inpaint faces --mask center:4x4 --count 1 --out o.png --overwrite",
    "interpolate": "interpolate faces attr:male=0 attr:male=1 --animate --out o.webp --overwrite",
    "traverse": "traverse faces --count 1 --out o.gif --overwrite",
    "edit": "edit faces photos --add glasses --out o.png --overwrite",
    "arithmetic": "arithmetic faces attr:male=0 --out o.png --overwrite",
    "encode": "encode faces photos --out o.npz --overwrite",
    "neighbors": "neighbors faces photos --count 1 --out o.png --overwrite",
    "map": "map faces --out o.png --overwrite",
    "evaluate": "evaluate faces photos --per-image o.csv --overwrite",
    "score": "score faces photos --false-alarms 0.4 --table o.csv --out p.png --overwrite",
    "data": "data photos --sheet o.png --overwrite",
}
NO_FILES = {"train", "recipes", "fit-prior", "explore", "doctor", "verify"}  #: commands without a file to name
NEW_FOLDERS = {"export": "export faces --out o", "publish": "publish faces o"}  #: an existing folder is never replaced


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, portraits_vae: Path, vaekit: Callable) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("faces").symlink_to(portraits_vae)
    assert vaekit("data", "portraits", "--write", "photos", "--count", 3, "--size", 16).code == 0
    return tmp_path


def test_every_command_is_in_the_table() -> None:
    names = {name for group in COMMANDS.values() for name in group}
    assert names == WRITES.keys() | NO_FILES | NEW_FOLDERS.keys()
    assert {name for name in names if "--overwrite" in _flags_of(name)} == WRITES.keys()


def _flags_of(name: str) -> set[str]:
    return {flag for argument in app[name].assemble_argument_collection() for flag in argument.names}


@pytest.mark.parametrize("name", WRITES)
def test_a_file_that_exists_is_replaced_on_request_only(here: Path, vaekit: Callable, name: str) -> None:
    """Check each of the files that the command writes by itself."""
    words = shlex.split(WRITES[name])
    careful = [word for word in words if word != "--overwrite"]
    outs = [Path(word) for word in words if word.startswith(("o.", "p."))]
    for out in outs:
        out.write_text("precious")
        answer = vaekit(*careful)
        assert (answer.code, answer.out) == (2, "")
        assert answer.err == f"vaekit: {out} already exists; choose another name, or add --overwrite to replace it\n"
        assert [path.read_text() for path in outs if path.exists()] == ["precious"]
        out.unlink()
    assert vaekit(*careful).code == 0 and all(out.exists() for out in outs)
    for out in outs:
        out.write_text("precious")
    assert vaekit(*words).code == 0 and all(out.read_bytes() != b"precious" for out in outs)


@pytest.mark.parametrize("name", NEW_FOLDERS)
def test_a_folder_that_exists_is_never_replaced(here: Path, vaekit: Callable, name: str) -> None:
    Path("o").mkdir()
    answer = vaekit(*shlex.split(NEW_FOLDERS[name]))
    if "has not been built" in answer.err:
        pytest.skip("the page is not built")
    assert answer.code == 2 and "o already exists" in answer.err


def test_a_link_to_nothing_exists(here: Path, vaekit: Callable) -> None:
    Path("o.png").symlink_to("elsewhere.png")
    assert "o.png already exists" in vaekit("generate", "faces", "--out", "o.png").err and Path("o.png").is_symlink()


def test_the_default_picture_is_replaced_with_a_note(here: Path, vaekit: Callable) -> None:
    assert vaekit("generate", "faces", "--count", 1).err == ""
    before = Path("faces-generate.png").read_bytes()
    answer = vaekit("generate", "faces", "--count", 2)
    assert (answer.code, answer.err) == (0, "vaekit: faces-generate.png existed and was replaced\n")
    assert Path("faces-generate.png").read_bytes() != before


def test_a_picture_with_the_default_name_is_no_input_of_the_command(here: Path, vaekit: Callable) -> None:
    Path("photos/000000.png").rename("faces-arithmetic.png")
    kept = Path("faces-arithmetic.png").read_bytes()
    answer = vaekit("arithmetic", "faces", "faces-arithmetic.png - attr:male=1 + attr:male=0")
    assert answer.code == 2 and "is an input of this command" in answer.err
    assert Path("faces-arithmetic.png").read_bytes() == kept


def test_a_direction_of_folders_is_replaced_on_request_only(here: Path, vaekit: Callable) -> None:
    assert vaekit("data", "portraits", "--write", "others", "--count", 4, "--size", 16).code == 0
    add = ("edit", "faces", "photos", "--add", "smug", "--out", "o.png", "--overwrite", "--direction")
    assert vaekit(*add, "smug=photos,others").code == 0

    def stored() -> str:
        return vk.load("faces").directions()["smug"].source

    careful = [word for word in add if word != "--overwrite"]
    Path("o.png").unlink()
    assert vaekit(*careful, "smug=photos,others").code == 0  # the same command again
    Path("o.png").unlink()
    answer = vaekit(*careful, "smug=others,photos")
    assert answer.code == 2 and "made from photos and others with --method means" in answer.err
    assert "choose another name, or add --overwrite" in answer.err
    assert stored() == "photos and others" and not Path("o.png").exists()
    assert vaekit(*careful, "smug=photos,others", "--method", "classifier").code == 2
    assert vaekit(*add, "smug=others,photos").code == 0 and stored() == "others and photos"
    Path("o.png").unlink()
    assert "has a column of that name" in vaekit(*careful[:-1], "--direction", "male=others,photos").err
