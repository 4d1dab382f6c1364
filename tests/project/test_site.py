"""The documentation site: docstrings become Markdown, and the page of commands has every option."""

from __future__ import annotations

import inspect
import runpy
from pathlib import Path

import pytest

import vaekit

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def test_the_page_of_commands_has_every_command_and_option():
    from vaekit.cli import app

    page = runpy.run_path(str(SCRIPTS / "commands.py"))["commands_page"]()
    for name in (name for name in app if not name.startswith("-")):
        if not app[name].show:
            assert f"\n## {name}\n" not in page
            continue
        section = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
        for argument in app[name].assemble_argument_collection():
            assert not argument.show or argument.names[0] in section


def test_the_page_of_commands_shows_choices_and_defaults():
    page = runpy.run_path(str(SCRIPTS / "commands.py"))["commands_page"]()
    assert "| `--compile` `on` or `off` |" in page
    device = next(line for line in page.splitlines() if line.startswith("| `--device`"))
    assert device.startswith("| `--device` TEXT |") and device.endswith(" Default: `auto`. |")


def test_roles_and_doctests_become_markdown():
    pytest.importorskip("griffe")
    as_markdown = runpy.run_path(str(SCRIPTS / "docstrings.py"))["as_markdown"]
    text = "Raises :class:`UserError`; see :func:`~vaekit.sums.seal`.\n\n>>> 1 + 1\n2\n"
    assert as_markdown(text, frozenset({"UserError"}), "vaekit") == (
        "Raises [`UserError`][vaekit.UserError]; see `seal`.\n\n```pycon\n>>> 1 + 1\n2\n```\n"
    )


def test_the_site_shows_the_options_of_a_training() -> None:
    griffe = pytest.importorskip("griffe")
    extension = runpy.run_path(str(SCRIPTS / "docstrings.py"))["Docstrings"]()
    paths = [SCRIPTS.parent / "src"]
    package = griffe.load("vaekit", search_paths=paths, extensions=griffe.load_extensions(extension))
    for name in ("train", "plan"):
        function = package["api"][name]
        assert [each.name for each in function.parameters] == list(inspect.signature(getattr(vaekit, name)).parameters)
        assert function.parameters["epochs"].annotation == "float | None"
        assert "seed: Random seed." in function.docstring.value
