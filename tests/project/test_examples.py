"""The scripts of examples/ run to their end and leave the pictures they promise."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from vaekit.data import open_images, write_folder

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ARGUMENTS = {"digits": ["2"], "portraits_glasses": ["256", "16"], "own_folder": ["3s"]}


def test_every_example_has_its_arguments_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(ARGUMENTS)


@pytest.mark.parametrize("name", sorted(ARGUMENTS))
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    words = [str(tmp_path / "out"), *ARGUMENTS[name]]
    if name == "own_folder":
        write_folder(open_images("portraits:40", size=32), tmp_path / "faces")
        words.insert(0, str(tmp_path / "faces"))
    script = EXAMPLES / f"{name}.py"
    done = subprocess.run(
        [sys.executable, str(script), *words], cwd=tmp_path, capture_output=True, text=True, env=os.environ, check=False
    )
    assert done.returncode == 0, done.stderr
    pictures = re.findall(r'out / "([\w-]+\.png)"', script.read_text())
    assert pictures
    for picture in pictures:
        with Image.open(tmp_path / "out" / picture) as image:
            assert min(image.size) > 50
