"""Draw pictures of samples from the prior, and of given latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from vaekit.data.number_inputs import as_integers, as_latents, as_numbers
from vaekit.errors import UserError
from vaekit.latent import ops
from vaekit.latent.codes import latents_of
from vaekit.model.conditioning import parse_condition
from vaekit.runs.context import RunContext, sheet_of
from vaekit.runs.result import Result

__all__ = ["decode", "generate"]


def generate(
    run: RunContext,
    count: int,
    seed: int,
    condition: Mapping[str, Any] | Sequence[str],
    temperature: float | Sequence[float],
) -> Result:
    """Draw ``count`` samples from the prior, or from the density fitted by ``fit_prior``."""
    pixels = ops.generate(run.model, count, seed, run.recipe.name, _condition_of(run, condition), temperature)
    fitted = run.model.fitted_prior is not None
    if not fitted:
        run.caution("generate")
    return Result(sheet_of(pixels), {"drawn_from": "the prior that fit-prior fitted to the latents"} if fitted else {})


def decode(run: RunContext, latents: Any) -> Result:
    """Decode latents ``[N, latent_dim]``, or codes ``[N, rows, columns]``."""
    model = run.model
    if model.latent == "codes" and as_numbers(latents, "latents").ndim == 3:
        z = latents_of(model, as_integers(latents, "latents"), "latents")
    else:
        z = as_latents(latents, model.latent_dim)
    return Result(sheet_of(ops.decode(model, z)))


def _condition_of(run: RunContext, condition: Mapping[str, Any] | Sequence[str]) -> Tensor | None:
    """Return the condition ``[C]`` of a conditional model; None for no condition."""
    if not condition:
        return None
    conditions = run.config.conditions
    if not conditions:
        raise UserError(f"condition: recipe {run.recipe.name!r} is not conditional; train conditional-vae", "condition")
    if isinstance(condition, Mapping):
        condition = [f"{name}={int(value) if isinstance(value, bool) else value}" for name, value in condition.items()]
    return parse_condition(conditions, condition)
