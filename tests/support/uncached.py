"""Samples of tokens, the slow way: for every cell, a pass over all cells so far.

The tests compare the sampler with it, and ``bench/code_sampling.py`` measures what it costs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vaekit.model.token_priors import TokenDistribution

__all__ = ["from_noise"]


def from_noise(pz: TokenDistribution, noise: Tensor) -> Tensor:
    """The samples of ``TokenDistribution.from_noise`` for noise ``[N, P · D]``."""
    fractions = torch.special.ndtr(noise.unflatten(-1, (-1, pz.quantizer.size))[..., 0])
    tokens = torch.zeros(fractions.shape, dtype=torch.long, device=noise.device)
    for place in range(fractions.shape[1]):
        ends = pz.prior.log_probs(tokens[:, : place + 1])[:, place].exp().cumsum(-1)
        chosen = torch.searchsorted(ends, fractions[:, place, None].contiguous())[:, 0]
        tokens[:, place] = chosen.clamp(max=pz.quantizer.count - 1)
    return pz.quantizer.vectors_of(tokens).flatten(1)
