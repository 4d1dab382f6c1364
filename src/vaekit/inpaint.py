"""Filling in hidden pixels: the code under which the visible pixels are most probable decodes to the rest.

    ẑ = argmax_z  Σ_visible log p(x_i|z) + log p(z)        x̂ = x where visible, E[p(x|ẑ)] where hidden

This is the maximum a posteriori code given what can be seen. An autoencoder has no p(z); there a normal density
around the code that the search starts from, as wide as that code is long, keeps it near codes that pictures have.
The search is Adam from several starts; each image keeps its best.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vaekit.errors import UserError
from vaekit.models import LatentModel
from vaekit.seeds import SAMPLES, image_noise

__all__ = ["inpaint"]

_FILL_ROUNDS = 8
_LEARNING_RATE = 0.1  # in standard deviations of p(z)


def inpaint(
    model: LatentModel,
    x: Tensor,
    hidden: Tensor,
    steps: int = 200,
    starts: int = 4,
    seed: int = 0,
    batch_size: int = 64,
) -> Tensor:
    """Fills the hidden pixels of float images ``x`` ``[N, C, H, W]`` in [0, 1]; returns the same shape on the CPU.

    ``hidden`` is bool ``[N, 1, H, W]``. Visible pixels come back unchanged, bit for bit; hidden ones are never
    read. The first start encodes the image filled in by the model itself, the second is the prior's mean, the
    others are prior samples of (seed, image); an autoencoder has the first alone. Neither the model nor its
    gradients are touched. Raises :class:`UserError` if the shapes do not fit or a number is out of range.
    """
    assert not model.training, "call model.eval() first: public inference never runs in training mode"
    _check(x, hidden, steps, starts)
    device = next(model.parameters()).device
    filled = []
    for at in range(0, len(x), batch_size):
        chunk, mask = x[at : at + batch_size].to(device), hidden[at : at + batch_size].to(device)
        noise = image_noise(seed, SAMPLES, at, len(chunk), (max(0, starts - 2), model.latent_dim))
        # The search needs gradients even where the caller has switched them off.
        with torch.inference_mode(False), torch.enable_grad():
            search = _Search(model, chunk.clone(), mask.clone())
            code = search.run(search.starts(noise.clone().to(device), starts), steps)
        filled.append(torch.where(mask, search.picture(code), chunk).cpu())
    return torch.cat(filled) if filled else x.clone()


class _Search:
    """The objective of one chunk of images, and its descent."""

    def __init__(self, model: LatentModel, x: Tensor, hidden: Tensor) -> None:
        self.model, self.hidden = model, hidden
        self.x = x.masked_fill(hidden, 0.0)  # whatever is hidden, NaN too, has no say
        self.centre = self._fill()
        self.spread = torch.ones_like(self.centre)
        if model.prior is None:
            self.spread = self.centre.square().mean(-1, keepdim=True).sqrt().clamp(min=1e-6).expand_as(self.centre)

    def starts(self, noise: Tensor, count: int) -> Tensor:
        """Codes ``[K, B, L]``; ``noise`` is ``[B, count - 2, L]``."""
        if self.model.prior is None or count == 1:
            return self.centre[None]
        mean = torch.zeros_like(self.centre)[None]
        return torch.cat([self.centre[None], self.model.prior.from_noise(torch.cat([mean, noise.transpose(0, 1)]))])

    def run(self, z: Tensor, steps: int) -> Tensor:
        """The best code ``[B, L]`` met on the way from the starts ``[K, B, L]``."""
        units = (z / self.spread).detach().requires_grad_()
        adam = torch.optim.Adam([units], lr=_LEARNING_RATE, betas=(0.9, 0.99))
        best, lowest = z, torch.full(z.shape[:-1], math.inf, device=z.device)
        for step in range(steps + 1):
            z = units * self.spread
            loss = self.loss(z)
            is_better = loss.detach() < lowest
            best = torch.where(is_better[..., None], z.detach(), best)
            lowest = torch.where(is_better, loss.detach(), lowest)
            adam.param_groups[0]["lr"] = _LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
            adam.zero_grad()
            loss.sum().backward(inputs=[units])  # not the model's parameters
            adam.step()
        winner = lowest.argmin(0).view(1, -1, 1).expand(1, *best.shape[1:])
        return best.gather(0, winner)[0]

    def loss(self, z: Tensor) -> Tensor:
        """−Σ_visible log p(x_i|z) − log p(z), ``[K, B, L]`` → ``[K, B]``, nats."""
        visible = self.model.decode(z).log_prob_map(self.x).masked_fill(self.hidden, 0.0).sum((-3, -2, -1))
        if self.model.prior is not None:
            return -visible - self.model.prior.log_prob(z)
        return -visible + 0.5 * ((z - self.centre) / self.spread).square().sum(-1)

    @torch.no_grad()
    def picture(self, code: Tensor) -> Tensor:
        return self.model.decode(code).picture

    @torch.no_grad()
    def _fill(self) -> Tensor:
        """The code of the image whose hidden part is first its visible mean, then what the model makes of it."""
        visible = (~self.hidden).sum((-2, -1), keepdim=True)
        fill = self.x.sum((-2, -1), keepdim=True) / visible.clamp(min=1)
        for _ in range(_FILL_ROUNDS):
            code = self.model.encode(torch.where(self.hidden, fill, self.x)).mean
            fill = self.picture(code)
        return code


def _check(x: Tensor, hidden: Tensor, steps: int, starts: int) -> None:
    expected = (len(x), 1, *x.shape[2:])
    if hidden.dtype != torch.bool or tuple(hidden.shape) != expected:
        raise UserError(f"hidden is {hidden.dtype} {tuple(hidden.shape)}; expected bool {expected}, True where hidden")
    if steps < 1 or starts < 1:
        raise UserError(f"steps is {steps} and starts is {starts}; expected at least 1 of each")
