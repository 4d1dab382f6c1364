"""The commands and programs of README and ``docs/``: all parse, and most are executed on small runs."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import vaekit as vk
from vaekit.cli import app
from vaekit.config import parts
from vaekit.config.table import RECIPES
from vaekit.data import open_images, write_folder

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted({*(ROOT / "docs").glob("*.md")} - {ROOT / "docs" / "design.md"})]

_FENCED = re.compile(r"^```(?:shell|text)\n(.*?)^```", re.M | re.S)
_INDENTED = re.compile(r"^ {4}(vaekit .*(?:\\\n.*)*)$", re.M)
_IN_A_CELL = re.compile(r"^\|.*?`(vaekit [a-z-]+ [^`]+)`", re.M)
_PYTHON = re.compile(r"^```python\n(.*?)^```", re.M | re.S)

#: What is not run here, because other tests run it and it takes long, or because it waits for a browser.
PARSED_ONLY = ("train", "explore", "publish", "export", "verify", "fit-prior")
NOT_HERE = {"runs/conditional", "runs/ladder", "runs/mine"}
#: Ten held-out faces cannot set a threshold of five percent.
FEW_IMAGES = ("--false-alarms", "0.2")
#: A program trains for seconds, not for minutes.
SHORTER = {
    'budget="10m"': "images=64",
    "size=64": "size=16",
    "epochs=1,": "epochs=0.05,",
    'images.part("train")': 'images.part("val")',
}


def commands(page: Path) -> list[list[str]]:
    """Return the arguments of each vaekit command of a page."""
    text = page.read_text(encoding="utf-8")
    lines = [line for block in _FENCED.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    lines += [*_INDENTED.findall(text), *_IN_A_CELL.findall(text)]
    return [shlex.split(line)[1:] for line in lines if line.strip().startswith("vaekit ")]


ALL = {shlex.join(words): words for page in PAGES for words in commands(page)}
RUN = {text: words for text, words in ALL.items() if words[0] not in PARSED_ONLY and not {*words} & NOT_HERE}
PROGRAMS = {
    f"{page.stem}-{number}": text
    for page in PAGES
    if page.stem != "recipes"  # test_recipe_pages runs theirs
    for number, text in enumerate(_PYTHON.findall(page.read_text(encoding="utf-8")), 1)
}


def test_the_pages_have_commands() -> None:
    assert len(ALL) > 30 and len(RUN) > 15 and len(PROGRAMS) > 3


@pytest.mark.parametrize("text", ALL)
def test_a_command_parses(text: str) -> None:
    words = list(ALL[text])
    while "--import" in words:  # an option of every command, which is taken out first
        at = words.index("--import")
        assert (ROOT / words[at + 1]).exists()
        del words[at : at + 2]
    app.parse_args(words, exit_on_error=False, print_error=False)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits_vae: Path, portraits_vae: Path) -> Path:
    """A working folder with the runs, folders and files that the pages use."""
    monkeypatch.chdir(tmp_path)
    faces = open_images("portraits:12", size=16)
    for name in ("photos", "new", "other-photos"):
        write_folder(faces, tmp_path / name)
    first, second = sorted((tmp_path / "photos").glob("*.png"))[:2]
    for name, picture in (("me.png", first), ("a.jpg", first), ("b.jpg", second)):
        shutil.copy(picture, tmp_path / name)
    (tmp_path / "runs").mkdir()
    for name, run in (("photos", portraits_vae), ("portraits", portraits_vae), ("digits-vae", digits_vae)):
        shutil.copytree(run, tmp_path / "runs" / name)
    return tmp_path


def fitted_grid(out: Path) -> None:
    """Train a small run with a latent grid, and fit a prior to it."""
    settings = {"width": 8, "downsampling": 8}
    run = vk.train("portraits:60", "grid-vae", out, size=16, images=64, settings=settings, quiet=True)
    run.fit_prior(images=64, width=8, depth=1, quiet=True)


def test_the_commands_run(here: Path, vaekit: Callable) -> None:
    fitted_grid(here / "runs" / "grid")
    for text, words in RUN.items():
        if words[0] == "score":
            words = [*(word for word in words if word not in ("--false-alarms", "0.05")), *FEW_IMAGES]
        for word in words:
            if word.endswith((".png", ".gif", ".npz", ".csv")) and word != "me.png":
                Path(word).unlink(missing_ok=True)  # from another page
        answer = vaekit(*words)
        assert answer.code == 0, f"vaekit {text}: {answer.err}"


@pytest.fixture
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Remove recipes and parts that a program registers."""
    recipes = dict(RECIPES)
    monkeypatch.setattr(parts, "_registered", {kind: {} for kind in parts.KINDS})
    yield
    RECIPES.clear()
    RECIPES.update(recipes)


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.usefixtures("as_before")
def test_a_program_runs(here: Path, name: str) -> None:
    program = PROGRAMS[name]
    for long, short in SHORTER.items():
        program = program.replace(long, short)
    if "vk.train(" in program:
        shutil.rmtree(here / "runs")
    exec(program, {"__name__": name})
