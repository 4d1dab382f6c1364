"""The page of commands: every command with its arguments and options, from the tables of the command line.

``python scripts/commands.py`` prints it as Markdown, and ``make docs`` renders it. It is the same on every machine.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from typing import Any

from vaekit.cli.app import COMMANDS, command, usage
from vaekit.config.options import GROUPS

__all__ = ["commands_page"]

_INTRODUCTION = """# Commands

`vaekit --help` lists the commands, and `vaekit COMMAND --help` shows the options of one of them. This page is
generated from the same tables.

"""


def commands_page() -> str:
    """Return Markdown with a list of all commands and a section for each, in the order of ``vaekit --help``."""
    tables = "\n\n".join(_index(group, list(names)) for group, names in COMMANDS.items())
    return _INTRODUCTION + tables + "\n\n" + "\n".join(_section(name) for names in COMMANDS.values() for name in names)


def _index(group: str, names: list[str]) -> str:
    """Return the table of the commands of a group."""
    rows = [f"| [`{name}`](#{name}) | {_escaped(_summary(name))} |" for name in names]
    return "\n".join([f"| {group} | |", "|---|---|", *rows])


def _section(name: str) -> str:
    arguments = [each for each in command(name).assemble_argument_collection() if each.show]
    positional = [each for each in arguments if each.index is not None]
    options = [each for each in arguments if each.index is None]
    parts = [f"## {name}", f"```text\n{usage(name)}\n```", _description(command(name).help)]
    described = [each for each in positional if each.parameter.help]
    if described:
        parts.append(_table("Argument", described))
    for key in sorted(set(map(_group_of, options))):
        parts.append(_table(key[1], [each for each in options if _group_of(each) == key]))
    return "\n\n".join(parts) + "\n"


def _group_of(option: Any) -> tuple[int, str]:
    """Return the position of an option's group on the page, and its name."""
    name = option.parameter.group[0].name if option.parameter.group else "Options"
    return (GROUPS.index(name), name) if name in GROUPS else (-1, "Option")


def _table(title: str, rows: list[Any]) -> str:
    return "\n".join([f"| {title} | |", "|---|---|", *map(_row, rows)])


def _row(argument: Any) -> str:
    names = ", ".join(f"`{name}`" for name in argument.names)
    value = _value(argument)
    sentences = [_escaped(argument.parameter.help or ""), _default(argument)]
    return f"| {names}{' ' if value else ''}{value} | {' '.join(filter(None, sentences))} |"


def _description(text: str) -> str:
    """Return the paragraphs of a docstring, with examples as code blocks."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(text))
    return "\n\n".join(map(_paragraph, filter(None, map(str.strip, paragraphs))))


def _paragraph(text: str) -> str:
    if text.startswith("Example"):
        lines = [line.strip() for line in text.split(":", 1)[1].splitlines()]
        return "```text\n" + "\n".join(filter(None, lines)) + "\n```"
    return _plain(" ".join(text.split()))


def _summary(name: str) -> str:
    return " ".join(re.split(r"\n\s*\n", inspect.cleandoc(command(name).help))[0].split())


def _value(argument: Any) -> str:
    """Return the placeholder of a flag's value; empty for switches."""
    return " or ".join(dict.fromkeys(filter(None, map(_kind, _kinds(argument.hint)))))


def _kind(kind: Any) -> str:
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(f"`{choice}`" for choice in typing.get_args(kind))
    return _KINDS.get(kind, "PATH")


def _kinds(hint: Any) -> list[Any]:
    """Return the members of a union, also inside of annotated and repeated types."""
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return _kinds(typing.get_args(hint)[0])
    if origin in (typing.Union, types.UnionType):
        return [each for kind in typing.get_args(hint) for each in _kinds(kind)]
    if origin in (tuple, list):
        return _kinds(typing.get_args(hint)[0])
    return [hint]


_KINDS = {str: "TEXT", int: "INTEGER", float: "NUMBER", bool: "", type(None): ""}


def _default(argument: Any) -> str:
    value = argument.field_info.default
    if value is False or value in (None, (), inspect.Parameter.empty):
        return "Required." if argument.field_info.required else ""
    return f"Default: `{'on' if value is True else value}`."


def _plain(text: str) -> str:
    """Escape Markdown markup."""
    return re.sub(r"([\\`*_<\[\]])", r"\\\1", text)


def _escaped(text: str) -> str:
    """Escape the text of a table cell."""
    return _plain(" ".join(text.split())).replace("|", "\\|")


if __name__ == "__main__":
    print(commands_page(), end="")
