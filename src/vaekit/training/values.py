"""Training values that do not depend on the model."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TrainingValues"]


@dataclass(frozen=True, kw_only=True)
class TrainingValues:
    """Length, learning rate and other values of a training. Fractions are of the run."""

    total_images: int  #: training examples in total, counting repeats
    learning_rate: float
    schedule: str = "cosine"  #: constant, or cosine: a linear warm-up, then half a cosine down to a hundredth
    warmup: float = 0.0  #: fraction over which the learning rate rises
    ramp_warmup: float = 0.0  #: fraction over which the ramp rises from 0 to 1
    weight_decay: float = 0.0  #: L2 penalty added to the gradient, not decoupled
    adam_beta2: float = 0.999
    clip_norm: float = 0.0  #: largest norm of the gradient; 0 turns clipping off
    ema_power: float = 0.0  #: power of the moving average of the weights (Karras et al. 2024, Eq. 2); 0 turns it off
    reduction: str = "mean"  #: of the loss over the batch: mean or sum
    precision: str = "fp32"  #: of the networks: fp32 or bf16
    compiled: bool = False  #: with torch.compile
    micro_batch: int | None = None  #: examples per forward pass; None: the whole batch
