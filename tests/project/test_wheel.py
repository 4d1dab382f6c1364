"""The wheel works in an environment without the source tree."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def call(*command: str | Path, cwd: Path) -> str:
    """Run a command without access to the source tree; return its output."""
    hidden = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by the installed backend without the network."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("vaekit-*.whl")
    return built


@pytest.fixture(scope="module")
def clean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel in it; returns its folder of programs.

    The other packages come from the environment that runs the tests. A line of a .pth file adds that folder to the path
    without reading the .pth files inside, so that an editable install of vaekit is not visible.
    """
    folder = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    python = programs / "python"
    own = call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    pip = (sys.executable, "-m", "pip", "--python", python)
    call(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=folder)
    lent = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    Path(own, "lent.pth").write_text("\n".join(lent) + "\n", encoding="utf-8")
    return programs


def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    packed = {name for name in names if name.endswith(".py")}
    sources = (ROOT / "src").glob("vaekit/**/*.py")
    assert packed == {path.relative_to(ROOT / "src").as_posix() for path in sources}
    assert {name.split("/")[0].split("-")[0] for name in names} == {"vaekit"}
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_clean_environment_trains_digits(clean: Path, tmp_path: Path) -> None:
    where = call(clean / "python", "-c", "import vaekit; print(vaekit.__file__)", cwd=tmp_path)
    assert Path(where.strip()).resolve().is_relative_to(clean.parent.resolve())
    call(clean / "vaekit", "train", "digits", "--recipe", "ae", "--epochs", "1", "--out", "run", cwd=tmp_path)
    assert (tmp_path / "run" / "weights.safetensors").stat().st_size > 1000
    assert (tmp_path / "run" / "config.json").is_file()
