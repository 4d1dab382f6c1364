"""Objectives: an :class:`Inference` → terms per example → a loss per example, in nats.

elbo       = E_q[log p(x|z)] − KL(q(z|x)‖p(z))                Kingma & Welling 2014, Eq. 3
loss       = distortion + β · rate                             Higgins et al. 2017, Eq. 4 (its negative)
distortion = −E_q[log p(x|z)]
iwae       = E log 1/K Σₖ wₖ,  wₖ = p(x, zₖ) / q(zₖ|x)          Burda et al. 2016, Eq. 8
capacity   = distortion + γ |rate − C|                          Burgess et al. 2018, Eq. 8
tc         = distortion + rate + (β − 1) TC(z)                  Chen et al. 2018, Eq. 4 with α = γ = 1
mmd        = distortion + β · rate + λ MMD²(q(z), p(z))         Zhao et al. 2019, Eq. 6; Tolstikhin et al. 2018, Eq. 4

Each takes the ``ramp``, which rises from 0 to 1 over the warm-up: the weight of terms that are introduced gradually.
Objectives that compare the latents of a batch with each other declare it in ``couples_batch``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Self

import torch
from torch import Tensor

from vaekit.config.recipe import Recipe
from vaekit.errors import argument
from vaekit.model.contracts import Objective, Shape, Terms, over_samples
from vaekit.model.distributions.latent import DiagonalNormal
from vaekit.model.inference import Batch, Inference, sum_levels
from vaekit.model.latent_model import LatentModel
from vaekit.model.trainable import Trainable
from vaekit.system.distributed import Team

__all__ = [
    "ELBO",
    "IWAE",
    "MMD",
    "Capacity",
    "Distortion",
    "Step",
    "TotalCorrelation",
    "decomposition",
    "mmd_squared",
]

_KERNEL_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # from the published code of Tolstikhin et al. 2018


class ELBO(Objective):
    """``distortion + β · rate``.

    ``free_bits_nats`` of rate are free for each dimension, or for each level of a hierarchy, averaged over the batch.
    """

    uses_beta = True

    def __init__(self, beta: float = 1.0, free_bits_nats: float = 0.0) -> None:
        super().__init__()
        self.beta, self.free_bits_nats = beta, free_bits_nats
        self.couples_batch = "averages free bits over the batch" if free_bits_nats else ""

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> Self:
        return cls(recipe.beta, recipe.free_bits_nats)

    def loss(self, inference: Inference, distortion: Tensor, rate: Tensor | None, ramp: Tensor) -> Tensor:
        assert rate is not None
        return distortion + self.beta * ramp * (self._charged(inference.kl) if self.free_bits_nats else rate)

    def loss_of_means(self, distortion: float, rate: float) -> float:
        return distortion + self.beta * rate

    def _charged(self, kl: tuple[Tensor, ...]) -> Tensor:
        """The rate without what is free. Groups (Kingma et al. 2016, Eq. 15) are dimensions, or levels of several."""
        groups = kl[0] if len(kl) == 1 else torch.stack([level.sum(-1) for level in kl], dim=-1)
        return groups.mean(0, keepdim=True).clamp(min=self.free_bits_nats).sum(-1)


class Capacity(Objective):
    """``distortion + γ |rate − C|``: the rate follows C nats, which rise from 0 (Burgess et al. 2018, Eq. 8)."""

    def __init__(self, weight: float, capacity_nats: float) -> None:
        super().__init__()
        self.weight, self.capacity_nats = weight, capacity_nats

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> Self:
        return cls(recipe.capacity_weight, recipe.capacity_nats)

    def loss_of_means(self, distortion: float, rate: float) -> float:
        return distortion + self.weight * abs(rate - self.capacity_nats)

    def loss(self, inference: Inference, distortion: Tensor, rate: Tensor | None, ramp: Tensor) -> Tensor:
        assert rate is not None
        return distortion + self.weight * (rate - ramp * self.capacity_nats).abs()


class TotalCorrelation(Objective):
    """``distortion + rate + (β − 1) TC``: only dependence among latents is penalized more (Chen et al. 2018)."""

    couples_batch = "estimates the total correlation from the latents of a batch"

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> Self:
        return cls(recipe.tc_weight)

    @classmethod
    def refuses(cls, recipe: Recipe, shape: Shape) -> str | None:
        if (recipe.prior, recipe.posterior) != ("standard-normal", "normal"):
            return (
                f"recipe {recipe.name!r}: objective=tc decomposes the rate by dimension; "
                f"give {argument('prior', 'standard-normal')} and {argument('posterior', 'normal')}"
            )
        return _without_pairs(recipe)

    def loss(self, inference: Inference, distortion: Tensor, rate: Tensor | None, ramp: Tensor) -> Tensor:
        assert rate is not None
        _, correlation, _ = decomposition(inference)
        return distortion + rate + (self.weight - 1) * ramp * correlation


class MMD(Objective):
    """``distortion + β · rate + λ MMD²``; with a point posterior, which has no rate, a Wasserstein autoencoder."""

    needs_density = False
    uses_beta = True
    uses_noise = True
    couples_batch = "compares the latents of a batch with as many samples from the prior"

    def __init__(self, beta: float, weight: float) -> None:
        super().__init__()
        self.beta, self.weight = beta, weight

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> Self:
        return cls(recipe.beta, recipe.mmd_weight)

    @classmethod
    def refuses(cls, recipe: Recipe, shape: Shape) -> str | None:
        if recipe.prior != "standard-normal":
            standard = argument("prior", "standard-normal")
            return f"recipe {recipe.name!r}: objective=mmd uses the standard normal; give {standard}"
        return _without_pairs(recipe)

    def loss_of_means(self, distortion: float, rate: float) -> float:
        return distortion + self.beta * rate

    def loss(self, inference: Inference, distortion: Tensor, rate: Tensor | None, ramp: Tensor) -> Tensor:
        level = inference.levels[0]
        draws = level.prior.from_noise(inference.noise)
        apart = distortion + self.weight * ramp * mmd_squared(level.z[0], draws[0])
        return apart if rate is None else apart + self.beta * ramp * rate


class Distortion(Objective):
    """Reconstruction only: the objective of an autoencoder. It is not a bound.

    ``code_l2`` is the weight of ½ ‖z‖² (Ghosh et al. 2020, Eq. 5 and 7).
    """

    has_rate = False
    needs_density = False

    def __init__(self, code_l2: float = 0.0) -> None:
        super().__init__()
        self.code_l2 = code_l2

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> Self:
        return cls(recipe.code_l2)

    def loss(self, inference: Inference, distortion: Tensor, rate: Tensor | None, ramp: Tensor) -> Tensor:
        if not self.code_l2:
            return distortion
        return distortion + 0.5 * self.code_l2 * over_samples(inference.levels[0].z.square().sum(-1))


class IWAE(Objective):
    """The importance-weighted bound of K samples; the rate has no weight.

    With double reparameterization, the gradient of the encoder is Σₖ w̃ₖ² ∂log wₖ/∂zₖ ∂zₖ/∂φ with w̃ₖ = wₖ / Σⱼ wⱼ
    (Tucker et al. 2018). Its expectation is the same, and its signal-to-noise ratio does not fall as K grows. All other
    gradients are unchanged.
    """

    def __init__(self, is_doubly_reparameterized: bool = False) -> None:
        super().__init__()
        self.is_doubly_reparameterized = is_doubly_reparameterized
        # the gradient uses a hook, which a compiled graph loses
        self.compile_remedy = f"give {argument('objective', 'iwae')}" if is_doubly_reparameterized else ""

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> Self:
        return cls(recipe.objective == "iwae-dreg")

    @classmethod
    def refuses(cls, recipe: Recipe, shape: Shape) -> str | None:
        if (recipe.beta, recipe.kl_warmup, recipe.free_bits_nats) != (1, 0, 0):
            return (
                f"recipe {recipe.name!r}: objective={recipe.objective} is the bound itself and takes no weights; "
                f"give {argument('beta', 1)}, {argument('kl_warmup', 0)} and {argument('free_bits_nats', 0)}, or "
                f"{argument('objective', 'elbo')}"
            )
        if recipe.objective == "iwae-dreg" and recipe.posterior == "iaf":
            return (
                f"recipe {recipe.name!r}: the density of posterior=iaf is only available at its own samples; give "
                f"{argument('objective', 'iwae')}"
            )
        return None

    def loss(self, inference: Inference, distortion: Tensor, rate: Tensor | None, ramp: Tensor) -> Tensor:
        log_w = inference.log_px + inference.log_pz
        if self.is_doubly_reparameterized:
            log_w = log_w - sum_levels([level.qz.detach().log_prob(level.z) for level in inference.levels])
            shares = log_w.detach().softmax(0)
            for level in inference.levels:
                if level.z.requires_grad:  # the gradient of z already contains one factor w̃
                    level.z.register_hook(lambda gradient: gradient * shares.unsqueeze(-1))
        else:
            log_w = log_w - inference.log_qz
        return math.log(len(log_w)) - log_w.logsumexp(0)


class Step(Trainable[LatentModel]):
    """Model and objective as the one module that is trained."""

    def __init__(self, model: LatentModel, objective: Objective) -> None:
        super().__init__(model)
        self.objective = objective
        self.couples_batch, self.observes = objective.couples_batch, model.observes
        self.uses_noise = model.posterior.uses_noise or objective.uses_noise

    def forward(self, batch: Batch, noise: Tensor, ramp: Tensor) -> Terms:
        terms: Terms = self.objective(self.model.infer(batch, noise), ramp)
        return terms

    def compute_in(self, dtype: torch.dtype) -> None:
        self.model.compute_dtype = dtype

    @contextmanager
    def in_pieces(self, pieces: Sequence[Batch]) -> Iterator[None]:
        self.model.observe_all(pieces)
        with self.model.observed():
            yield

    def join_team(self, team: Team) -> None:
        self.model.join_team(team)


def decomposition(inference: Inference) -> tuple[Tensor, Tensor, Tensor]:
    """Decompose the rate of B images into mutual information, total correlation and dimension-wise rate.

    Each is ``[B]`` in nats, from the first sample; their sum is log q(z|x) − log p(z) (Chen et al. 2018, Eq. 2). q(z)
    and each q(zᵢ) are the mean of the B posteriors: their Eq. 5 without the constant log N, which has no gradient. The
    first two are at most log B nats.
    """
    level = inference.levels[0]
    qz, pz, z = level.qz, level.pz, level.z[0]
    assert isinstance(qz, DiagonalNormal) and isinstance(pz, DiagonalNormal)
    pairs = qz.log_prob_map(z.unsqueeze(1))  # of latent i under the posterior of image j: [B, B, L]
    log_count = math.log(len(z))
    log_qz = pairs.sum(-1).logsumexp(1) - log_count
    log_product = (pairs.logsumexp(1) - log_count).sum(-1)
    return qz.log_prob(z) - log_qz, log_qz - log_product, log_product - pz.log_prob(z)


def mmd_squared(z: Tensor, draws: Tensor) -> Tensor:
    """The unbiased estimate of MMD² between two sets ``[B, L]``, paired by row (Gretton et al. 2012, Eq. 4).

    Pairs of a row with itself are left out, so a row of one set may depend on the same row of the other: ``draws`` may
    reuse the noise behind z. The kernel is Σₛ C/(C + ‖a − b‖²), C = 2 L s (Tolstikhin et al. 2018, Sec. 4), over
    several scales s. For B = 1, the result is 0.
    """
    count, size = z.shape
    if count < 2:
        return z.new_zeros(())

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        squares = (a.unsqueeze(1) - b.unsqueeze(0)).square().sum(-1)
        scales = [2 * size * s / (2 * size * s + squares) for s in _KERNEL_SCALES]
        return torch.stack(scales).sum(0)

    pairs = kernel(z, z) + kernel(draws, draws) - kernel(z, draws) - kernel(draws, z)
    return (pairs.sum() - pairs.diagonal().sum()) / (count * (count - 1))


def _without_pairs(recipe: Recipe) -> str | None:
    if recipe.batch_size != 1:
        return None
    return f"objective={recipe.objective} compares images with each other; give a {argument('batch_size')} of 2 or more"
