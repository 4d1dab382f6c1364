"""Order, noise, learning rate and average follow from (seed, position), and runs resume bit by bit."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from trainers import small_trainer

from vaekit.config import recipe
from vaekit.config.run_config import DataConfig, RunConfig
from vaekit.config.table import RECIPES, get, override
from vaekit.data import to_float
from vaekit.data.portraits.portraits import draw
from vaekit.errors import UserError
from vaekit.evaluation.metrics import evaluate
from vaekit.model.factory import build_model, resolve
from vaekit.model.inference import Batch
from vaekit.runs import folder as runs
from vaekit.system.rng import NOISE, ORDER, stream
from vaekit.training.model_trainer import ModelTrainer
from vaekit.training.schedules import epoch_order, learning_rate, rate_weight
from vaekit.training.starting import start_from

CPU = torch.device("cpu")
SIZE, COUNT, BATCH = 16, 11, 4
PIXELS = torch.from_numpy(draw(COUNT, SIZE)).permute(0, 3, 1, 2).contiguous()


def trainer_of(
    name: str = "vae", pixels: Tensor = PIXELS, epochs: float = 3, seed: int = 0, **values: Any
) -> ModelTrainer:
    return small_trainer(name, pixels, epochs, seed=seed, **{"batch_size": BATCH, **values})


def finish(trainer: ModelTrainer) -> ModelTrainer:
    while trainer.images < trainer.config.total_images:
        trainer.step()
    return trainer


def snapshot(trainer: ModelTrainer) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.state()[0].items()}


def assert_identical(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def test_an_epoch_shows_each_image_once_in_another_order_every_time() -> None:
    trainer, shown = trainer_of(epochs=2.5), []
    while trainer.images < trainer.config.total_images:
        shown.append(trainer.next_index().tolist())
        trainer.images += len(shown[-1])
    assert [len(index) for index in shown] == [4, 4, 3, 4, 4, 3, 4, 2]
    epochs = [sum(shown[i : i + 3], []) for i in (0, 3, 6)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(COUNT))
    assert epochs[0] != epochs[1] and len(set(epochs[2])) == 6
    assert epochs[1] == epoch_order(0, 1, COUNT).tolist()


def test_orders_differ_by_seed_and_epoch_and_streams_do_not_meet() -> None:
    orders = {tuple(epoch_order(seed, epoch, 50).tolist()) for seed in range(20) for epoch in range(20)}
    assert len(orders) == 400
    starts = {stream(s, purpose, p).initial_seed() for s in range(30) for purpose in range(3) for p in range(300)}
    assert len(starts) == 30 * 3 * 300
    assert stream(1, ORDER, 2).initial_seed() == stream(1, ORDER, 2).initial_seed()


@pytest.mark.parametrize("name", ["vae", "denoising-ae", "seed-vae"])
def test_a_run_follows_its_seed_and_no_global_state(name: str) -> None:
    torch.manual_seed(1)
    first = finish(trainer_of(name, epochs=1))
    torch.manual_seed(2)
    torch.rand(5)
    assert_identical(snapshot(first), snapshot(finish(trainer_of(name, epochs=1))))
    other = snapshot(finish(trainer_of(name, epochs=1, seed=1)))
    assert not torch.equal(other["model.posterior.mean.weight"], snapshot(first)["model.posterior.mean.weight"])


CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in sorted(RECIPES)),
    ("vae", {"prior": "standard-normal"}),
    ("seed-vae", {"prior": "fitted-normal"}),
    ("seed-vae", {"ema_power": 16.0}),
    ("vae", {"batch_size": 1, "net": "mlp"}),
    *((name, {"flip": True, "shift": 3, "jitter": 0.2}) for name in ("vae", "denoising-ae", "seed-ae")),
]


@pytest.mark.parametrize(("name", "values"), CASES)
@pytest.mark.parametrize("after", [1, 5])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(
    name: str, values: dict[str, Any], after: int, tmp_path: Path
) -> None:
    whole = finish(trainer_of(name, epochs=2.5, **values))
    first = trainer_of(name, epochs=2.5, **values)
    for _ in range(after):
        first.step()
    runs.save_state(tmp_path, *first.state())
    second, saved = trainer_of(name, epochs=2.5, **values), runs.load_state(tmp_path, print)
    assert saved is not None
    second.load_state(*saved)
    assert_identical(snapshot(first), snapshot(second))
    finish(second)
    assert (second.steps, second.images) == (whole.steps, whole.images)
    assert_identical(snapshot(whole), snapshot(second))


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_training_moves_every_parameter(name: str) -> None:
    trainer = trainer_of(name, weight_decay=0.01)
    before = snapshot_of_start(trainer)
    for _ in range(3):
        trainer.step()
    assert [n for n, p in trainer.model.named_parameters() if torch.equal(p, before[n])] == []


def snapshot_of_start(trainer: ModelTrainer) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters()}


def test_one_step_of_seed_b_is_the_literal_specification() -> None:
    trainer = trainer_of("seed-vae")
    model = build_model(trainer.row, (3, SIZE, SIZE), seed=0).train()
    index, noise = trainer.next_index(), torch.randn(1, BATCH, 4, generator=stream(0, NOISE, 0))[0]
    x = to_float(PIXELS[index])
    features = model.encoder(x)
    mu, std = model.posterior.mean(features), model.posterior.log_std(features).exp()
    sse = (model.decoder(mu + std * noise).sigmoid() - x).square().sum()
    (sse + (std.square() / 2 + mu.square() / 2 - std.log() - 0.5).sum()).backward()
    terms = trainer.step()
    assert float(terms.distortion.sum()) == pytest.approx(float(sse.detach()) + BATCH * 768 * 0.5 * math.log(math.pi))
    for (name, mine), literal in zip(trainer.model.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, literal.grad, rtol=1e-3, atol=1e-4, msg=name)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, weight_decay=1e-5)
    for literal, (_, mine) in zip(model.parameters(), trainer.model.named_parameters(), strict=True):
        literal.grad = mine.grad
    optimizer.step()
    for (name, mine), literal in zip(trainer.model.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(mine, literal, rtol=1e-6, atol=1e-8, msg=name)


def test_sum_and_mean_differ_by_a_factor_and_not_in_balance() -> None:
    mean, total = (trainer_of("vae", clip_norm=0.0, reduction=kind) for kind in ("mean", "sum"))
    mean.step()
    total.step()
    for a, b in zip(mean.parameters, total.parameters, strict=True):
        assert a.grad is not None and b.grad is not None
        torch.testing.assert_close(b.grad, a.grad * BATCH, rtol=1e-4, atol=1e-3)


def test_clipping_bounds_the_norm_of_the_gradient() -> None:
    free, clipped = trainer_of("vae", clip_norm=0.0), trainer_of("vae", clip_norm=1e-3)
    norms = []
    for trainer in (free, clipped):
        trainer.step()
        norms.append(float(torch.stack([p.grad.norm() for p in trainer.parameters]).norm()))
    limit = 1e-3 * 3 * SIZE**2  # the limit is per pixel value
    assert norms[0] > 2 * limit and norms[1] == pytest.approx(limit, rel=1e-2)


def test_the_average_is_its_definition() -> None:
    """Karras et al. 2024, Eq. 2, unrolled: Σ_t (1 − k_t) Π_{s>t} k_s θ_t with k_t = (1 − 1/t)^(power + 1)."""
    power = 6.0
    trainer, history, buffers = trainer_of("seed-vae", ema_power=power), [], []
    for _ in range(8):
        trainer.step()
        history.append(torch.cat([p.detach().flatten() for p in trainer.parameters]).double().numpy())
        buffers.append(trainer.model.encoder[3].running_mean.double().numpy().copy())
    keep = [(1 - 1 / t) ** (power + 1) for t in range(1, 9)]
    weights = np.array([(1 - keep[t]) * math.prod(keep[t + 1 :]) for t in range(8)])
    assert weights.sum() == pytest.approx(1) and weights[0] < 1e-6
    assert trainer.average is not None
    mine = torch.cat([p.flatten() for p in trainer.average.parameters()]).double().numpy()
    np.testing.assert_allclose(mine, weights @ np.array(history), rtol=0, atol=1e-7)
    np.testing.assert_allclose(trainer.average.encoder[3].running_mean, weights @ np.array(buffers), rtol=1e-4)
    assert trainer.eval_model() is trainer.average and not trainer.average.training


def test_the_cosine_schedule_has_the_right_ends() -> None:
    row = override(get("vae"), {"learning_rate": 2.0, "warmup": 0.1})
    assert learning_rate(row, 0.0) == pytest.approx(0.02)
    assert learning_rate(row, 0.05) == pytest.approx(0.02 + 0.5 * 1.98)
    assert learning_rate(row, 0.1) == pytest.approx(2.0)
    assert learning_rate(row, 0.55) == pytest.approx(0.02 + 0.5 * 1.98)
    assert learning_rate(row, 1.0) == pytest.approx(0.02)
    falling = [learning_rate(row, f) for f in np.linspace(0.1, 1, 50)]
    assert falling == sorted(falling, reverse=True)
    assert learning_rate(override(row, {"warmup": 0.0}), 0.0) == pytest.approx(2.0)
    assert learning_rate(override(row, {"warmup": 1.0}), 1.0) == pytest.approx(2.0)
    assert {learning_rate(get("seed-ae"), f) for f in (0.0, 0.5, 1.0)} == {2.5e-4}


def test_the_weight_of_the_rate_rises_to_beta() -> None:
    row = override(get("vae"), {"beta": 4.0, "kl_warmup": 0.5})
    assert [rate_weight(row, f) for f in (0.0, 0.125, 0.25, 0.5, 0.75, 1.0)] == [0, 1, 2, 4, 4, 4]
    assert rate_weight(override(row, {"kl_warmup": 0.0}), 0.0) == 4


def test_steps_use_the_schedules_at_the_place_where_they_start() -> None:
    trainer = trainer_of("vae", beta=2.0, kl_warmup=0.5, warmup=0.5)
    rates: list[float] = []
    update = trainer.adam.step

    def step(gradients: list[torch.Tensor], rate: float, is_bad: torch.Tensor | None = None) -> None:
        rates.append(rate)
        update(gradients, rate, is_bad)

    trainer.adam.step = step  # type: ignore[method-assign]
    for _ in range(9):
        fraction = trainer.images / trainer.config.total_images
        terms = trainer.step()
        assert rates[-1] == learning_rate(trainer.row, fraction)
        assert terms.rate is not None
        weighed = terms.distortion + min(2.0, 4 * fraction) * terms.rate
        torch.testing.assert_close(terms.loss, weighed)
    assert trainer.fraction == 1


def test_denoising_corrupts_the_input_and_keeps_the_target_clean() -> None:
    trainer = trainer_of("denoising-ae", pixels=PIXELS[:1].repeat(400, 1, 1, 1), batch_size=400)
    batch, _, _ = trainer._inputs(trainer.next_index())
    clean = to_float(PIXELS[:1])
    assert batch.target is not None and torch.equal(batch.target, clean.expand(400, -1, -1, -1))
    added = (batch.x - clean).flatten(1)
    unclipped = (batch.x.flatten(1).min(1).values < 0) | (batch.x.flatten(1).max(1).values > 1)
    assert 0.35 < float(unclipped.float().mean()) < 0.6  # half of them, less those with hardly any noise
    spread = added[unclipped].std(1)
    assert float(spread.max()) < 0.55 and float(spread.min()) < 0.1
    assert float(added[unclipped].mean().abs()) < 0.01


@pytest.mark.parametrize("name", ["vae", "seed-vae", "ae"])
@pytest.mark.parametrize("broken", ["image", "gradient"])
def test_a_step_that_is_not_finite_changes_nothing_but_the_counts(
    name: str, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_of(name, ema_power=0.0)
    trainer.step()
    before = snapshot(trainer)
    with monkeypatch.context() as patch:
        if broken == "image":
            inputs = trainer._inputs
            patch.setattr(trainer, "_inputs", lambda index: _with_nan(inputs(index)))
        else:
            trainer.parameters[0].register_hook(lambda gradient: gradient * math.inf)
        trainer.step()
    assert_identical(before, snapshot(trainer))
    assert (trainer.images, trainer.steps, trainer.skipped) == (2 * BATCH, 2, 1)
    assert trainer.bad.tolist() == [1, 1, 1, BATCH]


def _with_nan(inputs: tuple[Batch, Tensor, Tensor]) -> tuple[Batch, Tensor, Tensor]:
    x = inputs[0].x.clone()
    x[0, 0, 0, 0] = math.nan
    return Batch(x), *inputs[1:]


def test_bad_steps_are_counted_in_rows() -> None:
    trainer = trainer_of()
    trainer.images = 100
    finite, bad = torch.tensor(1.0), torch.tensor(math.inf)
    for number in (bad, finite, bad, bad, bad):
        trainer._note_bad(number)
        trainer.images += 10
    assert trainer.bad.tolist() == [4, 3, 3, 120]
    trainer._note_bad(finite)
    assert trainer.bad.tolist() == [4, 0, 3, 120]


@pytest.mark.parametrize("prior", ["standard-normal", "fitted-normal"])
def test_weights_that_broke_never_step_again(prior: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(recipe._MOST, "learning_rate", 1e38)
    trainer = trainer_of("vae", learning_rate=1e30, schedule="constant", clip_norm=0.0, prior=prior)
    losses = [float(trainer.step().loss.mean()) for _ in range(5)]
    assert math.isfinite(losses[0]) and not math.isfinite(losses[1])
    assert trainer.bad.tolist() == [4, 4, 4, BATCH]
    healthy = trainer_of("vae")
    healthy.step()
    assert healthy.bad.tolist() == [0, 0, 0, 0]


def test_other_weights_are_taken_by_model_and_average_or_refused() -> None:
    source, target = finish(trainer_of("vae", epochs=1)), trainer_of("vae", seed=3)
    weights = {name: t.clone() for name, t in source.model.state_dict().items()}
    start_from(target, weights, "runs/x")
    assert target.average is not None
    for model in (target.model, target.average):
        assert all(torch.equal(t, weights[name]) for name, t in model.state_dict().items())
    with pytest.raises(UserError, match="init runs/x"):
        start_from(trainer_of("vae", latent_dim=5), weights, "runs/x")


def test_eight_images_can_be_learned_by_heart() -> None:
    values = {"schedule": "constant", "learning_rate": 3e-3, "ema_power": 0.0, "width": 16, "latent_dim": 16}
    trainer = trainer_of("ae", PIXELS[:8], epochs=150, batch_size=8, **values)
    before = evaluate(trainer.eval_model(), PIXELS[:8])["sse_per_image"]
    trainer.model.train()
    after = evaluate(finish(trainer).eval_model(), PIXELS[:8])["sse_per_image"]
    assert isinstance(before, float) and isinstance(after, float)
    assert after < before / 30


def test_a_vae_raises_its_bound_on_eight_images() -> None:
    trainer = trainer_of("vae", PIXELS[:8], epochs=60, batch_size=8, ema_power=0.0, learning_rate=3e-3)
    before = evaluate(trainer.eval_model(), PIXELS[:8])["elbo_nats"]
    trainer.model.train()
    after = evaluate(finish(trainer).eval_model(), PIXELS[:8])["elbo_nats"]
    assert isinstance(before, float) and isinstance(after, float)
    assert after > before + 300


def test_a_configuration_is_all_a_trainer_needs() -> None:
    trainer = trainer_of("vae")
    again = ModelTrainer(RunConfig.from_json(trainer.config.to_json()), PIXELS, CPU)
    assert dataclasses.asdict(again.config) == dataclasses.asdict(trainer.config)
    trainer.step()
    again.step()
    assert_identical(snapshot(trainer), snapshot(again))


def test_no_standard_deviation_of_a_code_leaps_at_256_px() -> None:
    """Without the smaller gain, standard deviations change by a factor of e in the third step, and diverge."""
    pixels = torch.from_numpy(draw(4, 256)).permute(0, 3, 1, 2).contiguous()
    row = resolve(override(get("vae"), {"warmup": 0, "batch_size": 4}), (3, 256, 256), 1000)
    data = DataConfig("array", (256, 256), 3, "00", images=4, train_images=4)
    trainer = ModelTrainer(RunConfig(row, data, 10**6), pixels, CPU)

    def log_std() -> Tensor:
        with torch.no_grad():
            return trainer.model.encode(to_float(pixels)).log_std

    for _ in range(3):
        before = log_std()
        trainer.step()
        assert (log_std() - before).abs().max() < 0.25


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_can_learn_to_remove_noise(name: str) -> None:
    """The input is noisy and the target is not; a step uses both."""
    trainer = trainer_of(name, noise_std=0.5)
    batch, _, _ = trainer._inputs(trainer.next_index())
    assert batch.target is not None
    clean = to_float(PIXELS[trainer.next_index()])
    assert torch.equal(batch.target, clean) and (batch.x - clean).abs().max() > 0.3
    assert bool(trainer.step().loss.isfinite().all())
