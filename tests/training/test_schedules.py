"""The number of steps of a run: the formula compared with a trainer that counts them."""

from __future__ import annotations

import pytest
import torch
from trainers import small_trainer

from vaekit.config.steps import steps_to_see


@pytest.mark.parametrize("count", [3, 4, 11, 12])
def test_the_steps_of_a_run_are_those_that_a_trainer_takes(count: int) -> None:
    pixels = torch.zeros(count, 1, 8, 8, dtype=torch.uint8)
    trainer = small_trainer("seed-ae", pixels, 3.5, batch_size=4)
    for step in range(1, 200):
        trainer.step()
        assert steps_to_see(trainer.images, count, 4) == step == trainer.steps
        if trainer.images == trainer.config.total_images:
            return
    raise AssertionError("the run has no end")
