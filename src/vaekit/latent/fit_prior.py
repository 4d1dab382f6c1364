"""Fit a density to the latents of a trained model, for sampling (Ghosh et al. 2020, Sec. 4).

    mixture    Σₖ πₖ N(z; μₖ, Σₖ), by expectation maximization (scikit-learn)
    flow       a standard normal transformed by affine couplings and a scaling, by maximum likelihood

The third kind, flow-matching, is a training of its own (:mod:`vaekit.latent.flow_prior`), and has no density.

A fitted prior makes samples of an autoencoder meaningful, and improves those of a model whose latents do not match its
prior. The model does not change: bounds refer to the prior that it was trained with. A tenth of the latents is held
out.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from vaekit.errors import UserError, argument, counted, nearest
from vaekit.latent.flow_prior import FLOW_MATCHING, flow_digest, flow_folder, has_flow, load_flow
from vaekit.model.contracts import EncodingModel, Prior
from vaekit.model.distributions.latent import FullNormal, Transformed
from vaekit.model.latent_model import LatentModel
from vaekit.model.priors import FlowPrior, MixturePrior
from vaekit.system.files import file_digest, load_tensors, save_tensors
from vaekit.system.schema import COUNT, Choice, Range, record
from vaekit.system.tensor_layouts import fault, layouts_of

__all__ = [
    "KINDS",
    "FittedFlow",
    "check_replaceable",
    "fit",
    "fitted_digest",
    "forget_fitted",
    "load_fitted",
    "save_fitted",
]

KINDS = ("mixture", "flow")

_NAME, _WEIGHTS = "prior.safetensors", "weights.safetensors"
_HELD_OUT = 10  # every tenth latent is held out
_FEWEST_LATENTS = 20
_COUNTS = (1, 2, 5, 10)  # numbers of components to choose from
_LATENTS_EACH = 5  # average latents per component, at least; a component of a single latent would reveal it
_LEAST_SPREAD = 1e-6
_RIDGE = 1e-4  # added to the variances of standardized latents
_HIDDEN = 64  # wider flows overfit sooner
_STEPS, _BATCH, _LEARNING_RATE, _WEIGHT_DECAY = 2000, 256, 2e-3, 0.3  # of a flow
_BETTER = {"mixture": "omit components to have their number chosen", "flow": "fit a mixture"}
_WARMUP, _CLIP_NORM = 100, 1.0  # without them, the first steps of some seeds end in a state that never improves
_LOOK_EVERY, _PATIENCE = 50, 6  # early stopping, because thousands of latents are overfitted long before the last step


class FittedFlow(FlowPrior):
    """A flow for latents with any mean and scale."""

    mean: Tensor
    std: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__(latent_dim, hidden=_HIDDEN)
        self.register_buffer("mean", torch.zeros(latent_dim))
        self.register_buffer("std", torch.ones(latent_dim))

    def scale(self, mean: Tensor, std: Tensor) -> None:
        """Set the transformation from standardized latents to their original mean and scale."""
        self.mean.copy_(mean)
        self.std.copy_(std)

    def forward(self, model: EncodingModel | None = None, condition: Tensor | None = None) -> Transformed:
        """Return the density of the latents."""
        from torch.distributions import AffineTransform
        from zuko.transforms import ComposedTransform

        plain = super().forward(model)
        scaling = AffineTransform(self.mean, self.std, event_dim=1)
        return Transformed(plain.base, ComposedTransform(plain.transform, scaling))


def fit(
    latents: Tensor, kind: str = "mixture", components: int | None = None, seed: int = 0
) -> tuple[Prior, dict[str, Any]]:
    """Fit a prior to latents, and compare it with a single normal on held-out latents. Deterministic.

    Args:
        latents: Latents, float ``[N, L]``, N ≥ 20.
        kind: One of :data:`KINDS`.
        components: Number of components of a mixture. By default 1, 2, 5 or 10, whichever gives held-out latents the
            highest likelihood.
        seed: Random seed.

    Returns:
        The prior, and facts about it. Held-out latents choose the number of components and stop the training of a flow,
        so their log-likelihood is slightly optimistic.

    Raises:
        UserError: If the kind is unknown, there are too few latents, or they are not finite.
    """
    _check_kind(kind, components)
    if len(latents) < _FEWEST_LATENTS:
        raise UserError(
            f"there are only {counted(len(latents), 'latent')} to fit a prior to; expected at least {_FEWEST_LATENTS}"
        )
    if not bool(latents.isfinite().all()):
        raise UserError("some latents are not finite; the model has diverged, train it again")
    is_held = torch.arange(len(latents)) % _HELD_OUT == _HELD_OUT - 1
    train, held = latents[~is_held].double(), latents[is_held].double()
    mean, std = train.mean(0), train.std(0, correction=0).clamp(min=_LEAST_SPREAD)
    scaled = ((train - mean) / std, (held - mean) / std)
    prior: FittedFlow | MixturePrior
    prior, result = _flow(*scaled, seed) if kind == "flow" else _mixture(*scaled, components, seed)
    prior.scale(mean, std)
    prior = prior.eval().requires_grad_(False)
    with torch.no_grad():
        by_normal = FullNormal(torch.zeros_like(mean), _factor(scaled[0])).log_prob(scaled[1]) - std.log().sum()
        by_prior = prior(None).log_prob(held.float()).double()
    facts: dict[str, Any] = {
        "kind": kind,
        **result,
        "latents": len(train),
        "held_out_nats": float(by_prior.mean()),
        "held_out_nats_of_a_normal": float(by_normal.mean()),
    }
    if "choice" not in facts and facts["held_out_nats"] < facts["held_out_nats_of_a_normal"]:
        facts["warning"] = f"a single normal fits held-out latents better; {_BETTER[kind]}, or train on more images"
    return prior, facts


def check_replaceable(folder: Path) -> None:
    """Raise :class:`UserError` if a run has a prior that took long to train and that a new one would replace."""
    if has_flow(folder):
        raise UserError(
            f"{flow_folder(folder)} contains a {FLOW_MATCHING} prior; remove it first, with fit-prior and "
            f"{argument('kind', 'none')}"
        )


def save_fitted(folder: Path, prior: nn.Module, facts: dict[str, Any]) -> None:
    """Store a fitted prior in a run, for its current weights."""
    save_tensors(folder / _NAME, prior.state_dict(), {**facts, "weights": file_digest(folder / _WEIGHTS)})


def forget_fitted(folder: Path) -> bool:
    """Delete the fitted prior of a run; return whether there was one."""
    was_there = (folder / _NAME).exists()
    (folder / _NAME).unlink(missing_ok=True)
    return was_there


def load_fitted(folder: Path, model: LatentModel) -> tuple[Prior | None, str | None]:
    """Load what was fitted in a run, on the model's device, and what is wrong with it, or why it cannot be used."""
    path = folder / _NAME
    removal = f"or remove it with fit-prior and {argument('kind', 'none')}"
    again = f"fit it again with fit-prior, {removal}"
    if has_flow(folder):
        try:
            flow, lack = load_flow(folder, model)
        except UserError as error:
            again = f"fit it again with fit-prior and {argument('kind', FLOW_MATCHING)}, {removal}"
            return None, f"the fitted prior is not used: {error.text.partition(';')[0]}; {again}"
        return flow.to(model.device), lack
    if not path.exists():
        return None, None
    try:
        tensors, plain = load_tensors(path)
        facts = record(_Facts, plain, str(path), remedy="the file is damaged")
        if facts.weights != file_digest(folder / _WEIGHTS):
            return None, f"{path} was fitted to earlier weights of the run and is not used; {again}"
        prior = _restored(tensors, facts, model.latent_dim)
    except UserError as error:
        reason = str(error).removeprefix(str(path)).partition(";")[0].strip(": ")
        return None, f"{path} is damaged and not used: {reason}; {again}"
    return prior.to(model.device), None


@dataclass(frozen=True)
class _Facts:
    """Metadata of ``prior.safetensors``."""

    kind: Annotated[str, Choice(KINDS)]
    held_out_nats: float
    held_out_nats_of_a_normal: float
    weights: str | None  #: SHA-256 of the weights that it was fitted to
    latents: Annotated[int | None, COUNT] = None  #: number that it was fitted to
    codes: Annotated[int | None, COUNT] = None  #: the same in earlier files
    components: Annotated[int | None, Range(1, 2**20)] = None
    choice: str | None = None  #: how the components were chosen
    warning: str | None = None


def _restored(tensors: dict[str, Tensor], facts: _Facts, latent_dim: int) -> Prior:
    """Restore a prior from its tensors; raises :class:`UserError` if they do not fit."""
    if (facts.components is None) != (facts.kind == "flow"):
        raise UserError(f"a {facts.kind} with components = {facts.components}")
    with torch.device("meta"):  # shapes only
        expected = layouts_of(_unfitted(latent_dim, facts.components))
    if wrong := fault(tensors, expected):
        raise UserError(wrong)
    with torch.random.fork_rng(devices=[]):  # the initialization must not advance the global generator
        prior = _unfitted(latent_dim, facts.components)
    prior.load_state_dict(tensors)
    prior = prior.eval().requires_grad_(False)
    pz = prior(None)
    z = pz.from_noise(torch.zeros(1, latent_dim))
    if not bool(z.isfinite().all() and pz.log_prob(z).isfinite().all()):
        raise UserError("it draws latents that are not finite")
    return prior


def fitted_digest(folder: Path) -> str | None:
    """Return the SHA-256 of the prior that :func:`load_fitted` loads, or None if there is none."""
    return flow_digest(folder) if has_flow(folder) else file_digest(folder / _NAME)


def _check_kind(kind: str, components: int | None) -> None:
    """Raise :class:`UserError` for an unknown kind, or if components are given for another kind than a mixture."""
    if kind not in KINDS:
        raise UserError(f"kind {kind}: {nearest(kind, (*KINDS, FLOW_MATCHING, 'none'))}", "kind")
    if components is not None and kind != "mixture":
        raise UserError(f"components {components}: a {kind} has none; omit it, or use a mixture", "components")


def _unfitted(latent_dim: int, components: int | None) -> FittedFlow | MixturePrior:
    """Create a mixture, or a flow if there are no components, without values."""
    return FittedFlow(latent_dim) if components is None else MixturePrior(latent_dim, components)


def _mixture(train: Tensor, held: Tensor, components: int | None, seed: int) -> tuple[MixturePrior, dict[str, Any]]:
    """Fit a mixture with the given number of normals, or the best number for held-out latents; ties prefer fewer."""
    most = len(train) // _LATENTS_EACH
    if components is not None and not 1 <= components <= most:
        raise UserError(
            f"components {components}: expected 1 to {most}, one for every {_LATENTS_EACH} of the "
            f"{counted(len(train), 'latent')} "
            "it is fitted to; components of fewer latents would be copies of them",
            "components",
        )
    if components is not None:
        return _mixture_of(train, components, seed), {"components": components}
    fits = {count: _mixture_of(train, count, seed) for count in _COUNTS if count <= most}
    best = max(fits, key=lambda count: _nats(fits[count], held.float()))
    *others, last = map(str, fits)
    choice = f"best on held-out latents, of {', '.join(others)} and {last} components" if others else "only one fits"
    return fits[best], {"components": best, "choice": choice}


def _mixture_of(scaled: Tensor, components: int, seed: int) -> MixturePrior:
    from sklearn.exceptions import ConvergenceWarning  # importing takes seconds
    from sklearn.mixture import GaussianMixture

    fitted = GaussianMixture(components, reg_covar=_RIDGE, random_state=seed % 2**32, max_iter=300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the fit is usable without full convergence
        fitted.fit(scaled.numpy())
    prior = MixturePrior(scaled.shape[1], components)
    prior.log_weights.copy_(torch.from_numpy(fitted.weights_).log())
    prior.mean.copy_(torch.from_numpy(fitted.means_))
    prior.factor.copy_(torch.linalg.cholesky(torch.from_numpy(fitted.covariances_)))
    return prior


def _flow(train: Tensor, held: Tensor, seed: int) -> tuple[FittedFlow, dict[str, Any]]:
    """Fit a flow to standardized latents until held-out ones no longer improve; return the best step."""
    if train.shape[1] < 2:
        raise UserError("kind flow needs at least two latent dimensions; use mixture", "kind")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        prior = FittedFlow(train.shape[1])
    train, held, generator = train.float(), held.float(), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(prior.flow.parameters(), _LEARNING_RATE, weight_decay=_WEIGHT_DECAY, fused=True)
    best, best_step, kept = -math.inf, 0, prior.state_dict()
    for step in range(_STEPS + 1):
        if step % _LOOK_EVERY == 0:
            nats = _nats(prior, held)
            if nats > best:
                best, best_step, kept = nats, step, {k: v.clone() for k, v in prior.state_dict().items()}
            if step == _STEPS or step - best_step >= _PATIENCE * _LOOK_EVERY:
                break
        for group in optimizer.param_groups:
            group["lr"] = _learning_rate(step)
        rows = torch.randint(len(train), (min(_BATCH, len(train)),), generator=generator)
        optimizer.zero_grad()
        (-prior().log_prob(train[rows]).mean()).backward()
        nn.utils.clip_grad_norm_(prior.flow.parameters(), _CLIP_NORM)
        optimizer.step()
    prior.load_state_dict(kept)
    return prior, {}


def _learning_rate(step: int) -> float:
    return _LEARNING_RATE * min(1.0, (step + 1) / _WARMUP) * 0.5 * (1 + math.cos(math.pi * step / _STEPS))


@torch.no_grad()
def _nats(prior: nn.Module, latents: Tensor) -> float:
    return float(prior().log_prob(latents).mean())


def _factor(scaled: Tensor) -> Tensor:
    centered = scaled - scaled.mean(0)
    floor = _RIDGE * torch.eye(scaled.shape[1]).to(scaled)
    result: Tensor = torch.linalg.cholesky(centered.mT @ centered / len(scaled) + floor)
    return result
