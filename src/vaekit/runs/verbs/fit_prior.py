"""Fit a density to the latents of the training images, for sampling."""

from __future__ import annotations

from vaekit.errors import UserError, argument
from vaekit.latent.fit_prior import fit, forget_fitted, save_fitted
from vaekit.runs.context import RunContext
from vaekit.runs.result import Result

__all__ = ["fit_prior"]


def fit_prior(run: RunContext, kind: str, components: int | None, seed: int) -> Result:
    """Fit the density, store it in the run, and measure it on held-out latents; ``"none"`` removes it.

    A run that is being trained is refused.
    """
    run.needs("fit-prior")
    with run.writing():
        return _fitted(run, kind, components, seed)


def _fitted(run: RunContext, kind: str, components: int | None, seed: int) -> Result:
    if kind == "none":
        run.model.fitted_prior = None
        return Result(numbers={"removed": run.leads and forget_fitted(run.path)})
    if run.config.conditions:
        raise UserError(
            f"fit-prior: the prior of recipe {run.recipe.name!r} depends on the condition, but a density fitted to all "
            f"latents would not; generate with {argument('condition')} instead"
        )
    prior, facts = fit(run.stored()[0]["latents"], kind, components, seed)
    if run.leads:
        save_fitted(run.path, prior, facts)
    run.model.fitted_prior = prior.to(run.model.device)
    return Result(numbers=facts)
