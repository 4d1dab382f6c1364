"""Invertible networks, of zuko's parts: each begins as the identity, and knows the logarithm of its determinant.

zuko is imported when a flow is built, and not before: most recipes have none.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from vaekit.config.recipe import Recipe
from vaekit.errors import argument

__all__ = ["autoregressive_flow", "coupling_flow", "refused_by_flows"]

_MOST_LATENTS = 4096  #: its masks grow with their square


def refused_by_flows(recipe: Recipe) -> str | None:
    """One sentence on why no flow suits the latents of a resolved recipe, or None."""
    if 2 <= (recipe.latent_dim or 0) <= _MOST_LATENTS:
        return None
    return (
        f"recipe {recipe.name!r}: a flow needs two latents at least, and serves {_MOST_LATENTS:,} at most; give "
        f"another {argument('latent_dim')}"
    )


def coupling_flow(features: int, layers: int, hidden: int) -> nn.Module:
    """Affine couplings of alternating halves (Dinh et al. 2017); both directions take one pass.

    Called, it gives the transform, which has ``call_and_ladj`` and ``inv``.
    """
    from zuko.lazy import LazyComposedTransform

    with torch.device("cpu"):  # where a model is built without values, to count its weights, its masks need theirs
        halves = [torch.arange(features) % 2 == layer % 2 for layer in range(layers)]
        steps = [_coupling()(features, mask=half, hidden_features=(hidden, hidden)) for half in halves]
    return _from_identity(LazyComposedTransform(*steps))


def autoregressive_flow(features: int, context: int, layers: int, hidden: int) -> nn.Module:
    """Affine steps whose shift and scale of number i hang on those before it and on a ``context`` of the image.

    Noise to sample takes one pass, the inverse one per number (Kingma et al. 2016, Eq. 10; the order turns around from
    step to step). Called with the context ``[B, context]``, it gives the transform.
    """
    from zuko.flows.autoregressive import MaskedAutoregressiveTransform
    from zuko.lazy import LazyComposedTransform

    widths = (hidden, hidden)
    with torch.device("cpu"):
        orders = [
            torch.arange(features) if layer % 2 == 0 else torch.arange(features).flip(0) for layer in range(layers)
        ]
        steps = [
            MaskedAutoregressiveTransform(features, context, order=order, hidden_features=widths) for order in orders
        ]
    return _from_identity(LazyComposedTransform(*steps))


@cache
def _coupling() -> Any:
    """Return a subclass of zuko's coupling whose inverse is a coupling too.

    The inverse of zuko's own calls the network for the value and again for the volume.
    """
    from zuko.flows.coupling import GeneralCouplingTransform
    from zuko.transforms import CouplingTransform

    class Transform(CouplingTransform):  # type: ignore[misc]
        def __init__(self, meta: Any, mask: Tensor) -> None:
            super().__init__(meta, mask)
            self.mask = mask

        @property
        def inv(self) -> Any:
            return Transform(lambda stays: self.meta(stays).inv, self.mask)

    class Coupling(GeneralCouplingTransform):  # type: ignore[misc]
        def forward(self, c: Tensor | None = None) -> Transform:
            return Transform(partial(self.meta, c), self.mask)

    return Coupling


def _from_identity(flow: Any) -> nn.Module:
    """With the last layer of each network at zero: shift 0, scale 1."""
    for step in flow.transforms:
        *_, weight, bias = step.hyper.parameters()
        nn.init.zeros_(weight)
        nn.init.zeros_(bias)
    module: nn.Module = flow
    return module
