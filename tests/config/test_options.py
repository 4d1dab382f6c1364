"""One record of options: every field is a keyword in Python, a flag in the shell, and documented in both."""

from __future__ import annotations

import inspect
import runpy
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

import vaekit as vk
from vaekit import api
from vaekit.cli.app import app
from vaekit.cli.train_flags import TrainFlags, keywords
from vaekit.config.options import GROUPS, PYTHON, TrainOptions, helps
from vaekit.errors import UserError

NAMES = [each.name for each in fields(TrainOptions)]
IN_SHELL = [name for name in NAMES if helps()[name].group != PYTHON]
SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def flag_of(name: str) -> str:
    return "--" + (helps()[name].flag or name).replace("_", "-")


@pytest.mark.parametrize("function", [vk.train, vk.plan], ids=["train", "plan"])
def test_python_takes_and_documents_every_option(function: Callable[..., Any]) -> None:
    parameters = inspect.signature(function).parameters
    assert list(parameters) == ["data", *NAMES]
    defaults = {name: parameter.default for name, parameter in parameters.items() if name != "data"}
    assert defaults == {each.name: each.default for each in fields(TrainOptions)}
    documented = " ".join((function.__doc__ or "").split())
    for name in NAMES:
        assert f"{name}: {helps()[name].described()}" in documented


@pytest.mark.parametrize("name", NAMES)
def test_a_plan_accepts_every_option(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[TrainOptions] = []

    def stop(_: Any, options: TrainOptions) -> None:
        found.append(options)
        raise UserError("the options have arrived")

    monkeypatch.setattr(api, "_checked", stop)
    value = VALUES[name]
    for function in (vk.plan, vk.train):
        with pytest.raises(UserError, match="have arrived"):
            function("digits", **{name: value})
    assert [getattr(options, name) for options in found] == [value, value]


#: A value of every option, as Python takes it, and the words of the shell for it.
VALUES: dict[str, Any] = {
    "recipe": "ae", "out": Path("runs/x"), "size": 32, "channels": 3, "fit": "pad", "background": "gray",
    "frames": "all", "binarize": "static", "flip": True, "shift": 2, "jitter": 0.1, "noise_std": 0.5, "latent_dim": 7,
    "downsampling": 8,
    "likelihood": "laplace", "settings": {"beta": "4"}, "init": Path("runs/y"), "epochs": 2.0, "images": 99,
    "budget": "5m", "batch_size": 16, "learning_rate": 0.01, "patience": 3, "seed": 5, "device": "cpu", "threads": 1,
    "precision": "bf16", "compiled": True, "micro_batch": 4, "tensorboard": False, "quiet": True,
    "on_log": print, "on_epoch": print,
}  # fmt: skip
WORDS = {"settings": "beta=4", "compiled": "on"}


@pytest.mark.parametrize("name", IN_SHELL)
def test_the_shell_takes_every_option(name: str) -> None:
    value = VALUES[name]
    words = [] if isinstance(value, bool) and name not in WORDS else [str(WORDS.get(name, value))]
    _, bound, _ = app.parse_args(["train", "digits", flag_of(name), *words], exit_on_error=False, print_error=False)
    given = keywords(bound.arguments["flags"])
    expected = str(value) if name == "size" else True if isinstance(value, bool) else value
    assert given[name] == expected


def test_without_flags_python_gets_its_own_defaults() -> None:
    given = keywords(TrainFlags())
    assert set(given) == set(IN_SHELL)
    options = TrainOptions(**given)
    assert replace(options, settings=options.settings or None) == TrainOptions()


def test_help_and_the_page_of_commands_describe_every_option(vaekit: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    shown = " ".join(vaekit("train", "--help").out.replace("│", " ").split())
    page = runpy.run_path(str(SCRIPTS / "commands.py"))["commands_page"]()
    section = page.split("\n## train\n")[1].split("\n## ")[0]
    for name in IN_SHELL:
        assert flag_of(name) in shown and f"`{flag_of(name)}`" in section
        assert helps()[name].described(in_shell=True) in shown
    assert [shown.index(f"─ {group} ─") for group in GROUPS] == sorted(shown.index(f"─ {group} ─") for group in GROUPS)


@pytest.mark.parametrize("name", [name for name in NAMES if helps()[name].choices])
def test_every_closed_set_of_choices_is_listed(name: str) -> None:
    option = helps()[name]
    assert all(choice in option.described() for choice in option.choices)


def test_an_unknown_keyword_is_refused_with_the_nearest() -> None:
    with pytest.raises(TypeError, match="train.. has no argument 'epoch'; did you mean 'epochs'?"):
        vk.train("digits", epoch=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": -1}, "^epochs -1: must be a finite number greater than 0$"),
        ({"epochs": 1, "budget": "10s"}, "^epochs and budget exclude each other"),
        ({"batch_size": "many"}, "^batch_size 'many': expected a whole number or 'auto'$"),
        ({"device": 3}, "^device 3: expected a string or a torch.device$"),
        ({"learning_rate": -1.0}, "^learning_rate=-1.0: must be greater than 0$"),
        ({"settings": {"betta": 1}}, "^settings betta=1: a recipe has no value 'betta'; did you mean 'beta'"),
    ],
)
def test_python_names_the_parameter(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        vk.plan("digits", **options)


def test_british_spellings_of_values_are_known() -> None:
    options = TrainOptions("vae", likelihood="discretised-normal", settings={"beta": 2})
    assert options.row().likelihood == "discretized-normal"
    assert TrainOptions(settings={"likelihood": "discretised-logistic"}).row().likelihood == "discretized-logistic"


def test_a_value_is_given_once_or_twice_the_same() -> None:
    assert TrainOptions(latent_dim=4, settings={"latent_dim": "4"}).row().latent_dim == 4
    for options in ({"latent_dim": 3, "settings": {"latent_dim": 4}}, {"flip": True, "settings": {"flip": "no"}}):
        with pytest.raises(UserError, match=r"\d|True and settings \w+=.* contradict each other"):
            TrainOptions(**options).row()
    with pytest.raises(UserError, match="likelihood laplace and settings likelihood=normal contradict"):
        TrainOptions(likelihood="laplace", settings={"likelihood": "normal"}).row()
