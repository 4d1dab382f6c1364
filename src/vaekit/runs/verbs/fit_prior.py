"""Fit a density to the latents of the training images, for sampling."""

from __future__ import annotations

from vaekit.errors import UserError, argument
from vaekit.latent.fit_prior import check_replaceable, fit, forget_fitted, save_fitted
from vaekit.latent.flow_prior import FLOW_MATCHING, forget_flow
from vaekit.runs.context import RunContext
from vaekit.runs.result import Result

__all__ = ["check_kind_of_latent", "fit_prior"]


def fit_prior(run: RunContext, kind: str, components: int | None, seed: int) -> Result:
    """Fit the density, store it in the run, and measure it on held-out latents; ``"none"`` removes it.

    A run that is being trained is refused.
    """
    check_kind_of_latent(run, kind)
    with run.writing():
        return _fitted(run, kind, components, seed)


def check_kind_of_latent(run: RunContext, kind: str) -> None:
    """Raise :class:`UserError` if no prior of this kind can be fitted to the latents of the run."""
    run.needs("fit-prior")
    if kind not in (FLOW_MATCHING, "none") and run.model.latent != "vector":
        raise UserError(
            f"{argument('kind', kind)}: the latent of recipe {run.recipe.name!r} is a grid, and only "
            f"{argument('kind', FLOW_MATCHING)} can be fitted to grids",
            "kind",
        )
    if run.config.conditions and kind != "none":
        raise UserError(
            f"fit-prior: the prior of recipe {run.recipe.name!r} depends on the condition, but one fitted to all "
            f"latents would not; generate with {argument('condition')} instead"
        )


def _fitted(run: RunContext, kind: str, components: int | None, seed: int) -> Result:
    if kind == "none":
        run.model.fitted_prior = None
        return Result(numbers={"removed": run.leads and any([forget_fitted(run.path), forget_flow(run.path)])})
    check_replaceable(run.path)
    prior, facts = fit(run.stored()[0]["latents"], kind, components, seed)
    if run.leads:
        save_fitted(run.path, prior, facts)
    run.model.fitted_prior = prior.to(run.model.device)
    return Result(numbers=facts)
