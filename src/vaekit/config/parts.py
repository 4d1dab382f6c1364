"""The parts that a recipe can name: those of vaekit, and those that the user's code has registered.

Parts of vaekit are listed with their classes, which are imported at first use. Nothing that a stored run names is ever
imported: the user's own parts must be registered before the run is loaded.
"""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from vaekit.errors import UserError, argument, nearest, printable
from vaekit.system.schema import Choice

if TYPE_CHECKING:
    from vaekit.config.recipe import Recipe

__all__ = [
    "KINDS",
    "OwnPart",
    "add",
    "imported_as",
    "is_own",
    "is_registered",
    "names",
    "own_parts",
    "part",
    "trains_on_bound",
]

#: For each recipe value that names a part, vaekit's classes as MODULE:CLASS below ``vaekit.model``.
_BUILT_IN: dict[str, dict[str, str]] = {
    "net": {
        "mlp": "nets.mlp:MLP",
        "seed-conv": "nets.seed_conv:SeedConv",
        "resnet": "nets.resnet:ResNet",
        "ladder": "nets.ladder:Ladder",
        "grid": "nets.grid:GridNet",
    },
    "posterior": {
        "normal": "posteriors:NormalPosterior",
        "grid-normal": "posteriors:GridPosterior",
        "ladder": "ladder:LadderPosterior",
        "iaf": "posteriors:FlowPosterior",
        "point": "posteriors:PointPosterior",
        "vq": "quantizers:CodebookPosterior",
        "fsq": "quantizers:CodePosterior",
    },
    "prior": {
        "standard-normal": "priors:StandardNormal",
        "fitted-normal": "priors:FittedNormal",
        "conditional-normal": "priors:ConditionalNormal",
        "ladder": "ladder:LadderPrior",
        "vamp": "priors:VampPrior",
        "flow": "priors:FlowPrior",
        "words": "token_priors:IndependentTokens",
        "autoregressive-words": "token_priors:AutoregressiveTokens",
    },
    "likelihood": {
        "normal": "likelihoods:NormalHead",
        "laplace": "likelihoods:LaplaceHead",
        "continuous-bernoulli": "likelihoods:ContinuousBernoulliHead",
        "bernoulli": "likelihoods:BernoulliHead",
        "discretized-logistic": "likelihoods:DiscretizedLogisticHead",
        "discretized-logistic-mixture": "likelihoods:MixtureHead",
        "discretized-normal": "likelihoods:DiscretizedNormalHead",
        "categorical": "likelihoods:CategoricalHead",
    },
    "objective": {
        "elbo": "objectives:ELBO",
        "iwae": "objectives:IWAE",
        "iwae-dreg": "objectives:IWAE",
        "capacity": "objectives:Capacity",
        "tc": "objectives:TotalCorrelation",
        "mmd": "objectives:MMD",
        "distortion": "objectives:Distortion",
    },
}
KINDS = ("net", "prior", "likelihood", "objective")  #: recipe values that may name a user's part

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")
_MAIN = ("__main__", "builtins")  # modules of scripts, notebooks and executed strings


@dataclass(frozen=True)
class OwnPart:
    """A user's part: its name, and where its code was when it was registered."""

    kind: Annotated[str, Choice(KINDS)]  #: the recipe value that names it
    name: str
    source: str  #: the file or module as the user named it
    sha256: str | None = None  #: of the file that defines it

    @property
    def is_registered(self) -> bool:
        """Whether the user's code has registered it in this process."""
        return is_registered(self.kind, self.name)

    @property
    def has_changed(self) -> bool:
        """Whether the file of the registered part differs from the recorded one."""
        found = _registered[self.kind].get(self.name)
        return found is not None and None not in (found.own.sha256, self.sha256) and found.own.sha256 != self.sha256

    def how_to_import(self) -> str:
        """Return what the user must do before opening a run with this part."""
        source = printable(self.source)
        if source in _MAIN:
            return "run the script or notebook that registers it in the same process, or move it to a .py file"
        module = source.replace("\\", "/").rpartition("/")[2].removesuffix(".py")
        return f"give {argument('import', shlex.quote(source))}, or in Python import {module} first"


@dataclass(frozen=True)
class _Registered:
    part: type
    own: OwnPart
    trains_on_bound: bool


_registered: dict[str, dict[str, _Registered]] = {kind: {} for kind in KINDS}
_importing: list[str] = []  # sources that --import is importing, innermost last


def names(kind: str) -> tuple[str, ...]:
    """Return the allowed names for the recipe value ``kind``.

    >>> names("net")[:3]
    ('mlp', 'seed-conv', 'resnet')
    """
    nothing = ("none",) if kind == "prior" else ()
    return (*_BUILT_IN[kind], *nothing, *_registered.get(kind, ()))


def is_registered(kind: str, name: str) -> bool:
    """Whether ``name`` is a part of vaekit or a registered one."""
    return name in names(kind)


def is_own(kind: str, name: str) -> bool:
    """Whether a part is a user's."""
    return name in _registered.get(kind, ())


def part(kind: str, name: str) -> type:
    """Return the class of a part, importing it if it is vaekit's."""
    if is_own(kind, name):
        return _registered[kind][name].part
    module, _, attribute = _BUILT_IN[kind][name].partition(":")
    found: type = getattr(importlib.import_module(f"vaekit.model.{module}"), attribute)
    return found


def add(kind: str, name: str, part: type, trains_on_bound: bool = True) -> None:
    """Register a user's part; raises :class:`UserError` if the name is taken or invalid.

    A class of the same module and name is replaced, so that a notebook cell can be run again.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or (kind, name) == ("prior", "none"):
        raise UserError(f"the name of a part is {name!r}; expected letters, digits, dots, dashes and underscores")
    if name in _BUILT_IN[kind]:
        raise UserError(f"{kind}={name} is part of vaekit; give yours another name")
    known = _registered[kind].get(name)
    if known and (known.part.__module__, known.part.__qualname__) != (part.__module__, part.__qualname__):
        raise UserError(f"{kind}={name} is registered already, by {known.own.source}; give yours another name")
    source = _importing[-1] if _importing else part.__module__
    own = OwnPart(kind, name, source, _digest(part.__module__))
    _registered[kind][name] = _Registered(part, own, trains_on_bound)


def own_parts(recipe: Recipe) -> tuple[OwnPart, ...]:
    """Return the user's parts of a recipe."""
    named = _named(recipe)
    return tuple(_registered[kind][named[kind]].own for kind in KINDS if named[kind] in _registered[kind])


def check_registered(recipe: Recipe, stored: Iterable[OwnPart], where: str) -> None:
    """Raise :class:`UserError` for the first part of a stored recipe that was not imported."""
    named = _named(recipe)
    for each in stored:
        if named[each.kind] == each.name and not each.is_registered:
            raise UserError(
                f"{where} uses {each.kind}={printable(each.name)}, which is not part of vaekit; {each.how_to_import()}"
            )


def expected(kind: str, name: str) -> str:
    """Describe the allowed names of a part, and how to register another."""
    known = nearest(name, names(kind))
    if kind not in KINDS or known.startswith("did you mean"):
        return known
    return f"{known}, or register your own part and give {argument('import')} FILE.py"


def trains_on_bound(objective: str) -> bool:
    """Whether an objective is based on a bound on log p(x), not on reconstruction only."""
    found = _registered["objective"].get(objective)
    return objective != "distortion" if found is None else found.trains_on_bound


@contextmanager
def imported_as(source: str) -> Iterator[None]:
    """Record ``source``, the file or module that the user named, for each part registered inside the context."""
    _importing.append(source)
    try:
        yield
    finally:
        _importing.pop()


def _named(recipe: Recipe) -> Mapping[str, str]:
    return {
        "net": recipe.net,
        "prior": recipe.prior,
        "likelihood": recipe.likelihood,
        "objective": recipe.objective,
    }


def _digest(module: str) -> str | None:
    """The SHA-256 of the file that defines a module, if there is one."""
    file = vars(sys.modules[module]).get("__file__") if module in sys.modules else None
    if not isinstance(file, str) or not file.endswith(".py") or not Path(file).is_file():
        return None
    import hashlib  # slow to import, and rarely needed

    return hashlib.sha256(Path(file).read_bytes()).hexdigest()
