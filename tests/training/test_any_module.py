"""The trainer trains whatever maps a batch to terms: a velocity field here, without images, recipe or latent model."""

from __future__ import annotations

import ast
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from flow_field import RADIUS, Field, field_trainer, samples_of
from torch import nn

from vaekit.errors import UserError
from vaekit.model.trainable import Trainable
from vaekit.runs import folder as runs
from vaekit.training import gradients, trainer
from vaekit.training.trainer import Trainer

VALUES: list[dict[str, Any]] = [
    {},
    {"ema_power": 6.0, "clip_norm": 0.5, "schedule": "cosine", "warmup": 0.2, "weight_decay": 0.01},
    {"micro_batch": 3, "ema_power": 6.0},
    {"precision": "bf16", "reduction": "sum"},
]


def finish(field: Trainer[Any]) -> Trainer[Any]:
    while field.images < field.values.total_images:
        field.step()
    return field


@pytest.mark.parametrize("values", VALUES, ids=str)
def test_it_resumes_to_the_same_bytes(values: dict[str, Any], tmp_path: Path) -> None:
    whole, first, second = (field_trainer(**values) for _ in range(3))
    runs.save_state(tmp_path, *finish(whole).state())
    expected = (tmp_path / "state.safetensors").read_bytes()
    for _ in range(4):  # one step into the second epoch
        first.step()
    runs.save_state(tmp_path, *first.state())
    saved = runs.load_state(tmp_path, print, second.state_fault)
    assert saved is not None
    second.load_state(*saved)
    assert (second.images, second.steps) == (28, 4)
    runs.save_state(tmp_path, *finish(second).state())
    assert (tmp_path / "state.safetensors").read_bytes() == expected


def test_it_learns_to_carry_noise_to_the_ring() -> None:
    field = field_trainer(Field(width=64), total=30_000, schedule="cosine", warmup=0.05, ema_power=6.0)
    before = _distance(field.eval_model())
    assert before > 0.8
    assert _distance(finish(field).eval_model()) < before / 4
    assert field.eval_model() is field.average


def _distance(model: nn.Module) -> float:
    """How far samples lie from the ring, on average."""
    return float((samples_of(model, 500).norm(dim=1) - RADIUS).abs().mean())


def test_pieces_and_a_recording_have_the_gradients_of_the_whole() -> None:
    whole, pieces, recorded = (
        field_trainer(_recordable(is_recorded), dtype=torch.float64, micro_batch=size)
        for is_recorded, size in ((False, None), (False, 3), (True, None))
    )
    for _ in range(5):
        first, second, third = whole.step(), pieces.step(), recorded.step()
        torch.testing.assert_close(second.loss, first.loss, rtol=1e-12, atol=1e-12)
        assert torch.equal(third.loss, first.loss)
    assert set(recorded.gradients.tapes) == {8, 4} and not whole.gradients.tapes
    for a, b, c in zip(whole.parameters, pieces.parameters, recorded.parameters, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-10, atol=1e-12)
        assert torch.equal(c, a)


def _recordable(is_recorded: bool) -> Field:
    field = Field()
    field.can_be_recorded = is_recorded
    return field


def test_a_step_that_is_not_finite_is_skipped() -> None:
    field = field_trainer(ema_power=0.0)
    field.step()
    before = {name: tensor.clone() for name, tensor in field.state()[0].items()}
    hook = field.parameters[0].register_hook(lambda gradient: gradient * math.inf)
    field.step()
    hook.remove()
    assert all(torch.equal(tensor, before[name]) for name, tensor in field.state()[0].items())
    assert (field.images, field.steps, field.skipped) == (16, 2, 1)


def test_frozen_parameters_stay_as_they_are() -> None:
    """As for a decoder that is tuned while its encoder stays."""
    step = Field()
    step.model[0].requires_grad_(False)
    before = step.model[0].weight.clone()
    field = finish(field_trainer(step, ema_power=6.0))
    assert field.names == ["2.weight", "2.bias"]
    assert field.average is not None
    for model in (field.model, field.average):
        assert torch.equal(model[0].weight, before)
        assert not torch.equal(model[2].weight, Field().model[2].weight)
    state, _ = field.state()
    assert {"model.0.weight", "average.0.weight", "adam.exp_avg.2.weight"} < state.keys()
    assert "adam.exp_avg.0.weight" not in state


class Normalizing(Field):
    def __init__(self) -> None:
        super().__init__()
        self.model.append(nn.BatchNorm1d(2))


class Stubborn(Field):
    compile_fault = "the field cannot be compiled; leave it out"

    def compute_in(self, dtype: torch.dtype) -> None:
        Trainable.compute_in(self, dtype)


@pytest.mark.parametrize(
    ("step", "values", "message"),
    [
        (Normalizing, {"micro_batch": 3}, "the field normalizes over the batch.*leave out micro_batch"),
        (Stubborn, {"precision": "bf16"}, "precision: the field only computes in float32; leave it out"),
        (Stubborn, {"compiled": True}, "compiled: the field cannot be compiled; leave it out"),
    ],
)
def test_what_a_module_cannot_do_is_refused(step: type[Field], values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        field_trainer(step(), **values)


@pytest.mark.parametrize("module", [trainer, gradients])
def test_the_trainer_imports_no_model_and_no_recipe(module: Any) -> None:
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    known = ("model.latent_model", "model.factory", "model.objectives", "config", "data", "training.batches")
    assert not [name for name in imported if str(name).startswith(tuple(f"vaekit.{each}" for each in known))]
