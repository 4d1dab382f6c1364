"""A density fitted to the latents of the training images, from which new images are then drawn."""

from __future__ import annotations

from vaekit.errors import UserError, argument
from vaekit.latent.fit_prior import fit, forget_fitted, save_fitted
from vaekit.runs.context import RunContext
from vaekit.runs.result import Result

__all__ = ["fit_prior"]


def fit_prior(run: RunContext, kind: str, components: int | None, seed: int) -> Result:
    """Fits the density, keeps it in the run, and measures it on held-out latents; ``"none"`` forgets it."""
    run.needs("fit-prior")
    if kind == "none":
        run.model.fitted_prior = None
        return Result(numbers={"forgotten": run.leads and forget_fitted(run.path)})
    if run.config.conditions:
        raise UserError(
            f"fit-prior: the prior of recipe {run.recipe.name!r} depends on the condition, and a density of all "
            f"latents would not; generate with {argument('condition')} instead"
        )
    prior, facts = fit(run.stored()[0]["latents"], kind, components, seed)
    if run.leads:
        save_fitted(run.path, prior, facts)
    run.model.fitted_prior = prior.to(next(run.model.parameters()).device)
    return Result(numbers=facts)
