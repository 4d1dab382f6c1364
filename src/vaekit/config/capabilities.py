"""Which verb serves which model: one table, read from the recipe row (or the model) alone.

A command needs certain kinds of latents, and some need a prior. The error names what the model lacks. :func:`table`
is shown in ``docs/latent-space.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from vaekit.config.recipe import LATENTS
from vaekit.config.table import RECIPES, Recipe
from vaekit.errors import UserError, argument, nearest

__all__ = ["NEEDS", "Able", "Need", "caution", "refuse", "serves", "table"]


@dataclass(frozen=True)
class Need:
    """What a command needs of a model."""

    latents: tuple[str, ...]  #: kinds of latent that it supports
    prior: bool = False  #: whether it uses the prior
    normal: bool = False  #: whether the prior must be a normal distribution, or normal at each level
    remarks: Mapping[str, str] = field(default_factory=dict)  #: kind of latent → a remark for the user


_NUMBERS = ("vector", "grid", "levels")
_ANY = LATENTS
_CROSS_FADE = {"grid": "local detail cross-fades", "levels": "top levels; finer levels follow"}
_TEMPERATURE = {"vector": "with a normal prior", "levels": "per level"}
_ALL = {"levels": "all levels"}
_SUMMARY = {"grid": "on pooled grids", "levels": "top level", "codes": "on pooled embeddings"}

NEEDS: dict[str, Need] = {
    "encode": Need(_ANY, remarks={"codes": "their indices", **_ALL}),
    "codes": Need(("codes",)),  # in Python only
    "generate": Need(_ANY, prior=True, remarks={"grid": "texture before fit-prior"}),
    "temperature": Need(_NUMBERS, prior=True, normal=True, remarks=_TEMPERATURE),  # of generate
    "reconstruct": Need(_ANY),
    "tiles": Need(("grid",)),  # of reconstruct
    "levels": Need(("levels",)),  # of reconstruct, interpolate, arithmetic, traverse and edit
    "neighbors": Need(_ANY, remarks=_SUMMARY),
    "map": Need(_ANY, remarks=_SUMMARY),
    "interpolate": Need(_NUMBERS, remarks=_CROSS_FADE),
    "arithmetic": Need(_NUMBERS, remarks=_CROSS_FADE),
    "traverse": Need(_NUMBERS, remarks=_CROSS_FADE),
    "edit": Need(_NUMBERS, remarks=_CROSS_FADE),
    "keep-detail": Need(("levels",)),  # of interpolate, arithmetic, traverse and edit
    "denoise": Need(_ANY),
    "inpaint": Need(_ANY),
    "evaluate": Need(_ANY),
    "factors": Need(_ANY, remarks=_SUMMARY),  # of evaluate
    "score": Need(_ANY, remarks=_ALL),
    "export": Need(_ANY, remarks={"codes": "without the prior"}),
    "explore": Need(_ANY, remarks={"codes": "without edits and walks"}),
    "fit-prior": Need(("vector", "grid"), remarks={"grid": "flow-matching"}),
    "doctor": Need(_ANY),
}


#: Needs that are named after no command: the argument that asks for them.
_ARGUMENTS = {
    "factors": "factors",
    "keep-detail": "keep_detail",
    "levels": "levels",
    "temperature": "temperature",
    "tiles": "tiled",
}
_MOST_NAMED = 3  # recipes in a refusal

#: Descriptions of the kinds of latent, for messages.
_KINDS = {"vector": "a latent vector", "grid": "a latent grid", "levels": "latent levels", "codes": "discrete codes"}


class Able(Protocol):
    """A :class:`~vaekit.config.table.Recipe` or a model, as far as commands depend on it."""

    @property
    def latent(self) -> str:
        """The kind of latent: vector, grid, levels or codes."""

    @property
    def can_draw(self) -> bool:
        """Whether there is a prior to sample new latents from."""

    @property
    def has_normal_prior(self) -> bool:
        """Whether that prior is a normal distribution, or normal at each level."""


def serves(verb: str, model: Able) -> bool:
    """Whether ``verb`` works with ``model``, a recipe or a LatentModel.

    >>> serves("generate", RECIPES["vae"]), serves("generate", RECIPES["seed-ae"])
    (True, False)
    """
    return _lacks(verb, model) is None


def table() -> list[tuple[str, ...]]:
    """One row per verb: its name, and for each of :data:`~vaekit.config.recipe.LATENTS` yes, yes with a remark, or no.

    >>> table()[0]
    ('encode', 'yes', 'yes', 'yes: all levels', 'yes: their indices')
    """

    def cell(need: Need, latent: str) -> str:
        remark = need.remarks.get(latent)
        return "no" if latent not in need.latents else f"yes: {remark}" if remark else "yes"

    shown = {
        "codes": "Run.codes",
        "factors": "evaluate --factors",
        "keep-detail": "--keep-detail",
        "levels": "--levels",
        "temperature": "generate --temperature",
        "tiles": "reconstruct --tiled",
    }
    return [(shown.get(verb, verb), *(cell(need, latent) for latent in LATENTS)) for verb, need in NEEDS.items()]


def caution(verb: str, model: Able, name: str) -> str | None:
    """One sentence on what to expect of ``verb`` with a latent grid, if it is less than with a vector; else None.

    >>> caution("interpolate", RECIPES["grid-vae"], "grid-vae")
    "interpolate: the latent of recipe 'grid-vae' is a grid, so local detail cross-fades and does not move"
    """
    if model.latent != "grid":
        return None
    if verb == "generate":
        return (
            f"generate: the prior of recipe {name!r} draws each number of the grid by itself and knows nothing of an "
            f"image as a whole, so samples look like texture; run vaekit fit-prior"
        )
    if NEEDS[verb].remarks == _CROSS_FADE:
        return f"{verb}: the latent of recipe {name!r} is a grid, so local detail cross-fades and does not move"
    return None


def refuse(verb: str, model: Able, name: str = "") -> None:
    """Raise :class:`UserError` if ``model``, a recipe or a LatentModel, lacks what ``verb`` needs.

    ``name`` is the recipe of a LatentModel.

    >>> refuse("generate", RECIPES["ae"])
    Traceback (most recent call last):
    vaekit.errors.UserError: generate: recipe 'ae' has no prior ...; run vaekit fit-prior, or train one of vae, ...
    >>> refuse("codes", RECIPES["vae"])
    Traceback (most recent call last):
    vaekit.errors.UserError: codes: recipe 'vae' has a latent vector, ...; train one of vq-vae, fsq-vae
    """
    lack = _lacks(verb, model)
    if lack is None:
        return
    name = model.name if isinstance(model, Recipe) else name
    who = f"recipe {name!r}" if name else "this model"
    able = [name for name, row in RECIPES.items() if serves(verb, row)]
    named = ", ".join(able[:_MOST_NAMED]) + (", or another of vaekit recipes" if len(able) > _MOST_NAMED else "")
    prefix = argument(_ARGUMENTS[verb]) if verb in _ARGUMENTS else verb
    is_any_prior_enough = NEEDS[verb].prior and not NEEDS[verb].normal
    remedy = "run vaekit fit-prior, or train" if is_any_prior_enough and serves("fit-prior", model) else "train"
    raise UserError(f"{prefix}: {who} {lack}; {remedy} {'one of ' * (len(able) > 1)}{named}")


def _lacks(verb: str, model: Able) -> str | None:
    if verb not in NEEDS:
        raise UserError(f"there is no verb {verb!r}; {nearest(verb, NEEDS)}")
    need = NEEDS[verb]
    if model.latent not in need.latents:
        return f"has {_KINDS[model.latent]}, and this needs {' or '.join(_KINDS[kind] for kind in need.latents)}"
    if need.prior and not model.can_draw:
        return "has no prior to sample latents from"
    if need.normal and not model.has_normal_prior:
        return "has a prior that is not normal, so it has no standard deviation to scale"
    return None
