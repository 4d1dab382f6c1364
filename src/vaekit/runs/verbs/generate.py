"""Draw pictures of samples from the prior, and of given latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from vaekit.data.number_inputs import as_integers, as_latents, as_numbers
from vaekit.errors import UserError, argument
from vaekit.latent import ops
from vaekit.latent.codes import latents_of
from vaekit.latent.flow_prior import FLOW_MATCHING
from vaekit.model.conditioning import parse_condition
from vaekit.model.flow_matching import FlowMatchingPrior, FlowSamples
from vaekit.runs.context import RunContext, files_of, sheet_of
from vaekit.runs.result import Result

__all__ = ["decode", "generate"]

_STRENGTH = 0.5  # of variations


def generate(
    run: RunContext,
    count: int,
    seed: int,
    condition: Mapping[str, Any] | Sequence[str],
    temperature: float | Sequence[float],
    steps: int | None,
    guidance: float | None,
    image: Any,
    strength: float | None,
) -> Result:
    """Draw ``count`` samples from the prior, or from what ``fit_prior`` fitted, or variations of an image."""
    run.needs("generate")
    known = _condition_of(run, condition)
    source = _source(run, known, steps, guidance, image, strength)
    pixels = ops.generate(run.model, count, seed, run.recipe.name, known, temperature, source)
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
    fitted = run.model.fitted_prior
    conditions = fitted.conditions if isinstance(fitted, FlowMatchingPrior) else run.config.conditions
    if not conditions and isinstance(fitted, FlowMatchingPrior):
        raise UserError(
            "condition: the images that the prior was fitted to have no labels, and no attributes that vary; leave it "
            "out",
            "condition",
        )
    if not conditions:
        raise UserError(
            f"condition: recipe {run.recipe.name!r} is not conditional; train conditional-vae, or run vaekit fit-prior "
            f"with {argument('kind', FLOW_MATCHING)} on images with labels or attributes",
            "condition",
        )
    if isinstance(condition, Mapping):
        condition = [f"{name}={int(value) if isinstance(value, bool) else value}" for name, value in condition.items()]
    return parse_condition(conditions, condition)


def _source(
    run: RunContext,
    condition: Tensor | None,
    steps: int | None,
    guidance: float | None,
    image: Any,
    strength: float | None,
) -> FlowSamples | None:
    """Return the distribution to sample from; None if the prior is not flow matching, and takes none of these."""
    fitted = run.model.fitted_prior
    given = {"steps": steps, "guidance": guidance, "image": image, "strength": strength}
    if not isinstance(fitted, FlowMatchingPrior):
        for name, value in given.items():
            if value is not None:
                shown = value if isinstance(value, int | float | str) else None
                raise UserError(
                    f"{argument(name, shown)}: only a prior of fit-prior with {argument('kind', FLOW_MATCHING)} takes "
                    "it; leave it out, or fit such a prior",
                    name,
                )
        return None
    if strength is not None and image is None:
        raise UserError(f"{argument('strength', strength)}: needs {argument('image')}, the image to vary", "strength")
    if guidance is not None and condition is None:
        raise UserError(
            f"{argument('guidance', guidance)}: needs {argument('condition')}, which it follows", "guidance"
        )
    drawn: FlowSamples = fitted(None, condition)
    drawn = drawn.with_sampling(steps, guidance)
    if image is None:
        return drawn
    latents = run.encode(files_of(image))
    if len(latents) != 1:
        raise UserError(f"image: there are {len(latents):,} images; give one, whose variations are drawn", "image")
    return drawn.variations_of(latents[0].to(run.model.device), _STRENGTH if strength is None else strength)
