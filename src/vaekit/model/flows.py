"""Invertible networks, built from zuko's: each starts as the identity and computes its log determinant.

zuko is imported only when a flow is built, because most recipes have none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Protocol

import torch
from torch import Tensor, distributions, nn

from vaekit.config.recipe import Recipe
from vaekit.errors import argument

__all__ = ["autoregressive_flow", "coupling_flow", "refused_by_flows"]

_MOST_LATENTS = 4096  #: the size of the masks grows with its square


def refused_by_flows(recipe: Recipe) -> str | None:
    """Say in one sentence why a flow does not work with the latents of a resolved recipe; None if it does."""
    if 2 <= (recipe.latent_dim or 0) <= _MOST_LATENTS:
        return None
    return f"recipe {recipe.name!r}: a flow needs 2 to {_MOST_LATENTS:,} latents; give another {argument('latent_dim')}"


def coupling_flow(features: int, layers: int, hidden: int) -> nn.Module:
    """Affine couplings of alternating halves (Dinh et al. 2017); both directions take one pass.

    A call returns the transform, which has ``call_and_ladj`` and ``inv``.
    """
    with torch.device("cpu"):  # masks need values even on the meta device, where a model is built to count its weights
        halves = [torch.arange(features) % 2 == layer % 2 for layer in range(layers)]
        steps = [_coupling()(features, mask=half, hidden_features=(hidden, hidden)) for half in halves]
    return _from_identity(steps)


def autoregressive_flow(features: int, context: int, layers: int, hidden: int) -> nn.Module:
    """Affine steps whose shift and scale of dimension i depend on those before it and on a ``context`` of the image.

    Sampling takes one pass, the inverse one pass per dimension (Kingma et al. 2016, Eq. 10). The order is reversed from
    step to step. A call with the context ``[B, context]`` returns the transform.
    """
    from zuko.flows.autoregressive import MaskedAutoregressiveTransform

    widths = (hidden, hidden)
    with torch.device("cpu"):
        orders = [
            torch.arange(features) if layer % 2 == 0 else torch.arange(features).flip(0) for layer in range(layers)
        ]
        steps = [
            MaskedAutoregressiveTransform(features, context, order=order, hidden_features=widths) for order in orders
        ]
    return _from_identity(steps)


class _Step(Protocol):
    """What is used of one of zuko's lazy transforms."""

    hyper: nn.Module  #: the network


@cache
def _coupling() -> Callable[..., _Step]:
    """Return a subclass of zuko's coupling whose inverse is a coupling too.

    The inverse of zuko's own coupling calls the network twice, for the value and for the determinant.
    """
    from zuko.flows.coupling import GeneralCouplingTransform
    from zuko.transforms import CouplingTransform

    class Transform(CouplingTransform):  # type: ignore[misc]
        def __init__(self, meta: Callable[[Tensor], distributions.Transform], mask: Tensor) -> None:
            super().__init__(meta, mask)
            self.mask = mask

        @property
        def inv(self) -> Transform:
            return Transform(lambda stays: self.meta(stays).inv, self.mask)

    class Coupling(GeneralCouplingTransform):  # type: ignore[misc]
        def forward(self, c: Tensor | None = None) -> Transform:
            return Transform(partial(self.meta, c), self.mask)

    return Coupling


def _from_identity(steps: Sequence[_Step]) -> nn.Module:
    """Compose steps after setting the last layer of each network to zero: shift 0, scale 1."""
    from zuko.lazy import LazyComposedTransform

    for step in steps:
        *_, weight, bias = step.hyper.parameters()
        nn.init.zeros_(weight)
        nn.init.zeros_(bias)
    flow: nn.Module = LazyComposedTransform(*steps)
    return flow
