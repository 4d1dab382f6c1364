"""The scripts of examples/ run to the end, and write their pictures."""

from __future__ import annotations

import os
import re
from pathlib import Path

import forked
import pytest
from PIL import Image

from vaekit.data import open_images, write_folder

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ARGUMENTS = {"digits": ["1"], "portraits_glasses": ["128", "16"], "own_folder": ["2s"]}


RUN_PATH = """
import os, runpy, sys
os.chdir(sys.argv[1])
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_every_example_has_its_arguments_here() -> None:
    own_parts = {"own_network", "own_likelihood"}  # tests/cli/test_import.py trains with them
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(ARGUMENTS) | own_parts


@pytest.mark.parametrize("name", sorted(ARGUMENTS))
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    words = [str(tmp_path / "out"), *ARGUMENTS[name]]
    if name == "own_folder":
        write_folder(open_images("portraits:40", size=32), tmp_path / "faces")
        words.insert(0, str(tmp_path / "faces"))
    script = EXAMPLES / f"{name}.py"
    code, _, said = forked.run(RUN_PATH, tmp_path, script, *words, env=dict(os.environ))
    assert code == 0, said
    pictures = re.findall(r'out / "([\w-]+\.png)"', script.read_text())
    assert pictures
    for picture in pictures:
        with Image.open(tmp_path / "out" / picture) as image:
            assert min(image.size) > 50
