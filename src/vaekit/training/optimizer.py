"""Adam (Kingma & Ba 2015, Algorithm 1) with its moments as plain lists, one fused kernel per step.

``torch.optim.Adam`` does the same arithmetic, but its bookkeeping takes longer than the forward pass of a small
network: it counts steps per tensor and sorts tensors by device. Here, all tensors are on one device and share one
count. The kernel is torch's own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Adam"]

_BETA1 = 0.9
_EPSILON = 1e-8


class Adam:
    """Moments of ``parameters``, and the step that uses and updates them. ``weight_decay`` is added to the gradient."""

    def __init__(self, parameters: list[nn.Parameter], weight_decay: float = 0.0, beta2: float = 0.999) -> None:
        self.parameters, self.weight_decay, self.beta2 = parameters, weight_decay, beta2
        self.exp_avg = [torch.zeros_like(p) for p in parameters]
        self.exp_avg_sq = [torch.zeros_like(p) for p in parameters]
        self.step_count = torch.zeros((), device=parameters[0].device)

    @torch.no_grad()
    def step(self, gradients: list[Tensor], learning_rate: float, is_bad: Tensor | None = None) -> None:
        """Update the parameters from their gradients. If ``is_bad`` is 1.0, nothing changes."""
        if is_bad is not None and is_bad.device.type == "mps" and bool(is_bad):  # its kernel ignores the flag
            return
        self.step_count.add_(1)
        torch._fused_adam_(
            [*self.parameters],
            gradients,
            self.exp_avg,
            self.exp_avg_sq,
            [],
            [self.step_count] * len(self.parameters),
            lr=learning_rate,
            beta1=_BETA1,
            beta2=self.beta2,
            weight_decay=self.weight_decay,
            eps=_EPSILON,
            amsgrad=False,
            maximize=False,
            found_inf=is_bad,
        )
        if is_bad is not None:
            self.step_count.sub_(is_bad)

    def moments(self) -> dict[str, list[Tensor]]:
        """Return the running means of the gradients and of their squares, by name, one tensor per parameter."""
        return {"exp_avg": self.exp_avg, "exp_avg_sq": self.exp_avg_sq}
