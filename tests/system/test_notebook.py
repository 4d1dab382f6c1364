"""An executed notebook: training shows one bar and one set of pictures, and results are displayed."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image

from vaekit.system.notebook import NotebookBar, is_notebook

TRAIN = 'import vaekit as vk\nrun = vk.train("digits", "vae", "run", images=2850, settings={"width": 4})'
CELLS = [
    TRAIN,
    "run.compare(run.pick(None, 'test', 4))",
    "run.evaluate()",
    "run",
    'quiet = vk.train("digits", "seed-ae", "quiet", images=64, quiet=True)',
]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[list[Any]]:
    """Execute a notebook; return the output of each cell."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in CELLS])
    folder = {"metadata": {"path": str(tmp_path_factory.mktemp("notebook"))}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=folder).execute()
    return [cell.outputs for cell in notebook.cells]


def html(output: Any) -> str:
    return str(output.data["text/html"])


def test_training_shows_one_bar_that_was_updated_to_the_end(outputs: list[list[Any]]) -> None:
    bars = [each for each in outputs[0] if "data" in each and "<progress" in html(each)]
    assert len(bars) == 1
    assert re.search(r'<progress value="2850" max="2850"', html(bars[0]))
    assert "2,850 of 2,850 images · distortion" in html(bars[0])


def test_the_pictures_are_those_of_the_newest_epoch(outputs: list[list[Any]], tmp_path: Path) -> None:
    shown = [each for each in outputs[0] if "data" in each and "<figure" in html(each)]
    assert len(shown) == 1 and re.search(r"epoch 2, PSNR \d+\.\d\d dB", html(shown[0]))
    assert re.findall(r"<figcaption>(\w+)</figcaption>", html(shown[0])) == ["reconstructions", "samples"]
    for data in re.findall(r"base64,([^\"]+)", html(shown[0])):
        (tmp_path / "shown.png").write_bytes(base64.b64decode(data))
        Image.open(tmp_path / "shown.png").verify()


def test_sentences_stay_and_nothing_goes_to_stderr(outputs: list[list[Any]]) -> None:
    streams = [each for each in outputs[0] if each.output_type == "stream"]
    assert {each.name for each in streams} == {"stdout"}
    assert re.search(r"^run: PSNR \d", "".join(each.text for each in streams), re.M)


def test_a_result_and_a_run_show_themselves(outputs: list[list[Any]]) -> None:
    (sheet,), (numbers,), (run,) = outputs[1:4]
    assert "data:image/png;base64," in html(sheet) and sheet.data["image/png"]
    assert "<pre>part" in html(numbers) and "psnr_db" in html(numbers) and "image/png" not in numbers.data
    assert "<td>vae</td>" in html(run) and "data:image/png" in html(run)


def test_a_quiet_training_shows_nothing(outputs: list[list[Any]]) -> None:
    assert outputs[4] == []


def test_ipython_is_not_imported_outside_of_notebooks(tmp_path: Path) -> None:
    code = 'import sys, vaekit as vk; vk.train("digits", "seed-ae", "run", images=32); print("IPython" in sys.modules)'
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "False\n", done.stderr


def test_a_terminal_of_ipython_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    import IPython

    assert not is_notebook()
    shells = {name: type(name, (), {}) for name in ("TerminalInteractiveShell", "ZMQInteractiveShell")}
    for name, shell in {**shells, "Colab": type("Shell", (shells["ZMQInteractiveShell"],), {})}.items():
        monkeypatch.setattr(IPython, "get_ipython", shell)
        assert is_notebook() == (name != "TerminalInteractiveShell")


def test_the_bar_is_drawn_five_times_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    monkeypatch.setattr("vaekit.system.notebook._Display.show", lambda self, markup, text: drawn.append(text))
    monkeypatch.setattr("vaekit.system.notebook.time.monotonic", iter([i / 100 for i in range(100, 300)]).__next__)
    bar = NotebookBar()
    bar.start(1000, 0)
    for images in range(1, 101):
        bar.update(images, 50.0, {"rate_nats": 2.0})
    assert 5 <= len(drawn) <= 7 and drawn[0].startswith("0 of 1,000 images")
    bar.update(1000, 50.0, {})
    assert drawn[-1].startswith("1,000 of 1,000 images")
