"""Replayed steps equal the same steps with autograd, bit by bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import vaekit as vk
from vaekit.config.run_config import DataConfig, Engine, RunConfig
from vaekit.config.table import LIKELIHOODS, get, override
from vaekit.model.factory import resolve
from vaekit.training.capture import Tape
from vaekit.training.model_trainer import ModelTrainer

CASES: list[dict[str, Any]] = [
    {},
    {"posterior": "normal", "prior": "standard-normal", "objective": "elbo"},
    {"posterior": "normal", "prior": "fitted-normal", "objective": "elbo", "kl_warmup": 0.5, "ema_power": 16},
    {"posterior": "normal", "prior": "standard-normal", "objective": "elbo", "free_bits_nats": 0.1},
    {"posterior": "normal", "prior": "standard-normal", "objective": "elbo", "likelihood": "bernoulli"},
    {"scale": "pixel", "clip_norm": 0.01},
    {"scale": "shared", "mean": "sigmoid", "noise_std": 0.3, "reduction": "mean"},
    {"hidden": (30, 20), "weight_decay": 1e-3},
    *(
        {"posterior": "normal", "prior": "standard-normal", "objective": "elbo", "likelihood": name, "scale": scale}
        for name in LIKELIHOODS
        for scale in ("shared", "pixel")
        if scale == "shared" or name in ("laplace", "discretized-logistic", "discretized-normal")
    ),
    *(
        {"posterior": "normal", "prior": "standard-normal", "objective": name, "samples": 3, "activation": "tanh"}
        for name in ("iwae", "iwae-dreg")
    ),
    {"flip": True, "shift": 1, "jitter": 0.2, "noise_std": 0.3},
]


def trainer_of(values: dict[str, Any], precision: str = "fp32") -> ModelTrainer:
    pixels = vk.open_images("digits").pixels[:80]
    row = resolve(override(get("seed-ae"), {"batch_size": 32, **values}), tuple(pixels.shape[1:]), len(pixels))
    data = DataConfig("array", tuple(pixels.shape[2:]), pixels.shape[1], "00", images=len(pixels))
    config = RunConfig(row, data, 4 * len(pixels), engine=Engine(precision=precision))
    return ModelTrainer(config, pixels, torch.device("cpu"))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("values", CASES, ids=str)
def test_a_repeated_step_equals_one_with_its_graph(values: dict[str, Any], precision: str) -> None:
    taped, plain = trainer_of(values, precision), trainer_of(values, precision)
    plain.gradients.is_recorded = False
    for _ in range(11):  # over three epochs, each of which ends with a smaller batch
        terms, expected = taped.step(), plain.step()
        assert torch.equal(terms.loss, expected.loss)
        assert torch.equal(terms.distortion, expected.distortion)
        assert (terms.rate is None) == (expected.rate is None)
        assert terms.rate is None or torch.equal(terms.rate, expected.rate)
    assert set(taped.gradients.tapes) == {32, 16}
    for name, tensor in plain.state()[0].items():
        assert torch.equal(taped.state()[0][name], tensor), name


def test_a_tape_follows_what_changes_in_place() -> None:
    weight = torch.randn(3, 4, requires_grad=True)

    def function(x: Tensor) -> tuple[Tensor, ...]:
        y = (x @ weight.t()).tanh().split(2)
        return (y[0].sum(), *torch.autograd.grad(y[1].sum(), [weight]))

    x = torch.randn(5, 4)
    _, tape = Tape.record(function, [x])
    assert tape is not None
    with torch.no_grad():
        weight.mul_(2)
    for got, expected in zip(tape(-x), function(-x), strict=True):
        assert torch.equal(got, expected)
        assert not got.requires_grad


def test_what_looks_at_a_value_is_not_repeated() -> None:
    def function(x: Tensor) -> tuple[Tensor, ...]:
        return (x * 2 if bool(x.sum() > 0) else -x,)

    outputs, tape = Tape.record(function, [torch.ones(3)])
    assert tape is None
    assert outputs[0].tolist() == [2, 2, 2]


def test_what_depends_on_how_many_values_there_are_is_not_repeated() -> None:
    assert Tape.record(lambda x: (x[x > 0],), [torch.tensor([1.0, -1.0])])[1] is None


def test_numbers_of_the_code_begin_anew_and_lists_of_one_are_lists() -> None:
    def function(x: Tensor) -> tuple[Tensor, ...]:
        total = torch.tensor(0.0)
        total += x.sum()
        (only,) = x.unbind(0)
        return total * 1, only + 1

    _, tape = Tape.record(function, [torch.ones(1, 3)])
    assert tape is not None
    for _ in range(2):
        total, only = tape(torch.full((1, 3), 2.0))
        assert (total, only.tolist()) == (6, [3, 3, 3])
