"""A Griffe extension that converts docstrings to Markdown for the site.

Roles such as ``:class:`Run``` become links if the name is public, and code otherwise. Doctests become code blocks. A
function with training options is shown with all of them, as in ``help()``.
"""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

import griffe

__all__ = ["Docstrings"]

_ROLE = re.compile(r":(?:py:)?(class|func|meth|mod|attr|data|exc|obj):`([^`]+)`")
_DOCTEST = re.compile(r"^( *)>>> .*(?:\n(?=\1\S).*)*", re.MULTILINE)


class Docstrings(griffe.Extension):
    """Rewrites every docstring of a package after loading."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        exports = [str(name) for name in pkg.exports or ()]
        _rewrite(pkg, frozenset(exports), pkg.path)


def _rewrite(parent: Any, public: frozenset[str], package: str) -> None:
    for member in parent.members.values():
        if member.is_alias:
            continue
        if member.is_function and any("takes(" in str(each.value) for each in member.decorators):
            _expand(member)
        if member.docstring:
            member.docstring.value = as_markdown(member.docstring.value, public, package)
        if member.is_module or member.is_class:
            _rewrite(member, public, package)


def _expand(function: Any) -> None:
    """Replace the static signature and docstring by those at runtime."""
    live = getattr(importlib.import_module(function.parent.path), function.name)
    function.parameters = griffe.Parameters(*map(_parameter, inspect.signature(live).parameters.values()))
    function.docstring = griffe.Docstring(inspect.getdoc(live) or "", parent=function)


def _parameter(found: inspect.Parameter) -> griffe.Parameter:
    is_keyword = found.kind is inspect.Parameter.KEYWORD_ONLY
    return griffe.Parameter(
        found.name,
        annotation=re.sub(r"[a-z_]+(?:\.[a-z_]+)*\.(?=[A-Z])", "", inspect.formatannotation(found.annotation)),
        kind=griffe.ParameterKind.keyword_only if is_keyword else griffe.ParameterKind.positional_or_keyword,
        default=None if found.default is inspect.Parameter.empty else repr(found.default),
    )


def as_markdown(text: str, public: frozenset[str], package: str) -> str:
    """Convert roles and doctests to Markdown."""

    def role(found: re.Match[str]) -> str:
        name = found[2].lstrip("~")
        shown = name.rpartition(".")[2] if found[2].startswith("~") else name
        inside = name.removeprefix(f"{package}.")
        if inside.partition(".")[0] in public and "." not in inside:
            return f"[`{shown}`][{package}.{inside}]"
        return f"`{shown}`"

    def doctest(found: re.Match[str]) -> str:
        return f"{found[1]}```pycon\n{found[0]}\n{found[1]}```"

    return _DOCTEST.sub(doctest, _ROLE.sub(role, text))
