"""Engine settings change speed and memory, but numbers only by rounding."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from trainers import in_double, small_trainer

import vaekit as vk
from vaekit.api import plan
from vaekit.config.options import TrainOptions
from vaekit.config.run_config import DataConfig, Engine, EngineFields, RunConfig
from vaekit.config.table import RECIPES, Recipe, get, override
from vaekit.data.portraits.portraits import draw
from vaekit.errors import UserError
from vaekit.model.factory import resolve
from vaekit.runs import folder as runs
from vaekit.runs.new_config import make_config
from vaekit.system.cpu import one_thread_per_core
from vaekit.system.malloc import freed_memory_is_kept
from vaekit.system.memory import peak_resident_bytes, resident_bytes
from vaekit.training.model_trainer import ModelTrainer
from vaekit.training.optimizer import Adam
from vaekit.training.plan import largest_batch
from vaekit.training.schedules import epoch_order
from vaekit.training.setup import with_engine

CPU = torch.device("cpu")
PIXELS = torch.from_numpy(draw(11, 16)).movedim(-1, 1).contiguous()


def trainer_of(name: str, engine: Engine, **values: Any) -> ModelTrainer:
    return small_trainer(name, PIXELS, 4, engine=engine, **{"batch_size": 8, **values})


PIECES = [(name, 3) for name, row in RECIPES.items() if row.net != "seed-conv" and row.objective not in ("tc", "mmd")]


@pytest.mark.parametrize(("name", "micro_batch"), [*PIECES, ("vae", 1), ("vae", 8), ("vq-vae", 1)])
def test_a_batch_in_pieces_has_the_gradients_of_the_whole(name: str, micro_batch: int) -> None:
    """Parts that follow the posteriors see the whole batch before the first micro-batch is trained on."""
    whole, pieces = (in_double(trainer_of(name, Engine(micro_batch=size))) for size in (None, micro_batch))
    for _ in range(3):
        first, second = whole.step(), pieces.step()
        torch.testing.assert_close(second.loss, first.loss, rtol=1e-10, atol=1e-9)
    for a, b in zip(whole.parameters, pieces.parameters, strict=True):
        assert a.grad is not None and b.grad is not None
        torch.testing.assert_close(b.grad, a.grad, rtol=1e-10, atol=1e-10)
    for a, b in zip(whole.model.buffers(), pieces.model.buffers(), strict=True):
        torch.testing.assert_close(b, a, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("seed-vae", {}, "normalizes over the batch"),
        ("vae", {"free_bits_nats": 0.1}, "averages free bits"),
        ("beta-tcvae", {}, "estimates the total correlation"),
        ("wae-mmd", {}, "compares the latents of a batch"),
    ],
)
def test_what_couples_a_batch_is_refused_in_pieces(name: str, values: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=f"{reason}.*leave out micro_batch"):
        trainer_of(name, Engine(micro_batch=4), **values)


@pytest.mark.parametrize("name", ["vae", "seed-vae", "seed-ae"])
def test_half_precision_changes_rounding_alone(name: str) -> None:
    exact, rounded = trainer_of(name, Engine()), trainer_of(name, Engine(precision="bf16"))
    first, second = exact.step(), rounded.step()
    assert second.loss.dtype == torch.float32 and not torch.equal(first.loss, second.loss)
    torch.testing.assert_close(second.loss, first.loss, rtol=0.02, atol=1.0)
    for _ in range(4):
        assert rounded.step().loss.isfinite().all()
    assert {p.dtype for p in rounded.parameters} == {torch.float32}
    model, x = rounded.eval_model(), torch.rand(2, 3, 16, 16)
    exactly = model.decode(model.encode(x).mean).mean
    assert (model.compute_dtype is None) == (rounded.average is not None)
    model.compute_dtype = None
    assert torch.equal(model.decode(model.encode(x).mean).mean, exactly), "what the verbs do is not rounded"


def test_a_resumed_run_in_half_precision_ends_with_the_same_bytes(tmp_path: Path) -> None:
    whole, first, second = (trainer_of("vae", Engine(precision="bf16", micro_batch=3)) for _ in range(3))
    for _ in range(5):
        whole.step()
    for _ in range(2):
        first.step()
    runs.save_state(tmp_path, *first.state())
    second.load_state(*(runs.load_state(tmp_path, print) or ({}, {})))
    for _ in range(3):
        second.step()
    assert all(torch.equal(t, second.state()[0][name]) for name, t in whole.state()[0].items())


@pytest.mark.parametrize("beta2", [0.999, 0.95])
def test_adam_is_that_of_torch(beta2: float) -> None:
    torch.manual_seed(0)
    mine, theirs = ([torch.nn.Parameter(torch.ones(shape)) for shape in ((3, 4), (5,))] for _ in range(2))
    adam, reference = Adam(mine, 0.1, beta2), torch.optim.Adam(theirs, 0.02, (0.9, beta2), weight_decay=0.1)
    for _ in range(20):
        for b in theirs:
            b.grad = torch.randn_like(b)
        adam.step([b.grad.clone() for b in theirs], 0.02)  # type: ignore[union-attr]
        reference.step()
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_an_order_kind_to_a_disk_shows_each_image_once_and_reads_blocks() -> None:
    count, window = 10_000, 1024
    order = epoch_order(3, 1, count, window)
    assert sorted(order.tolist()) == list(range(count))
    assert order.tolist() != epoch_order(3, 2, count, window).tolist()
    for part in order.split(window):
        assert len(set((part // 64).tolist())) <= window // 64 + 2, "a window touches few blocks"
        assert float((part.diff() == 1).float().mean()) < 0.01, "and mixes them"
    assert torch.equal(epoch_order(3, 1, 500, window), epoch_order(3, 1, 500))


def test_the_largest_batch_follows_the_memory() -> None:
    images = vk.open_images("portraits:64", 16)
    row = override(get("vae"), {"width": 8})
    assert largest_batch(row, images, 64, CPU, TrainOptions()) is None
    sizes = [largest_batch(row, images, 64, CPU, TrainOptions(), free) for free in (1_000, 10_000_000, 10**12)]
    assert sizes[0] == 1 and sizes[2] == 64 and 1 < (sizes[1] or 0) < 64
    assert largest_batch(row, images, 10**6, CPU, TrainOptions(), 20_000_000) == 1, "the images take room too"
    assert largest_batch(row, images, 10**6, CPU, TrainOptions(), 10**12) == 4096
    assert plan("digits", "fast-ae", batch_size="auto")["config"]["recipe"]["batch_size"] == 64, "no GPU: its own"


def test_a_plan_says_all_that_training_would_do(tmp_path: Path) -> None:
    config = plan("digits", "ae", tmp_path / "run", patience=3, micro_batch=4)["config"]
    assert config["patience"] == 3 and config["engine"]["micro_batch"] == 4


@pytest.mark.parametrize("name", ["vae", "seed-ae"])
def test_compiled_steps_are_the_same_steps(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.compile without the last stage, which needs a C++ compiler and rounds differently."""
    whole = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module, **options: whole(module, backend="eager", **options))
    monkeypatch.setattr("vaekit.model.nets.linear._onednn_is_faster", lambda: False)  # it is left to the compiler then
    plain, compiled = trainer_of(name, Engine()), trainer_of(name, Engine(compiled=True))
    for _ in range(3):
        assert torch.equal(plain.step().loss, compiled.step().loss)
    assert all(torch.equal(t, compiled.state()[0][key]) for key, t in plain.state()[0].items())


@pytest.mark.parametrize("side", [7, 9, 16])
def test_images_of_odd_sizes_resume_exactly(side: int) -> None:
    """Images are fetched for many steps at once; their alignment in memory must not depend on where a run resumed."""
    pixels = torch.randint(256, (40, 1, side, side), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    row = resolve(override(get("fast-ae"), {"batch_size": 3}), (1, side, side), len(pixels))
    data = DataConfig("array", (side, side), 1, "00", images=len(pixels), train_images=len(pixels))
    config = RunConfig(row, data, 120)
    whole, first, second = (ModelTrainer(config, pixels, CPU) for _ in range(3))
    for _ in range(12):
        whole.step()
    for _ in range(5):
        first.step()
    second.load_state(*first.state())
    for _ in range(7):
        second.step()
    assert all(torch.equal(t, second.state()[0][key]) for key, t in whole.state()[0].items())


def test_freed_memory_is_as_quick_afterwards_as_it_was_before() -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("the allocator of Linux alone is told anything")

    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(20):
            torch.ones(1 << 20)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    faults()
    with freed_memory_is_kept():
        faults()
        assert faults() < 100
    faults()
    assert faults() < 100, "4 MB are 1,024 pages"


def test_threads_are_kept_apart_and_let_go() -> None:
    if not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs a system that says where threads run, and two cores")
    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()

    def places() -> list[set[int]]:
        return [os.sched_getaffinity(int(thread)) for thread in os.listdir("/proc/self/task")]

    try:
        torch.set_num_threads(len(cores))
        with one_thread_per_core():
            kept = [next(iter(place)) for place in places() if len(place) == 1]
            assert set(kept) == cores and len(kept) == len(cores)
        assert all(place == cores for place in places())
        torch.set_num_threads(1)
        with one_thread_per_core():
            assert all(place == cores for place in places()), "another process may want the other cores"
    finally:
        torch.set_num_threads(threads)


def test_memory_is_what_the_system_counts() -> None:
    resident, peak = resident_bytes(), peak_resident_bytes()
    if resident is None or peak is None:
        pytest.skip("this system does not say")
    assert 10**7 < resident <= peak
    block = torch.ones(10**8, dtype=torch.uint8)
    grown = resident_bytes()
    assert grown is not None and grown > resident + 0.9 * len(block)


def train(out: Path, **options: Any) -> vk.Run:
    settings = {"width": 8, **options.pop("settings", {})}
    return vk.train("digits", out=out, quiet=True, settings=settings, **options)


#: Overshoots after a few epochs.
HASTY: dict[str, Any] = {
    "recipe": "ae",
    "learning_rate": 0.05,
    "batch_size": 128,
    "settings": {"net": "mlp", "hidden": "16", "schedule": "constant", "ema_power": 0},
}


def hasty(out: Path, **options: Any) -> vk.Run:
    return vk.train("digits", out=out, quiet=True, **HASTY, **options)


def test_training_ends_when_it_gets_no_better_and_keeps_the_best_weights(tmp_path: Path) -> None:
    run = hasty(tmp_path / "run", epochs=60, patience=2)
    lines = [line for line in runs.read_metrics(run.path) if line["kind"] == "validation"]
    losses = [line["validation_distortion_nats"] for line in lines]
    assert 3 <= len(losses) < 60 and min(losses) == losses[-3], "two epochs after the best one"
    images = vk.open_images("digits")
    assert run.evaluate(images.part("val"))["distortion_nats"] == pytest.approx(losses[-3], rel=1e-5)
    before = (run.path / "weights.safetensors").read_bytes()
    hasty(tmp_path / "run", epochs=60, patience=2)
    assert (run.path / "weights.safetensors").read_bytes() == before, "the same command trains no further"
    hasty(tmp_path / "run", epochs=80)
    assert (run.path / "weights.safetensors").read_bytes() == before, "its patience is still at an end"
    longer = hasty(tmp_path / "run", epochs=80, patience=50)
    assert longer.config.patience == 50
    assert sum(line["kind"] == "validation" for line in runs.read_metrics(run.path)) > len(losses)


def test_patience_survives_an_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hasty(tmp_path / "whole", epochs=20, patience=2)
    step, calls = ModelTrainer.step, 0

    def interrupted(self: ModelTrainer, wants_to_stop: bool = False) -> Any:
        nonlocal calls
        calls += 1
        if calls == 70:
            os.kill(os.getpid(), 15)
        return step(self, wants_to_stop)

    with monkeypatch.context() as patch:
        patch.setattr(ModelTrainer, "step", interrupted)
        with pytest.raises(vk.errors.Interrupted):
            hasty(tmp_path / "parts", epochs=20, patience=2)
    hasty(tmp_path / "parts", epochs=20, patience=2)
    for name in ("weights.safetensors", "state.safetensors"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_engine_stays_as_it_was_unless_it_is_named(tmp_path: Path) -> None:
    train(tmp_path / "run", epochs=1, precision="bf16", micro_batch=16)
    assert train(tmp_path / "run", epochs=2).config.engine == Engine("bf16", micro_batch=16, threads=1)
    finished = train(tmp_path / "run", epochs=3, precision="fp32")
    assert finished.config.engine == Engine("fp32", micro_batch=16, threads=1)


@pytest.mark.parametrize(
    ("recipe", "values", "precision"),
    [
        ("vae", {}, "bf16"),
        ("seed-ae", {}, "fp32"),
        ("seed-ae", {"batch_size": 128}, "bf16"),
        ("seed-ae", {"batch_size": 127}, "fp32"),
        ("seed-vae", {"batch_size": 512}, "fp32"),
    ],
)
def test_half_precision_is_chosen_where_it_is_faster(
    monkeypatch: pytest.MonkeyPatch, recipe: str, values: dict[str, Any], precision: str
) -> None:
    images = vk.open_images("portraits:200", size=16)
    config = make_config(images, override(get(recipe), values), TrainOptions(images=10))
    for has_products in (False, True):
        monkeypatch.setattr("vaekit.training.setup.has_bf16_products", lambda has_products=has_products: has_products)
        assert with_engine(config, torch.device("cpu")).engine == Engine(precision if has_products else "fp32")
    pieces = with_engine(config, torch.device("cpu"), {"micro_batch": 2}).engine
    assert pieces == Engine("bf16" if recipe == "vae" else "fp32", micro_batch=2)
    assert with_engine(config, torch.device("cpu"), {"precision": "fp32"}).engine == Engine("fp32")


def test_every_field_of_the_engine_can_be_overridden() -> None:
    assert list(EngineFields.__annotations__) == [field.name for field in dataclasses.fields(Engine)]


def test_an_old_configuration_has_the_engine_of_its_time() -> None:
    config = RunConfig(Recipe("ae"), DataConfig("digits", (8, 8), 1, "00"), 10)
    raw = json.loads(config.to_json())
    del raw["engine"], raw["patience"], raw["window_images"]
    assert RunConfig.from_json(json.dumps(raw)) == config
    raw["engine"] = {"precision": "fp32", "warp": 9}
    with pytest.raises(UserError, match="unknown key 'warp'"):
        RunConfig.from_json(json.dumps(raw))
    assert dataclasses.asdict(config.engine) == {
        "precision": "fp32",
        "compiled": False,
        "micro_batch": None,
        "threads": None,
    }


def test_tensorboard_gets_the_numbers_of_the_metrics(vaekit: Any, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = "train digits --recipe ae --tensorboard --precision fp32 --compile off --micro-batch 16 --patience 5"
    assert vaekit(*words.split(), "--set", "width=8", "--epochs", 2, "--out", out).code == 0
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    written = [(e.step, pytest.approx(e.value)) for e in events.Scalars("validation/validation_psnr_db")]
    lines = [line for line in runs.read_metrics(out) if line["kind"] == "validation"]
    assert written == [(line["images"], line["validation_psnr_db"]) for line in lines] and len(lines) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--precision", "fp8"], "--precision fp8"),
        (["--micro-batch", "0"], "--micro-batch 0"),
        (["--patience", "0"], "--patience 0"),
        (["--batch-size", "many"], "batch-size"),
    ],
)
def test_wrong_values_of_the_engine_are_named(vaekit: Any, tmp_path: Path, words: list[str], message: str) -> None:
    result = vaekit("train", "digits", *words, "--out", tmp_path / "run")
    assert result.code == 2 and message in result.err and len(result.err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_gradient_that_passes_a_hook_is_not_compiled(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="iwae-dreg cannot be compiled; give objective=iwae"):
        vk.train("digits", "iwae", tmp_path / "run", epochs=1, compiled=True, quiet=True)
    assert not (tmp_path / "run").exists()
