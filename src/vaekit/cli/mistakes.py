"""Explain mistakes on the command line: what is missing, or what cannot be an option."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from cyclopts import CycloptsError, MissingArgumentError, UnknownOptionError

from vaekit.cli.flags import shown_argument

__all__ = ["explained"]


def explained(error: CycloptsError, tokens: Sequence[str]) -> str:
    """Return a message for an error of the parser, in one line."""
    usual = " ".join(str(error).split())
    if isinstance(error, MissingArgumentError) and error.argument is not None and "Did you mean" not in usual:
        is_given = any(token.partition("=")[0] in error.argument.names for token in tokens)
        help_ = re.split(r"\.(?: |$)", error.argument.parameter.help or "")[0]
        needed = f" ({help_[:1].lower()}{help_[1:]})" if help_ else ""
        return f"{shown_argument(error.argument)} {'needs a value' if is_given else 'is missing'}{needed}."
    if isinstance(error, UnknownOptionError):
        option = error.token.keyword or error.token.value
        if "--" in tokens and option in tokens[tokens.index("--") :]:
            return f"{option} comes after '--', where nothing is an option; put all options before '--'."
        if os.path.lexists(option):
            return f"{option} looks like an option; to name the file, write ./{option}."
    return usual
