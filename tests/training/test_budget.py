"""A time budget on a machine of any speed: measuring takes a tenth of it, and training ends within it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from trainers import small_trainer

from vaekit.config.run_config import Engine, RunConfig
from vaekit.config.steps import steps_to_see
from vaekit.data import Selection
from vaekit.runs.watched import Watched
from vaekit.training import budget
from vaekit.training.model_trainer import ModelTrainer

IMAGES, TRAINED, BATCH = 300, 200, 32
VALIDATION = 50


@dataclass
class Machine:
    """What it takes this many seconds for; ``now`` is its clock."""

    step: float
    encode: float  #: an image
    evaluate: float  #: an image
    first: float = 0.0  #: seconds more for the first step, and for the first pass of each kind
    start: float = 0.0  #: seconds more for the first step alone
    now: float = 1000.0
    steps: int = 0
    passes: int = 0

    def fit(self, seconds: float, is_compiled: bool = False) -> RunConfig:
        """Return the number of images for a budget on this machine."""
        pixels = torch.arange(TRAINED * 16, dtype=torch.int64).remainder(256).to(torch.uint8).view(TRAINED, 1, 4, 4)
        config = small_trainer("ae", pixels, 1, net="mlp", hidden="4", batch_size=BATCH).config
        config = replace(config, data=replace(config.data, images=IMAGES), engine=Engine(compiled=is_compiled))
        chosen, device = Selection(pixels, torch.arange(TRAINED)), torch.device("cpu")
        watched = Watched("val", pixels[:1], replace(chosen, rows=chosen.rows[:VALIDATION]))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.nn.Module, "compile", lambda *_, **__: None)
            patch.setattr(torch, "compile", lambda function, **_: function)
            patch.setattr(budget, "time", SimpleNamespace(monotonic=lambda: self.now))
            patch.setattr(ModelTrainer, "step", self._taking(ModelTrainer.step, lambda *_: self.step, "steps"))
            patch.setattr(budget, "encode", self._taking(budget.encode, lambda _, p: self.encode * len(p), "passes"))
            patch.setattr(
                budget, "evaluate", self._taking(budget.evaluate, lambda _, p: self.evaluate * len(p), "passes")
            )
            return budget.fit_budget(config, chosen, watched, device, seconds, self.now)

    def _taking(self, work: Callable[..., Any], seconds: Callable[..., float], count: str) -> Callable[..., Any]:
        seen: list[int] = []

        def timed(*args: Any, **kwargs: Any) -> Any:
            self.now += seconds(*args) + (0 if seen else self.first + self.start * (count == "steps"))
            seen.append(1)
            setattr(self, count, getattr(self, count) + 1)
            return work(*args, **kwargs)

        return timed

    def training(self, images: int) -> float:
        """Return the seconds of a training on a number of images, and of the work after it."""
        epochs, steps = math.ceil(images / TRAINED), steps_to_see(images, TRAINED, BATCH)
        after = self.encode * TRAINED + self.evaluate * (IMAGES - TRAINED - VALIDATION + IMAGES) + 3.0
        return steps * self.step + 0.3 + epochs * (0.3 + self.evaluate * VALIDATION) + after


def test_a_short_budget_is_not_spent_on_measuring() -> None:
    busy = Machine(step=2.0, encode=0.004, evaluate=0.01)
    config = busy.fit(30)
    spent = busy.now - 1000
    assert spent <= 3 + busy.step + (busy.encode + busy.evaluate) * VALIDATION
    assert busy.passes == 2, "no pass to warm up once the deadline has passed"
    assert config.total_images >= 4 * BATCH and spent + busy.training(config.total_images) <= 30


def test_a_long_step_is_measured_once() -> None:
    busy = Machine(step=7.0, encode=0.001, evaluate=0.001)
    assert busy.fit(30).total_images == 2 * BATCH
    assert (busy.steps, busy.passes) == (1, 2)


def test_a_usual_budget_is_measured_on_many_steps_and_on_passes_that_are_warm() -> None:
    usual = Machine(step=0.05, encode=0.0002, evaluate=0.001, first=1.0)
    found = usual.fit(600).total_images
    assert usual.passes == 4 and usual.now - 1000 == pytest.approx(15 + 0.05 + 2 * 0.01 + 2 * 0.05 + 2, abs=0.06)
    left = 600 - (usual.now - 1000) - 0.0002 * TRAINED - 0.001 * (IMAGES - TRAINED + IMAGES) - 3.6
    expected = left / (0.05 * 7 / TRAINED + (0.3 + 0.001 * VALIDATION) / TRAINED)
    assert found % TRAINED % BATCH == 0 and found == pytest.approx(expected, rel=2e-3)
    assert usual.now - 1000 + usual.training(found) <= 600


def test_what_comes_before_the_first_step_is_not_taken_for_its_time() -> None:
    """Compiling, loading kernels and connecting processes may take longer than the deadline."""
    slow_to_start = Machine(step=0.05, encode=0.0002, evaluate=0.001, start=60.0)
    found = slow_to_start.fit(300, is_compiled=True).total_images
    assert found == pytest.approx((300 - (slow_to_start.now - 1000) - 4) / (0.05 * 7 + 0.35) * TRAINED, rel=0.02)


@settings(max_examples=30)
@given(
    seconds=st.floats(1, 3600),
    step=st.floats(1e-3, 60),
    encode=st.floats(1e-5, 0.05),
    evaluate=st.floats(1e-5, 0.05),
    first=st.floats(0, 5),
)
def test_the_training_ends_within_the_budget_wherever_one_step_can(
    seconds: float, step: float, encode: float, evaluate: float, first: float
) -> None:
    machine = Machine(step, encode, evaluate, first)
    images = machine.fit(seconds).total_images
    spent = machine.now - 1000
    assert images >= BATCH
    assert images == BATCH or spent + machine.training(images) <= seconds
    least = max(seconds / 10, 1e-9) + step + 3 * first + (encode + evaluate) * VALIDATION
    assert spent <= least + max(step, (encode + evaluate) * VALIDATION)
