"""The flags of ``vaekit train``, from the fields of :class:`vaekit.config.options.TrainOptions`."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter, validators

from vaekit.config.options import GROUPS, OUTPUT, PYTHON, Help, TrainOptions, helps
from vaekit.errors import UserError, argument

__all__ = ["OUTPUT_GROUP", "FormFlags", "TrainFlags", "keywords"]

_GROUPS = {name: Group.create_ordered(name) for name in GROUPS}
OUTPUT_GROUP = _GROUPS[OUTPUT]

#: Options whose flags take another form, and how it is parsed.
_READ: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "compiled": (Literal["on", "off"] | None, lambda word: word and word == "on"),
    "settings": (tuple[str, ...], lambda words: _settings(words)),
}
_VALIDATORS = {"seed": validators.Number(gte=0, lt=2**63)}


def keywords(flags: Any) -> dict[str, Any]:
    """Return the values of the flags as keywords of :func:`vaekit.train`."""
    values = dataclasses.asdict(flags)
    return {name: _READ[name][1](value) if name in _READ else value for name, value in values.items()}


def _flag(name: str, kind: Any, default: Any, option: Help) -> tuple[str, Any, Any]:
    if name in _READ:
        kind = _READ[name][0]
        default = () if kind == tuple[str, ...] else default
    is_switch, is_many = bool in (kind, *typing.get_args(kind)), typing.get_origin(kind) is tuple
    parameter = Parameter(
        name=f"--{(option.flag or name).replace('_', '-')}",
        help=option.described(in_shell=True),
        group=_GROUPS[option.group],
        validator=_VALIDATORS.get(name),
        negative="" if is_switch or is_many else None,
        show_default=not (is_switch or is_many or default is None),
        show_choices=kind != int | Literal["auto"] | None,
        allow_leading_hyphen=str in (kind, *typing.get_args(kind)),
    )
    return name, Annotated[_in_shell(kind), parameter], dataclasses.field(default=default)


def _in_shell(kind: Any) -> Any:
    """Return the type of a flag: a path or a string, if the option accepts one."""
    kinds = typing.get_args(kind) or (kind,)
    if Path in kinds:
        return Path | None
    if str in kinds and typing.get_origin(kind) is not tuple:
        return str | None if type(None) in kinds else str
    return str if kind is Any else kind


def _flags(class_name: str, names: Collection[str] = ()) -> Any:
    """Return a dataclass with a field for each of the named options, by default all options with a flag."""
    hints = typing.get_type_hints(TrainOptions)
    made = [
        _flag(each.name, hints[each.name], each.default, helps()[each.name])
        for each in dataclasses.fields(TrainOptions)
        if helps()[each.name].group != PYTHON and (not names or each.name in names)
    ]
    return dataclasses.make_dataclass(class_name, made, frozen=True, namespace={"__module__": __name__})


def _settings(texts: tuple[str, ...]) -> dict[str, str]:
    settings = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UserError(f"{argument('settings')} {text}: expected NAME=VALUE, for example {argument('beta', 4)}")
        settings[name.strip().replace("-", "_")] = value.strip()
    return settings


TrainFlags = _flags("TrainFlags")
FormFlags = _flags("FormFlags", ("size", "channels", "fit", "background", "frames"))
