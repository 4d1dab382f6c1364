"""Training for speed: the initialization of a dense decoder, and the quality after one epoch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import vaekit as vk
from vaekit.config.run_config import DataConfig, RunConfig
from vaekit.config.table import get, override
from vaekit.data import to_float
from vaekit.errors import UserError
from vaekit.model.factory import resolve
from vaekit.training.model_trainer import ModelTrainer
from vaekit.training.starting import start_at_mean


def trainer_of(pixels: torch.Tensor, **values: object) -> ModelTrainer:
    row = resolve(override(get("fast-ae"), values), tuple(pixels.shape[1:]), len(pixels))
    data = DataConfig("array", tuple(pixels.shape[2:]), pixels.shape[1], "00", images=len(pixels))
    return ModelTrainer(RunConfig(row, data, 4 * len(pixels)), pixels, torch.device("cpu"))


@pytest.mark.parametrize("values", [{}, {"mean": "linear"}, {"scale": "pixel"}, {"ema_power": 16}])
def test_a_dense_decoder_begins_with_the_mean_image(values: dict[str, object]) -> None:
    pixels = vk.open_images("digits").pixels[:200]
    trainer = trainer_of(pixels, **values)
    torch.nn.init.zeros_(trainer.model.decoder.last.weight)
    start_at_mean(trainer)
    shown = trainer.model.decode(torch.randn(3, 20)).mean
    expected = to_float(pixels).mean(0).clamp(0.01, 0.99).expand(3, -1, -1, -1)
    torch.testing.assert_close(shown, expected, rtol=0, atol=0.011)
    if trainer.average is not None:
        assert torch.equal(trainer.average.decoder.last.bias, trainer.model.decoder.last.bias)


def test_squared_gradients_are_averaged() -> None:
    with pytest.raises(UserError, match="adam_beta2=1: must be below 1"):
        override(get("vae"), {"adam_beta2": "1"})


def test_only_dense_nets_begin_with_a_mean() -> None:
    with pytest.raises(UserError, match="start_at_mean is for dense nets"):
        resolve(override(get("vae"), {"start_at_mean": "true"}), (1, 8, 8))


def test_one_epoch_of_real_digits_is_as_good_as_ten_of_the_founding_system(shared_data: Path, tmp_path: Path) -> None:
    """Test error 7.97 per image after ten epochs (that of the original system, measured with the plain loop)."""
    run = vk.train(shared_data / "mnist", recipe="fast-ae", out=tmp_path / "run", quiet=True)
    assert run.config.total_images == 60_000
    assert (run.evaluate(split="test")["sse_per_image"] or 99) < 8.17
