"""The batches of a training: order of the images, augmentation, and the noise of each step.

All of it follows from (seed, images seen, steps done), so a resumed run computes the same. Random numbers are drawn for
the whole batch in every process, and each process takes its share.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vaekit.config.run_config import RunConfig
from vaekit.data import Selection, to_float
from vaekit.model.conditioning import hidden_parts
from vaekit.model.inference import Batch
from vaekit.system.distributed import ALONE, Team
from vaekit.system.rng import AUGMENTATION, BINARIZATION, CORRUPTION, HIDING, NOISE, stream
from vaekit.training.augment import DRAWS, augment
from vaekit.training.schedules import epoch_order

__all__ = ["Batches", "corrupt"]

_FETCHED_VALUES = 1 << 19  # pixel values converted to floats at once: more would not fit into the processor's cache
_DEVICE_SHARE = 0.5  # of a GPU's free memory for the images; larger datasets are sent batch by batch


class Batches:
    """Batches of the training images ``pixels``, uint8 ``[N, C, H, W]``, or of a selection of some.

    ``latent_dim`` is the size of the noise. Without ``uses_noise``, the noise is zero.
    """

    def __init__(
        self,
        config: RunConfig,
        pixels: Tensor | Selection,
        device: torch.device,
        team: Team,
        latent_dim: int,
        uses_noise: bool,
    ) -> None:
        assert config.recipe.batch_size is not None, "the row is resolved"
        self.size = config.recipe.batch_size
        self.pixels = _placed(pixels, device)
        self._config, self._row, self._device, self._team = config, config.recipe, device, team
        self._latent_dim, self._uses_noise = latent_dim, uses_noise
        self._order: tuple[int, Tensor] | None = None
        self._fetched = (0, torch.empty(0))  # number of images seen before the first of them

    def index_at(self, images: int) -> Tensor:
        """Return the positions in ``pixels`` of the batch after ``images``. A batch ends where an epoch or run ends."""
        epoch, offset = divmod(images, len(self.pixels))
        size = min(self.size, len(self.pixels) - offset, self._config.total_images - images)
        return self._order_of(epoch)[offset : offset + size]

    def batch(self, index: Tensor, images: int, steps: int) -> tuple[Batch, Tensor]:
        """Return this process's share of the images at ``index``, ready for a step, and noise ``[K, B, L]``.

        Args:
            index: Result of :meth:`index_at` for ``images``.
            images: Images seen before.
            steps: Steps done before.
        """
        row, count = self._row, len(index)
        x = self._fetch(count, images) if self._team.size == 1 else self.floats(self._team.share(index))
        if row.flip or row.shift or row.jitter:
            draws = torch.rand(count, DRAWS, generator=stream(self._config.seed, AUGMENTATION, steps))
            x = augment(x, self._team.share(draws).to(self._device), row.flip, row.shift, row.jitter)
        if self._config.data.binarize == "dynamic":
            x = self._drawn(x, count, steps)
        noise = self._team.share(self._noise(count, steps), 1)
        condition = self._conditions(index, steps)
        if not row.noise_std:
            return Batch(x, condition=condition), noise
        return Batch(corrupt(x, count, row.noise_std, self._config.seed, steps, self._team), x, condition), noise

    def floats(self, index: Tensor) -> Tensor:
        """Return images as floats in [0, 1] on the device, without augmentation."""
        return to_float(self.pixels[index].to(self._device))

    def _order_of(self, epoch: int) -> Tensor:
        if self._order is None or self._order[0] != epoch:
            order = epoch_order(self._config.seed, epoch, len(self.pixels), self._config.window_images)
            self._order = (epoch, order)
        return self._order[1]

    def _fetch(self, count: int, images: int) -> Tensor:
        """Return the next ``count`` images as floats on the device. Small ones are converted for many steps at once."""
        start, some = self._fetched
        if not start <= images <= start + len(some) - count:
            epoch, offset = divmod(images, len(self.pixels))
            values = math.prod(self.pixels.shape[1:])
            # Rounding of kernels depends on the alignment to 64 bytes, which would differ after resuming.
            ahead = count if values % 16 else max(count, _FETCHED_VALUES // values)
            some = self.floats(self._order_of(epoch)[offset : offset + ahead])
            start = images
            self._fetched = (start, some)
        return some[images - start : images - start + count]

    def _noise(self, count: int, steps: int) -> Tensor:
        shape = (self._row.samples, count, self._latent_dim)
        if not self._uses_noise:
            return torch.zeros((), device=self._device).expand(shape)
        return torch.randn(shape, generator=stream(self._config.seed, NOISE, steps)).to(self._device)

    def _conditions(self, index: Tensor, steps: int) -> Tensor | None:
        """Return the conditions of this process's share of a batch, some of them dropped."""
        known = self.pixels.conditions_of(self._team.share(index))
        if known is None:
            return None
        conditions = self._config.conditions
        draws = torch.rand((len(index), len(conditions) + 1), generator=stream(self._config.seed, HIDING, steps))
        return known.to(self._device) * hidden_parts(conditions, self._team.share(draws)).to(self._device)

    def _drawn(self, x: Tensor, count: int, steps: int) -> Tensor:
        """Return binary pixels, with the gray levels as probabilities of white."""
        generator = stream(self._config.seed, BINARIZATION, steps)
        uniform = self._team.share(torch.rand((count, *x.shape[1:]), generator=generator)).to(self._device)
        return (uniform < x).to(x.dtype)


def corrupt(x: Tensor, count: int, noise_std: float, seed: int, steps: int, team: Team = ALONE) -> Tensor:
    """Add noise whose level is random per image; half of the images are clipped to [0, 1], as in image files.

    Args:
        x: This process's share of the images of a batch, float ``[B, C, H, W]`` in [0, 1].
        count: Images in the whole batch.
        noise_std: Largest standard deviation of the noise.
        seed: Seed of the run.
        steps: Steps done before.
        team: The processes that share the batch.
    """
    generator = stream(seed, CORRUPTION, steps)
    draws = team.share(torch.rand(2, count, 1, 1, 1, generator=generator), 1).to(x.device)
    noise = team.share(torch.randn((count, *x.shape[1:]), generator=generator)).to(x.device)
    noisy = x + noise_std * draws[0] * noise
    return torch.where(draws[1] < 0.5, noisy.clamp(0, 1), noisy)


def _placed(pixels: Tensor | Selection, device: torch.device) -> Selection:
    """Return the images on the device if they fit; otherwise they are sent batch by batch."""
    chosen = pixels if isinstance(pixels, Selection) else Selection(pixels, torch.arange(len(pixels)))
    if device.type == "cpu":
        return chosen
    fits = device.type != "cuda" or math.prod(chosen.shape) < _DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]
    if not fits:
        return chosen
    conditions = chosen.conditions_of(slice(None))
    conditions = None if conditions is None else conditions.to(device)
    return Selection(chosen[:].to(device), torch.arange(len(chosen), device=device), conditions)
