"""The classes of the parts that a recipe names, and the decorators that register parts of your own.

    @vk.register_network("mine")
    class Mine(vk.Network): ...

The name then selects the part, as ``net="mine"`` in a recipe or in the settings of a training.
"""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Callable
from typing import TypeVar

from vaekit.config import parts
from vaekit.errors import UserError
from vaekit.model.contracts import Likelihood, Network, Objective, Posterior, Prior

__all__ = [
    "likelihood",
    "network",
    "objective",
    "posterior",
    "prior",
    "register_likelihood",
    "register_network",
    "register_objective",
    "register_prior",
]

_Network = TypeVar("_Network", bound=Network)
_Prior = TypeVar("_Prior", bound=Prior)
_Likelihood = TypeVar("_Likelihood", bound=Likelihood)
_Objective = TypeVar("_Objective", bound=Objective)
_Part = TypeVar("_Part")


def register_network(name: str) -> Callable[[type[_Network]], type[_Network]]:
    """Class decorator: register a :class:`~vaekit.model.contracts.Network` as ``net=name``.

    Args:
        name: letters, digits, dots, dashes and underscores; not the name of another network.

    Raises:
        UserError: the name is taken, or the class is not a network or lacks a method.
    """
    return _registering("net", name, Network)


def register_prior(name: str) -> Callable[[type[_Prior]], type[_Prior]]:
    """Class decorator: register a :class:`~vaekit.model.contracts.Prior` as ``prior=name``.

    Args:
        name: letters, digits, dots, dashes and underscores; not the name of another prior.

    Raises:
        UserError: the name is taken, or the class is not a prior or lacks a method.
    """
    return _registering("prior", name, Prior)


def register_likelihood(name: str) -> Callable[[type[_Likelihood]], type[_Likelihood]]:
    """Class decorator: register a :class:`~vaekit.model.contracts.Likelihood` as ``likelihood=name``.

    Args:
        name: letters, digits, dots, dashes and underscores; not the name of another likelihood.

    Raises:
        UserError: the name is taken, or the class is not a likelihood or lacks a method.
    """
    return _registering("likelihood", name, Likelihood)


def register_objective(name: str) -> Callable[[type[_Objective]], type[_Objective]]:
    """Class decorator: register an :class:`~vaekit.model.contracts.Objective` as ``objective=name``.

    Args:
        name: letters, digits, dots, dashes and underscores; not the name of another objective.

    Raises:
        UserError: the name is taken, or the class is not an objective or lacks a method.
    """
    return _registering("objective", name, Objective)


def network(name: str) -> type[Network]:
    """The network class called ``name``."""
    found = parts.part("net", name)
    assert issubclass(found, Network)
    return found


def posterior(name: str) -> type[Posterior]:
    """The posterior class called ``name``."""
    found = parts.part("posterior", name)
    assert issubclass(found, Posterior)
    return found


def prior(name: str) -> type[Prior] | None:
    """The prior class called ``name``; None for ``none``."""
    if name == "none":
        return None
    found = parts.part("prior", name)
    assert issubclass(found, Prior)
    return found


def likelihood(name: str) -> type[Likelihood]:
    """The likelihood class called ``name``."""
    found = parts.part("likelihood", name)
    assert issubclass(found, Likelihood)
    return found


def objective(name: str) -> type[Objective]:
    """The objective class called ``name``."""
    found = parts.part("objective", name)
    assert issubclass(found, Objective)
    return found


def _registering(kind: str, name: str, contract: type) -> Callable[[type[_Part]], type[_Part]]:
    """Class decorator that checks a part against its contract and registers it."""

    def register(part: type[_Part]) -> type[_Part]:
        _check(part, contract, f"{kind}={name}")
        trains_on_bound = part.has_rate if issubclass(part, Objective) else True
        parts.add(kind, name, part, trains_on_bound=trains_on_bound)
        return part

    return register


def _check(part: object, contract: type, named: str) -> None:
    """Raise :class:`UserError` unless ``part`` is a concrete subclass of the contract."""
    if not isinstance(part, type) or not issubclass(part, contract):
        raise UserError(f"{named}: expected a subclass of vaekit.{contract.__name__}, got {part!r}")
    if isinstance(part, ABCMeta) and part.__abstractmethods__:
        lacking = ", ".join(sorted(part.__abstractmethods__))
        raise UserError(f"{named}: class {part.__name__} lacks {lacking}, which vaekit.{contract.__name__} requires")
