"""Which verb serves which model: one table, read from the recipe row (or the model) alone.

A verb needs a kind of latent, and some need a prior to draw from. What a model lacks is refused by name. :func:`table`
shows it, in ``vaekit recipes`` and on the page about latent space.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from vaekit.config.recipe import LATENTS
from vaekit.config.table import RECIPES, Recipe
from vaekit.errors import UserError, nearest

__all__ = ["NEEDS", "Able", "Need", "refuse", "serves", "table"]


@dataclass(frozen=True)
class Need:
    """What a verb asks of a model."""

    latents: tuple[str, ...]  #: kinds of latent it can handle
    prior: bool = False  #: whether it draws from the prior, or weighs against it
    remarks: Mapping[str, str] = field(default_factory=dict)  #: kind of latent → what to know before using the verb


_NUMBERS = ("vector", "grid", "levels")
_ANY = LATENTS
_CROSS_FADE = {"grid": "local detail cross-fades", "levels": "top level"}
_SUMMARY = {"grid": "on pooled grids", "levels": "top level"}

NEEDS: dict[str, Need] = {
    "encode": Need(_NUMBERS),
    "generate": Need(_ANY, prior=True, remarks={"grid": "texture, until a prior is fitted"}),
    "reconstruct": Need(_ANY),
    "neighbors": Need(_NUMBERS, remarks=_SUMMARY),
    "map": Need(_NUMBERS, remarks=_SUMMARY),
    "interpolate": Need(_NUMBERS, remarks=_CROSS_FADE),
    "arithmetic": Need(_NUMBERS, remarks=_CROSS_FADE),
    "traverse": Need(_NUMBERS, remarks=_CROSS_FADE),
    "edit": Need(_NUMBERS, remarks=_CROSS_FADE),
    "denoise": Need(_ANY),
    "inpaint": Need(_NUMBERS),
    "evaluate": Need(_ANY),
    "factors": Need(_NUMBERS),  # of evaluate
    "score": Need(_ANY),
    "export": Need(_NUMBERS),
    "explore": Need(_NUMBERS),
    "fit-prior": Need(("vector",)),
    "doctor": Need(_ANY),
}


#: Kind of latent → what a model has of that kind, in words.
_KINDS = {"vector": "a latent vector", "grid": "a latent grid", "levels": "latent levels", "codes": "discrete codes"}


class Able(Protocol):
    """What a verb asks a model for: a :class:`~vaekit.config.table.Recipe`, or a built model."""

    @property
    def latent(self) -> str:
        """The kind of latent: vector, grid, levels or codes."""

    @property
    def can_draw(self) -> bool:
        """Whether there is a prior to draw new latents from."""


def serves(verb: str, model: Able) -> bool:
    """Whether ``verb`` works with ``model``, a recipe row or a LatentModel.

    >>> serves("generate", RECIPES["vae"]), serves("generate", RECIPES["seed-ae"])
    (True, False)
    """
    return _lacks(verb, model) is None


def table() -> list[tuple[str, ...]]:
    """One row per verb: its name, and for each of :data:`~vaekit.config.recipe.LATENTS` yes, yes with a remark, or no.

    >>> table()[0]
    ('encode', 'yes', 'yes', 'yes', 'no')
    """

    def cell(need: Need, latent: str) -> str:
        remark = need.remarks.get(latent)
        return "no" if latent not in need.latents else f"yes: {remark}" if remark else "yes"

    shown = {"factors": "evaluate --factors"}
    return [(shown.get(verb, verb), *(cell(need, latent) for latent in LATENTS)) for verb, need in NEEDS.items()]


def refuse(verb: str, model: Able, name: str = "") -> None:
    """Raises :class:`UserError` if ``model`` (a recipe row or a LatentModel) lacks what ``verb`` needs.

    ``name`` is that of the model's recipe; a row knows its own.

    >>> refuse("generate", RECIPES["ae"])
    Traceback (most recent call last):
    vaekit.errors.UserError: generate: recipe 'ae' has no prior ...; run vaekit fit-prior, or train one of vae, ...
    """
    lack = _lacks(verb, model)
    if lack is None:
        return
    name = model.name if isinstance(model, Recipe) else name
    who = f"recipe {name!r}" if name else "this model"
    able = ", ".join(name for name, row in RECIPES.items() if serves(verb, row))
    remedy = "run vaekit fit-prior, or train" if NEEDS[verb].prior and serves("fit-prior", model) else "train"
    raise UserError(f"{verb}: {who} {lack}; {remedy} one of {able}")


def _lacks(verb: str, model: Able) -> str | None:
    if verb not in NEEDS:
        raise UserError(f"there is no verb {verb!r}; {nearest(verb, NEEDS)}")
    need = NEEDS[verb]
    if model.latent not in need.latents:
        return f"has {_KINDS[model.latent]}, and this needs {' or '.join(_KINDS[kind] for kind in need.latents)}"
    if need.prior and not model.can_draw:
        return "has no prior to draw latents from"
    return None
