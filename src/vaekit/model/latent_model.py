"""The one model class.

    x → encoder → q(z|x) → z → decoder → p(x|z)

``infer`` returns an :class:`~vaekit.model.inference.Inference`. Objectives, evaluation and tools use only this record.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vaekit.model.contracts import LatentShape, Likelihood, Posterior, Prior, Shape
from vaekit.model.distributions.base import LatentDistribution, PixelDistribution
from vaekit.model.distributions.latent import wide
from vaekit.model.inference import Batch, Inference, Level
from vaekit.system.distributed import Team

__all__ = ["LatentModel"]

_SUMMARY_CELLS = 4  # cells of a summary along each side
_OUTPUTS_AT_ONCE = 1 << 26  # decoder outputs: 256 MiB of float32


class LatentModel(nn.Module):
    """prior × posterior × likelihood over two networks; an autoencoder has a point posterior and no prior."""

    encoder: nn.Module
    posterior: Posterior
    prior: Prior | None
    decoder: nn.Module
    likelihood: Likelihood
    fitted_prior: Prior | None  #: fitted to the latents after training; replaces the prior in sampling

    def __init__(
        self,
        encoder: nn.Module,
        posterior: Posterior,
        prior: Prior | None,
        decoder: nn.Module,
        likelihood: Likelihood,
        latent_dim: int,
    ) -> None:
        super().__init__()
        self.encoder, self.posterior, self.prior = encoder, posterior, prior
        self.decoder, self.likelihood = decoder, likelihood
        self.latent_dim = latent_dim
        self.latent = posterior.latent  #: the kind of latent: vector, grid, levels or codes
        self.latent_shapes: tuple[LatentShape, ...] = ((latent_dim,),)  #: shape of each level, top first
        self.condition_size = 0  #: length of the condition vector of both networks; zeros mean unknown
        self.decoder_l2 = 0.0  #: weight of the squared norm of the decoder's weights, in nats per image
        self.fitted_prior = None
        self.image_shape: Shape | None = None  #: (C, H, W) of the images
        self.compute_dtype: torch.dtype | None = None  #: of the networks during training; None: that of the weights
        self._is_observed = False

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    def check_eval_mode(self) -> None:
        """Assert that the model is in eval mode, as public inference requires."""
        assert not self.training, "call model.eval() first: public inference never runs in training mode"

    def at_once(self, most: int) -> int:
        """How many images to decode together, at most ``most``: some likelihoods have many outputs per pixel."""
        if self.image_shape is None:
            return most
        channels, height, width = self.image_shape
        return max(1, min(most, _OUTPUTS_AT_ONCE // (self.likelihood.outputs(channels) * height * width)))

    @property
    def level_sizes(self) -> list[int]:
        """How many numbers each level has, top first; their sum is ``latent_dim``."""
        return [math.prod(shape) for shape in self.latent_shapes]

    def split_levels(self, z: Tensor) -> tuple[Tensor, ...]:
        """Flat latents or noise ``[..., latent_dim]`` → one tensor ``[..., Lᵢ]`` per level, top first."""
        levels: tuple[Tensor, ...] = z.split(self.level_sizes, dim=-1)
        return levels

    def summary(self, z: Tensor) -> Tensor:
        """Reduce flat latents ``[N, L]`` to the part by which images are compared, ``[N, S]``.

        A vector stays as it is. A grid, also one of the vectors of codes, is averaged down to at most 4×4 cells,
        because single cells depend on where something is to the pixel. Of several levels, only the top one is used.
        """
        top, shape = self.split_levels(z)[0], self.latent_shapes[0]
        if len(shape) == 1:
            return top
        grid = top.unflatten(1, shape)
        if self.latent == "codes":
            grid = grid.movedim(-1, 1)
        rows, columns = (min(side, _SUMMARY_CELLS) for side in grid.shape[2:])
        return F.adaptive_avg_pool2d(grid, (rows, columns)).flatten(1)

    def from_summary(self, summaries: Tensor) -> Tensor:
        """Return the grids of latents ``[N, L]`` of least norm with these summaries ``[N, S]``."""
        assert self.latent == "grid"
        channels, *sides = self.latent_shapes[0]
        eyes = [torch.eye(side, dtype=summaries.dtype) for side in sides]
        pools = [F.adaptive_avg_pool1d(eye[None], min(len(eye), _SUMMARY_CELLS))[0] for eye in eyes]
        cells = summaries.unflatten(1, (channels, *(pool.shape[1] for pool in pools)))
        down, across = (torch.linalg.pinv(pool.mT) for pool in pools)
        grids: Tensor = down @ cells @ across.mT
        return grids.flatten(1)

    @property
    def can_draw(self) -> bool:
        """Whether there is a distribution to sample new latents from."""
        return self.prior is not None or self.fitted_prior is not None

    @property
    def has_normal_prior(self) -> bool:
        """Whether that distribution is normal, or normal at each level given those above."""
        prior = self._drawn_prior
        return prior is not None and prior.is_normal

    @property
    def observes(self) -> bool:
        """Whether parts of it follow the posteriors of training batches."""
        return bool(self._observers())

    def encode(self, x: Tensor, condition: Tensor | None = None) -> LatentDistribution:
        """Images ``[B, C, H, W]`` in [0, 1] → posterior over ``[B, L]``; its ``mean`` is the deterministic latent."""
        qz: LatentDistribution = self.posterior(self._told(self._through(self.encoder, x), condition))
        return qz

    def decode(self, z: Tensor, condition: Tensor | None = None) -> PixelDistribution:
        """Latents ``[..., L]`` → likelihood over ``[..., C, H, W]``; its ``mean`` is the picture."""
        output = self._through(self.decoder, self._told(z, condition).flatten(0, -2))
        px: PixelDistribution = self.likelihood(output.unflatten(0, z.shape[:-1]))
        return px

    def infer(self, batch: Batch, noise: Tensor) -> Inference:
        """Encode, sample and decode a batch; ``noise`` is standard normal ``[K, B, L]`` for K samples per image."""
        qz = self.encode(batch.x, batch.condition)
        if self.training and not self._is_observed:
            for part in self._observers():
                part.observe(qz)
            qz = self.posterior.renewed(qz)
        pz = None if self.prior is None else self.prior(self, batch.condition)
        z = qz.from_noise(noise)
        target = batch.x if batch.target is None else batch.target
        px = self.decode(z, batch.condition)
        return Inference((Level(z, qz, pz),), px, target, noise, self._penalties(qz, len(batch.x)))

    @torch.no_grad()
    def observe_all(self, pieces: Sequence[Batch]) -> None:
        """Update the parts that follow the posteriors with a whole batch, before its pieces are trained on."""
        observers = self._observers()
        if observers:
            posteriors = [self.encode(piece.x, piece.condition) for piece in pieces]
            for part in observers:
                part.observe(type(posteriors[0]).join(posteriors))

    @contextmanager
    def observed(self) -> Iterator[None]:
        """A context for training on the pieces of a batch that :meth:`observe_all` has seen."""
        self._is_observed = True
        try:
            yield
        finally:
            self._is_observed = False

    def join_team(self, team: Team) -> None:
        """Let the parts that follow the posteriors of a batch use those of all processes."""
        self.posterior.team = team
        if self.prior is not None:
            self.prior.team = team

    def drawn_from(self, condition: Tensor | None = None) -> LatentDistribution | None:
        """The distribution that new latents are sampled from: the fitted prior, else the prior; None without both."""
        prior = self._drawn_prior
        pz: LatentDistribution | None = None if prior is None else prior(self, condition)
        return pz

    def tempered(self, noise: Tensor, temperature: float | Sequence[float]) -> Tensor:
        """Multiply noise ``[..., L]`` by a temperature, one for all levels or one for each, top first.

        Samples of a normal prior then have its standard deviation times the temperature.
        """
        if isinstance(temperature, int | float):
            return noise * temperature
        pieces = zip(self.split_levels(noise), temperature, strict=True)
        return torch.cat([piece * factor for piece, factor in pieces], dim=-1)

    def sample(self, noise: Tensor, condition: Tensor | None = None) -> PixelDistribution:
        """Standard normal noise ``[N, L]`` → likelihoods of N new images, with latents from :meth:`drawn_from`."""
        source = self.drawn_from(condition)
        return self.decode(noise if source is None else source.from_noise(noise), condition)

    @property
    def _drawn_prior(self) -> Prior | None:
        """The prior that new latents are sampled from."""
        return self.prior if self.fitted_prior is None else self.fitted_prior

    def _observers(self) -> list[Posterior | Prior]:
        """The parts whose state follows the posteriors of training batches."""
        return [part for part in (self.posterior, self.prior) if part is not None and part.observes]

    def _penalties(self, qz: LatentDistribution, count: int) -> Mapping[str, Tensor]:
        """Terms that the parts add to any loss, nats per example ``[B]``."""
        if not self.decoder_l2:
            return qz.penalties
        squares = torch.stack([p.square().sum() for p in self.decoder.parameters()]).sum()
        return {**qz.penalties, "decoder_l2": (self.decoder_l2 * squares).expand(count)}

    def _told(self, tensor: Tensor, condition: Tensor | None) -> Tensor:
        """Vectors ``[..., F]`` with the conditions of their images ``[B, C]`` appended."""
        if not self.condition_size:
            return tensor
        told = tensor.new_zeros(self.condition_size) if condition is None else condition.to(tensor)
        return torch.cat([tensor, told.expand(*tensor.shape[:-1], self.condition_size)], dim=-1)

    def _through(self, net: nn.Module, tensor: Tensor) -> Tensor:
        """Apply one of the networks in the precision of training; the output is float32 again."""
        with self._precision(tensor.device):
            output: Tensor = net(tensor)
        return output if self.compute_dtype is None or not self.training else wide(output)

    def _precision(self, device: torch.device) -> AbstractContextManager[object]:
        """The precision of the networks in training, in the body."""
        if self.compute_dtype is None or not self.training:
            return nullcontext()
        return torch.autocast(device.type, self.compute_dtype)
